"""Check the newest close of a critical series: no later value confirms it yet, so other evidence is used.

An impossible close (far beyond the exchange's limit, out of range) is refused at staging and stops the run. An
unlikely one is published and marked unconfirmed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instant
from tasks.registry import DataSources
from tasks.registry.sources import SeriesSpec
from tasks.staging.price_limits import daily_limits

YEAR_SESSIONS = 252
LEAST_SESSIONS = 120  # with fewer common sessions a regression means little
UNLIKE = 5.0  # robust standard deviations from the value that the other markets suggest
SHIFT_SESSIONS = 30
SHIFTED_CORRELATION, SHIFTED_BY = 0.5, 0.2  # with the previous session, and so much higher than with the same one
REVISED_WITHIN = 63  # sessions
PART_OF_LIMIT = 0.25
"""Share of a daily limit: how far a close may lie outside its own bar, and how far a past close may be revised. ZL=F's
contradictory bars since 2010 are off by at most a fifth of the limit."""


def unconfirmed_closes(
    observations: pd.DataFrame, quarantine: pd.DataFrame, sources: DataSources, *, as_of: pd.Timestamp
) -> dict[str, str]:
    """By `source series` of each critical series with a doubtful newest close: the reasons, in words.

    Args:
        observations: as known at the session. quarantine: the refused cells known by then.
    """
    doubts = {}
    for source, spec in sources.sources.items():
        for series, entry in spec.series.items():
            if entry.critical and (entry.daily_limit or entry.held_against):
                names = [series, *entry.held_against]
                observed = observations[(observations["source"] == source) & observations["series"].isin(names)]
                refused = quarantine[(quarantine["source"] == source) & (quarantine["series"] == series)]
                why = _doubts(observed, refused, series, entry, as_of)
                if why:
                    doubts[f"{source} {series}"] = "; ".join(why)
    return doubts


def _doubts(
    observed: pd.DataFrame, refused: pd.DataFrame, series: str, entry: SeriesSpec, as_of: pd.Timestamp
) -> list[str]:
    own = observed[observed["series"] == series]
    closes = _newest_values(own, "close")
    if len(closes) < 2 or closes.index[-1] != as_of:
        return []  # an old price is reported as stale
    limits = daily_limits(closes, entry.daily_limit) if entry.daily_limit else pd.Series(np.nan, index=closes.index)
    others = {name: _newest_values(observed[observed["series"] == name], "close") for name in entry.held_against}
    found = [
        _beyond_limit(closes, limits, entry.unit),
        _unlike_others(closes, others),
        _outside_own_bar(closes, refused, limits, entry.unit),
        _repeated(own, closes),
        _shifted(closes, others),
        _revised(own, limits, entry.unit, as_of),
    ]
    return [why for why in found if why]


def _newest_values(part: pd.DataFrame, field: str) -> pd.Series:
    """One value per date: its newest vintage."""
    rows = part[part["field"] == field].sort_values(["observation_date", "vintage"])
    return rows.drop_duplicates("observation_date", keep="last").set_index("observation_date")["value"]


def _beyond_limit(closes: pd.Series, limits: pd.Series, unit: str) -> str:
    """The move is above the initial daily limit: a step to the next contract, or an expanded limit."""
    before, day = closes.index[-2].date(), closes.index[-1].date()
    allowed = limits.iloc[-1] * max(int(np.busday_count(before, day)), 1)
    move = closes.iloc[-1] - closes.iloc[-2]
    if abs(move) > allowed * (1 + 1e-9):
        return f"it moved {move:+.2f} {unit}, more than the exchange's daily limit of {limits.iloc[-1]:g}"
    return ""


def _unlike_others(closes: pd.Series, others: dict[str, pd.Series]) -> str:
    """The move is far from the one that a year's regression on the other markets suggests."""
    day = closes.index[-1]
    moves = {name: np.log(path[path > 0].reindex(closes.index)).diff() for name, path in others.items()}
    moves = {name: move for name, move in moves.items() if np.isfinite(move.get(day, np.nan))}
    if not moves:
        return ""
    frame = pd.DataFrame({"own": np.log(closes).diff(), **moves}).iloc[-YEAR_SESSIONS - 1 :]
    past, today = frame.iloc[:-1].dropna(), frame.iloc[-1]
    if len(past) < LEAST_SESSIONS:
        return ""
    known = np.column_stack([np.ones(len(past)), past[list(moves)]])
    weights, *_ = np.linalg.lstsq(known, past["own"].to_numpy(), rcond=None)
    residuals = past["own"].to_numpy() - known @ weights
    scale = 1.4826 * np.median(np.abs(residuals - np.median(residuals)))
    suggested = weights[0] + float(today[list(moves)].to_numpy() @ weights[1:])
    if abs(today["own"] - suggested) <= UNLIKE * scale:
        return ""
    theirs = ", ".join(f"{name} {move[day]:+.1%}" for name, move in moves.items())
    return (
        f"it moved {today['own']:+.1%} where {theirs} suggest {suggested:+.1%}, "
        f"{abs(today['own'] - suggested) / scale:.0f} times the usual difference"
    )


