"""Cell-level rules: which served cells are refused, and why. Cells, not rows: a bad high does not lose a good close.

Every rule uses only the payload itself and the past, so the verdict on a cell never depends on later data. A jump that
needs the next observation as confirmation becomes known with that observation.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instants
from tasks.registry import DailyLimit, Jump, SourceSpec
from tasks.staging.price_limits import daily_limits

PRICES = ("open", "high", "low", "close", "adj_close")
KEY_FIELD = {"bars": "close", "values": "value", "documents": "documents"}
TRAILING = 60
# Multiple of the initial limit: an expanded limit is 1.5 times, plus the step from one contract to the next.
# The largest true move of ZL=F since 2000 is 1.73 times (2008-03-07).
BEYOND_LIMITS = 2.0
REASONS = {
    "bad_date": "the date cannot be read",
    "not_a_number": "the value cannot be read as a number",
    "null": "the payload has the row but no value",
    "future_date": "dated after the payload was fetched",
    "provisional": "the session had not ended when the payload was fetched",
    "weekend": "no session is held on a Saturday or Sunday",
    "duplicate": "the same date stands in the payload more than once",
    "range": "outside the range the registry allows",
    "impossible_ohlc": "the bar's prices contradict each other",
    "stale_run": "the same bar too many times in a row",
    "jump": "a jump that nothing confirms",
    "empty_title": "the document has no title",
    "record": "the adapter cannot read this record",
    "part": "the adapter cannot read this part of the payload",
    "no_id": "the document has no identifier",
}


def key_field(spec: SourceSpec) -> str:
    """The field that an observation needs to count: close, value, or the source's first field."""
    return next((f for f in (KEY_FIELD[spec.kind],) if f in spec.fields), next(iter(spec.fields)))


def screen(rows: pd.DataFrame, spec: SourceSpec) -> pd.DataFrame:
    """One verdict per cell for the rows of one source, all payloads together.

    Args:
        rows: ``series, observation_date (text), row, payload, fetched_at`` and one column per field, as parsed.
        spec: the source's registry entry.

    Returns:
        ``rows`` with ``observation_date`` as dates and fields as floats, plus a column ``<field>__rule`` per
        field: the first rule that the cell broke, or "" if it is accepted.
    """
    rows = rows.reset_index(drop=True)
    dates = pd.to_datetime(rows["observation_date"], format="%Y-%m-%d", errors="coerce").astype("datetime64[us]")
    fields = [field for field in spec.fields if field in rows.columns]
    out = rows.drop(columns=fields).assign(observation_date=dates)
    values, verdicts = {}, {}
    for field in fields:
        served = rows[field]
        numeric = _numbers(served)
        verdict = np.full(len(rows), "", dtype=object)
        _mark(verdict, numeric.isna().to_numpy(), "null")
        _mark(verdict, (numeric.isna() & served.notna()).to_numpy(), "not_a_number", over=True)
        values[field], verdicts[field] = numeric.to_numpy(copy=True), verdict

    row_rules = _row_rules(out, spec)
    for field in fields:
        for name, broken in row_rules.items():
            _mark(verdicts[field], broken, name, over=True)
        _mark(verdicts[field], _out_of_range(values[field], field, out["series"], spec), "range")
    for field, broken in _duplicates(out, values).items():
        _mark(verdicts[field], broken, "duplicate")
    if spec.kind == "bars":
        for field, broken in _impossible(values, verdicts).items():
            _mark(verdicts[field], broken, "impossible_ohlc")
        frozen = _stale_runs(out, values, verdicts, spec)
        for field in fields:
            _mark(verdicts[field], frozen, "stale_run")
    return out.assign(**values, **{f"{field}__rule": verdict for field, verdict in verdicts.items()})


def _numbers(served: pd.Series) -> pd.Series:
    """The cells as floats, NaN for a cell that is not a number."""
    try:
        return pd.to_numeric(served, errors="coerce").astype("float64")
    except OverflowError:  # an integer of more than 308 digits: infinite, so out of range
        text = served.map(lambda cell: str(cell) if isinstance(cell, int) else cell)
        return pd.to_numeric(text, errors="coerce").astype("float64")


