"""GHCN-Daily stations, as files and over the API, and the MEI table: units, flags and missing marks."""

from __future__ import annotations

import dataclasses
import json
import random
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import ghcnd, mei
from tasks.sources.payloads import Window, landed
from tasks.staging.stage import stage_payloads
from tasks.storage.hashes import sha256_of
from tests.conftest import DAMAGES

WINDOW = Window(date(2020, 3, 1), date(2020, 3, 31))
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
LATER = pd.Timestamp("2030-01-01", tz="UTC")
CHICAGO = "ghcnd.USW00094846"
FIELDS = ["precipitation_mm", "temperature_max_c", "temperature_min_c"]


@pytest.fixture
def written(staged, tmp_path):
    """The recorded payload of a series with other content."""

    def make(source: str, series: str, content: bytes, extension: str):
        path = tmp_path / f"2020-04-05.{extension}"
        path.write_bytes(content)
        payload = landed(staged.zones, source, series)[0]
        day = pd.Timestamp("2022-10-05", tz="UTC")
        return dataclasses.replace(payload, path=path, sha256=sha256_of(path), fetched_at=day)

    return make


def month(element: str, *values: str, station: str = "USW00094846") -> str:
    """A `.dly` line of March 2020; a value is `30` or, with its quality flag, `30D`."""
    cells = [f"{value.rstrip('DGX'):>5} {value[-1] if value[-1] in 'DGX' else ' '}7" for value in values]
    return f"{station}202003{element}" + "".join(cells + ["-9999   "] * (31 - len(values)))


def test_every_day_of_the_file_is_there_in_millimetres_and_degrees(staged, registry):
    """Counted by hand, cell by cell: whatever is not -9999."""
    spec, (payload,) = registry.sources.source("ghcnd"), landed(staged.zones, "ghcnd", CHICAGO)
    by_hand = {}
    for line in payload.path.read_text().splitlines():
        if line[17:21] in ("PRCP", "TMAX", "TMIN"):
            for day in range(31):
                value = line[21 + 8 * day : 26 + 8 * day]
                assert line[27 + 8 * day] == " " or value == "-9999", "no flagged value in this file"
                if value != "-9999":
                    by_hand[f"{line[11:15]}-{line[15:17]}-{day + 1:02d}", line[17:21]] = int(value) / 10
    rows = ghcnd.parse(payload, spec).set_index("observation_date")
    held = rows[FIELDS].set_axis(["PRCP", "TMAX", "TMIN"], axis=1).stack().dropna().astype("float64")
    assert held.to_dict() == pytest.approx(by_hand) and len(held) > 63_000
    assert (rows.index.min(), rows.index.max()) == ("1958-11-01", "2016-10-21")


def test_the_coldest_and_the_hottest_day_of_chicago_survive_staging(staged):
    held = staged.by_source["ghcnd"].observations
    assert staged.by_source["ghcnd"].quarantine.empty
    cold = held[(held["field"] == "temperature_min_c") & (held["observation_date"] == "1985-01-20")]
    assert cold["value"].tolist() == [-32.8]
    assert held[held["field"] == "temperature_max_c"]["value"].max() == 40.0
    ended = held["observation_date"].dt.tz_localize("UTC") + pd.Timedelta(days=1)
    assert (held["available_at"] > ended).all()


def test_a_value_that_failed_a_quality_check_is_refused_and_recorded(written, registry):
    spec = registry.sources.source("ghcnd")
    lines = [month("PRCP", "30", "5080X", "-9999"), month("TMAX", "100", "110", "-50"), month("SNOW", "10", "10")]
    payload = written("ghcnd", CHICAGO, "\n".join([*lines, ""]).encode(), "dly")
    rows = ghcnd.parse(payload, spec).set_index("observation_date")
    assert rows.loc["2020-03-02", "precipitation_mm"] == "508 flag X"
    held, refused = stage_payloads("ghcnd", spec, [payload], through=LATER)
    assert held[["field", "value"]].astype({"field": str}).to_numpy().tolist() == [
        ["precipitation_mm", 3.0],
        ["temperature_max_c", 10.0],
        ["temperature_max_c", 11.0],
        ["temperature_max_c", -5.0],
    ]
    (entry,) = refused.to_dict("records")
    assert (entry["rule"], entry["field"], str(entry["observation_date"].date())) == (
        "not_a_number",
        "precipitation_mm",
        "2020-03-02",
    )


