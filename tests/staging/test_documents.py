"""Documents in staging: once each, reworded as a new vintage, refused with a rule, whole after any kill."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tasks.registry import DataSources
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import Payload
from tasks.staging.documents import documents_known_by, stage_documents
from tasks.staging.stage import stage_payloads, stage_source
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse

SOURCE = "federal_register"
AS_OF = pd.Timestamp("2023-12-29")
LATER = pd.Timestamp("2030-01-01", tz="UTC")


@pytest.fixture
def spec(registry):
    return registry.sources.source(SOURCE)


@pytest.fixture
def home(zones, spec, archive) -> Zones:
    """The recorded feed, landed."""
    ingest_source(zones, SOURCE, spec, origin=archive, as_of=AS_OF.date(), progress=lambda *step: None)
    return zones


def hashes(zones: Zones) -> dict[str, str]:
    folders = (zones.staging, zones.quarantine)
    return {str(p.relative_to(zones.home)): sha256_of(p) for f in folders for p in sorted(f.rglob("*")) if p.is_file()}


@pytest.fixture
def payload(tmp_path):
    def make(fetched_at: str, *documents: tuple) -> tuple[str, Payload]:
        names = ("document_number", "publication_date", "title", "abstract")
        served = [dict(zip(names, one, strict=True)) | {"html_url": "https://x/1"} for one in documents]
        path = tmp_path / f"{fetched_at}.json"
        path.write_text(json.dumps({"count": len(served), "total_pages": 1, "results": served}))
        moment = pd.Timestamp(fetched_at, tz="UTC")
        return path.name, Payload(SOURCE, "documents", path, sha256_of(path), 0, "", moment, True)

    return make


def test_staging_twice_gives_the_same_bytes_and_a_torn_or_missing_file_is_made_again(home, spec):
    first = stage_source(home, SOURCE, spec, as_of=AS_OF, code="1")
    before = hashes(home)
    assert "staging/federal_register/documents.parquet" in before and len(before) == 14
    again = stage_source(home, SOURCE, spec, as_of=AS_OF, code="1")
    assert first.changed and not again.changed
    pd.testing.assert_frame_equal(first.documents, again.documents)
    path = home.staging / SOURCE / "documents.parquet"
    for left in (0, 1000):
        path.write_bytes(path.read_bytes()[:left]) if left else path.unlink()
        (path.parent / ".tmp-1-2-documents.parquet").write_bytes(b"half")
        assert stage_source(home, SOURCE, spec, as_of=AS_OF, code="1").changed
        assert hashes(home) == before
    assert stage_source(home, SOURCE, spec, as_of=AS_OF, code="2").changed, "other code makes them again"


def test_a_run_killed_between_documents_and_manifest_is_made_again(home, spec, tmp_path):
    stage_source(home, SOURCE, spec, as_of=pd.Timestamp("2021-12-31"), code="1")
    early = (home.staging / SOURCE / "manifest.json").read_bytes()
    stage_source(home, SOURCE, spec, as_of=AS_OF, code="1")
    before = hashes(home)
    (home.staging / SOURCE / "manifest.json").write_bytes(early)
    assert stage_source(home, SOURCE, spec, as_of=AS_OF, code="1").changed
    assert hashes(home) == before


@pytest.mark.parametrize("day", ["2020-01-06", "2021-03-31", "2022-07-01"])
def test_documents_staged_as_of_a_day_are_those_of_everything_cut_at_it(home, spec, tmp_path, day):
    earlier = Zones(tmp_path / "earlier")
    earlier.home.mkdir()
    (earlier.home / "raw").symlink_to(home.raw)
    staged = stage_source(earlier, SOURCE, spec, as_of=pd.Timestamp(day), code="1").documents
    stage_source(home, SOURCE, spec, as_of=AS_OF, code="1")

    cut = documents_known_by(home, DataSources(sources={SOURCE: spec}), as_of=pd.Timestamp(day))
    assert 0 < len(staged) < 263
    pd.testing.assert_frame_equal(staged, cut)


def test_another_wording_is_a_vintage_of_its_own_known_when_it_came_and_another_spelling_is_not(payload, spec):
    day = "2023-12-20"
    payloads = [
        payload("2023-12-21", ("2023-1", day, "Soybeans; Standards", "Old."), ("2023-2", day, "Biodiesel", None)),
        payload("2023-12-22", ("2023-1", day, "SOYBEANS: Standards", "old"), ("2023-2", day, "Biodiesel", None)),
        payload("2023-12-27", ("2023-1", day, "Soybeans; Standards", "New.")),
    ]
    held, refused = stage_documents(SOURCE, spec, payloads, through=LATER)
    assert refused.empty
    soy = held[held["series"] == "soybeans"]
    assert soy["abstract"].tolist() == ["Old.", "New."] and soy["vintage"].tolist() == [1, 2]
    known = [f"{moment:%Y-%m-%d %H:%M}" for moment in soy["available_at"]]
    assert known == ["2023-12-20 13:45", "2023-12-28 00:00"], "of a recorded fetch only the day is known: its end"
    assert (held["series"] == "biodiesel").sum() == 1
    then, _ = stage_documents(SOURCE, spec, payloads, through=pd.Timestamp("2023-12-27 23:00", tz="UTC"))
    assert then[then["series"] == "soybeans"]["abstract"].tolist() == ["Old."]


def test_what_cannot_be_a_document_is_in_quarantine_with_its_rule_payload_and_row(payload, spec):
    name, one = payload(
        "2023-12-21",
        ("2023-1", "2023-12-20", "Soybeans", None),
        ("2023-2", "20 December", "Soybeans", None),
        ("2023-3", "2023-12-20", "", "Soybeans"),
        ("2023-4", "2023-12-28", "Soybeans", None),
        (None, "2023-12-20", "Soybeans", None),
        ("2023-6", "2023-12-17", "Soybeans", None),
    )
    held, refused = stage_documents(SOURCE, spec, [(name, one)], through=LATER)
    assert held["document_id"].tolist() == ["2023-12-20/2023-1"]
    assert dict(zip(refused["row"], refused["rule"], strict=True)) == {
        2: "bad_date", 3: "empty_title", 4: "future_date", 5: "no_id", 6: "weekend",
    }  # fmt: skip
    assert set(refused["payload"]) == {name} and refused["reason"].str.len().min() > 10


def test_half_a_surrogate_pair_is_written_and_read_again(payload, spec, tmp_path):
    held, _ = stage_documents(
        SOURCE, spec, [payload("2023-12-21", ("1", "2023-12-20", "Soy\ud800beans", None))], through=LATER
    )
    held.to_parquet(tmp_path / "x.parquet")
    assert held["title"].tolist() == ["Soy?beans"]


def test_a_payload_that_cannot_be_read_is_refused_once_and_the_others_count(payload, spec):
    name, good = payload("2023-12-21", ("2023-1", "2023-12-20", "Soybeans", None))
    _, bad = payload("2023-12-22")
    bad.path.write_text("<html>")
    held, refused = stage_documents(SOURCE, spec, [(name, good), ("bad", bad)], through=LATER)
    assert len(held) == 1 and refused.empty
    assert stage_payloads(SOURCE, spec, [good, bad], through=LATER)[1]["rule"].tolist() == ["payload"]


def test_documents_are_published_once_and_an_earlier_replay_takes_none_away(home, spec):
    stage_source(home, SOURCE, spec, as_of=AS_OF, code="1")

    def publish(day: str) -> int:
        known = documents_known_by(home, DataSources(sources={SOURCE: spec}), as_of=pd.Timestamp(day))
        done = DuckDbWarehouse(home).publish({"raw_intelligence.documents": known}, as_of=AS_OF, staging=home.staging)
        return done.changed["raw_intelligence.documents"]

    assert [publish("2021-12-31"), publish("2023-12-29"), publish("2021-12-31"), publish("2023-12-29")] == [
        100, 163, 0, 0,
    ]  # fmt: skip
    shown = DuckDbWarehouse(home).query(
        "SELECT COUNT(DISTINCT document_id) AS n, MIN(published) AS a FROM raw_intelligence.documents"
    )
    assert shown["n"].iloc[0] == 197 and str(shown["a"].iloc[0])[:10] == "2020-01-06"
