"""The result of a run for a terminal, and the same as Markdown for artifacts."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from tasks.command_line import visible
from tasks.gates.states import count_states, result_table
from tasks.models.catalogue import BASELINES
from tasks.outcome import DayResult
from tasks.reporting.day_tables import (
    contract_table,
    coverage_table,
    disabled_table,
    driver_table,
    forecast_table,
    freshness_table,
    gate_table,
    paused_table,
    quarantine_table,
    refused_table,
    skill_table,
)
from tasks.reporting.decision import (
    explanation,
    headline,
    month_table,
    plan_table,
    protection_table,
    remarks,
)
from tasks.secrets import quoted
from tasks.sources.payloads import LIVE
from tasks.units import signed

if TYPE_CHECKING:
    from tasks.operations.health import Health
    from tasks.training.search import StudyResult
    from tasks.warehouse.record import ChainState

STATE_STYLES = {"met": "green", "waived": "blue", "warned": "yellow", "quarantined": "yellow", "blocked": "bold red"}
CONTRACTS_TITLE = "Contracts that can be bought now, cents/lb"
DRIVERS_TITLE = "Drivers: contributions by group, which add up to the forecast less the price"
REFUSED_TITLE = "Refused, of what was served: without an accepted value from any payload"
COVERAGE_TITLE = "Features: share of cells with a value, by category and years"


def print_result(result: DayResult, console: Console) -> None:
    """Print the forecast, its drivers, its measured quality, and the state of the data."""
    last = result.forecasts["last_price"].iloc[0]
    console.print()
    day = f"as of {result.as_of:%Y-%m-%d}, 18:00 Chicago{source_note(result)}"
    console.print(f"[bold]Soybean oil (CBOT ZL): {last:.2f} cents/lb[/] {day}")
    for note in result.price_notes:
        console.print(shown(note), highlight=False)
    print_table(console, "Forecast, cents/lb", forecast_table(result))
    print_table(console, "Measured on past origins the models had not seen", skill_table(result))
    for note in notes(result):
        console.print(f"  {shown(note)}")
    if len(result.contracts):
        print_table(console, CONTRACTS_TITLE, contract_table(result))
    drivers = driver_table(result)
    if len(drivers):
        print_table(console, DRIVERS_TITLE, drivers)
        for sentence in result.explanations.get("centre_sentence", []):
            console.print(f"  {shown(sentence)}", highlight=False)
    print_table(console, "Data", freshness_table(result))
    disabled = disabled_table(result)
    if len(disabled):
        print_table(console, "Disabled sources", disabled)
    paused = paused_table(result)
    if len(paused):
        print_table(console, "Paused sources", paused)
    print_table(console, COVERAGE_TITLE, coverage_table(result))
    print_table(console, "Refused cells (quarantine)", quarantine_table(result))
    print_table(console, REFUSED_TITLE, refused_table(result))
    print_table(console, "Gates", gate_table(result))
    for need in result.decisions["need"].unique() if len(result.decisions) else ():
        line = headline(result.decisions[result.decisions["need"] == need])
        console.print(shown(f"{line} `cbi decision` shows why."), highlight=False)
    for alert in result.alerts.to_dict("records"):
        text = shown(f"{alert['subject']}: {quoted(alert['message'], most=150)}")
        console.print(f"[yellow]{shown(alert['kind'])}[/] {text}", highlight=False)
    pages = result.pages
    written = (
        {
            "Fan chart": pages.fan_chart,
            "Coverage chart": pages.coverage_chart,
            "Gate page": pages.gate_page,
            "Drivers": pages.waterfall,
            "Drivers over the past year": pages.beeswarm,
        }
        if pages
        else {}
    )
    for what, path in ((name, path) for name, path in written.items() if path):
        console.print(f"{what}: {path}", soft_wrap=True, markup=False)  # `[z]` in a folder's name is not a style


def print_decision(table: pd.DataFrame, as_of: pd.Timestamp, console: Console) -> None:
    """Print the decision of each need as a buyer reads it; a terminal of 130 columns shows each row in one line."""
    for _, rows in table.groupby("need", sort=False) if len(table) else ():
        console.print(f"[bold]{shown(headline(rows))}[/]", highlight=False)
        console.print(f"As of {as_of:%Y-%m-%d}, 18:00 Chicago.", highlight=False)
        for line in explanation(rows):
            console.print(shown(line), highlight=False)
        print_table(console, f"Month by month, {rows['unit'].iloc[0]}", month_table(rows))
        print_table(console, "Plan", plan_table(rows))
        print_table(console, "Protection, by a model", protection_table(rows))
        for line in remarks(rows):
            console.print(shown(line), highlight=False)


def source_note(result: DayResult) -> str:
    """The origin of the data, unless it is live."""
    if result.origin == LIVE:
        return ""
    return f" ({result.origin} data, not a live price)"


def search_table(found: Sequence[StudyResult]) -> Table:
    """One row per study: pinball loss relative to no change on the validation folds, registry's and best options."""
    table = Table(title="Options, on folds before the first scored year: pinball loss, no change = 1")
    for name in ("horizon", "default", "best", "trials", "pruned", "best options"):
        table.add_column(name, justify="right" if name in ("default", "best", "trials", "pruned") else "left")
    for one in found:
        options = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in one.best_options.items()
        )
        figures = (f"{one.default_loss:.4f}", f"{one.best_loss:.4f}", str(one.trials), str(one.pruned))
        table.add_row(", ".join(one.horizons), *figures, shown(options) or "the registry's: no trial lost less")
    return table


