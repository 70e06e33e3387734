"""The rules that compare a session with what was published before it. Frames in, frames out; no rule stops anything.

What a run finds in its own data (a failed source, a stale series, a degraded forecast) is in tasks/alerts/of_run.py.
Each rule returns rows ``kind, subject, level, message``. Forecasts are rows of ``forecasts.zl_forecasts_daily``; a
frame of past ones has one row per session and horizon, only sessions before today's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.decision.policy import ALL
from tasks.registry import AlertLimits, AlertRules

COLUMNS = ["kind", "subject", "level", "message"]
GB = 1e9


def rows_of(found: list[tuple[str, str, str]]) -> pd.DataFrame:
    """Alerts from ``kind, subject, message``; the level is set by ``with_levels``."""
    return pd.DataFrame([(kind, subject, "warning", text) for kind, subject, text in found], columns=COLUMNS)


def with_levels(alerts: pd.DataFrame, rules: AlertRules) -> pd.DataFrame:
    """The alerts, each with the severity that registry/alerts.yaml gives its kind."""
    return alerts.assign(level=[rules.of(kind).severity for kind in alerts["kind"]])


def session_before(past: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """The rows of the session before ``as_of``; none if that session was not published."""
    calendar = sessions()
    at = int(calendar.searchsorted(as_of))
    if past.empty or not at:
        return past.iloc[:0]
    return past[past["as_of"] == calendar[at - 1]]


def forecast_jumps(past: pd.DataFrame, today: pd.DataFrame, limits: AlertLimits) -> pd.DataFrame:
    """Horizons whose forecast moved, beyond the price's own move, more than it usually does from session to session.

    The move is that of ln(point / last_price), so that a market that moves and takes the forecast along is no jump.
    With fewer than ``jump_least_history`` moves between consecutive published sessions nothing is judged.
    """
    found = []
    for horizon, now in today.groupby("horizon", sort=False):
        own = past[past["horizon"] == horizon] if len(past) else past
        joined = pd.concat([own, now]) if len(own) else now
        joined = joined.sort_values("as_of").drop_duplicates("as_of", keep="last")
        at = sessions().searchsorted(pd.DatetimeIndex(joined["as_of"]))
        excess = np.log(joined["point"].to_numpy(float) / joined["last_price"].to_numpy(float))
        moves, consecutive = np.abs(np.diff(excess)), np.diff(at) == 1
        if not len(moves) or not consecutive[-1]:
            continue
        before = moves[:-1][consecutive[:-1]]
        before = before[~np.isnan(before)][-limits.jump_history :]
        if len(before) < limits.jump_least_history:
            continue
        usual = float(np.quantile(before, limits.jump_quantile))
        if moves[-1] > usual and round(100 * moves[-1], 2) > 0:
            text = (
                f"the forecast moved {100 * moves[-1]:.1f}% beyond the price since the session before; "
                f"{limits.jump_quantile:.0%} of {len(before)} earlier moves were within {100 * usual:.1f}%"
            )
            found.append(("jump", str(horizon), text))
    return rows_of(found)


def disagreeing_horizons(today: pd.DataFrame, limits: AlertLimits) -> pd.DataFrame:
    """Whether published chances of a higher price point in opposite directions, beyond a margin on both sides."""
    known = today.dropna(subset=["direction_probability"])
    up = known[known["direction_probability"] >= 0.5 + limits.disagree_margin]
    down = known[known["direction_probability"] <= 0.5 - limits.disagree_margin]
    if up.empty or down.empty:
        return rows_of([])

    def listed(rows: pd.DataFrame) -> str:
        pairs = zip(rows["horizon"], rows["direction_probability"], strict=True)
        return ", ".join(f"{horizon} ({chance:.0%})" for horizon, chance in pairs)

    return rows_of([("disagree", "horizons", f"up: {listed(up)}; down: {listed(down)}: chances of a higher price")])


def beyond_band(past: pd.DataFrame, today: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """Whether today's price is outside yesterday's 90% band of the nearest horizon, which is wider than a day's."""
    if past.empty:
        return rows_of([])
    before = session_before(past, as_of)
    before = before[before["horizon"] == today["horizon"].iloc[0]]
    if before.empty or before[["p05", "p95"]].isna().any(axis=None):
        return rows_of([])
    price, low, high = float(today["last_price"].iloc[0]), float(before["p05"].iloc[0]), float(before["p95"].iloc[0])
    if low <= price <= high:
        return rows_of([])
    text = (
        f"{price:.2f} cents/lb is {'above' if price > high else 'below'} the 90% band of {low:.2f} to {high:.2f} that "
        f"was published for {before['horizon'].iloc[0]} on {before['as_of'].iloc[0]:%Y-%m-%d}"
    )
    return rows_of([("beyond_band", "ZL=F", text)])


