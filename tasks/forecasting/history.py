"""Forecasts of the past beside what happened: frames in, frames out.

A forecast comes due on the session after its target date: a close that was wrong in the evening is corrected by then
(tasks/labels.py scores against the settled close for the same reason). What was known on that evening counts for good:
a price that is revised later changes no outcome, and a run on a later day computes the same row.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instants, sessions
from tasks.quantiles import BANDS, column, pinball
from tasks.registry import Horizons

FORECAST_OF = ["origin", "replay", "as_of", "horizon"]
KEY = [*FORECAST_OF, "model_version"]
OUTCOME_COLUMNS = [
    *KEY,
    "target_date",
    "settled_on",
    "session_number",
    "sessions_ahead",
    "family",
    "is_baseline",
    "degraded",
    "regime",
    "contract",
    "target_contract",
    "last_price",
    "direction_probability",
    "published_at",
    "published_late",
    "superseded",
    "actual_price",
    "actual_log_return",
    "forecast_log_return",
    "error_cents_lb",
    "absolute_percentage_error",
    "pinball_log_return",
    *(f"inside_{band}" for band in BANDS),
    "direction_hit",
    "sign_return",
    "no_change_error_cents_lb",
    "no_change_absolute_percentage_error",
    "baseline_version",
    "baseline_pinball_log_return",
    "data_snapshot",
    "code_version",
]


def settled_closes(observations: pd.DataFrame, dates: pd.DatetimeIndex, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """The front-month close of each date that is settled by ``as_of``.

    Args:
        observations: observations in all vintages known at ``as_of``; other series are ignored. dates: sessions.

    Returns:
        ``target_date, settled_on, actual_price`` (cents/lb): ``settled_on`` is the session after the date, or the first
        on whose evening any close of the date was known; the price is the newest vintage of that evening. A date
        without a close has no row.

    Invariants: a row depends on nothing that became known after 18:00 Chicago of ``settled_on``.
    """
    closes = observations[(observations["series"] == "ZL=F") & (observations["field"] == "close")]
    closes = closes[closes["observation_date"].isin(dates)]
    days = sessions(last=as_of)
    instants = as_of_instants(days)
    first = closes.groupby("observation_date")["available_at"].min()
    dated = pd.DatetimeIndex(first.index)
    after = np.maximum(days.searchsorted(dated, side="right"), instants.searchsorted(pd.DatetimeIndex(first)))
    settled = pd.DataFrame({"target_date": dated, "place": after})
    settled = settled[settled["place"] < len(days)]
    settled = settled.assign(settled_on=days[settled["place"]], by=instants[settled["place"]])
    known = closes.merge(settled, left_on="observation_date", right_on="target_date")
    known = known[known["available_at"] <= known["by"]].sort_values(["available_at", "vintage"])
    newest = known.drop_duplicates("target_date", keep="last").rename(columns={"value": "actual_price"})
    return newest[["target_date", "settled_on", "actual_price"]].sort_values("target_date").reset_index(drop=True)


def due_outcomes(
    forecasts: pd.DataFrame,
    observations: pd.DataFrame,
    horizons: Horizons,
    *,
    as_of: pd.Timestamp,
    round_trip_cost_cents_lb: float,
    baselines: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The outcome of every forecast that is due by ``as_of``: rows of ``performance.forecast_outcomes``.

    Args:
        forecasts: rows of ``forecasts.zl_forecasts_daily`` or ``forecasts.zl_replays_daily``; all those of a session
            and horizon, so that it can be said which of them readers were shown. ``scored``, where given, says which
            have their outcome already, and ``is_champion`` which are of the version that serves their session.
        observations: in all vintages known at ``as_of``.
        baselines: forecasts of baselines to compare with, in the same shape; default: those among ``forecasts``.

    Returns:
        one row per forecast, without ``created_at``. Definitions are those of tasks/evaluation/metrics.py, on the price
        that the forecast started from. ``sign_return`` is that of the predicted direction after cost, 0 without a view.

    Invariants: a row depends on its forecast, on the other forecasts of its session, and on closes known on
    ``settled_on``.
    """
    asked = _with_identity(forecasts)
    asked = asked[asked["horizon"].isin(list(horizons.horizons))]
    closes = settled_closes(observations, pd.DatetimeIndex(asked["target_date"].unique()), as_of=as_of)
    due = asked.merge(closes, on="target_date")
    if due.empty:
        return pd.DataFrame(columns=OUTCOME_COLUMNS)
    due = _scored(due, horizons, round_trip_cost_cents_lb)
    due["superseded"] = _superseded(due)
    compared = due if baselines is None else _with_identity(baselines).merge(closes, on="target_date")
    due = _beside_baseline(due, compared, horizons)
    ordered = due.sort_values(KEY).reset_index(drop=True)
    return ordered[[*OUTCOME_COLUMNS, *(column(level) for level in horizons.quantiles)]]