def board_tables(board: pd.DataFrame) -> list[Table]:
    """The leaderboard, one table per horizon: skill over the better naive and coverage with their 90% intervals."""
    tables = []
    for horizon, part in board.groupby("horizon", sort=False):
        naive = ", ".join(sorted(set(part.get("better_naive", pd.Series(dtype="str")).dropna())))
        table = Table(title=f"{horizon}, against {naive or 'nothing measured'}")
        for name in (
            "family",
            "pinball",
            "skill %",
            "90% interval",
            "80% band",
            "direction",
            "Sharpe",
            "MAPE %",
            "origins",
        ):
            table.add_column(name, justify="left" if name == "family" else "right")
        for row in part.sort_values("pinball_log_return").to_dict("records"):
            style = "bold green" if row["champion"] else None
            cells = [
                str(row["family"]),
                _figure(row, "pinball_log_return", "{:.5f}"),
                _signed(row, "skill_pct"),
                f"{_signed(row, 'skill_pct_low')} to {_signed(row, 'skill_pct_high')}",
                _figure(row, "coverage_80", "{:.1%}"),
                _figure(row, "direction_hit_rate", "{:.0%}"),
                _figure(row, "sharpe", "{:.2f}"),
                _figure(row, "mape_pct", "{:.1f}"),
                _figure(row, "origins", "{:.0f}"),
            ]
            table.add_row(*cells, style=style)
        tables.append(table)
    return tables


def _figure(row: dict[Hashable, Any], name: str, form: str) -> str:
    value = row.get(name)
    return "none" if value is None or pd.isna(value) else form.format(value)


def _signed(row: dict[Hashable, Any], name: str) -> str:
    value = row.get(name)
    return "none" if value is None or pd.isna(value) else signed(value)


def notes(result: DayResult) -> list[str]:
    """Notes below the table."""
    measured = result.leaderboard.dropna(subset=["skill_pct"])
    out = []
    if len(measured):
        first, last = measured["first_origin"].min(), measured["last_origin"].max()
        out.append(f"Measured on purged walk-forward folds, origins {first} to {last}; skill is in pinball loss.")
    else:
        out.append("No fold could be measured yet: the baseline is served, its skill and coverage are unknown.")
    month = result.forecasts[result.forecasts["horizon"] == "1m"].iloc[0]
    out.append(
        f"Waiting a month: one chance in ten to pay more than {month['p90']:.2f}, one in ten to pay less than "
        f"{month['p10']:.2f} cents/lb."
    )
    if result.forecasts["is_baseline"].all():
        champions = result.leaderboard[result.leaderboard["champion"].astype(bool)]
        if champions["family"].isin(BASELINES).all():
            out.append(
                "No model met the promotion gates, so the price is forecast to go where the curve puts it, "
                "within a range."
            )
        else:
            out.append(
                "The models that met the promotion gates cannot serve today, so the price is forecast to go where the "
                "curve puts it, within a range; the reasons follow."
            )
    for reason, part in result.forecasts.dropna(subset=["direction_reason"]).groupby("direction_reason", sort=False):
        out.append(f"No P(higher) at {', '.join(part['horizon'])}: {reason}.")
    for row in result.forecasts[result.forecasts["degraded"]].to_dict("records"):
        out.append(f"{row['horizon']} is degraded: {row['degraded_reason']}")
    return out


