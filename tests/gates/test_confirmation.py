"""The newest close of the price: believed, or published as unconfirmed with the reason; on the recorded bars."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
import pytest

from tasks.calendar import as_of_instant, sessions
from tasks.gates.confirmation import unconfirmed_closes
from tests.conftest import AS_OF

PRICES = ["open", "high", "low", "close", "adj_close"]
BEFORE = pd.Timestamp("2023-12-28")


@dataclass
class Known:
    observations: pd.DataFrame
    quarantine: pd.DataFrame

    def of(self, series: str, day: pd.Timestamp, fields: list[str]) -> pd.Series:
        held = self.observations
        return (held["series"] == series) & (held["observation_date"] == day) & held["field"].isin(fields)


@pytest.fixture
def known(staged, registry) -> Known:
    names = ["ZL=F", *registry.sources.source("yahoo").series["ZL=F"].held_against]
    yahoo = staged.by_source["yahoo"]
    held = yahoo.observations[yahoo.observations["series"].isin(names)]
    recent = held[held["observation_date"] > "2022-01-01"].reset_index(drop=True)
    refused = yahoo.quarantine[(yahoo.quarantine["series"] == "ZL=F")].reset_index(drop=True)
    return Known(recent, refused[refused["observation_date"] > "2022-01-01"])


@pytest.fixture
def doubt(registry):
    def ask(known: Known, day: pd.Timestamp = AS_OF) -> str:
        told = unconfirmed_closes(known.observations, known.quarantine, registry.sources, as_of=day)
        assert set(told) <= {"yahoo ZL=F"}
        return told.get("yahoo ZL=F", "")

    return ask


def test_the_true_close_is_believed(known, doubt):
    assert doubt(known) == ""


def test_a_move_unlike_soybeans_and_meal_is_unlikely_and_the_same_move_with_theirs_is_not(known, doubt):
    day = known.of("ZL=F", AS_OF, PRICES)
    known.observations.loc[day, "value"] *= 1.08
    told = doubt(known)
    assert "it moved +8.4% where ZS=F -0.9%, ZM=F -1.8% suggest" in told and "times the usual difference" in told
    theirs = known.of("ZS=F", AS_OF, PRICES) | known.of("ZM=F", AS_OF, PRICES)
    known.observations.loc[theirs, "value"] *= 1.08
    assert "usual difference" not in doubt(known)


def test_without_the_other_markets_the_close_is_held_against_the_limit_alone(known, doubt):
    known.observations = known.observations[known.observations["series"] == "ZL=F"]
    assert doubt(known) == ""
    known.observations.loc[known.of("ZL=F", AS_OF, PRICES), "value"] += 4.4
    assert doubt(known) == "it moved +4.75 cents/lb, more than the exchange's daily limit of 4.5"


def test_after_sessions_without_a_bar_the_limit_counts_for_each(known, doubt):
    """Closed for two sessions: the price may have moved by as many limits."""
    gone = known.observations["observation_date"].isin(sessions("2023-12-27", "2023-12-28"))
    known.observations = known.observations[~gone].reset_index(drop=True)
    known.observations.loc[known.of("ZL=F", AS_OF, PRICES), "value"] += 6.0
    assert "daily limit" not in doubt(known)


def test_the_bar_of_the_session_before_served_again_is_told_and_an_equal_close_is_not(known, doubt):
    fields = [*PRICES, "volume"]
    before = known.observations[known.of("ZL=F", BEFORE, fields)].set_index("field")["value"]
    day = known.of("ZL=F", AS_OF, fields)
    whole = known.observations.copy()
    known.observations.loc[day, "value"] = known.observations.loc[day, "field"].astype(str).map(before)
    assert "the bar repeats that of the session before" in doubt(known)
    known.observations = whole
    known.observations.loc[known.of("ZL=F", AS_OF, ["close"]), "value"] = before["close"]
    assert "repeats" not in doubt(known)


def test_dates_a_session_late_are_told(known, doubt):
    days = sessions("2021-12-01", "2024-01-31")
    following = dict(pairwise(days))
    own = known.observations["series"] == "ZL=F"
    late = known.observations["observation_date"].where(~own, known.observations["observation_date"].map(following))
    known.observations = known.observations.assign(observation_date=late)[late <= AS_OF]
    assert "dates may be a day late" in doubt(known)


@pytest.mark.parametrize(("moved_pct", "told"), [(3, True), (1, False)])
def test_a_past_close_that_was_revised_today_is_told_when_by_more_than_a_quarter_of_the_limit(
    known, doubt, moved_pct, told
):
    past = known.of("ZL=F", pd.Timestamp("2023-12-20"), ["close"])
    revised = known.observations[past].assign(
        vintage=2,
        value=lambda frame: frame["value"] * (1 + moved_pct / 100),
        available_at=as_of_instant(AS_OF) - pd.Timedelta(hours=1),
    )
    known.observations = pd.concat([known.observations, revised], ignore_index=True)
    assert ("the close of 2023-12-20 was revised from 50.56 to 52.08 cents/lb" in doubt(known)) is told
    known.observations = known.observations.assign(
        available_at=known.observations["available_at"].where(
            known.observations["vintage"] == 1, as_of_instant(BEFORE) - pd.Timedelta(hours=1)
        )
    )
    assert doubt(known) == "", "told on its day, and not again for ever"


def test_a_close_outside_its_own_bar_is_told(known, doubt):
    """`rules.screen` refuses the high; the close stays, and nothing confirms it."""
    cell = {"source": "yahoo", "series": "ZL=F", "observation_date": AS_OF, "field": "high", "rule": "impossible_ohlc"}
    known.quarantine = pd.concat([known.quarantine, pd.DataFrame([{**cell, "value": 46.0}])], ignore_index=True)
    assert doubt(known) == "it lies 1.84 cents/lb outside the low and high served with it"
    known.quarantine = known.quarantine.assign(value=47.5)
    assert doubt(known) == ""


def test_an_old_price_is_no_doubtful_one(known, doubt):
    assert doubt(known, sessions(first="2024-01-02")[0]) == "", "its age is told"