def _outside_own_bar(closes: pd.Series, refused: pd.DataFrame, limits: pd.Series, unit: str) -> str:
    """The close, or a recent one before it, is outside the low and high of its own session."""
    days = closes.index[-REVISED_WITHIN:]
    bars = refused[refused["observation_date"].isin(days) & (refused["rule"] == "impossible_ohlc")]
    bars = bars[bars["field"].isin(["high", "low"])]
    if bars.empty:
        return ""
    away = bars["observation_date"].map(closes) - bars["value"]
    outside = away.where(bars["field"] == "high", -away)
    outside = outside[~(outside <= PART_OF_LIMIT * bars["observation_date"].map(limits))]
    if outside.empty:
        return ""
    day, size = bars.loc[outside.index[-1], "observation_date"], outside.iloc[-1]
    which = "it" if day == days[-1] else f"the close of {day:%Y-%m-%d}"
    return f"{which} lies {size:.2f} {unit} outside the low and high served with it"


def _repeated(own: pd.DataFrame, closes: pd.Series) -> str:
    """The bar equals that of the previous session: all prices and the volume."""
    fields = [name for name in ("open", "high", "low", "close", "volume") if (own["field"] == name).any()]
    bars = pd.DataFrame({name: _newest_values(own, name) for name in fields}).reindex(closes.index[-2:])
    last, before = bars.iloc[-1], bars.iloc[-2]
    same = (last == before) | (last.isna() & before.isna())
    if len(fields) > 1 and same.all() and last.notna().sum() > 1:
        return "the bar repeats that of the session before"
    return ""


def _shifted(closes: pd.Series, others: dict[str, pd.Series]) -> str:
    """Its last moves follow those of the first other market one session earlier, not of the same session."""
    if not others:
        return ""
    name, path = next(iter(others.items()))
    frame = pd.DataFrame({"own": np.log(closes).diff(), "other": np.log(path[path > 0].reindex(closes.index)).diff()})
    frame = frame.assign(earlier=frame["other"].shift()).iloc[-SHIFT_SESSIONS:].dropna()
    if len(frame) < SHIFT_SESSIONS * 2 // 3:
        return ""
    same, earlier = frame["own"].corr(frame["other"]), frame["own"].corr(frame["earlier"])
    if earlier > SHIFTED_CORRELATION and earlier - same > SHIFTED_BY:
        return (
            f"its last {len(frame)} moves follow {name}'s of the session before (correlation {earlier:.2f}), not of "
            f"the same session ({same:.2f}): dates may be a day late"
        )
    return ""


def _revised(own: pd.DataFrame, limits: pd.Series, unit: str, as_of: pd.Timestamp) -> str:
    """A recent close was revised since the previous session."""
    days = limits.index[-REVISED_WITHIN - 1 :]
    if len(days) < 2:
        return ""
    rows = own[(own["field"] == "close") & own["observation_date"].isin(days[:-1])]
    rows = rows.sort_values(["observation_date", "vintage"])
    before = rows.groupby("observation_date")["value"].shift()
    change = (rows["value"] - before).abs()
    allowed = PART_OF_LIMIT * rows["observation_date"].map(limits)
    news = rows["available_at"] > as_of_instant(days[-2])
    large = rows[news & before.notna() & ~(change <= allowed)]
    if large.empty:
        return ""
    last = large.iloc[-1]
    more = f" and {len(large) - 1} more" if len(large) > 1 else ""
    return (
        f"the close of {last['observation_date']:%Y-%m-%d} was revised from {before.loc[large.index[-1]]:.2f} to "
        f"{last['value']:.2f} {unit}{more}"
    )
