"""The tables of the pre-flight: the same figures computed twice, and the features of today beside those of a training.

Frames in, frames out; the suites in expectations/training say what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

AGREES, SAME = "agrees", "same"
METRIC_COLUMNS = [
    "origin",
    "replay",
    "horizon",
    "metric",
    "python_value",
    "sql_value",
    "difference",
    "limit",
    "verdict",
]
ROUNDING = 1e-6
"""Both sides add the same numbers in another order. The largest difference allowed, as a share of a value above 1."""


def metric_parity(in_python: pd.DataFrame, in_sql: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """One row per origin, replay, horizon and metric: both values, and in words whether they agree to rounding.

    Args:
        in_python: rows of tasks/evaluation/realised.py. in_sql: those of performance.vw_forecast_performance_tracking
            over all forecasts of a horizon. A row that only one of them has agrees in nothing.
    """
    key = ["origin", "replay", "horizon"]
    parts = []
    for side, frame in (("python_value", in_python), ("sql_value", in_sql)):
        values = frame.reindex(columns=[*key, *metrics])
        values = values.astype(dict.fromkeys(metrics, "float64") | dict.fromkeys(key, "object"))
        parts.append(values.melt(id_vars=key, var_name="metric", value_name=side))
    both = parts[0].merge(parts[1], on=[*key, "metric"], how="outer", indicator=True)
    difference = (both["python_value"] - both["sql_value"]).abs()
    limit = ROUNDING * np.maximum(1.0, both["python_value"].abs().fillna(1.0))
    neither = both["python_value"].isna() & both["sql_value"].isna()
    agrees = (both["_merge"] == "both") & (neither | (difference <= limit))
    words = [
        AGREES
        if same
        else f"{row.metric}: Python has {row.python_value}, SQL {row.sql_value} ({row.origin} {row.replay})"
        for same, row in zip(agrees, both.itertuples(), strict=True)
    ]
    return both.assign(difference=difference, limit=limit, verdict=words)[METRIC_COLUMNS]


def metrics_unread(reason: str) -> pd.DataFrame:
    """The table where one side could not be read: a comparison that was not made proves nothing."""
    row = dict.fromkeys(METRIC_COLUMNS) | {"verdict": reason}
    return pd.DataFrame([row])


def no_metrics() -> pd.DataFrame:
    """The table before the first forecast came due: nothing to compare."""
    return pd.DataFrame(columns=METRIC_COLUMNS)


def feature_parity(served: pd.DataFrame, exported: Mapping[str, pd.DataFrame], keys: Sequence[str]) -> pd.DataFrame:
    """One row per training file and feature: on how many sessions its value is not the one that is served from.

    Args:
        served: the feature table of the session. exported: by file name, the training files of the same session. keys:
            their columns that are not features.

    Returns:
        ``file, column, sessions, differing, verdict``: a session that only one of them has differs, and so does a value
        that only one of them knows. ``verdict``: `same`, or the first difference in words.
    """
    rows = []
    for file, table in exported.items():
        names = [name for name in table.columns if name not in keys]
        together = served["date"].reset_index(drop=True).equals(table["date"].reset_index(drop=True))
        here = served if together else served.set_index("date").reindex(table["date"]).reset_index()
        lost = 0 if together else int((~served["date"].isin(table["date"])).sum())
        there, ours = _floats(table, names), _floats(here, names)
        differs = ~((there == ours) | (np.isnan(there) & np.isnan(ours)))
        differs |= ~table["date"].isin(served["date"]).to_numpy()[:, None]
        counts = differs.sum(axis=0) + lost
        words = [_verdict(table["date"], counts[n], there[:, n], ours[:, n], differs[:, n]) for n in range(len(names))]
        facts = {"file": file, "column": names, "sessions": len(table), "differing": counts.astype("int64")}
        rows.append(pd.DataFrame(facts | {"verdict": words}))
    empty = {"file": "object", "column": "object", "sessions": "int64", "differing": "int64", "verdict": "object"}
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(empty)).astype(empty)


def _verdict(dates: pd.Series, count: int, there: np.ndarray, ours: np.ndarray, differs: np.ndarray) -> str:
    if not count:
        return SAME
    if not differs.any():
        return f"{count} sessions are served and not in the file"
    first = int(differs.argmax())
    day = f"{pd.Timestamp(dates.iloc[first]):%Y-%m-%d}"
    return f"{count} sessions differ; on {day} {ours[first]} is served, and the file has {there[first]}"


def _floats(table: pd.DataFrame, names: list[str]) -> np.ndarray:
    """The columns as float64; one that is not there, or a value that is no number, is missing."""
    frame = table.reindex(columns=names)
    if not all(kind == np.float64 for kind in frame.dtypes):
        frame = frame.apply(pd.to_numeric, errors="coerce").astype("float64")
    return frame.to_numpy(dtype="float64")
