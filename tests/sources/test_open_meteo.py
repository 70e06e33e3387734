"""Open-Meteo over a local server: what is asked, what a day is, and that another place is never passed off."""

from __future__ import annotations

import json
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import open_meteo
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import Window, landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
SORRISO = "br_mt_sorriso"
ANSWER = {
    "latitude": -12.583479,
    "longitude": -55.730347,
    "generationtime_ms": 0.15,
    "utc_offset_seconds": 0,
    "timezone": "GMT",
    "elevation": 386.0,
    "daily_units": {
        "time": "iso8601",
        "precipitation_sum": "mm",
        "temperature_2m_max": "°C",
        "temperature_2m_min": "°C",
    },
    "daily": {
        "time": ["2023-12-20", "2023-12-21", "2023-12-22"],
        "precipitation_sum": [11.3, 0.0, None],
        "temperature_2m_max": [33.1, 34.5, None],
        "temperature_2m_min": [22.6, 23.0, None],
    },
}


@pytest.fixture
def spec(registry, server):
    """One point, served locally."""
    source = registry.sources.source("open_meteo")
    series = {SORRISO: source.series[SORRISO]}
    update = {"endpoint": server.url + "/v1/archive", "series": series, "rate_limit_per_minute": 60_000}
    return source.model_copy(update=update)


@pytest.fixture
def staged_answer(spec, server, zones):
    """Ingest and stage one answer, as of a date."""

    def run(answer: object, as_of: str = "2023-12-29"):
        server.script = [(200, json.dumps(answer).encode())]
        done = ingest_source(
            zones,
            "open_meteo",
            spec,
            origin="live",
            as_of=date.fromisoformat(as_of),
            progress=lambda *step: None,
            limits=QUICK,
        )
        return done, stage_source(zones, "open_meteo", spec, as_of=pd.Timestamp(as_of), code="t")

    return run


def test_the_point_the_window_and_the_days_are_asked_for(spec, server):
    server.script = [(200, json.dumps(ANSWER).encode())]
    with Http("open_meteo", per_minute=60_000, limits=QUICK) as http:
        (fetched,) = open_meteo.fetch(SORRISO, Window(date(2023, 12, 20), date(2023, 12, 22)), spec, http)
    assert server.requests[0].path == "/v1/archive"
    assert server.requests[0].query == {
        "latitude": "-12.55",
        "longitude": "-55.71",
        "start_date": "2023-12-20",
        "end_date": "2023-12-22",
        "daily": "precipitation_sum,temperature_2m_max,temperature_2m_min",
        "timezone": "UTC",
    }
    assert (fetched.series, fetched.extension, json.loads(fetched.content)) == (SORRISO, "json", ANSWER)


def test_days_are_known_five_days_later_and_null_is_no_value(staged_answer, zones):
    done, staged = staged_answer(ANSWER)
    assert done.status == "ok" and staged.quarantine.empty
    held = staged.observations
    assert set(held["observation_date"].dt.strftime("%d")) == {"20", "21"}
    rain = held[held["field"] == "precipitation_mm"]
    assert rain["value"].tolist() == [11.3, 0.0] and set(rain["unit"]) == {"mm"}
    assert rain["available_at"].iloc[0] == pd.Timestamp("2023-12-25 12:00", tz="UTC")
    assert len(landed(zones, "open_meteo", SORRISO)) == 1


def test_an_impossible_temperature_is_refused_and_its_rain_stays(staged_answer):
    daily = ANSWER["daily"] | {"temperature_2m_max": [91.6, 34.5, None]}
    _, staged = staged_answer(ANSWER | {"daily": daily})
    (entry,) = staged.quarantine.to_dict("records")
    assert (entry["rule"], entry["field"], entry["value"]) == ("range", "temperature_max_c", 91.6)
    assert len(staged.observations) == 5


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"latitude": -15.6}, "of latitude -15.6, expected -12.55; another place"),
        ({"daily_units": ANSWER["daily_units"] | {"temperature_2m_max": "°F"}}, "temperature_2m_max in '°F'"),
        ({"daily": ANSWER["daily"] | {"time": ["2023-12-20"]}}, "different lengths"),
        ({"daily": {"time": ["2023-12-20"], "precipitation_sum": [1.0]}}, "temperature_2m_max"),
        ({"daily_units": None}, "daily_units"),
    ],
)
def test_another_place_unit_or_shape_goes_whole_to_quarantine(staged_answer, changed, said):
    _, staged = staged_answer(ANSWER | changed)
    assert staged.observations.empty
    (entry,) = staged.quarantine.to_dict("records")
    assert entry["rule"] == "payload" and said in entry["reason"]


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"error": true, "reason": "Out of range"}', b"\xff\xfe"])
def test_a_200_with_something_else_inside_is_unavailable(spec, server, body):
    server.script = [(200, body)]
    window = Window(date(2023, 12, 20), date(2023, 12, 22))
    with Http("open_meteo", per_minute=60_000, limits=QUICK) as http, pytest.raises(SourceUnavailable, match=SORRISO):
        list(open_meteo.fetch(SORRISO, window, spec, http))


def test_every_point_has_a_place_of_its_own(registry):
    places = [entry.location for entry in registry.sources.source("open_meteo").series.values()]
    assert None not in places and len(set(places)) == len(places) >= 6
    assert all(-40 < latitude < 50 and -100 < longitude < -40 for latitude, longitude in places)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"precipitation_sum": [10**400, 0.0, None]}, "range"),
        ({"precipitation_sum": ["\ud800", 0.0, None]}, "not_a_number"),
        ({"precipitation_sum": [[{}], 0.0, None]}, "not_a_number"),
        ({"time": [10**300, "2023-12-21", "2023-12-22"]}, "bad_date"),
        ({"time": ["\ud800", "2023-12-21", "2023-12-22"]}, "payload"),
    ],
    ids=["huge number", "half a character", "no number", "huge date", "half a character for a date"],
)
def test_an_odd_cell_is_refused_with_its_rule_and_stops_nothing(staged_answer, zones, change, rule):
    done, staged = staged_answer({**ANSWER, "daily": {**ANSWER["daily"], **change}})
    assert done.status == "ok" and len(landed(zones, "open_meteo")) == 1
    assert set(staged.quarantine["rule"]) == {rule}
    assert len(staged.observations) == {"payload": 0, "bad_date": 3}.get(rule, 5)
