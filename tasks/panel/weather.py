"""Weather of the soy belts as known at each session, from daily stations.

It rains on weekends too, so everything is computed on calendar days and per station: sums, accumulations, and their
comparison with the same time of earlier years at the same station. A region is the mean of the stations that have the
figure, so a missing station does not shift a region's normal. Below a minimum of stations the region is missing;
stations are never filled from others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from tasks.panel.join import DAY_US, last_known
from tasks.registry import WeatherRegion

BASE_C, HOT_C, WET_MM = 10.0, 35.0, 1.0
MONTH, MONTH_NEEDED, WEEK = 30, 27, 7
NEWEST_DAYS = 10  # an older figure says nothing about current weather
YEARS, YEARS_NEEDED = 30, 3
AROUND = 15  # days each side of the day of the year: a month of each earlier year
AROUND_RUNNING = 3  # for season totals: over a month they would vary mostly by their slope
SEASON_SHARE = 0.9  # of the season's days so far
# relative to the station's own normal: comparable across stations, so one station is enough
NORMALISED = (
    "rain_7d_z",
    "rain_30d_z",
    "temperature_7d_anomaly",
    "temperature_30d_anomaly",
    "season_rain_z",
    "growing_degree_days_z",
)
FIGURES = (
    "stations",
    "rain_7d",
    "rain_30d",
    "rain_7d_z",
    "rain_30d_z",
    "temperature_30d",
    "temperature_7d_anomaly",
    "temperature_30d_anomaly",
    "season_rain_z",
    "growing_degree_days",
    "growing_degree_days_z",
    "heat_days",
    "dry_spell",
)


def columns(regions: Iterable[str]) -> list[str]:
    """Names of what ``weather_known`` can return."""
    return [f"weather.{region}.{figure}" for region in regions for figure in FIGURES]


def weather_known(
    observations: pd.DataFrame, regions: Mapping[str, WeatherRegion], days: pd.Series, instants: pd.Series
) -> pd.DataFrame:
    """One row per session, columns ``weather.<region>.<figure>``: the newest known figures, at most ten days old.

    A region's day is published with the first of its stations; later reports and revisions do not count.

    Invariants: the figures of a day use that day and earlier ones, its normal only earlier years, and all of them were
    published by the session's as_of.
    """
    session_us, instant_us = (pd.DatetimeIndex(moments).as_unit("us").asi8 for moments in (days, instants))
    sources = {region.source for region in regions.values()}
    measured = observations[(observations["source"].isin(sources) & (observations["vintage"] == 1)).to_numpy()]
    out: dict[str, np.ndarray] = {}
    for name, region in regions.items():
        staged = measured[((measured["source"] == region.source) & measured["series"].isin(region.stations)).to_numpy()]
        if staged.empty:
            out |= {f"weather.{name}.{figure}": np.full(len(days), np.nan) for figure in FIGURES}
            continue
        published = staged["available_at"].astype("int64")
        known = published.groupby(staged["observation_date"]).min()
        staged = staged[(published == staged["observation_date"].map(known)).to_numpy()]
        by_station = {
            str(station): station_figures(_daily(part, known.index.max()), region.season)
            for station, part in staged.groupby("series", observed=True)
        }
        for figure, values in region_figures(by_station, region.least).items():
            values = values.loc[known.index].dropna()  # a day without any station is missing
            observed = pd.DatetimeIndex(values.index).as_unit("us").asi8
            # never before the earlier days that it uses
            available = known.cummax().loc[values.index].to_numpy()
            newest, dates = last_known(observed, available, values.to_numpy(), instant_us)
            fresh = (session_us - dates) / DAY_US <= NEWEST_DAYS
            out[f"weather.{name}.{figure}"] = np.where(fresh, newest, np.nan)
    return pd.DataFrame(out, index=days.index)


def _daily(part: pd.DataFrame, last: pd.Timestamp) -> pd.DataFrame:
    """One station: one row per calendar day from its first to the region's last, one column per field; gaps missing.

    Not only to the station's own last day: an unreported day would get figures once a later day is reported.
    """
    table = part.pivot(index="observation_date", columns="field", values="value").sort_index()
    table = table.reindex(columns=["precipitation_mm", "temperature_max_c", "temperature_min_c"])
    return table.reindex(pd.date_range(table.index[0], last, freq="D"))


def station_figures(daily: pd.DataFrame, season: tuple[tuple[int, int], tuple[int, int]]) -> pd.DataFrame:
    """Every figure of one station on its calendar days.

    30-day figures need 27 reported days (a sum is then 30 x their mean), 7-day ones all 7, season figures 90% of the
    days so far. A dry spell (days since 1 mm) is missing from a missing day until it rains.
    """
    rain, hottest = daily["precipitation_mm"], daily["temperature_max_c"]
    mean_c = (hottest + daily["temperature_min_c"]) / 2
    run = _season_day(daily.index, season)
    degrees = _since(mean_c.clip(lower=BASE_C) - BASE_C, run)
    figures = {
        "rain_7d": rain.rolling(WEEK).mean() * WEEK,
        "rain_30d": rain.rolling(MONTH, min_periods=MONTH_NEEDED).mean() * MONTH,
        "temperature_30d": mean_c.rolling(MONTH, min_periods=MONTH_NEEDED).mean(),
        "growing_degree_days": degrees,
        "heat_days": _since((hottest > HOT_C).astype("float64").where(hottest.notna()), run),
        "dry_spell": _days_since_rain(rain).where(run > 0),
    }
    earlier = years_back(pd.DatetimeIndex(daily.index))
    for name, values, around in (
        ("rain_7d_z", figures["rain_7d"], AROUND),
        ("rain_30d_z", figures["rain_30d"], AROUND),
        ("season_rain_z", _since(rain, run), AROUND_RUNNING),
        ("growing_degree_days_z", degrees, AROUND_RUNNING),
    ):
        mean, spread = normal(values, earlier, around=around)
        figures[name] = (values - mean) / spread
    for name, values in (
        ("temperature_7d_anomaly", mean_c.rolling(WEEK).mean()),
        ("temperature_30d_anomaly", figures["temperature_30d"]),
    ):
        figures[name] = values - normal(values, earlier, around=AROUND)[0]
    return pd.DataFrame(figures)


def region_figures(by_station: dict[str, pd.DataFrame], least: int) -> dict[str, pd.Series]:
    """The mean over the stations that have a figure, and how many have a 30-day rain sum.

    Missing with fewer than ``least`` stations; figures relative to a station's own normal need only one.
    """
    figures = {}
    for figure in FIGURES[1:]:
        table = pd.DataFrame(
            {station: figures_of_station[figure] for station, figures_of_station in by_station.items()}
        )
        count = table.notna().sum(axis=1)
        figures[figure] = table.mean(axis=1).where(count >= (1 if figure in NORMALISED else least))
        if figure == "rain_30d":
            figures["stations"] = count.astype("float64")
    return {figure: figures[figure] for figure in FIGURES}


def years_back(days: pd.DatetimeIndex) -> np.ndarray:
    """The row of each calendar day 1 to 30 years before (29 February: the 28th); -1 if before the first row."""
    date = days.to_numpy().astype("datetime64[D]")
    month = date.astype("datetime64[M]")
    day = date - month.astype("datetime64[D]")
    target = month[None, :] - 12 * np.arange(1, YEARS + 1)[:, None]
    last = (target + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
    there = np.minimum(target.astype("datetime64[D]") + day, last)
    return np.maximum((there - date[0]) // np.timedelta64(1, "D"), -1)


def normal(values: pd.Series, earlier: np.ndarray, *, around: int) -> tuple[pd.Series, pd.Series]:
    """Mean and standard deviation at this time of year (``around`` days each side) over up to 30 earlier years.

    Missing before three years with half of those days. ``values``: one row per day; ``earlier``: their years_back.

    Invariants: the normal of a day uses only days of earlier years, at least 350 days before.
    """
    days, needed = 2 * around + 1, around + 1
    mean = values.rolling(days, min_periods=needed, center=True).mean().to_numpy()
    square = (values**2).rolling(days, min_periods=needed, center=True).mean().to_numpy()
    weight = np.where(np.isnan(mean), 0.0, values.rolling(days, min_periods=1, center=True).count().to_numpy())
    used = np.where(earlier >= 0, weight[earlier], 0.0)
    total = used.sum(axis=0)
    total = np.where((used > 0).sum(axis=0) >= YEARS_NEEDED, total, np.nan)
    average = (used * np.where(used > 0, mean[earlier], 0.0)).sum(axis=0) / total
    mean_square = (used * np.where(used > 0, square[earlier], 0.0)).sum(axis=0) / total
    spread = np.sqrt(np.maximum(mean_square - average**2, 0))
    return pd.Series(average, values.index), pd.Series(np.where(spread > 1e-6, spread, np.nan), values.index)


def _season_day(days: pd.Index, season: tuple[tuple[int, int], tuple[int, int]]) -> pd.Series:
    """1 on the first day of the season, 2 on the next; 0 out of season."""
    (month, day), (last_month, last_day) = season
    dates = pd.DatetimeIndex(days)
    key, first, last = dates.month * 100 + dates.day, month * 100 + day, last_month * 100 + last_day
    inside = (key >= first) & (key <= last) if first <= last else (key >= first) | (key <= last)
    year = np.where((first > last) & (key < first), dates.year - 1, dates.year)
    start = pd.to_datetime(pd.DataFrame({"year": year, "month": month, "day": day})).to_numpy()
    return pd.Series(np.where(inside, (dates.to_numpy() - start) / np.timedelta64(1, "D") + 1, 0), days)


def _since(values: pd.Series, run: pd.Series) -> pd.Series:
    """Sum since the season's first day: the mean of the reported days x the days so far, if 90% are reported."""
    season = (run <= 1).cumsum()  # a new label at each start and on each day out of season
    total = values.fillna(0).groupby(season).cumsum()
    reported = values.notna().groupby(season).cumsum()
    enough = (run > 0) & (reported >= SEASON_SHARE * run)
    return (total / reported * run).where(enough)


def _days_since_rain(rain: pd.Series) -> pd.Series:
    """Days since the last day with 1 mm; missing if a day in between is missing."""
    at = np.arange(len(rain), dtype="float64")
    wet = pd.Series(np.where(rain >= WET_MM, at, -np.inf), rain.index).cummax()
    unknown = pd.Series(np.where(rain.isna(), at, -np.inf), rain.index).cummax()
    return (pd.Series(at, rain.index) - wet).where((wet >= 0) & (unknown < wet))
