"""`python -m evidence.child WHAT FOLDER TIMES SERIES`: one build at one size in its own process, as JSON.

Rows are the archive's, repeated under shifted dates; series are repeated under other names. This measures what a build
costs, not its results. The peak memory is of the first build alone, with its input: it is reset when the input is
ready. The build is repeated up to REPEATS times within LONG_S, and the median is taken. The first is reported
separately: in it the system allocates the memory, which the others use again.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from evidence.measurement import MEGABYTE, timed
from evidence.processes import peak_mb, reset_peak
from tasks.features.build import build_features
from tasks.features.rolling import log_return, percentile, rolling_correlation, z_score
from tasks.panel.join import panel_at, value_columns
from tasks.registry import FeatureRegistry, Join, JoinSpec, load_features, load_join_spec, load_sources
from tasks.settings import load_settings

DAY = np.timedelta64(86_400_000_000, "us")
REPEATS, LONG_S = 7, 10
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of glibc's mallopt


def main(what: str, folder: Path, times: int, series: int) -> dict[str, float]:
    """Seconds of the first build and of its repeats, peak memory in MB and that beyond the imports, cells built."""
    kinds = {"features": features, "panel": panel, "series features": series_features, "series panel": series_panel}
    _registry()
    before = psutil.Process().memory_info().rss / MEGABYTE
    call = kinds[what](folder, times, series)
    reset_peak()
    first, built = timed(call)
    peak = peak_mb()
    cells = float(len(built) * len(built.columns))
    del built
    keep_memory()
    call()
    taken: list[float] = []
    while not taken or (len(taken) < REPEATS and sum(taken) < LONG_S):
        taken.append(timed(call)[0])
    seconds = statistics.median(taken)
    return {"first_s": first, "seconds": seconds, "peak_mb": peak, "grown_mb": peak - before, "cells": cells}


def keep_memory() -> None:
    """From here on the process keeps freed memory, where the system supports it (glibc)."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for option, value in ((TRIM_THRESHOLD, -1), (MMAP_MAX, 0)):
            libc.mallopt(option, value)


def _registry() -> FeatureRegistry:
    folder = load_settings().registry
    return load_features(folder, load_sources(folder))


def _joins() -> JoinSpec:
    folder = load_settings().registry
    return load_join_spec(folder, load_sources(folder))


def features(folder: Path, times: int, series: int) -> Callable[[], pd.DataFrame]:
    """Every feature from the panel."""
    registry = _registry()
    real = pd.read_parquet(folder / "panel.parquet")
    build_features(real, registry)  # imports TA-Lib and the category modules
    longer = repeated_panel(real, times)
    del real
    return lambda: build_features(longer, registry)


def panel(folder: Path, times: int, series: int) -> Callable[[], pd.DataFrame]:
    """Every joined column at every session."""
    return _join(folder, _joins(), times, repeats=1)


def series_panel(folder: Path, times: int, series: int) -> Callable[[], pd.DataFrame]:
    """60 joined columns, each repeated for ``series``, under its own names."""
    repeats = series // BASE_SERIES
    return _join(folder, _first_columns(_joins(), BASE_SERIES, repeats), times, repeats)