def _mark(verdict: np.ndarray, broken: np.ndarray, rule: str, *, over: bool = False) -> None:
    """Set ``rule`` where it is broken and no rule was set before (``over``: also where one was)."""
    verdict[broken if over else broken & (verdict == "")] = rule


def _row_rules(rows: pd.DataFrame, spec: SourceSpec) -> dict[str, np.ndarray]:
    """Rules that refuse a whole row; of several, the last one wins."""
    dates, fetched = rows["observation_date"], rows["fetched_at"]
    rules = {}
    if spec.kind == "bars":
        closes = pd.Series(as_of_instants(pd.DatetimeIndex(dates.fillna(pd.Timestamp("1970-01-01")))), index=rows.index)
        rules["provisional"] = (closes > fetched).to_numpy()
    ahead = pd.Timedelta(days=spec.projected_days)
    rules["future_date"] = (dates > fetched.dt.tz_localize(None) + ahead).to_numpy()
    if not spec.weekends:
        rules["weekend"] = (dates.dt.dayofweek >= 5).to_numpy()
    rules["bad_date"] = dates.isna().to_numpy()
    return rules


def _out_of_range(values: np.ndarray, field: str, series: pd.Series, spec: SourceSpec) -> np.ndarray:
    limits = {}
    for name, entry in spec.series.items():
        default = entry.range if field != "volume" else (0.0, 1e12)
        limits[name] = entry.ranges.get(field, default)
    allowed = np.array(list(limits.values()), dtype="float64").reshape(-1, 2)
    allowed = allowed[pd.Categorical(series, categories=list(limits)).codes]
    with np.errstate(invalid="ignore"):
        return (values < allowed[:, 0]) | (values > allowed[:, 1])