def budget_chance(past: pd.DataFrame, today: pd.DataFrame, as_of: pd.Timestamp, limits: AlertLimits) -> pd.DataFrame:
    """Needs whose chance to exceed the budget rose since the session before, for the same need as it is written.

    Args:
        past, today: rows of ``forecasts.zl_decisions_daily``.
    """
    if today.empty or past.empty:
        return rows_of([])
    now = today[today["month"] == ALL].set_index("need")
    before = session_before(past[past["month"] == ALL], as_of).set_index("need")
    found = []
    for need in now.index.intersection(before.index):
        chance, earlier = now.loc[need, "chance_over_budget"], before.loc[need, "chance_over_budget"]
        same = now.loc[need, "need_version"] == before.loc[need, "need_version"]
        if same and chance - earlier >= limits.budget_rise:  # NaN is no rise
            text = f"the chance to exceed the budget rose from {earlier:.0%} to {chance:.0%} in a session"
            found.append(("budget", str(need), text))
    return rows_of(found)


def roll_ahead(today: pd.DataFrame, as_of: pd.Timestamp, limits: AlertLimits) -> pd.DataFrame:
    """Whether the front month changes within a few sessions."""
    row = today.iloc[0]
    if pd.isna(row["roll_date"]):
        return rows_of([])
    calendar = sessions()
    left = int(calendar.searchsorted(row["roll_date"]) - calendar.searchsorted(as_of))
    if not 0 < left <= limits.roll_sessions:
        return rows_of([])
    text = f"the front month leaves {row['contract']} on {row['roll_date']:%Y-%m-%d}: the price may jump by the spread"
    return rows_of([("roll", str(row["contract"]), text)])


def champions_replaced(past: pd.DataFrame, today: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """Horizons that another family serves than the session before. A degraded forecast is an alert of its own."""
    before = session_before(past, as_of)
    if before.empty:
        return rows_of([])
    joined = today.merge(before, on="horizon", suffixes=("", "_before"))
    changed = joined[
        (joined["family"] != joined["family_before"])
        & ~joined["degraded"].astype(bool)
        & ~joined["degraded_before"].astype(bool)
    ]
    return rows_of(
        [
            ("champion", row["horizon"], f"{row['model_version']} serves; it was {row['model_version_before']}")
            for row in changed.to_dict("records")
        ]
    )


def old_models(trained: Mapping[str, pd.Timestamp], as_of: pd.Timestamp, limits: AlertLimits) -> pd.DataFrame:
    """Horizons whose champion was trained too long ago. ``trained``: by horizon, the session it was trained as of."""
    old = {horizon: int((as_of - day).days) for horizon, day in trained.items()}
    return rows_of(
        [
            ("model_age", horizon, f"the champion was trained more than {limits.model_age_days} days ago; `make train`")
            for horizon, days in old.items()
            if days > limits.model_age_days
        ]
    )


def low_disk(free_bytes: float, limits: AlertLimits) -> pd.DataFrame:
    """Whether the volume of CBI_HOME is nearly full. The text has no figure that differs from run to run."""
    if free_bytes >= limits.disk_free_gb * GB:
        return rows_of([])
    text = f"less than {limits.disk_free_gb:g} GB are free; `cbi audit` lists what may be deleted"
    return rows_of([("disk", "CBI_HOME", text)])
