"""The figure of a finished task for its last log line: what a reader of the log wants instead of `Completed()`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any


def figure(result: Any) -> str:
    """A few words of a task's result; empty where there is nothing to say. It never raises."""
    with suppress(Exception):  # a log line stops no run
        if isinstance(result, tuple) and result and type(result[0]).__name__ in FIGURES:
            return "; ".join(text for text in map(figure, result) if text)
        found = FIGURES.get(type(result).__name__)
        return found(result) if found else ""
    return ""


def _gate(report: Any) -> str:
    met = sum(result.success for result in report.results)
    return f"{met} of {len(report.results)} expectations met"


def _landed(done: Any) -> str:
    return f"{done.status}, {done.new_payloads} new payloads of {done.payloads}"


def _staged(done: Any) -> str:
    return f"{len(done.observations):,} observations, {len(done.quarantine):,} cells refused"


def _known(known: Any) -> str:
    return f"{len(known.series)} series, {len(known.observations):,} observations"


def _table(made_of: Any) -> str:
    rows, columns = made_of.table.shape
    return f"{rows:,} sessions, {columns} columns, {len(made_of.reasons)} set aside"


def _day(day: Any) -> str:
    return f"{len(day.features):,} sessions, {day.features.shape[1]} features, {day.labels.shape[1]} label columns"


def _forecast(done: Any) -> str:
    rows = done.forecasts.to_dict("records")
    return ", ".join(f"{row['horizon']} {row['point']:.2f} ({row['family']})" for row in rows)


def _reasons(done: Any) -> str:
    return (
        f"{len(done.explained.sentences)} sentences, {len(done.changes)} changes, {len(done.scenarios)} scenario rows"
    )


def _decided(done: Any) -> str:
    return f"{len(done.table)} rows, {len(done.problems)} problems"


def _result(done: Any) -> str:
    return f"{done.changed_rows} rows changed, {len(done.alerts)} alerts"


FIGURES: dict[str, Callable[[Any], str]] = {
    "GateReport": _gate,
    "Ingested": _landed,
    "Staged": _staged,
    "Known": _known,
    "ColumnsAside": _table,
    "Day": _day,
    "DayForecast": _forecast,
    "DayReasons": _reasons,
    "DayDecisions": _decided,
    "DayResult": _result,
}
"""By the name of the type: importing the types would load every library before a run starts."""