DAYS = [
    {"DATE": "2020-03-01", "STATION": "USW00094846", "PRCP": "     0.0", "TMAX": "    12.2", "TMIN": "     2.8"},
    {"DATE": "2020-03-02", "STATION": "USW00094846", "TMAX": "     9.4", "TMIN": "     3.3"},
    {"DATE": "2020-03-02", "STATION": "USW00014842", "PRCP": "    99.0"},
]


def test_the_api_and_the_file_give_the_same_schema(written, registry):
    spec = registry.sources.source("ghcnd")
    from_json = ghcnd.parse(written("ghcnd", CHICAGO, json.dumps(DAYS).encode(), "json"), spec)
    dly = [month("PRCP", "0"), month("TMAX", "122", "94"), month("TMIN", "28", "33")]
    from_file = ghcnd.parse(written("ghcnd", CHICAGO, "\n".join(dly).encode(), "dly"), spec)
    assert list(from_json.columns) == list(from_file.columns)
    pd.testing.assert_frame_equal(from_json[FIELDS].astype("float64"), from_file[FIELDS].astype("float64"))
    assert from_json["observation_date"].tolist() == from_file["observation_date"].tolist()


@pytest.fixture
def ask(registry, server):
    def run(module, name: str, series: str):
        spec = registry.sources.source(name).model_copy(update={"endpoint": server.url + "/data/v1"})
        with Http(name, per_minute=60_000, limits=QUICK) as http:
            return list(module.fetch(series, WINDOW, spec, http))

    return run


def test_the_api_is_asked_for_one_station_in_metric_units(ask, server):
    server.script = [(200, json.dumps(DAYS).encode())]
    (fetched,) = ask(ghcnd, "ghcnd", CHICAGO)
    assert server.requests[0].query == {
        "dataset": "daily-summaries",
        "stations": "USW00094846",
        "startDate": "2020-03-01",
        "endDate": "2020-03-31",
        "dataTypes": "PRCP,TMAX,TMIN",
        "format": "json",
        "units": "metric",
    }
    assert (fetched.series, fetched.extension, json.loads(fetched.content)) == (CHICAGO, "json", DAYS)


def test_an_empty_window_of_a_station_is_unavailable(ask, server):
    server.script = [(200, b"[]")]
    with pytest.raises(SourceUnavailable, match="no day between 2020-03-01 and 2020-03-31"):
        ask(ghcnd, "ghcnd", CHICAGO)


@pytest.mark.parametrize("answer", [b"<html>down</html>", b"", b"\xff\xfe\x00", b'{"errorCode": 400}', b"null"])
@pytest.mark.parametrize(("module", "name", "series"), [(ghcnd, "ghcnd", CHICAGO), (mei, "mei", "meiv2")])
def test_a_200_with_something_else_inside_is_unavailable(ask, server, module, name, series, answer):
    server.script = [(200, answer)]
    with pytest.raises(SourceUnavailable, match=series):
        ask(module, name, series)


def test_the_mei_table_is_asked_for_whole(ask, server, staged):
    body = landed(staged.zones, "mei")[0].path.read_bytes()
    server.script = [(200, body)]
    (fetched,) = ask(mei, "mei", "meiv2")
    assert server.requests[0].query == {} and fetched.content == body


