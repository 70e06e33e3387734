"""A value that comes when it is due is not late: no limit of age is shorter than its series' own schedule."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from tasks.calendar import as_of_instant, days_outside
from tasks.registry.release_calendar import load_release_calendar
from tasks.staging.availability import known_at
from tasks.staging.summary import summarise_series
from tests.conftest import Registry, StagedArchive

YEARS = 10
DAYS = {
    "daily": ["B"],
    "weekly": [f"W-{day}" for day in ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")],
    "monthly": ["MS"],
    "quarterly": ["QS"],
    "annual": ["YS"],
}


def test_no_series_is_stale_before_its_next_value_is_due(registry: Registry) -> None:
    """Ten years from where the release calendar ends: a shutdown that it names makes values late, and they are."""
    until = load_release_calendar(registry.folder).complete_until
    first, last = pd.Timestamp(until.year + 1, 1, 1), pd.Timestamp(until.year + YEARS, 12, 31)
    short = {}
    for source, spec in registry.sources.sources.items():
        for name, entry in spec.series.items():
            rule, frequency = entry.availability or spec.availability, entry.frequency or spec.frequency
            if entry.ended or rule.rule == "recorded" or frequency == "event":
                continue  # it has no schedule of its own
            for every in DAYS[frequency]:
                dates = pd.date_range(first, last, freq=every)
                # its age on the day on which the next value comes, which may be after 18:00 in Chicago
                oldest = (known_at(dates, rule).tz_localize(None)[1:] - dates[:-1]).days.max()
                if oldest > (limit := entry.stale_limit_days or spec.stale_limit_days):
                    short[f"{source} {name}"] = f"{oldest} days old on schedule, stale after {limit}"
    assert not short


@pytest.mark.parametrize(
    ("season", "after", "until", "days"),
    [
        (("05-01", "06-10"), "2026-06-10", "2027-04-30", 324),
        (("05-01", "06-10"), "2026-06-10", "2027-05-21", 324),
        (("05-01", "06-10"), "2026-05-10", "2026-05-20", 0),
        (("05-01", "06-10"), "2026-06-05", "2026-06-15", 5),
        (("11-20", "02-10"), "2026-12-25", "2027-01-05", 0),
        (("11-20", "02-10"), "2027-02-09", "2027-02-12", 2),
        (("05-01", "06-10"), "2026-05-10", "2026-05-10", 0),
    ],
)
def test_days_outside_a_season(season: tuple[str, str], after: str, until: str, days: int) -> None:
    assert days_outside(season, pd.Timestamp(after), pd.Timestamp(until)) == days


@pytest.fixture(scope="module")
def stale_on(registry: Registry, staged: StagedArchive) -> Callable[..., set[str]]:
    """The shares of NASS that are stale on a session, from its recorded reports of 2017 to 2019 known by an instant."""
    sources = registry.sources.model_copy(update={"sources": {"usda_nass": registry.sources.source("usda_nass")}})
    recorded = staged.by_source["usda_nass"]
    nothing = recorded.quarantine.iloc[:0]

    def found(as_of: pd.Timestamp, known_by: pd.Timestamp) -> set[str]:
        known = recorded.observations[recorded.observations["available_at"] <= known_by]
        rows = summarise_series(sources, known, nothing, as_of=as_of)
        return set(rows.loc[rows["age_days"] > rows["stale_limit_days"], "series"])

    return found


def test_between_two_seasons_nothing_is_stale(stale_on: Callable[..., set[str]]) -> None:
    for as_of in pd.date_range("2017-07-03", "2019-10-15", freq="11D"):  # every weekday comes
        assert not stale_on(as_of, as_of_instant(as_of)), as_of


def test_a_season_without_reports_is_stale(stale_on: Callable[..., set[str]]) -> None:
    last = pd.Timestamp("2018-04-01", tz="UTC")
    assert stale_on(pd.Timestamp("2018-05-17"), last) == set()
    assert stale_on(pd.Timestamp("2018-05-18"), last) == {"soybeans.progress.planted"}
    late = {f"soybeans.progress.{name}" for name in ("planted", "emerged", "blooming")}
    assert stale_on(pd.Timestamp("2018-07-30"), last) == late
