"""A source's status says what arrived: of every source, a payload that nobody can read is no success."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tasks.registry import SourceSpec, load_sources
from tasks.settings import PROJECT
from tasks.sources.ingest import Ingested, ingest_source
from tasks.sources.payloads import landed
from tasks.staging.arrivals import judged
from tasks.staging.stage import Staged, stage_source

ALL = load_sources(PROJECT / "registry").sources
AS_OF = pd.Timestamp("2023-12-29")
ODD = {
    "outage page": b"<!DOCTYPE html><html><body>Service Unavailable. Please try again.</body></html>",
    "nothing": b"",
    "other JSON": b'{"message": "maintenance"}',
    "list of numbers": b"[1, 2, 3]",
    "renamed columns": b"day,number\n2023-12-20,4.1\n2023-12-21,4.2\n",
    "no text": b"PK\x03\x04\xff\xfe\x00,\x00\n",
    "cut JSON": b'{"observations": [{"date": "2023-12-',
}


def arrive(
    zones, source: str, spec: SourceSpec, origin: Path | str, as_of: pd.Timestamp = AS_OF, **given
) -> tuple[Ingested, Staged]:
    """What `flows.ingest` does, without Prefect."""
    done = ingest_source(zones, source, spec, origin=origin, as_of=as_of.date(), progress=lambda *s: None, **given)
    staged = stage_source(zones, source, spec, as_of=as_of, code="tests")
    return judged(done, staged.quarantine, spec), staged


def recorded(origin: Path, source: str, series: str, name: str, content: bytes) -> Path:
    path = origin / source / series / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.replace(" ", "-"))
@pytest.mark.parametrize("source", [name for name, spec in ALL.items() if not spec.tables])
def test_a_payload_of_a_wrong_shape_is_never_ok_whatever_the_source(zones, tmp_path, source, odd):
    spec = ALL[source]
    folder = spec.replayed[0]
    extensions = {"inmet": "zip", "usda_psd": "zip", "sina": "js", "noaa": "txt", "mei": "txt", "dce": "txt"}
    extension = extensions.get(source, "json" if spec.kind == "documents" or source == "eia" else "csv")
    recorded(tmp_path, spec.folder or source, folder, f"2023-12-27.{extension}", ODD[odd])
    done, staged = arrive(zones, source, spec, tmp_path)
    assert done.status == "failed", done
    assert folder in done.failures and staged.observations.empty
    assert done.message and len(staged.quarantine) == 1


def test_a_renamed_column_is_a_failure_that_names_what_was_expected(zones):
    """The reported case drift-told-as-ok."""
    origin = Path(__file__).parent / "drifted"
    done, staged = arrive(zones, "fred", ALL["fred"], origin, series=["DGS10"])
    assert done.status == "failed" and staged.observations.empty
    assert "columns ['observation_date', 'DGS10_NEW'], expected observation_date and DGS10" in done.message


def test_a_renamed_column_of_one_series_leaves_the_others_and_is_partial(zones, tmp_path):
    recorded(tmp_path, "fred", "DGS10", "2023-12-27.csv", b"observation_date,DGS10_NEW\n2023-12-20,4.1\n")
    recorded(tmp_path, "fred", "DGS2", "2023-12-27.csv", b"observation_date,DGS2\n2023-12-20,4.1\n")
    done, staged = arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS10", "DGS2"])
    assert (done.status, list(done.failures), len(staged.observations)) == ("partial", ["DGS10"], 1)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (b"20/12/2023,4.1\n21/12/2023,4.2\n", "the date cannot be read"),
        (b"2023-12-20,four\n2023-12-21,n/a\n", "the value cannot be read as a number"),
        (b"2023-12-20,410\n2023-12-21,420\n", "outside the range"),
    ],
    ids=["date format", "words", "unit"],
)
def test_values_of_another_format_or_unit_are_no_success(zones, tmp_path, rows, why):
    recorded(tmp_path, "fred", "DGS10", "2023-12-27.csv", b"observation_date,DGS10\n" + rows)
    done, _ = arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS10"])
    assert done.status == "failed" and why in done.message


def test_one_bad_value_among_good_ones_is_a_refused_cell_and_the_source_is_ok(zones, tmp_path):
    body = b"observation_date,DGS10\n2023-12-20,4.1\n2023-12-21,n/a\n20231222,4.0\n"
    recorded(tmp_path, "fred", "DGS10", "2023-12-27.csv", body)
    done, staged = arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS10"])
    assert (done.status, len(staged.observations), len(staged.quarantine)) == ("ok", 1, 2)


def test_a_live_answer_that_drifts_is_a_failure_and_stays_one_until_it_is_mended(zones, server):
    spec = ALL["fred"].model_copy(update={"endpoint": server.url, "rate_limit_per_minute": 60_000})
    now = pd.Timestamp.now(tz="UTC").tz_localize(None).normalize()
    server.script = [(200, b"observation_date,DGS10_NEW\n2023-12-20,4.1\n")]
    for _ in range(2):  # the same bytes again are not stored again, and no success either
        done, _ = arrive(zones, "fred", spec, "live", now, series=["DGS10"])
        assert done.status == "failed" and "DGS10_NEW" in done.message
    server.script = [(200, b"observation_date,DGS10\n2023-12-20,4.1\n")]
    done, staged = arrive(zones, "fred", spec, "live", now, series=["DGS10"])
    assert (done.status, done.message, len(staged.observations)) == ("ok", "", 1)


def test_an_empty_answer_in_the_right_shape_is_ok(zones, server):
    spec = ALL["fred"].model_copy(update={"endpoint": server.url, "rate_limit_per_minute": 60_000})
    server.script = [(200, b"observation_date,DGS10\n")]
    now = pd.Timestamp.now(tz="UTC").tz_localize(None).normalize()
    assert arrive(zones, "fred", spec, "live", now, series=["DGS10"])[0].status == "ok"


def test_nothing_new_is_ok_where_something_is_held_and_a_failure_where_nothing_ever_came(zones, server):
    spec = ALL["cftc"].model_copy(update={"endpoint": server.url, "rate_limit_per_minute": 60_000})
    series, now = spec.fetched[0], pd.Timestamp.now(tz="UTC").tz_localize(None).normalize()
    server.script = [(200, b"[]")]
    done, _ = arrive(zones, "cftc", spec, "live", now, series=[series])
    assert done.status == "failed" and "no report between" in done.message
    row = {name: "1" for name in spec.fields.values()}
    row |= {"report_date_as_yyyy_mm_dd": "2026-01-06", "cftc_contract_market_code": series.split(".")[1]}
    server.script = [(200, json.dumps([row]).encode())]
    assert arrive(zones, "cftc", spec, "live", now, series=[series])[0].status == "ok"
    server.script = [(200, b"[]")]
    done, staged = arrive(zones, "cftc", spec, "live", now, series=[series])
    assert (done.status, done.message) == ("ok", "") and len(staged.observations) == len(spec.fields)


def test_an_older_drifted_payload_does_not_hide_the_newest_and_is_reported_by_its_name(zones, tmp_path):
    recorded(tmp_path, "fred", "DGS10", "2023-12-20.csv", b"observation_date,OLD\n2023-12-19,4.1\n")
    recorded(tmp_path, "fred", "DGS10", "2023-12-27.csv", b"observation_date,DGS10\n2023-12-20,4.1\n")
    done, _ = arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS10"])
    assert (done.status, list(done.failures)) == ("partial", ["DGS10/2023-12-20.csv"])


def test_the_recorded_archive_is_green_its_samples_of_outages_and_all(archive, staged, zones):
    """Judged by what this run brought: a sample of an outage costs nothing where the rest of its source is sound."""
    for source, spec in ALL.items():
        done = ingest_source(zones, source, spec, origin=archive, as_of=AS_OF.date(), progress=lambda *step: None)
        after = judged(done, staged.by_source[source].quarantine, spec)
        assert after.status in ("ok", "ended", "not recorded"), after
        assert (after.status == "ended") == (source == "freight")


def test_a_source_all_of_whose_series_ended_is_ended_and_was_ok_before(archive, zones):
    spec = ALL["freight"]
    before = pd.Timestamp(spec.series["baltic-dry-index"].ended)
    assert arrive(zones, "freight", spec, archive, before)[0].status == "ok"
    assert arrive(zones, "freight", spec, archive, before + pd.Timedelta(days=1))[0].status == "ended"
    fred = ALL["fred"]
    assert arrive(zones, "fred", fred, archive, series=["TEDRATE"])[0].status == "ended"
    assert arrive(zones, "fred", fred, archive, series=["TEDRATE", "DGS10"])[0].status == "ok"


def test_a_broken_sidecar_costs_its_payload_and_is_reported(zones, tmp_path):
    recorded(tmp_path, "fred", "DGS10", "2023-12-27.csv", b"observation_date,DGS10\n2023-12-20,4.1\n")
    recorded(tmp_path, "fred", "DGS2", "2023-12-27.csv", b"observation_date,DGS2\n2023-12-20,4.1\n")
    arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS10", "DGS2"])
    (sidecar,) = (zones.raw / "fred" / "DGS10").glob("*.sidecar.json")
    for broken in (
        b"",
        b"[]",
        b'{"source": "fred"}',
        b'"x"',
        sidecar.read_bytes().replace(b"2023-12-27T", b"2023-13-45T"),
    ):
        sidecar.write_bytes(broken)
        assert [payload.series for payload in landed(zones, "fred")] == ["DGS2"]
        staged = stage_source(zones, "fred", ALL["fred"], as_of=AS_OF, code="tests")
        assert list(staged.observations["series"]) == ["DGS2"]
        done, staged = arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS10", "DGS2"])
        assert done.status == "partial" and sidecar.name in done.message, "this run mended it, and says so"
        done, staged = arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS10", "DGS2"])
        assert done.status == "ok" and len(staged.observations) == 2


def test_a_sidecar_that_is_a_folder_costs_its_payload(zones, tmp_path):
    recorded(tmp_path, "fred", "DGS2", "2023-12-27.csv", b"observation_date,DGS2\n2023-12-20,4.1\n")
    (zones.raw / "fred" / "DGS10" / "recorded-x.sidecar.json").mkdir(parents=True)
    done, staged = arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS2"])
    assert done.status == "partial" and "recorded-x" in done.message and len(staged.observations) == 1


@pytest.mark.parametrize("broken", [b"", b"[]", b'{"inputs": 7}', b'{"through": "soon"}', b"\xff", None])
def test_a_broken_staging_manifest_costs_a_staging_anew(zones, tmp_path, broken):
    recorded(tmp_path, "fred", "DGS2", "2023-12-27.csv", b"observation_date,DGS2\n2023-12-20,4.1\n")
    _, whole = arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS2"])
    for place in ("manifest.json", "parsed/manifest.json"):
        path = zones.staging / "fred" / place
        path.unlink()
        if broken is None:
            continue
        path.write_bytes(broken)
        _, again = arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS2"])
        pd.testing.assert_frame_equal(again.observations, whole.observations)


def test_an_impossible_date_and_a_folder_in_an_origin_cost_themselves(zones, tmp_path):
    recorded(tmp_path, "fred", "DGS2", "2023-12-27.csv", b"observation_date,DGS2\n2023-12-20,4.1\n")
    recorded(tmp_path, "fred", "DGS2", "2023-13-45.csv", b"observation_date,DGS2\n2023-12-21,4.1\n")
    (tmp_path / "fred" / "DGS2" / "2023-12-28.csv").mkdir()
    done, staged = arrive(zones, "fred", ALL["fred"], tmp_path, series=["DGS2"])
    assert len(staged.observations) == 1
    assert done.status == "failed" and "2023-13-45.csv" in done.message and "2023-12-28.csv" in done.message
