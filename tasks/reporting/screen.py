"""The last screen of a daily run: price, forecast, decision, drivers, what needs attention, where to look further."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.table import Table

from tasks.decision.policy import ALL
from tasks.forecasting.attribution import BASE
from tasks.forecasting.contract import contract_month
from tasks.outcome import DayResult
from tasks.reporting.alert_list import ORDER
from tasks.reporting.decision import headline
from tasks.reporting.terminal import shown, source_note
from tasks.secrets import quoted
from tasks.units import signed

DRIVERS = 3
ALERTS = 5
"""Lines about alerts; the others are counted."""
MERGED = {
    "stale": "old values in some series",
    "missing": "no values in some series",
    "source": "not fetched",
    "paused": "paused",
}
"""Kinds of which one line names every subject."""
LONGEST = 190


def print_screen(result: DayResult, console: Console) -> None:
    """Print one screen that a person reads in half a minute."""
    row = result.forecasts.iloc[0]
    title = f"[bold]Soybean oil (CBOT ZL): {row['last_price']:.2f} cents/lb[/]"
    console.print(f"\n{title} as of {result.as_of:%Y-%m-%d}, 18:00 Chicago{source_note(result)}", highlight=False)
    contract = f"{contract_month(row['contract'])} contract ({row['contract']})"
    console.print(f"{contract}; rolls on {row['roll_date']:%Y-%m-%d}. Prices in cents/lb.", highlight=False)
    console.print(_horizons(result))
    for need in result.decisions["need"].unique() if len(result.decisions) else ():
        console.print(
            shown(headline(result.decisions[result.decisions["need"] == need])), style="bold", highlight=False
        )
    console.print(shown(drivers_line(result)), highlight=False)
    attention = attention_lines(result.alerts)
    if attention or result.alert_note:
        console.print("[bold yellow]Needs attention[/]")
    for line in (*attention, *([result.alert_note] if result.alert_note else ())):
        console.print(f"  {shown(line)}", highlight=False)
    console.print(_further(result), highlight=False, markup=False, soft_wrap=True)


def _horizons(result: DayResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("", "due", "forecast", "80% band", "why"):
        table.add_column(name, justify="right" if name == "forecast" else "left", no_wrap=name != "why")
    for row in result.forecasts.to_dict("records"):
        band = f"{row['p10']:.2f} to {row['p90']:.2f}"
        why = why_of(result, row["horizon"])
        table.add_row(row["horizon"], f"{row['target_date']:%Y-%m-%d}", f"{row['point']:.2f}", band, shown(why))
    return table


def why_of(result: DayResult, horizon: str) -> str:
    """The reason of a forecast without its figures, which stand beside it: `up 0.34: the curve +0.34`."""
    if result.explanations.empty:
        return "not explained"
    found = result.explanations[result.explanations["horizon"] == horizon]
    if found.empty:
        return "not explained"
    return short_reason(found["centre_sentence"].iloc[0])


def short_reason(sentence: str) -> str:
    """What a centre sentence says after horizon and price, without today's price; an alert says why one is degraded."""
    known, mark, _ = sentence.partition(" (degraded: ")
    _, _, moved = known.partition(", ")
    way, _, why = moved.partition(" from today's ")
    return (f"{way}:{why.partition(':')[2]}" if why else known) + (" (degraded)" if mark else "")


def drivers_line(result: DayResult) -> str:
    """The three groups that move a forecast most, each at the horizon where it moves most, and the same of the width.

    Groups of models that are not served are left out.
    """
    centre = largest(result.explainers, "shap_cents_lb")
    width = largest(result.explainers, "width_cents_lb")
    parts = [
        "Drivers: "
        + (", ".join(f"{group} {signed(cents)} cents/lb ({horizon})" for group, horizon, cents in centre) or "none")
    ]
    if width:
        parts.append(
            "of the band's width: " + ", ".join(f"{group} {signed(c)} cents/lb ({h})" for group, h, c in width)
        )
    return "; ".join(parts) + "."


def largest(explainers: pd.DataFrame, column: str, most: int = DRIVERS) -> list[tuple[str, str, float]]:
    """Group, horizon and cents/lb of the largest contributions of served models, one per group.

    Args:
        explainers: rows of ``forecasts.zl_explainers_daily``; ``column``: ``shap_cents_lb`` or ``width_cents_lb``.
    """
    if explainers.empty or column not in explainers:
        return []
    served = explainers[explainers["served"].astype(bool)]
    if column == "width_cents_lb":
        served = served[served["feature"] != BASE]  # the width of an ordinary day
    sums = served.groupby(["horizon", "group"], sort=False)[column].sum().reset_index()
    sums = sums[sums[column].round(2).abs() > 0]
    order = sums[column].abs().sort_values(ascending=False, kind="stable").index
    best = sums.reindex(order).drop_duplicates("group").head(most)
    return list(best[["group", "horizon", column]].itertuples(index=False, name=None))


def attention_lines(alerts: pd.DataFrame, most: int = ALERTS) -> list[str]:
    """One line per alert, the gravest first; kinds that are about sources share a line. The rest is counted."""
    if alerts.empty:
        return []
    ranked = alerts.assign(rank=alerts["level"].map(ORDER).fillna(0)).sort_values("rank", kind="stable")
    lines = [
        f"{row['kind']} {row['subject']}: {quoted(row['message'], most=LONGEST)}"
        for row in ranked[~ranked["kind"].isin(MERGED)].to_dict("records")
    ]
    merged = []
    for kind, words in MERGED.items():
        subjects = list(dict.fromkeys(ranked.loc[ranked["kind"] == kind, "subject"]))
        if subjects:
            count = f"{len(subjects)} sources" if len(subjects) > 1 else "1 source"
            merged.append(quoted(f"{words}, {count}: {', '.join(subjects)}", most=LONGEST))
    room = most - len(merged)
    rest = len(lines) - room
    return [*lines[:room], *merged, *([f"and {rest} more: `cbi alerts list`"] if rest > 0 else [])]


def _further(result: DayResult) -> str:
    line = "Further: `cbi decision`, `cbi health`, `cbi alerts list`; every table: `cbi daily --details`."
    return f"{line}\nCharts and gates: {result.pages.gate_page.parent}" if result.pages else line


def summary_line(result: DayResult) -> str:
    """The whole run in one line, for a schedule's log."""
    row = result.forecasts.iloc[0]
    points = ", ".join(f"{one['horizon']} {one['point']:.2f}" for one in result.forecasts.to_dict("records"))
    needs = result.decisions["need"].unique() if len(result.decisions) else ()
    decided = "".join(f"; {one}: {_signal(result.decisions[result.decisions['need'] == one])}" for one in needs)
    return (
        f"{result.as_of:%Y-%m-%d}{source_note(result)}: ZL {row['last_price']:.2f} ({row['contract']}); "
        f"{points}{decided}; alerts: {len(result.alerts)}; rows changed: {result.changed_rows}"
    )


def _signal(rows: pd.DataFrame) -> str:
    return str(rows[rows["month"] == ALL]["signal"].iloc[0])
