"""The control chart of a serving champion: is what came true still what its bands and its rank promise?

Three one-sided cumulative sums (Page 1954) over the outcomes of a champion's family at one horizon, each in units of
independent outcomes: an outcome counts by the sessions since the origin before it over the sessions of the horizon, for
targets that overlap are one outcome told many times.

- ``narrow``: misses of the 80% band above 20% and an allowance. The bands are too narrow, or beside the price.
- ``wide``: misses below 20% less the allowance. The bands are too wide to be of use.
- ``loss``: pinball loss above that of the baseline on the same origins, over the loss that the baseline expects of
  itself, above an allowance. The champion costs more than what would replace it.

The first sum above its limit (registry/control_chart.yaml, set by simulation: docs/results/control_chart.md) puts the
champion out of control, and it stays out until its family serves anew (tasks/model_store/champions.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.forecasting.shadow import log_losses
from tasks.model_store.champions import Entry, champion_by, family_serves_since
from tasks.models.catalogue import BASELINES
from tasks.quantiles import BANDS, column
from tasks.registry import ControlLimits, ControlRule, Horizons

NOMINAL_MISSES = 0.2
LOSS_A_WIDTH = 0.0887
"""The expected pinball loss of a true normal forecast, mean over 5, 10, 25, 50, 75, 90 and 95%, over the width of its
80% band: sum of the densities at the quantiles / 7 / (2 x 1.2816)."""
MOST_LOSS = 3.0
"""One outcome counts at most so many expected losses, in either direction: a limit move is one event."""
CHART = ["as_of", "target_date", "share", "missed", "relative_loss", "narrow", "wide", "loss", "out"]
WORDS = {
    "narrow": "its 80% band covered {covered:.0%} of {count} outcomes",
    "wide": "its 80% band covered {covered:.0%} of {count} outcomes: it is too wide",
    "loss": "its loss was {loss:+.1%} above the baseline's on {count} outcomes",
}


@dataclass(frozen=True)
class ControlState:
    """What the chart says of one champion at one session.

    ``independent``: how many independent outcomes its ``outcomes`` are worth. ``reason``: why it is out, or why nothing
    can be said yet; ``out_since``: the target date of the outcome that crossed a limit.
    """

    horizon: str
    family: str
    outcomes: int
    independent: float
    in_control: bool
    reason: str
    out_since: pd.Timestamp | None = None


@dataclass(frozen=True)
class Sums:
    """The three sums after each outcome; arrays of one shape, outcomes last."""

    narrow: np.ndarray
    wide: np.ndarray
    loss: np.ndarray

    def beyond(self, limits: ControlLimits) -> dict[str, np.ndarray]:
        """Where each sum is above its limit."""
        return {name: getattr(self, name) > getattr(limits, name) for name in WORDS}


def cumulative_sums(missed: np.ndarray, relative_loss: np.ndarray, share: np.ndarray, rule: ControlRule) -> Sums:
    """The sums of paths of outcomes in the order in which they come due.

    Args:
        missed: 0 or 1; outcomes last, any number of paths before. relative_loss: of the same shape, NaN where the
            baseline has no forecast (which changes nothing). share: how much of an independent outcome each one is.
    """
    excess = {
        "narrow": missed - NOMINAL_MISSES - rule.miss_allowance,
        "wide": NOMINAL_MISSES - rule.miss_allowance - missed,
        "loss": np.clip(np.nan_to_num(relative_loss - rule.loss_allowance), -MOST_LOSS, MOST_LOSS),
    }
    found = {}
    for name, values in excess.items():
        steps = values * share
        sums = np.empty(steps.shape)
        total = np.zeros(steps.shape[:-1])
        for at in range(steps.shape[-1]):
            total = np.maximum(total + steps[..., at], 0.0)
            sums[..., at] = total
        found[name] = sums
    return Sums(**found)


def shares(origins: pd.DatetimeIndex, horizon_sessions: int) -> np.ndarray:
    """How much of an independent outcome each origin adds to those before it: its sessions since the last, over h."""
    at = sessions().searchsorted(origins)
    gaps = np.diff(at, prepend=at[:1] - 1) if len(at) else np.array([])
    return np.clip(gaps / horizon_sessions, 0.0, 1.0)


def control_chart(
    outcomes: pd.DataFrame,
    baseline: pd.DataFrame,
    rule: ControlRule,
    levels: tuple[float, ...],
    *,
    horizon: str,
    horizon_sessions: int,
) -> pd.DataFrame:
    """The chart of one family at one horizon.

    Args:
        outcomes: its forecasts with ``as_of, target_date, last_price, actual_price`` and quantiles, in cents/lb; one
            row per origin, only such whose outcome is known by the day that asks. A row without a quantile is left out.
        baseline: the baseline's forecasts with ``as_of`` and quantiles; origins without one count for the bands alone.

    Returns:
        one row per outcome, by target date: its ``share`` of an independent outcome, ``missed``, ``relative_loss``, the
        three sums, and ``out``: the names of the sums that are above their limit by then (once above, always named).
    """
    complete = outcomes[["actual_price", "last_price", *map(column, levels)]].notna().all(axis=1)
    known = outcomes[complete].sort_values(["target_date", "as_of"])
    if known.empty:
        return pd.DataFrame(columns=CHART)
    low, high = BANDS[80]
    missed = 1.0 - known["actual_price"].between(known[low], known[high]).to_numpy(dtype="float64")
    relative_loss = _relative_loss(known, baseline, levels)
    share = shares(pd.DatetimeIndex(known["as_of"]), horizon_sessions)
    sums = cumulative_sums(missed, relative_loss, share, rule)
    out = pd.Series([""] * len(known))
    if horizon in rule.limits:
        crossed = {name: np.logical_or.accumulate(beyond) for name, beyond in sums.beyond(rule.limits[horizon]).items()}
        out = pd.Series([", ".join(name for name in crossed if crossed[name][row]) for row in range(len(known))])
    return pd.DataFrame(
        {
            "as_of": known["as_of"].to_numpy(),
            "target_date": known["target_date"].to_numpy(),
            "share": share,
            "missed": missed,
            "relative_loss": relative_loss,
            "narrow": sums.narrow,
            "wide": sums.wide,
            "loss": sums.loss,
            "out": out.to_numpy(),
        }
    )


def _relative_loss(known: pd.DataFrame, baseline: pd.DataFrame, levels: tuple[float, ...]) -> np.ndarray:
    if baseline.empty:
        return np.full(len(known), np.nan)
    columns = [column(level) for level in levels]
    other = known[["as_of", "last_price", "actual_price"]].merge(
        baseline.drop_duplicates("as_of", keep="last")[["as_of", *columns]], on="as_of", how="left"
    )
    low, high = BANDS[80]
    expected = LOSS_A_WIDTH * np.log((other[high] / other[low]).to_numpy(dtype="float64"))
    return (log_losses(known, levels) - log_losses(other, levels)) / expected


def state_of(chart: pd.DataFrame, rule: ControlRule, *, horizon: str, family: str) -> ControlState:
    """The newest state of a chart, with its reason."""
    if horizon not in rule.limits:
        return ControlState(horizon, family, len(chart), float(chart["share"].sum()), True, "no limits are set")
    if chart.empty:
        return ControlState(horizon, family, 0, 0.0, True, "no outcome is known yet")
    independent = float(chart["share"].sum())
    crossed = chart[chart["out"] != ""]
    if crossed.empty:
        return ControlState(horizon, family, len(chart), independent, True, "")
    first = crossed.iloc[0]
    seen = chart[chart["target_date"] <= first["target_date"]]
    figures = {"covered": 1 - seen["missed"].mean(), "count": len(seen), "loss": seen["relative_loss"].mean()}
    words = "; ".join(
        WORDS[name].format(**figures)
        + f", and the sum of the excess is {first[name]:.2f} (limit {getattr(rule.limits[horizon], name):g})"
        for name in str(first["out"]).split(", ")
    )
    since = pd.Timestamp(first["target_date"])
    reason = f"{words}; since {since:%Y-%m-%d}, until `cbi models promote` returns it or another family is promoted"
    return ControlState(horizon, family, len(chart), independent, False, reason, since)


def judge_champions(
    history: Sequence[Entry],
    outcomes: pd.DataFrame,
    baselines: Mapping[str, pd.DataFrame],
    rule: ControlRule,
    horizons: Horizons,
    as_of: pd.Timestamp,
    *,
    known_by: pd.Timestamp | None = None,
) -> dict[str, ControlState]:
    """The state of the champion of each horizon; a baseline has none, for nothing could replace it.

    Args:
        history: of the model store. outcomes: the rows of ``performance.forecast_outcomes``, of one origin of payloads.
        baselines: by horizon the baseline's unserved forecasts.
        known_by: only outcomes that were due by it count (``settled_on``, else the target date); default: the session
            itself. A run passes the newest session that was published before its own, so that the same run again
            decides the same.

    Invariants: nothing after ``as_of`` is used, neither outcomes nor promotions.
    """
    found = {}
    until = min(as_of, known_by) if known_by is not None else as_of
    for name, horizon in horizons.horizons.items():
        champion = champion_by(history, name, as_of)
        since = family_serves_since(history, name, as_of)
        if champion is None or since is None or champion["family"] in BASELINES:
            continue
        own = outcomes
        if len(outcomes):
            of_family = outcomes["model_version"].str.split("/").str[0] == champion["family"]
            due = "settled_on" if "settled_on" in outcomes else "target_date"
            in_time = (outcomes["as_of"] >= since) & (outcomes[due] <= until)
            own = outcomes[of_family & in_time & (outcomes["horizon"] == name)]
            own = own.sort_values("as_of").drop_duplicates("as_of", keep="last")
        chart = pd.DataFrame(columns=CHART)
        if len(own):
            chart = control_chart(
                own,
                baselines.get(name, pd.DataFrame()),
                rule,
                tuple(horizons.quantiles),
                horizon=name,
                horizon_sessions=horizon.sessions,
            )
        found[name] = state_of(chart, rule, horizon=name, family=champion["family"])
    return found


def alarms(states: Mapping[str, ControlState]) -> dict[str, str]:
    """By horizon, why its champion is out of control."""
    return {name: state.reason for name, state in states.items() if not state.in_control}


def lived_under_control(
    lived: pd.DataFrame,
    baseline: pd.DataFrame,
    rule: ControlRule,
    levels: tuple[float, ...],
    *,
    horizon: str,
    horizon_sessions: int,
) -> pd.DataFrame:
    """A lived policy with this rule: the baseline from the origin on at which the champion's chart is out.

    Args:
        lived: the rows of tasks.evaluation.lived.lived_policy: out-of-fold forecasts with ``champion`` (of the year)
            and ``served``. baseline: its out-of-fold forecasts.

    Returns:
        the rows of ``lived``, those of the baseline in their place where it replaced the champion: there ``served`` is
        the baseline and ``returned`` true. A family that is champion again without a break stays replaced.

    Invariants: a row depends on outcomes whose target date is not after its own date.
    """
    rows = lived.sort_values("date", ignore_index=True)
    returned = np.zeros(len(rows), dtype=bool)
    tenure = (rows["champion"] != rows["champion"].shift()).cumsum()
    for _, part in rows.groupby(tenure):
        if part["champion"].iloc[0] in BASELINES:
            continue
        own = _in_prices(part[part["served"] == part["champion"]], levels)
        chart = control_chart(
            own, _in_prices(baseline, levels), rule, levels, horizon=horizon, horizon_sessions=horizon_sessions
        )
        crossed = chart.loc[chart["out"] != "", "target_date"]
        if len(crossed):
            returned[part.index[part["date"] >= crossed.iloc[0]]] = True
    base = baseline.set_index("date").reindex(rows["date"]).reset_index()
    replaced = base.assign(champion=rows["champion"], served=BASELINES[0]).reindex(columns=rows.columns)
    for name in rows.columns:
        rows[name] = rows[name].where(~returned, replaced[name])
    return rows.assign(returned=returned)


def _in_prices(oof: pd.DataFrame, levels: tuple[float, ...]) -> pd.DataFrame:
    last = oof["last_price"].to_numpy(dtype="float64")
    quantiles = {column(level): last * np.exp(oof[column(level)].to_numpy(dtype="float64")) for level in levels}
    actual = last * np.exp(oof["target_log_return"].to_numpy(dtype="float64"))
    named = {"as_of": oof["date"].to_numpy(), "target_date": oof["target_date"].to_numpy()}
    return pd.DataFrame({**named, "last_price": last, "actual_price": actual, **quantiles})
