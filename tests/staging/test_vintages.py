"""A revision is a new vintage, seen only after it was fetched; staging cut at a time is the full staging of then."""

from __future__ import annotations

import random

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.calendar import as_of_instant, sessions
from tasks.sources.payloads import landed
from tasks.staging.stage import _missed_before, known_by, stage_payloads
from tests.staging.conftest import bar

DAYS = [f"{day:%Y-%m-%d}" for day in sessions("2020-03-02", "2020-03-31")]


def line(day: str, close: str) -> str:
    return f"{day},{close}"


def vintages(observations: pd.DataFrame, day: str) -> list[tuple[float, int, pd.Timestamp]]:
    part = observations[(observations["observation_date"] == day) & (observations["field"] == "close")]
    return list(zip(part["value"], part["vintage"], part["available_at"], strict=True))


def test_a_revised_value_is_seen_only_after_its_payload_was_fetched(payload, stage):
    first = payload("2020-04-01 12:00", line(DAYS[0], "40.5"), header="Date,Close")
    second = payload("2020-06-01 15:30", line(DAYS[0], "40.7"), header="Date,Close")
    observations, _ = stage(first, second)
    assert vintages(observations, DAYS[0]) == [
        (40.5, 1, as_of_instant(DAYS[0])),
        (40.7, 2, pd.Timestamp("2020-06-01 15:30", tz="UTC")),
    ]


def test_a_recorded_payload_of_a_day_counts_from_the_end_of_that_day(staged):
    """Of a recorded payload only the day is known: a revision in it is known from the next midnight on."""
    revised = staged.observations[(staged.observations["vintage"] > 1) & (staged.observations["source"] == "yahoo")]
    assert len(revised) > 20
    late = revised["available_at"] - revised["fetched_at"]
    assert (late >= pd.Timedelta(days=1)).all()


@pytest.mark.parametrize("digits", ["40.5", "40.50", "40.499999999999", "40.5000000001", "4.05e1"])
def test_the_same_value_with_other_digits_is_no_vintage(payload, stage, digits):
    first = payload("2020-04-01", line(DAYS[0], "40.5"), header="Date,Close")
    second = payload("2020-06-01", line(DAYS[0], digits), header="Date,Close")
    assert [v for _, v, _ in vintages(stage(first, second)[0], DAYS[0])] == [1]


def test_a_value_that_returns_is_a_third_vintage(payload, stage):
    made = [
        payload(f"2020-0{month}-01", line(DAYS[0], close), header="Date,Close")
        for month, close in ((4, "40.5"), (5, "40.7"), (6, "40.5"))
    ]
    assert [value for value, *_ in vintages(stage(*made)[0], DAYS[0])] == [40.5, 40.7, 40.5]


KEYS = ["series", "field", "observation_date", "vintage"]


def assert_cut_equals_restaged(full: pd.DataFrame, cut: pd.DataFrame, through: pd.Timestamp) -> None:
    expected = full[full["available_at"] <= through]
    for frame in (expected, cut):
        assert not frame.duplicated(KEYS).any()
    text = {name: str for name in ("source", "series", "field", "unit")}
    left, right = (f.astype(text).sort_values(KEYS).reset_index(drop=True) for f in (expected, cut))
    pd.testing.assert_frame_equal(left, right, check_exact=True)


def at_random(count: int):
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@at_random(15)
@given(data=st.data())
def test_staging_cut_at_any_time_is_the_full_staging_of_then(payload, stage, data):
    cut_equals_restaged(payload, stage, data)


@pytest.mark.more
@at_random(150)
@given(data=st.data())
def test_staging_cut_at_any_time_is_the_full_staging_of_then_in_more_cases(payload, stage, data):
    cut_equals_restaged(payload, stage, data)


def cut_equals_restaged(payload, stage, data) -> None:
    """Random payloads over the same days: revisions, spikes, level shifts, late and early fetches."""
    price = st.sampled_from(["40.5", "40.6", "70", "71", "null"])
    made = []
    for number in range(data.draw(st.integers(2, 3))):
        first = data.draw(st.integers(0, 2))
        lines = [line(day, data.draw(price)) for day in DAYS[first : first + data.draw(st.integers(2, 5))]]
        fetched = pd.Timestamp("2020-03-04 01:00") + pd.Timedelta(hours=data.draw(st.integers(0, 200)), minutes=number)
        made.append(payload(str(fetched), *lines, header="Date,Close"))
    made.sort(key=lambda item: item.fetched_at)
    full, _ = stage(*made)
    through = as_of_instant(data.draw(st.sampled_from(DAYS[:8]))) + pd.Timedelta(hours=data.draw(st.integers(-9, 9)))
    assert_cut_equals_restaged(full, stage(*made, through=through)[0], through)


