"""Every recorded payload of a registered series parses whole; a damaged one is refused as drift, never half-read."""

from __future__ import annotations

import csv
import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.errors import SchemaDrift
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Payload, adapter, landed
from tasks.staging.rules import screen
from tests.conftest import DAMAGES

MANY_ROWS_A_LINE = {"inmet", "mei", "ghcnd"}  # hours become days, months become days: counted in tests of their own
ONE_ROW_OF_A_DAY = {"pysystemtrade"}  # which serves many


def every_payload(staged, registry) -> Iterator[Payload]:
    """Of the sources that land one payload a series; a feed's payload holds many and is tested with its adapter."""
    for source, spec in registry.sources.sources.items():
        if not spec.feeds:
            yield from landed(staged.zones, source)


def test_every_recorded_payload_has_the_rows_and_dates_of_the_manifest(staged, registry, archive):
    with (archive / "MANIFEST.csv").open(newline="") as handle:
        listed = {row["file"]: row for row in csv.DictReader(handle)}
    wrong, seen = {}, 0
    for payload in every_payload(staged, registry):
        spec = registry.sources.source(payload.source)
        rows = adapter(spec).parse(payload, spec)
        assert list(rows.columns[:3]) == ["series", "observation_date", "row"]
        if payload.series not in spec.series:  # many series in one payload: each such kind has a test of its own
            continue
        entry = listed[f"{spec.folder or payload.source}/{payload.series}/{payload.path.name}"]
        assert set(rows.columns[3:]) <= set(spec.fields) and len(rows.columns) > 3
        assert rows["row"].is_unique
        seen += 1
        if payload.source in MANY_ROWS_A_LINE:
            continue
        if payload.source in ONE_ROW_OF_A_DAY:
            assert rows["observation_date"].is_unique and rows["row"].max() <= int(entry["rows"]) + 1
            assert rows["observation_date"].iloc[0] == entry["first_date"]
            continue
        if len(rows) != int(entry["rows"]):
            wrong[payload.name] = (len(rows), entry["rows"], entry["note"])
        dates = rows["observation_date"].dropna().astype(str)
        ends = sorted([dates.iloc[0], dates.iloc[-1]])  # eia serves the newest first
        if payload.source != "noaa" and ends != [entry["first_date"], entry["last_date"]]:
            wrong[payload.name + " dates"] = (*ends, entry["first_date"], entry["last_date"])
    assert wrong == {}
    assert seen == sum(row["file"].startswith(tuple(registered(registry))) for row in listed.values())


def registered(registry) -> list[str]:
    return [
        f"{spec.folder or name}/{series}/"
        for name, spec in registry.sources.sources.items()
        for series in spec.series
        if not spec.feeds
    ]


SMALL = {
    "yahoo": "SB=F",
    "fred": "UMCSENT",
    "cftc": "6dca-aqww.007601",
    "cftc_disagg": "newcot.f_disagg",
    "noaa": "oni.ascii",
    "eia": "PET.WPULEUS3.W",
    "sina": "B0",
    "bls": "timeseries",
    "freight": "baltic-dry-index",
    "usda_fas": "esr-weekly-summary",
    "usda_nass": "crop-progress-soybeans-2018",
    "federal_register": "documents",
    "dce": "daily-quotes",
}


def the_first(source: str, registry, archive) -> Payload:
    return recorded_files(archive, source, SMALL[source], folder=registry.sources.source(source).folder)[0]


def a_few_rows(source: str, content: bytes) -> bytes:
    if source == "cftc":
        return json.dumps(json.loads(content)[:8]).encode()
    if source == "eia":
        document = json.loads(content)
        document["response"]["data"] = document["response"]["data"][:8]
        return json.dumps(document).encode()
    if source == "federal_register":
        answer = json.loads(content)
        return json.dumps(answer | {"results": answer["results"][:8]}).encode()
    if source == "sina":
        bars = json.loads(content[content.index(b"[") : content.rindex(b"]") + 1])
        return b"var x = " + json.dumps(bars[:8]).encode() + b";"
    return content if source in ("bls", "usda_fas") else content[:8000]