def _duplicates(rows: pd.DataFrame, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Equal repeats: all but the first. Contradicting repeats: all, because none can be preferred."""
    key = [name for name in ("payload", "series", "observation_date", "released_at") if name in rows.columns]
    repeated = rows.duplicated(key, keep=False).to_numpy() & rows["observation_date"].notna().to_numpy()
    broken = {field: np.zeros(len(rows), dtype=bool) for field in values}
    if repeated.any():
        for field, array in values.items():
            known = repeated & ~np.isnan(array)
            part = rows.loc[known, key].assign(v=array[known])
            spread = part.groupby(key, observed=True, dropna=False)["v"].transform("nunique").to_numpy()
            broken[field][known] = (spread > 1) | part.duplicated(key).to_numpy()
    return broken


def _impossible(values: dict[str, np.ndarray], verdicts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A close outside high/low refuses that high or low, an open outside refuses the open; high below low refuses both.

    The close is the settlement, and other payloads agree with it: it is kept. One ZL payload has 840 such bars to 2011.
    """
    if not {"open", "high", "low", "close"} <= set(values):
        return {}
    good = {f: np.where(verdicts[f] == "", values[f], np.nan) for f in ("open", "high", "low", "close")}
    slack = 1e-6 * np.abs(good["close"])
    with np.errstate(invalid="ignore"):
        crossed = good["high"] < good["low"] - slack
        high = crossed | (good["close"] > good["high"] + slack)
        low = crossed | (good["close"] < good["low"] - slack)
        open_ = (~high & (good["open"] > good["high"] + slack)) | (~low & (good["open"] < good["low"] - slack))
    return {"high": high, "low": low, "open": open_}


def _stale_runs(
    rows: pd.DataFrame, values: dict[str, np.ndarray], verdicts: dict[str, np.ndarray], spec: SourceSpec
) -> np.ndarray:
    """The bars from the n-th identical bar on (open, high, low and close equal to the previous bar)."""
    broken = np.zeros(len(rows), dtype=bool)
    limits = {name: entry.stale_run for name, entry in spec.series.items() if entry.stale_run}
    if not limits or not {"open", "high", "low", "close"} <= set(values):
        return broken
    known = verdicts["close"] == ""
    bars = rows.loc[known, ["payload", "series", "observation_date"]].assign(
        **{f: values[f][known] for f in ("open", "high", "low", "close")}
    )
    bars = bars.sort_values(["payload", "series", "observation_date"])
    same = np.ones(len(bars), dtype=bool)
    for column in ("payload", "series", "open", "high", "low", "close"):
        same &= (bars[column] == bars[column].shift()).to_numpy()
    run = pd.Series(same, index=bars.index).groupby((~same).cumsum()).cumsum() + 1
    limit = bars["series"].map(limits).astype("float64")
    broken[bars.index[(run >= limit).to_numpy()]] = True
    return broken


def unconfirmed_jumps(closes: pd.DataFrame, jump: Jump, limit: DailyLimit | None = None) -> pd.DataFrame:
    """Judge one series' closes for jumps, each against its own past.

    A close is suspect if it is further than the threshold from both the previous close and the median of the previous
    five. So neither the return after a lone spike nor the day after a true move is suspect.
    The threshold is the larger of ``min_abs_return`` and ``sigmas`` robust standard deviations of the past 60 returns.
    A suspect is confirmed at once if its own bar traded through from the old level, or later by the next observation
    if that stays near; then it is known only when the next observation is. Beyond BEYOND_LIMITS times the exchange's
    daily limit, per session since the previous close, no bar confirms itself.

    Args:
        closes: ``observation_date, value, low, high, first (bool)``, sorted by date, one row per distinct value of a
            date; ``first`` marks the earliest accepted value of each date. low and high may be NaN.
        jump: the registry's limits.
        limit: the exchange's daily limit, if there is one.

    Returns:
        columns ``refused`` and ``waits`` (bool: the next observation decides), ``decided_by`` (its date, or NaT while
        there is none), ``threshold`` and ``move`` (simple return from the previous close), indexed like ``closes``.
    """
    path = closes.loc[closes["first"]].set_index("observation_date")["value"]
    returns = path.diff() / path.shift().abs()
    centre = returns.rolling(TRAILING, min_periods=20).median()
    scale = 1.4826 * (returns - centre).abs().rolling(TRAILING, min_periods=20).median().shift()
    past = pd.DataFrame(
        {
            "before": path.shift(),
            "median": path.shift().rolling(5, min_periods=1).median(),
            "threshold": np.maximum(jump.min_abs_return, jump.sigmas * scale.fillna(0.0)),
            "next": path.shift(-1),
            "next_date": path.index.to_series().shift(-1),
            "allowed": np.inf if limit is None else _allowed_moves(path, limit),
        }
    )
    here = past.reindex(closes["observation_date"]).set_index(closes.index)
    value = closes["value"]
    move = (value - here["before"]) / here["before"].abs()
    from_median = (value - here["median"]) / here["median"].abs()
    suspect = (move.abs() > here["threshold"]) & (from_median.abs() > here["threshold"])
    gap = np.where(move > 0, closes["low"] - here["before"], here["before"] - closes["high"]) / here["before"].abs()
    traded_through = pd.Series(gap, index=closes.index) <= here["threshold"]
    allowed = here["allowed"] / here["before"].abs()
    beyond = (move.abs() > allowed) & (from_median.abs() > allowed)
    stays = ((here["next"] - value) / value.abs()).abs() <= here["threshold"].where(~beyond, allowed)
    waits = (suspect & ~traded_through) | beyond
    return pd.DataFrame(
        {
            "refused": waits & ~stays,
            "waits": waits,
            "decided_by": here["next_date"],
            "threshold": here["threshold"].where(~beyond, allowed),
            "move": move,
        }
    )


def _allowed_moves(path: pd.Series, limit: DailyLimit) -> pd.Series:
    """How far each close may be from the previous one: BEYOND_LIMITS daily limits per session; infinite if unknown."""
    dates = path.index.to_numpy().astype("datetime64[D]")
    since = np.ones(len(dates), dtype="int64")
    since[1:] = np.busday_count(dates[:-1], dates[1:])
    return (BEYOND_LIMITS * daily_limits(path, limit) * np.maximum(since, 1)).fillna(np.inf)
