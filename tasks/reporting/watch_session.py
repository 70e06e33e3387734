"""A session compared with those before it, and a person told: where the rules of tasks/alerts meet the warehouse."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from tasks import clock
from tasks.alerts import rules, states
from tasks.alerts.routes import UNSET, addresses, deliver, message_of
from tasks.calendar import sessions
from tasks.errors import CbiError
from tasks.forecasting.explain import attempt
from tasks.model_store.champions import champion_by
from tasks.model_store.open import open_store
from tasks.outcome import DayResult
from tasks.registry import AlertRules, load_alerts
from tasks.run import RunContext, newest_session
from tasks.secrets import quoted
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.past import ALERT_EVENTS, alert_events, decisions_between, served_before
from tasks.warehouse.protocol import Warehouse

log = logging.getLogger(__name__)


def with_watched(run: RunContext, result: DayResult) -> DayResult:
    """The result with the alerts of rules that compare it with earlier sessions, each alert with its severity.

    A rule that fails is an alert of its own, and stops nothing.
    """
    known, failed = attempt("alert rules", lambda: load_alerts(run.settings.registry), None)
    if known is None:
        return replace(result, alerts=pd.concat([result.alerts, _failures(failed)], ignore_index=True))
    found = [result.alerts]
    for name, work in _rules(run, result, known).items():
        rows, failed = attempt(f"alert rule {name}", work, pd.DataFrame())
        found += [rows, _failures(failed)]
    joined = pd.concat([part for part in found if len(part)] or [result.alerts], ignore_index=True)
    return replace(result, alerts=rules.with_levels(joined.drop_duplicates(["kind", "subject"]), known))


def _failures(texts: tuple[str, ...]) -> pd.DataFrame:
    return rules.rows_of([("alerts", text.partition(":")[0], text) for text in texts])


def _rules(run: RunContext, result: DayResult, known: AlertRules) -> dict[str, Callable[[], pd.DataFrame]]:
    as_of, today, limits = run.as_of, result.forecasts, known.limits
    calendar = sessions()
    first = calendar[max(int(calendar.searchsorted(as_of)) - limits.jump_history - 2, 0)]
    warehouse = open_warehouse(run.settings)
    past, failed = attempt("past forecasts", lambda: _of_origin(served_before(warehouse, as_of, first), run), None)

    def served() -> pd.DataFrame:
        if past is None:
            raise CbiError("; ".join(failed))
        return past

    return {
        "jump": lambda: rules.forecast_jumps(served(), today, limits),
        "disagree": lambda: rules.disagreeing_horizons(today, limits),
        "beyond_band": lambda: rules.beyond_band(served(), today, as_of),
        "budget": lambda: rules.budget_chance(
            _of_origin(decisions_between(warehouse, as_of, as_of - pd.Timedelta(days=7)), run),
            result.decisions,
            as_of,
            limits,
        ),
        "roll": lambda: rules.roll_ahead(today, as_of, limits),
        "champion": lambda: rules.champions_replaced(served(), today, as_of),
        "model_age": lambda: rules.old_models(_trained(run), as_of, limits),
        "disk": lambda: rules.low_disk(shutil.disk_usage(run.zones.home).free, limits),
    }


def _of_origin(rows: pd.DataFrame, run: RunContext) -> pd.DataFrame:
    """Rows of the same origin of payloads: a recorded session says nothing of a live one."""
    return rows[rows["origin"] == run.origin_kind] if len(rows) else rows


def _trained(run: RunContext) -> dict[str, pd.Timestamp]:
    history = open_store(run.settings).history()
    found = {horizon: champion_by(history, horizon, run.as_of) for horizon in run.horizons.horizons}
    return {horizon: pd.Timestamp(entry["trained_as_of"]) for horizon, entry in found.items() if entry}


@dataclass(frozen=True)
class Notified:
    """What a run did about its alerts. ``raised``: events that a person should be told of; ``note``: for the screen."""

    raised: pd.DataFrame
    note: str


def tell(run: RunContext, result: DayResult) -> Notified:
    """Append the events of a published run's alerts, and deliver what nobody got yet. Nothing is raised.

    What no route takes stays undelivered, and the next run tries again.
    """
    done, failed = attempt("record of the alerts", lambda: _tell(run, result.alerts), Notified(pd.DataFrame(), ""))
    for text in failed:
        log.warning(text)
    return replace(done, note=failed[0]) if failed else done


def _tell(run: RunContext, alerts: pd.DataFrame) -> Notified:
    warehouse = open_warehouse(run.settings)
    events = known_events(warehouse)
    new = states.next_events(events, alerts, load_alerts(run.settings.registry), run.as_of)
    events = append(run, warehouse, events, new)
    raised = new[new["event"] == states.RAISED]
    routes = addresses()
    if not routes:
        return Notified(raised, UNSET)
    waiting = states.unsent(events)
    if waiting.empty:
        return Notified(raised, "")
    delivery = deliver(*message_of(waiting, as_of=run.as_of), to=routes)
    again = "" if delivery.sent else "; the next run tries again"
    line = f"alerts: {delivery.line()}{again}"
    log.log(logging.INFO if delivery.complete else logging.WARNING, line)
    if delivery.sent:
        append(run, warehouse, events, states.sent(events, waiting, run.as_of, delivery.line()))
    return Notified(raised, "" if delivery.complete else line)


def known_events(warehouse: Warehouse) -> pd.DataFrame:
    """Every event so far."""
    rows = alert_events(warehouse)
    return rows[states.COLUMNS] if len(rows) else states.no_events()


def append(run: RunContext, warehouse: Warehouse, events: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Publish new events; returns all."""
    if new.empty:
        return events
    warehouse.publish(
        {ALERT_EVENTS: new.assign(created_at=clock.now().floor("s"))},
        as_of=newest_session(run.zones) or run.as_of,
        staging=run.zones.staging,
    )
    return pd.concat([events, new], ignore_index=True) if len(events) else new


def change(run: RunContext, kind: str, subject: str, event: str, note: str) -> None:
    """A person acknowledges or resolves an open alert.

    Raises:
        NothingStored: no such alert is open.
    """
    warehouse = open_warehouse(run.settings)
    events = known_events(warehouse)
    append(run, warehouse, events, states.by_person(events, kind, subject, run.as_of, event, quoted(note)))