def _with_identity(forecasts: pd.DataFrame) -> pd.DataFrame:
    given = forecasts if "replay" in forecasts else forecasts.assign(replay="")
    return given.assign(
        origin=given["origin"].fillna("unknown"),
        replay=given["replay"].fillna(""),
        as_of=pd.to_datetime(given["as_of"]).astype("datetime64[us]"),
        target_date=pd.to_datetime(given["target_date"]).astype("datetime64[us]"),
    ).rename(columns={"created_at": "published_at"})


def _scored(due: pd.DataFrame, horizons: Horizons, cost: float) -> pd.DataFrame:
    last, actual, median = (due[name].to_numpy(dtype="float64") for name in ("last_price", "actual_price", "p50"))
    moved = np.log(actual / last)
    # no view (missing) and a coin (one half) trade nothing
    chance = due["direction_probability"].to_numpy(dtype="float64", na_value=np.nan)
    position = np.nan_to_num(np.sign(chance - 0.5))
    hit = pd.array((chance > 0.5) == (moved > 0), dtype="boolean")
    hit[np.isnan(chance) | (moved == 0)] = pd.NA
    return due.assign(
        session_number=sessions().searchsorted(pd.DatetimeIndex(due["as_of"])) + 1,
        sessions_ahead=due["horizon"].map({name: one.sessions for name, one in horizons.horizons.items()}),
        published_late=_late(due),
        actual_log_return=moved,
        forecast_log_return=np.log(median / last),
        error_cents_lb=median - actual,
        absolute_percentage_error=np.abs(median / actual - 1),
        pinball_log_return=_pinball(due, horizons),
        **{f"inside_{band}": due["actual_price"].between(due[low], due[high]) for band, (low, high) in BANDS.items()},
        direction_hit=hit,
        sign_return=position * np.expm1(moved) - np.abs(position) * cost / last,
        no_change_error_cents_lb=last - actual,
        no_change_absolute_percentage_error=np.abs(last / actual - 1),
    )


def _pinball(due: pd.DataFrame, horizons: Horizons) -> np.ndarray:
    """Quantile loss of the log return, averaged over the published levels."""
    levels = tuple(horizons.quantiles)
    last = due["last_price"].to_numpy(dtype="float64")
    quantiles = np.log(due[[column(level) for level in levels]].to_numpy(dtype="float64") / last[:, None])
    return pinball(np.log(due["actual_price"].to_numpy(dtype="float64") / last), quantiles, levels)


def _late(due: pd.DataFrame) -> np.ndarray:
    """Whether a forecast was published after the evening of its target date."""
    evening = as_of_instants(pd.DatetimeIndex(due["target_date"]))
    return (pd.DatetimeIndex(due["published_at"]) > evening).astype(bool)


def _superseded(due: pd.DataFrame) -> pd.Series:
    """Whether readers were shown another forecast of the session and horizon (the order of views/40_api.sql).

    A forecast that was published late supersedes none that was not, and none supersedes one that has its outcome.
    """
    by_time = due.sort_values(["published_at", "model_version"])
    newest = by_time.groupby(FORECAST_OF)["data_snapshot"].transform("last")
    scored, champion = (due[name].astype(bool) if name in due else False for name in ("scored", "is_champion"))
    older = due["data_snapshot"] != newest.reindex(due.index)
    ranked = due.assign(
        older=older,
        unscored=~pd.Series(scored, index=due.index),
        retired=~pd.Series(champion, index=due.index),
    ).sort_values(
        ["unscored", "published_late", "older", "retired", "degraded", "published_at", "is_baseline", "model_version"],
        ascending=[True, True, True, True, True, False, True, False],
    )
    return ranked.duplicated(FORECAST_OF).reindex(due.index)


def _beside_baseline(due: pd.DataFrame, compared: pd.DataFrame, horizons: Horizons) -> pd.DataFrame:
    """Adds the loss of the baseline's forecast of the same origin, session and horizon; missing without one."""
    baseline = compared[compared["is_baseline"].fillna(False).astype(bool)].sort_values("published_at")
    baseline = baseline.drop_duplicates(FORECAST_OF, keep="last")
    losses = baseline[FORECAST_OF].assign(
        baseline_version=baseline["model_version"].astype("object"),
        baseline_pinball_log_return=_pinball(baseline, horizons) if len(baseline) else np.array([], dtype="float64"),
    )
    return due.merge(losses, on=FORECAST_OF, how="left")