def test_mei_seasons_are_dated_at_their_second_month_and_the_sentinel_is_no_value(staged, registry):
    spec, (payload,) = registry.sources.source("mei"), landed(staged.zones, "mei")
    rows = mei.parse(payload, spec).set_index("observation_date")["value"].astype("float64")
    assert len(rows) == 43 * 12 + 8, "1979 to August 2022"
    assert (rows["1979-01-01"], rows["2015-09-01"], rows["2022-08-01"]) == (0.47, 2.21, -1.79)
    assert rows.min() > -5
    held = staged.by_source["mei"].observations.set_index("observation_date")
    assert len(held) == len(rows) and staged.by_source["mei"].quarantine.empty
    assert held.loc["2020-03-01", "available_at"] == pd.Timestamp("2020-05-10 13:00", tz="UTC")
    assert spec.point_in_time == "revised"


@pytest.mark.parametrize(
    ("source", "series", "old", "new"),
    [
        ("ghcnd", CHICAGO, b"USW00094846", b"USW00014842"),
        ("mei", "meiv2", b"1979     2022", b"YEAR DJ JF"),
    ],
)
def test_another_shape_is_drift(source, series, old, new, staged, registry, written):
    (payload,) = landed(staged.zones, source, series)
    content = payload.path.read_bytes()
    assert old in content, "the test no longer fits the payload"
    changed = written(source, series, content.replace(old, new).replace(b"TAVG", b"TMAX"), payload.path.suffix[1:])
    module = {"ghcnd": ghcnd, "mei": mei}[source]
    with pytest.raises(SchemaDrift, match="2020-04-05"):
        module.parse(changed, registry.sources.source(source))


@pytest.mark.parametrize(
    ("source", "series", "old", "new", "said"),
    [
        ("mei", "meiv2", b"1979     2022", b"1979     2023", "no line of 12 seasons for 2023"),
        ("mei", "meiv2", b"2005  ", b"2005 1", "no line of 12 seasons for 2005"),
    ],
)
def test_a_line_of_another_shape_costs_itself(source, series, old, new, said, staged, registry, written):
    (payload,) = landed(staged.zones, source, series)
    changed = written(source, series, payload.path.read_bytes().replace(old, new, 1), payload.path.suffix[1:])
    module = {"ghcnd": ghcnd, "mei": mei}[source]
    rows = module.parse(changed, registry.sources.source(source))
    assert rows["refused"].dropna().str.contains(said).all() and rows["refused"].notna().sum() == 1
    assert rows["refused"].isna().sum() > 400


@pytest.mark.parametrize("content", [b"", b"\n", b"<html>down</html>", b"null", b"[]", b"[1, 2]", b"{}", b"[{}]"])
@pytest.mark.parametrize(
    ("source", "series", "extension"), [("ghcnd", CHICAGO, "dly"), ("ghcnd", CHICAGO, "json"), ("mei", "meiv2", "txt")]
)
def test_something_else_altogether_is_drift(source, series, extension, content, registry, written):
    module = {"ghcnd": ghcnd, "mei": mei}[source]
    with pytest.raises(SchemaDrift):
        module.parse(written(source, series, content, extension), registry.sources.source(source))


@pytest.mark.parametrize("damages", DAMAGES)
@pytest.mark.parametrize(("source", "series"), [("ghcnd", CHICAGO), ("mei", "meiv2")])
def test_a_damaged_file_is_drift_or_rows_but_never_another_error(damages, source, series, staged, registry, written):
    spec, (payload,), chance = registry.sources.source(source), landed(staged.zones, source, series), random.Random(1)
    whole, module = payload.path.read_bytes()[-9000:], {"ghcnd": ghcnd, "mei": mei}[source]
    whole = whole[whole.index(b"\n") + 1 :] if source == "ghcnd" else whole
    for number in range(damages):
        damaged = bytearray(whole)
        if number % 2:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            for _ in range(chance.randrange(1, 20)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        changed = written(source, series, bytes(damaged), payload.path.suffix[1:])
        try:
            module.parse(changed, spec)
        except SchemaDrift:
            continue
        stage_payloads(source, spec, [changed], through=LATER)