@pytest.mark.parametrize("damages", DAMAGES)
@pytest.mark.parametrize("source", SMALL)
def test_a_damaged_payload_is_drift_or_rows_but_never_another_error(source, damages, registry, archive, tmp_path):
    """Cut at random places, bytes flipped, lines doubled: whatever comes, staging can quarantine it."""
    spec, chance = registry.sources.source(source), random.Random(f"damage {source}")
    whole = the_first(source, registry, archive)
    content = a_few_rows(source, whole.path.read_bytes())
    drifted = 0
    for number in range(damages):
        damaged = bytearray(content)
        if number % 3 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        elif number % 3 == 1:
            for _ in range(20):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        else:
            at = chance.randrange(len(damaged))
            damaged[at:at] = chance.choice([b"\x00" * 50, b'"', b",,,,,,,,,,,,", b"<html>", b"\n\n", damaged[:500]])
        path = Path(tmp_path / f"{number}{whole.path.suffix}")
        path.write_bytes(damaged)
        try:
            rows = adapter(spec).parse(dataclasses.replace(whole, path=path), spec)
        except SchemaDrift as error:
            assert path.name in str(error)
            drifted += 1
        else:
            assert {"series", "observation_date", "row"} <= set(rows.columns)
            screen(rows.assign(payload=path.name, fetched_at=whole.fetched_at), spec)
    assert drifted < damages and (drifted or damages < 100), "often enough some cannot be read"


@pytest.mark.parametrize("content", [b"", b"\n", b"<html><body>down</body></html>", b"null", b"[]", b"[1, 2]", b"{}"])
@pytest.mark.parametrize("source", SMALL)
def test_something_else_altogether_is_drift(source, content, registry, archive, tmp_path):
    spec = registry.sources.source(source)
    whole = the_first(source, registry, archive)
    path = Path(tmp_path / whole.path.name)
    path.write_bytes(content)
    with pytest.raises(SchemaDrift, match=SMALL[source]):
        adapter(spec).parse(dataclasses.replace(whole, path=path), spec)


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("yahoo", b"Close", b"Last"),
        ("fred", b"UMCSENT", b"UMCSENT2"),
        ("cftc", b"noncomm_postions_spread_all", b"noncomm_positions_spread_all"),
        ("noaa", b"ANOM", b"ANOMALY"),
        ("eia", b"period", b"week"),
        ("sina", b"settle", b"settlement"),
        ("bls", b"year", b"jahr"),
        ("freight", b"Value", b"Close"),
        ("usda_fas", b"NetSales", b"Net"),
        ("usda_nass", b"WEEK ENDING", b"WEEK"),
        ("federal_register", b"publication_date", b"published_on"),
        ("dce", b"Turnover", b"Amount"),
    ],
)
def test_a_renamed_column_is_drift_that_says_what_is_missing(source, old, new, registry, archive, tmp_path):
    spec = registry.sources.source(source)
    whole = the_first(source, registry, archive)
    path = Path(tmp_path / whole.path.name)
    path.write_bytes(whole.path.read_bytes().replace(old, new))
    with pytest.raises(SchemaDrift) as raised:
        adapter(spec).parse(dataclasses.replace(whole, path=path), spec)
    assert old.decode() in str(raised.value)


def test_the_second_header_row_of_old_yahoo_files_is_a_row_of_text_not_a_column(registry, archive, tmp_path):
    spec = registry.sources.source("yahoo")
    whole = recorded_files(archive, "yahoo", "ZW=F")[0]
    path = tmp_path / "2020-12-29.csv"
    path.write_bytes(b"Date,Close,Open\n,ZW=F,ZW=F\n2020-01-02,560.25,558\n")
    rows = adapter(spec).parse(dataclasses.replace(whole, path=path), spec)
    assert rows["row"].tolist() == [2, 3] and rows["close"].tolist() == ["ZW=F", "560.25"]