def markdown(result: DayResult) -> str:
    """The result as Markdown for a Prefect artifact."""
    last, pages = result.forecasts["last_price"].iloc[0], result.pages
    parts = [
        f"# Soybean oil: {last:.2f} cents/lb as of {result.as_of:%Y-%m-%d}{source_note(result)}",
        " ".join(in_markdown(note) for note in result.price_notes),
        _markdown(forecast_table(result)),
        "## Measured on past origins the models had not seen",
        _markdown(skill_table(result)),
        "\n".join(f"- {in_markdown(note)}" for note in notes(result)),
        f"## {CONTRACTS_TITLE}" if len(result.contracts) else "",
        _markdown(contract_table(result)),
        f"## {DRIVERS_TITLE}",
        _markdown(driver_table(result)),
        "## Data",
        _markdown(freshness_table(result)),
        "## Disabled sources",
        _markdown(disabled_table(result)) or "None.",
        "## Paused sources",
        _markdown(paused_table(result)) or "None.",
        f"## {COVERAGE_TITLE}",
        _markdown(coverage_table(result)),
        "## Refused cells (quarantine)",
        _markdown(quarantine_table(result)),
        f"## {REFUSED_TITLE}",
        _markdown(refused_table(result)) or "None.",
        "## Gates",
        _markdown(gate_table(result)),
        f"Fan chart: `{pages.fan_chart}`; coverage chart: `{pages.coverage_chart}`" if pages else "",
    ]
    return "\n\n".join(part for part in parts if part)


def gates_markdown(result: DayResult) -> str:
    """The result of each gate, its failures, and the path of the full page."""
    failed = result_table(result.gates[~result.gates["success"].astype(bool)])
    parts = [
        f"# Gates as of {result.as_of:%Y-%m-%d}",
        _markdown(count_states(result.gates)),
        _markdown(failed) or "Every expectation was met.",
        f"Every rule with its reason, examples and history: `{result.pages.gate_page}`" if result.pages else "",
    ]
    return "\n\n".join(part for part in parts if part)


def print_gate_results(results: pd.DataFrame, title: str, console: Console) -> None:
    """Print every result, failures first with their example rows, then the counts."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", expand=True)
    listed = result_table(results)
    widths = {"suite": 4, "expectation": 5, "column": 3, "reason": 9}
    for name in listed.columns:
        side: JustifyMethod = "right" if name == "count" else "left"
        table.add_column(name, justify=side, overflow="fold", no_wrap=name not in widths, ratio=widths.get(name))
    for row in listed.to_dict("records"):
        cells = {name: shown(value) for name, value in row.items()}
        cells["result"] = f"[{STATE_STYLES[row['result']]}]{row['result']}[/]"
        table.add_row(*cells.values())
    console.print(table)
    print_table(console, "In all", count_states(results))


def print_table(console: Console, title: str, frame: pd.DataFrame) -> None:
    """Print a frame as a table, with numbers aligned right."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for name in frame.columns:
        number = frame[name].map(lambda value: str(value)[:1].isdigit() or str(value)[:1] in "+-").all()
        table.add_column(shown(name), justify="right" if number else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(shown(value) for value in row))
    console.print(table)