def series_features(folder: Path, times: int, series: int) -> Callable[[], pd.DataFrame]:
    """Return, z-score, percentile and correlation with ZL of each of ``series`` columns: the registry's are fixed."""
    real = pd.read_parquet(folder / "panel.parquet")
    names = value_columns(real)[:BASE_SERIES]
    values = np.concatenate([real[names].to_numpy().T] * (series // BASE_SERIES))
    zl = log_return(real["zl_last"], 1)

    def build() -> pd.DataFrame:
        out: dict[int, pd.Series] = {}
        for row in values:
            column = pd.Series(row)
            daily = log_return(column, 1)
            for feature in (
                log_return(column, 21),
                z_score(column),
                percentile(column, 756),
                rolling_correlation(zl, daily, 63),
            ):
                out[len(out)] = feature
        return pd.DataFrame(out)

    build()  # first call: one-time setup
    return build


BASE_SERIES = 60


def repeated_panel(panel: pd.DataFrame, times: int) -> pd.DataFrame:
    """The panel's rows, repeated ``times``, each repeat later by the panel's whole span."""
    values = panel.drop(columns=["date", "as_of_instant"])
    table = np.tile(values.to_numpy().T, (1, times))
    longer = pd.DataFrame(table.T, columns=values.columns, copy=False)
    for place, name in enumerate(("date", "as_of_instant")):
        longer.insert(place, name, shifted(panel[name], times, _span(panel["date"])))
    return longer


def shifted(stamps: pd.Series, times: int, span: int) -> pd.Series:
    """Timestamps, repeated ``times``, each repeat ``span`` days later."""
    zone = stamps.dt.tz
    naive = stamps.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    moved = pd.Series(np.concatenate([naive + k * span * DAY for k in range(times)]))
    return moved if zone is None else moved.dt.tz_localize(zone)


def _span(dates: pd.Series) -> int:
    return (dates.iloc[-1] - dates.iloc[0]).days + 3


def _join(folder: Path, spec: JoinSpec, times: int, repeats: int) -> Callable[[], pd.DataFrame]:
    """The join of observations of the wanted series, each with ``repeats`` names and ``times`` the rows."""
    observations = pd.read_parquet(folder / "observations.parquet")
    wanted = {(j.source, t.rpartition(".")[0].partition(REPEAT)[0]) for j in spec.joins for t in j.columns.values()}
    keys = pd.MultiIndex.from_arrays([observations["source"].astype(str), observations["series"].astype(str)])
    observations = observations[keys.isin(wanted)].drop(columns=["unit", "fetched_at"]).reset_index(drop=True)
    dates = pd.read_parquet(folder / "panel.parquet", columns=["date"])["date"]
    names = [pd.Categorical(observations[name].astype(str)) for name in ("source", "series", "field")]
    begins = np.flatnonzero(np.any([np.diff(key.codes, prepend=-1) != 0 for key in names], axis=0))
    series = list(zip(begins, [*begins[1:], len(observations)], strict=True))  # sorted by series
    span, columns = _span(dates), {}
    for name in ("observation_date", "available_at"):
        rows = [shifted(observations[name].iloc[first:end], times, span) for first, end in series]
        columns[name] = pd.concat(rows, ignore_index=True)
    for name in ("value", "vintage"):
        values = observations[name].to_numpy()
        columns[name] = pd.Series(np.concatenate([np.tile(values[first:end], times) for first, end in series]))
    for name, key in zip(("source", "series", "field"), names, strict=True):
        codes = np.repeat(key.codes[begins], [times * (end - first) for first, end in series])
        columns[name] = pd.Series(pd.Categorical.from_codes(codes, key.categories))
    longer = pd.DataFrame(columns)
    if repeats > 1:
        one = longer["series"].cat
        parts = [
            longer.assign(series=one.rename_categories([_named(s, k) for s in one.categories])) for k in range(repeats)
        ]
        every = sorted({category for part in parts for category in part["series"].cat.categories})
        parts = [part.assign(series=part["series"].cat.set_categories(every)) for part in parts]
        longer = pd.concat(parts, ignore_index=True)
    days = pd.DatetimeIndex(shifted(dates, times, span))
    return lambda: panel_at(longer, spec, days)


REPEAT = "#"


def _named(series: str, repeat: int) -> str:
    return series if repeat == 0 else f"{series}{REPEAT}{repeat}"


def _first_columns(spec: JoinSpec, count: int, repeats: int) -> JoinSpec:
    """The first ``count`` columns that are joined, and their repeats."""
    left, joins = count, []
    for join in spec.joins:
        columns = dict(list(join.columns.items())[:left])
        left -= len(columns)
        for repeat in range(repeats if columns else 0):
            joins.append(_repeated(join, columns, repeat))
    return JoinSpec(joins=tuple(joins))


def _repeated(join: Join, columns: dict[str, str], repeat: int) -> Join:
    again = {}
    for column, target in columns.items():
        series, _, field = target.rpartition(".")
        again[column if repeat == 0 else f"{column}{REPEAT}{repeat}"] = f"{_named(series, repeat)}.{field}"
    return join.model_copy(update={"columns": again, "tests": ()})


if __name__ == "__main__":
    kind, where, rows, columns = sys.argv[1:]
    print(json.dumps(main(kind, Path(where), int(rows), int(columns))))
