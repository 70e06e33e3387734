"""The brief of a session for the morning meeting: what it says, read from what is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tasks.calendar import sessions
from tasks.decision.policy import ALL
from tasks.errors import NothingStored
from tasks.forecasting.contract import contract_month
from tasks.reporting.decision import OF_A_DAY, explanation, headline
from tasks.reporting.screen import attention_lines, largest, short_reason
from tasks.run import RunContext
from tasks.secrets import redact
from tasks.sources.payloads import LIVE
from tasks.storage.files import read_parquet
from tasks.units import signed
from tasks.warehouse.past import decisions_on, rows_on
from tasks.warehouse.protocol import Warehouse

DUE_SESSIONS = 5
PROMISE = "The 80% band is meant to miss 1 outcome in 5."
NAMES = {"revision": "revised data", "price": "the price", "curve": "the curve", "model": "another model"}


@dataclass(frozen=True)
class Brief:
    """What the brief says, in words; every renderer shows the same. ``rows``: horizon, due, forecast, band, why."""

    as_of: str
    title: str
    contract: str
    rows: list[tuple[str, str, str, str, str]]
    decision: list[str]
    drivers: list[str]
    changes: list[str]
    warnings: list[str]
    due: list[str]
    footer: str
    forecasts: pd.DataFrame = field(repr=False)
    prices: pd.DataFrame = field(repr=False)


def read_brief(run: RunContext, warehouse: Warehouse) -> Brief:
    """The brief of the run's session.

    Raises:
        NothingStored: no forecast of the session is published.
    """
    day = f"{run.as_of:%Y-%m-%d}"
    forecasts = warehouse.query(OF_A_DAY.format(day=day)) if warehouse.is_published() else pd.DataFrame()
    if forecasts.empty:
        raise NothingStored(f"no forecast of {day} is published; run `cbi daily --as-of {day}`")
    path = run.zones.panel / "panel.parquet"
    prices = read_parquet(path, ["date", "zl_close"]) if path.exists() else pd.DataFrame(columns=["date", "zl_close"])
    return brief_of(
        forecasts.sort_values("target_date"),
        explanations=rows_on(warehouse, "forecasts.zl_explanations_daily", run.as_of),
        explainers=rows_on(warehouse, "forecasts.zl_explainers_daily", run.as_of),
        changes=rows_on(warehouse, "forecasts.zl_changes_daily", run.as_of),
        decisions=decisions_on(warehouse, run.as_of),
        alerts=rows_on(warehouse, "ops.alerts", run.as_of, order="kind, subject"),
        prices=prices[prices["date"] <= run.as_of],
        reports=warehouse.query("SELECT report, last_release, expected FROM api.vw_next_due"),
    )


def brief_of(
    forecasts: pd.DataFrame,
    *,
    explanations: pd.DataFrame,
    explainers: pd.DataFrame,
    changes: pd.DataFrame,
    decisions: pd.DataFrame,
    alerts: pd.DataFrame,
    prices: pd.DataFrame,
    reports: pd.DataFrame,
) -> Brief:
    """The brief from rows of the warehouse's tables of one session.

    Args:
        prices: ``date, zl_close``, cents/lb. reports: ``report, last_release, expected`` of ``api.vw_next_due``.
    """
    row = forecasts.iloc[0]
    as_of, source = row["as_of"], row["origin"]
    dated = f"{as_of:%Y-%m-%d}, 18:00 Chicago" + ("" if source == LIVE else f" ({source} data, not a live price)")
    needs = [part for _, part in decisions.groupby("need", sort=False)] if len(decisions) else []
    return Brief(
        as_of=f"{as_of:%Y-%m-%d}",
        title=f"Soybean oil (CBOT ZL): {row['last_price']:.2f} cents/lb",
        contract=f"As of {dated}. {contract_month(row['contract'])} contract ({row['contract']}).",
        rows=[_forecast_row(one, explanations) for one in forecasts.to_dict("records")],
        decision=[redact(line) for part in needs for line in (headline(part), *explanation(part))]
        or ["No need of registry/decision.yaml has a decision."],
        drivers=_drivers(explainers),
        changes=changed(changes, forecasts),
        warnings=[redact(line) for line in attention_lines(alerts)] or ["Nothing."],
        due=_due(forecasts, decisions, reports, as_of),
        footer=f"Code {row['code_version']}, data {row['data_snapshot']}. {PROMISE}",
        forecasts=forecasts,
        prices=prices,
    )


def _forecast_row(row: Mapping[Any, Any], explanations: pd.DataFrame) -> tuple[str, str, str, str, str]:
    found = explanations[explanations["horizon"] == row["horizon"]] if len(explanations) else explanations
    why = short_reason(found["centre_sentence"].iloc[0]) if len(found) else "not explained"
    chance = row["direction_probability"]
    higher = "" if pd.isna(chance) else f"; {chance:.0%} chance of a higher price"
    band = f"{row['p10']:.2f} to {row['p90']:.2f}"
    return row["horizon"], f"{row['target_date']:%Y-%m-%d}", f"{row['point']:.2f}", band, redact(f"{why}{higher}")


def _drivers(explainers: pd.DataFrame) -> list[str]:
    centre, width = largest(explainers, "shap_cents_lb"), largest(explainers, "width_cents_lb")
    lines = [f"{group}: {signed(cents)} cents/lb at {horizon}" for group, horizon, cents in centre]
    lines += [
        f"{group}: the band is {abs(cents):.2f} cents/lb {'wider' if cents > 0 else 'narrower'} at {horizon}"
        for group, horizon, cents in width
    ]
    return lines or ["No input moves a forecast."]


def changed(changes: pd.DataFrame, forecasts: pd.DataFrame) -> list[str]:
    """One line per horizon: the move since the session before, and its largest parts, cents/lb."""
    if changes.empty:
        return ["Not known."]
    notes = list(dict.fromkeys(changes["note"].dropna()))
    lines = []
    for horizon in forecasts["horizon"]:
        part = changes[(changes["horizon"] == horizon) & changes["centre_cents_lb"].notna()]
        if part.empty:
            continue
        names = [
            NAMES.get(kind, subject or kind)
            for kind, subject in zip(part["part"], part["subject"].fillna(""), strict=True)
        ]
        sums = part["centre_cents_lb"].groupby(names).sum().round(2)
        sums = sums[sums != 0].sort_values(key=abs, ascending=False).head(3)
        why = ", ".join(f"{name} {signed(cents)}" for name, cents in sums.items())
        lines.append(f"{horizon} {signed(part['centre_cents_lb'].sum())}" + (f": {why}" if why else ""))
    return [*lines, *(f"{note[:1].upper()}{note[1:]}." for note in notes)]


def _due(forecasts: pd.DataFrame, decisions: pd.DataFrame, reports: pd.DataFrame, as_of: pd.Timestamp) -> list[str]:
    """What falls due within a few sessions, by date: rolls, months of a need, targets of this forecast, reports.

    A report released after the session is left out: its next date was not known then.
    """
    calendar = sessions()
    last = calendar[min(int(calendar.searchsorted(as_of)) + DUE_SESSIONS, len(calendar) - 1)]
    row, found = forecasts.iloc[0], []
    if pd.notna(row["roll_date"]):
        found.append((row["roll_date"], f"the front month leaves {row['contract']}"))
    if len(decisions):
        months = decisions[(decisions["month"] != ALL) & (decisions["open_pounds"] > 0)]
        found += [
            (one["due_date"], f"{one['open_pounds']:,.0f} lb of {one['month']} for {one['need']} must be fixed")
            for one in months.to_dict("records")
        ]
    found += [(one["target_date"], f"the {one['horizon']} forecast comes due") for one in forecasts.to_dict("records")]
    known = reports[pd.to_datetime(reports["last_release"]) <= as_of]
    found += [
        (pd.Timestamp(one["expected"]), f"{one['report']} is expected, by its usual gap")
        for one in known.to_dict("records")
    ]
    lines = [f"{day:%Y-%m-%d}: {what}" for day, what in sorted(found, key=lambda one: one[0]) if as_of < day <= last]
    return lines or [f"Nothing within {DUE_SESSIONS} sessions."]