def print_record(states: Sequence[ChainState], console: Console | None = None) -> None:
    """Print one row per chain, then every finding with what it is of."""
    console = console or Console(width=max(160, Console().width))
    if not states:
        console.print("There is no record yet: the next publish begins it.")
        return
    rows = [
        {
            "chain": state.chain,
            "links": state.links,
            "adopted": state.adopted,
            "sessions": state.sessions,
            "forecasts": state.forecasts,
            "newest session": state.newest_as_of,
            "findings": len(state.findings),
            "newest hash": state.head_sha256,
        }
        for state in states
    ]
    print_table(console, "The record of published forecasts", pd.DataFrame(rows))
    for finding in (finding for state in states for finding in state.findings):
        console.print(f"[bold red]{finding.what}[/] {shown(finding.chain)}: {shown(finding.message)}", soft_wrap=True)
    if not any(state.findings for state in states):
        console.print("Every forecast is as it was published. Note the newest hash: with it you can show later that")
        console.print("nothing was cut off (`cbi verify record --contains HASH`).")


SOURCE_STYLES = {"ok": "green", "critical": "bold red", "damaged": "bold red", "disabled": "dim", "paused": "yellow"}
HEADINGS = {
    "told": "finding",
    "last": "newest value",
    "age_days": "age, days",
    "quarantined": "refused",
    "last_success": "last success",
    "next_run": "next run",
    "realised_coverage_80": "outcomes in the 80% band",
    "as_of": "session",
}
"""Columns whose name in a table is for programs, as a person reads them."""
HEALTH_STYLES = {"ok": "green", "not yet": "dim", "warning": "yellow", "failing": "bold red"}


def print_health(console: Console, health: Health) -> None:
    """Print the checks, each in its color, then one table per part."""
    dated = f", {health.dated}" if health.dated else ""
    table = Table(title=f"Health as of {health.as_of:%Y-%m-%d}{dated}", title_justify="left", title_style="bold")
    for name in health.checks:
        table.add_column(HEADINGS.get(str(name), str(name)), header_style="dim", overflow="fold")
    for check, state, reason in health.checks.itertuples(index=False):
        table.add_row(shown(check), f"[{HEALTH_STYLES[state]}]{state}[/]", shown(reason))
    console.print(table)
    for title, part in {"Champions": health.champions, "Gates": health.gates}.items():
        if len(part):
            print_table(console, title, part.astype(object).where(part.notna(), "none").rename(columns=HEADINGS))
    table = Table(title="Sources", title_justify="left", title_style="bold", header_style="dim")
    columns = ["source", "state", "series", "last", "age_days", "quarantined", "last_success", "next_run"]
    for name in columns:
        table.add_column(
            HEADINGS.get(name, name),
            no_wrap=name != "state",
            justify="right" if name in ("age_days", "quarantined") else "left",
        )
    for row in health.sources.astype(object).where(health.sources.notna(), "none").to_dict("records"):
        style = next((style for word, style in SOURCE_STYLES.items() if row["state"].startswith(word)), "yellow")
        cells = {name: shown(row[name]) for name in columns}
        cells["state"] = f"[{style}]{escape(quoted(row['state'], most=60))}[/]"
        table.add_row(*cells.values())
    console.print(table)


def shown(value: object) -> str:
    """A text for a terminal, literally: no control character acts, and no `[...]` is a style."""
    return escape(visible(str(value)))


MARKUP = re.compile(r"([\\`*_\[\]<>|~#!&@]|:(?=//)|(?<=www)\.)")


def in_markdown(value: object) -> str:
    """A text for Markdown, literally: no part of it is a link, a picture, a tag, a table or a style."""
    lines = visible(str(value)).split("\n")
    return "<br>".join(MARKUP.sub(r"\\\1", line) for line in lines)


def _markdown(frame: pd.DataFrame) -> str:
    if frame.empty:
        return ""
    lines = ["| " + " | ".join(map(in_markdown, frame.columns)) + " |", "|" + " --- |" * len(frame.columns)]
    lines += ["| " + " | ".join(in_markdown(value) for value in row) + " |" for row in frame.itertuples(index=False)]
    return "\n".join(lines)