def test_what_replaces_a_waiting_jump_is_known_no_earlier_than_the_verdict(payload, stage):
    """A spike is served first and corrected later: before the next bar nobody could tell which of the two is true."""
    ahead = [line(day, "40.5") for day in DAYS[:5]]
    spike = payload("2020-03-09 23:30", *ahead, line(DAYS[5], "70"), header="Date,Close")
    right = payload("2020-06-01 12:00", *ahead, line(DAYS[5], "40.6"), line(DAYS[6], "40.7"), header="Date,Close")
    moved = payload("2020-06-02 12:00", line(DAYS[5], "40.6"), line(DAYS[6], "71"), header="Date,Close")
    assert vintages(stage(spike, right)[0], DAYS[5]) == [(40.6, 1, as_of_instant(DAYS[6]))]
    assert vintages(stage(spike, right, through=as_of_instant(DAYS[5]))[0], DAYS[5]) == []
    confirmed = vintages(stage(spike, moved)[0], DAYS[5])
    assert [found[:2] for found in confirmed] == [(70, 1), (40.6, 2)]
    assert vintages(stage(spike, moved, through=as_of_instant(DAYS[5]))[0], DAYS[5]) == []


def random_dates(count: int) -> list[pd.Timestamp]:
    chance = random.Random("staging")
    return [pd.Timestamp(day) for day in chance.sample(list(sessions("2001-01-02", "2023-12-28")), count)]


@pytest.mark.parametrize(
    "day",
    [
        pytest.param(day, marks=[pytest.mark.more] * (n > 0), id=f"{day:%Y-%m-%d}")
        for n, day in enumerate(random_dates(2))
    ],
)
@pytest.mark.parametrize("source", ["yahoo", "fred", "cftc", "noaa"])
def test_the_archive_staged_as_of_a_day_is_the_full_staging_of_then(staged, registry, source, day):
    through = as_of_instant(day)
    cut, _ = stage_payloads(source, registry.sources.source(source), landed(staged.zones, source), through=through)
    assert_cut_equals_restaged(staged.by_source[source].observations, cut, through)
    assert len(cut) == len(known_by(staged.by_source[source].observations, day)) > 0


def test_vintages_count_from_one_and_their_availability_never_goes_back(staged):
    held = staged.observations.sort_values(["source", *KEYS])
    key = ["source", "series", "field", "observation_date"]
    groups = held.groupby(key, observed=True, sort=False)
    assert (held["vintage"].to_numpy() == groups.cumcount().to_numpy() + 1).all()
    assert (groups["available_at"].diff().dropna() >= pd.Timedelta(0)).all()
    assert (groups["value"].diff().dropna() != 0).all()


def test_a_value_that_came_late_was_not_known_on_time(payload, stage):
    """The payload of the 6th has the days around the 4th and not the 4th: what a later one brings of it is news."""
    early = payload("2024-01-06 12:00", bar("2024-01-03", 47.0), bar("2024-01-05", 47.2))
    late = payload("2024-01-20 12:00", bar("2024-01-03", 47.0), bar("2024-01-04", 47.1), bar("2024-01-05", 47.2))
    for first in (
        early,
        payload("2024-01-06 13:00", bar("2024-01-03", 47.0), bar("2024-01-04", "null"), bar("2024-01-05", 47.2)),
    ):
        held, _ = stage(first, late)
        close = held[held["field"] == "close"].set_index("observation_date")["available_at"]
        assert close["2024-01-04"] == pd.Timestamp("2024-01-20 12:00", tz="UTC")
        assert close["2024-01-05"] == pd.Timestamp("2024-01-06 00:00", tz="UTC"), "18:00 in Chicago"


def test_a_value_that_no_payload_could_have_had_yet_keeps_its_rule(payload, stage):
    early = payload("2024-01-04 12:00", bar("2024-01-02", 47.0), bar("2024-01-03", 47.2))
    held, _ = stage(early, payload("2024-01-20 12:00", bar("2024-01-03", 47.2), bar("2024-01-04", 47.1)))
    close = held[held["field"] == "close"].set_index("observation_date")["available_at"]
    assert close["2024-01-04"] == pd.Timestamp("2024-01-05 00:00", tz="UTC")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_an_earlier_payload_that_missed_a_value_is_found_as_if_all_were_compared(data):
    """A value first served late: was there a payload, fetched when it was due, that covers its date and lacks it?"""
    start = pd.Timestamp("2024-01-01")
    hours = st.integers(0, 12)
    fetched = data.draw(st.lists(hours, min_size=1, max_size=8))
    spans = pd.DataFrame(
        {
            "order": range(len(fetched)),
            "fetched_at": [(start + pd.Timedelta(hours=hour)).tz_localize("UTC") for hour in fetched],
            "first": [start - pd.Timedelta(days=data.draw(st.integers(0, 3))) for _ in fetched],
            "last": [start + pd.Timedelta(days=data.draw(st.integers(0, 3))) for _ in fetched],
        }
    )
    many = data.draw(st.integers(1, 6))
    firsts = pd.DataFrame(
        {
            "order": [data.draw(st.integers(0, len(fetched))) for _ in range(many)],
            "known_at": [(start + pd.Timedelta(hours=data.draw(hours))).tz_localize("UTC") for _ in range(many)],
            "observation_date": [start + pd.Timedelta(days=data.draw(st.integers(-3, 3))) for _ in range(many)],
        }
    )
    every = [
        any(
            span["order"] < value["order"]
            and span["fetched_at"] >= value["known_at"]
            and span["first"] <= value["observation_date"] <= span["last"]
            for span in spans.to_dict("records")
        )
        for value in firsts.to_dict("records")
    ]
    assert _missed_before(firsts, spans).tolist() == every
