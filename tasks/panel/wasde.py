"""WASDE balances as known at each session: the newest marketing year, the year before it, the last report's revision.

A plain join of "the newest observation" changes the marketing year each May, so it would compare different harvests.
Here every report is a table of marketing years, and a revision compares the same year in two reports.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

SOURCE = "usda_wasde"
NEXT_REPORT_DAYS = 70  # reports are 28 to 35 days apart, 60 to 64 where a shutdown has cancelled one
AGE = "wasde.days_since_report"

Reports = Callable[[str], pd.DataFrame]  # of a series: one row per report, one column per marketing year
US, WORLD = "us.total_use", "world.domestic_use"  # world exports are imports elsewhere, so they are not use


def _ratio_pct(part: str, whole: str) -> Callable[[Reports], pd.DataFrame]:
    return lambda of: 100 * of(part) / of(whole)


def _series(name: str) -> Callable[[Reports], pd.DataFrame]:
    return lambda of: of(name)


RATIOS: dict[str, Callable[[Reports], pd.DataFrame]] = {
    "soybean_oil.us.stocks_to_use": _ratio_pct("soybean_oil.us.ending_stocks", f"soybean_oil.{US}"),
    "soybeans.us.stocks_to_use": _ratio_pct("soybeans.us.ending_stocks", f"soybeans.{US}"),
    "soybean_meal.us.stocks_to_use": _ratio_pct("soybean_meal.us.ending_stocks", f"soybean_meal.{US}"),
    "soybean_oil.us.biofuel_share": _ratio_pct("soybean_oil.us.biofuel_use", f"soybean_oil.{US}"),
    "soybean_oil.world.stocks_to_use": _ratio_pct("soybean_oil.world.ending_stocks", f"soybean_oil.{WORLD}"),
    "soybeans.world.stocks_to_use": _ratio_pct("soybeans.world.ending_stocks", f"soybeans.{WORLD}"),
    "soybean_meal.world.stocks_to_use": _ratio_pct("soybean_meal.world.ending_stocks", f"soybean_meal.{WORLD}"),
}
QUANTITIES: dict[str, Callable[[Reports], pd.DataFrame]] = {
    name: _series(name)
    for name in (
        "soybean_oil.us.ending_stocks",
        "soybean_oil.us.production",
        "soybean_oil.us.biofuel_use",
        "soybean_oil.us.exports",
        "soybeans.us.ending_stocks",
        "soybeans.us.production",
        "soybeans.us.yield",
        "soybeans.us.crush",
        "soybeans.us.exports",
        "soybean_oil.world.ending_stocks",
        "soybeans.world.ending_stocks",
        "soybeans.brazil.production",
        "soybeans.argentina.production",
        "soybean_oil.argentina.exports",
        "soybeans.china.imports",
        "soybeans.china.ending_stocks",
    )
}


def columns() -> list[str]:
    """Names of what ``wasde_known`` returns."""
    ratios = [f"wasde.{name}{kind}" for name in RATIOS for kind in ("", ".revision", ".year_change")]
    return [AGE, *ratios, *(f"wasde.{name}{kind}" for name in QUANTITIES for kind in (".revision", ".year_change"))]


def wasde_known(observations: pd.DataFrame, days: pd.Series, instants: pd.Series) -> pd.DataFrame:
    """One row per session: ratios in %, their changes in points, changes of quantities in %, days since the report.

    ``.revision``: the last report against the one before, for the newest marketing year in both (in May still the old
    crop). ``.year_change``: the newest marketing year against the year before it, both in the last report. Values are
    missing if the report is more than 70 days old; a revision also after a longer gap between reports.

    Invariants: the row of a session uses only reports with ``available_at`` by its as_of.
    """
    balances = observations[(observations["source"] == SOURCE).to_numpy()]
    if balances.empty:
        return pd.DataFrame(np.nan, index=days.index, columns=columns())
    years = balances["observation_date"].dt.year
    reports = pd.DatetimeIndex(balances["available_at"].unique()).sort_values()
    first_printed = years.groupby(balances["available_at"]).max().reindex(reports)
    newest = np.maximum.accumulate(first_printed.to_numpy())
    by_series = {str(name): part for name, part in balances.groupby("series", observed=True)}

    def tables(series: str) -> pd.DataFrame:
        """The values after each report. Staging has a vintage only where a report changed the number."""
        part = by_series.get(series)
        if part is None:
            return pd.DataFrame(np.nan, index=reports, columns=range(newest[0], newest[-1] + 1))
        table = part.sort_values("vintage").pivot_table(
            index="available_at", columns=part["observation_date"].dt.year, values="value", aggfunc="last"
        )
        return table.reindex(reports).ffill()

    local = reports.tz_convert("America/New_York").tz_localize(None).normalize()
    gap = np.append(np.nan, np.diff(local.to_numpy()) / np.timedelta64(1, "D"))
    by_report = {}
    for name, formula in (RATIOS | QUANTITIES).items():
        table = formula(tables)
        now, year_before = _pick(table, newest), _pick(table, newest - 1)
        again, before = _pick(table[1:], newest[:-1]), _pick(table[:-1], newest[:-1])
        if name in RATIOS:
            by_report[f"wasde.{name}"] = now
            revision, change = again - before, now - year_before
        else:
            revision, change = 100 * (again / before - 1), 100 * (now / year_before - 1)
        # a number that a report omits (biofuel use, May to October 2012) is not unchanged
        printed = (gap <= NEXT_REPORT_DAYS) & ~np.isnan(now)
        by_report[f"wasde.{name}.revision"] = np.where(printed, np.append(np.nan, revision), np.nan)
        by_report[f"wasde.{name}.year_change"] = change
    last = np.searchsorted(reports.as_unit("us").asi8, pd.DatetimeIndex(instants).as_unit("us").asi8, "right") - 1
    age = (days.to_numpy() - local.to_numpy()[last]) / np.timedelta64(1, "D")
    known = (last >= 0) & (age <= NEXT_REPORT_DAYS)
    rows = {AGE: np.where(known, age, np.nan)}
    rows |= {name: np.where(known, values[last], np.nan) for name, values in by_report.items()}
    return pd.DataFrame(rows, index=days.index)[columns()]


def _pick(table: pd.DataFrame, years: np.ndarray) -> np.ndarray:
    """The value of each row's year; missing if the year is not printed."""
    at = table.columns.get_indexer(pd.Index(years))
    values = table.to_numpy(dtype="float64")[np.arange(len(table)), at]
    return np.where(at >= 0, values, np.nan)
