"""When the archive's values became known, at random sessions and releases: what a forecast could use."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.calendar import as_of_instant, sessions
from tasks.panel.join import as_known_at
from tests.conftest import AS_OF

NEW_YORK = "America/New_York"
SESSIONS = sessions(first=pd.Timestamp("2010-06-01"), last=AS_OF)
MOMENT = pd.Timedelta(microseconds=1)
A_FEW = settings(max_examples=15, deadline=None)


@pytest.fixture(scope="module")
def of(staged):
    def chosen(source: str, series: str = "") -> pd.DataFrame:
        held = staged.by_source[source].observations
        return held[held["series"].astype(str).str.startswith(series)].reset_index(drop=True)

    return chosen


def known(held: pd.DataFrame, instant: pd.Timestamp) -> pd.DataFrame:
    return as_known_at(held, instant)


@A_FEW
@given(st.data())
def test_a_wasde_number_is_known_at_its_release_and_not_a_moment_before(of, data):
    held = of("usda_wasde", "soybean_oil.us.ending_stocks")
    row = held.iloc[data.draw(st.integers(0, len(held) - 1))]
    local = row["available_at"].tz_convert(NEW_YORK)
    assert f"{local:%H:%M}" in ("08:30", "12:00")
    same = held["observation_date"] == row["observation_date"]
    before, after = (known(held[same], row["available_at"] + step) for step in (-MOMENT, pd.Timedelta(0)))
    assert after["value"].tolist() == [row["value"]]
    assert before.empty or before["value"].iloc[0] != row["value"] or before["vintage"].iloc[0] < row["vintage"]


@A_FEW
@given(session=st.sampled_from(list(SESSIONS)))
def test_wasde_as_known_at_a_session_is_that_of_the_newest_report_by_then(of, session):
    held = of("usda_wasde", "soybean_oil.us.ending_stocks")
    instant = as_of_instant(session)
    seen = known(held, instant)
    assert (seen["available_at"] <= instant).all()
    for date, part in held[held["available_at"] <= instant].groupby("observation_date"):
        newest = part.loc[part["available_at"].idxmax(), "value"]
        assert seen.loc[seen["observation_date"] == date, "value"].tolist() == [newest]


@A_FEW
@given(session=st.sampled_from(list(SESSIONS)))
@pytest.mark.parametrize("source", ["cftc", "cftc_disagg"])
def test_a_tuesdays_positions_are_unknown_until_friday_half_past_three(of, source, session):
    held = of(source)
    seen = known(held, as_of_instant(session))
    newest = seen["observation_date"].max()
    assert pd.isna(newest) or (session - newest).days >= 3, "Tuesday to Friday"
    local = held["available_at"].dt.tz_convert(NEW_YORK)
    assert (local.dt.strftime("%H:%M") == "15:30").all()
    assert (local.dt.dayofweek[held["observation_date"].dt.dayofweek == 1].isin([0, 1, 2, 3, 4])).all()
    tuesdays = held["observation_date"].dt.dayofweek == 1
    days = (local.dt.tz_localize(None).dt.normalize() - held["observation_date"]).dt.days
    assert days[tuesdays].min() >= 3


@A_FEW
@given(session=st.sampled_from(list(SESSIONS)))
@pytest.mark.parametrize(("source", "series"), [("fred", "CPIAUCSL"), ("fred", "CPILFESL"), ("bls", "CUUR0000SA0")])
def test_a_months_prices_are_unknown_during_that_month(of, source, series, session):
    seen = known(of(source, series), as_of_instant(session))
    assert (seen["observation_date"].dt.to_period("M") < pd.Period(session, "M")).all()


@A_FEW
@given(session=st.sampled_from(list(SESSIONS)))
def test_a_season_of_oni_is_unknown_before_the_fifth_of_the_month_after_its_last(of, session):
    seen = known(of("noaa", "oni"), as_of_instant(session))
    newest = seen["observation_date"].max().to_period("M")  # the season's middle month
    assert pd.Timestamp(session) >= (newest + 2).to_timestamp() + pd.Timedelta(days=4)


def test_no_value_is_known_before_its_own_date_but_projections_and_what_was_announced(staged, registry):
    for name, held in staged.by_source.items():
        if not registry.sources.source(name).projected_days and len(held.observations):
            known_at = held.observations["available_at"].dt.tz_localize(None)
            early = held.observations[known_at < held.observations["observation_date"]]
            assert early.empty, f"{name}: {early.head(3)}"
