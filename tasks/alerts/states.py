"""What was raised, sent, acknowledged and resolved: events of ``ops.alert_events``, appended and never changed.

An alert is named by kind and subject. Its state is that of its newest event: ``raised`` and ``sent`` are open,
``acknowledged`` is open and nobody is reminded, ``resolved`` is closed. A run raises what it finds and resolves what it
finds no longer; a person acknowledges and resolves. The same run again finds its own events and appends none.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pandas as pd

from tasks.alerts.rules import with_levels
from tasks.calendar import sessions
from tasks.errors import NothingStored
from tasks.registry import AlertRules
from tasks.secrets import redact

RAISED, SENT, ACKNOWLEDGED, RESOLVED = "raised", "sent", "acknowledged", "resolved"
OPEN = (RAISED, SENT, ACKNOWLEDGED)
RUN, PERSON = "run", "person"
KEY = ["kind", "subject", "number"]
COLUMNS = [*KEY, "as_of", "event", "by", "notify", "level", "message", "note"]


def no_events() -> pd.DataFrame:
    """An empty frame of events."""
    return pd.DataFrame(columns=COLUMNS).astype({"number": "int64", "notify": "bool", "as_of": "datetime64[us]"})


def next_events(events: pd.DataFrame, alerts: pd.DataFrame, rules: AlertRules, as_of: pd.Timestamp) -> pd.DataFrame:
    """The events that a run of one session appends; none if a later session has events already.

    Args:
        events: all earlier events. alerts: rows ``kind, subject, level, message`` that the run found.

    ``notify`` is true when nobody was told of this kind and subject within its cool-down, and the alert is not
    acknowledged. A person's ``resolved`` holds through the session, and through the cool-down after it.
    """
    if len(events) and events["as_of"].max() > as_of:
        return no_events()
    last = latest(events)
    found = with_levels(alerts, rules).drop_duplicates(["kind", "subject"])
    out = []
    for row in found.to_dict("records"):
        kind, subject = str(row["kind"]), str(row["subject"])
        own = events[(events["kind"] == kind) & (events["subject"] == subject)]
        state = last.get((kind, subject))
        cooldown = rules.of(kind).cooldown_sessions
        noticed = own[own["notify"].astype(bool)]
        cold = noticed.empty or _apart(noticed["as_of"].max(), as_of) >= cooldown
        if state is None or state["event"] == RESOLVED:
            by_person = state is not None and state["by"] == PERSON
            if by_person and state is not None and _apart(state["as_of"], as_of) < cooldown:
                continue
            notify = cold
        elif state["event"] == ACKNOWLEDGED or not cold:
            continue
        else:
            notify = True
        out.append(_event(own, row, as_of, RAISED, notify=notify))
    present = set(zip(found["kind"], found["subject"], strict=True))
    for (kind, subject), state in last.items():
        if state["event"] in OPEN and (kind, subject) not in present:
            own = events[(events["kind"] == kind) & (events["subject"] == subject)]
            out.append(_event(own, state, as_of, RESOLVED, note="not found any more"))
    return pd.DataFrame(out, columns=COLUMNS) if out else no_events()


def latest(events: pd.DataFrame) -> dict[tuple[str, str], dict[str, object]]:
    """The newest event of each kind and subject."""
    newest = events.sort_values("number").drop_duplicates(["kind", "subject"], keep="last")
    return {(row["kind"], row["subject"]): row for row in newest.to_dict("records")}  # type: ignore[misc]


def open_alerts(events: pd.DataFrame) -> pd.DataFrame:
    """One row per open alert: its newest event, and ``since``, the session on which it was raised."""
    rows = []
    for (kind, subject), state in latest(events).items():
        if state["event"] not in OPEN:
            continue
        own = events[(events["kind"] == kind) & (events["subject"] == subject)].sort_values("number")
        closed = own.loc[own["event"] == RESOLVED, "number"].max()
        since = own[own["number"] > (-1 if pd.isna(closed) else closed)]
        rows.append({**state, "since": since["as_of"].min()})
    return pd.DataFrame(rows, columns=[*COLUMNS, "since"])


def unsent(events: pd.DataFrame) -> pd.DataFrame:
    """Notices that nobody got yet: the newest event of an open alert is a ``raised`` with ``notify``."""
    rows = [state for state in latest(events).values() if state["event"] == RAISED and state["notify"]]
    return pd.DataFrame(rows, columns=COLUMNS)


def sent(events: pd.DataFrame, notices: pd.DataFrame, as_of: pd.Timestamp, note: str) -> pd.DataFrame:
    """The events that say that notices were delivered."""
    return _following(events, notices.to_dict("records"), as_of, SENT, RUN, note)


def by_person(
    events: pd.DataFrame, kind: str, subject: str, as_of: pd.Timestamp, event: str, note: str
) -> pd.DataFrame:
    """The event by which a person acknowledges or resolves an open alert.

    Raises:
        NothingStored: no such alert is open.
    """
    listed = open_alerts(events)
    found = listed[(listed["kind"] == kind) & (listed["subject"] == subject)]
    if found.empty:
        raise NothingStored(f"no alert `{kind}` of `{subject}` is open; `cbi alerts list` shows those that are")
    return _following(events, found.to_dict("records"), max(as_of, found["as_of"].iloc[0]), event, PERSON, note)


def _following(
    events: pd.DataFrame, rows: Iterable[Mapping[Hashable, Any]], as_of: pd.Timestamp, event: str, who: str, note: str
) -> pd.DataFrame:
    out = []
    for row in rows:
        own = events[(events["kind"] == row["kind"]) & (events["subject"] == row["subject"])]
        out.append(_event(own, row, as_of, event, by=who, note=note))
    return pd.DataFrame(out, columns=COLUMNS)


def _event(
    own: pd.DataFrame,
    row: Mapping[Any, Any],
    as_of: pd.Timestamp,
    event: str,
    *,
    by: str = RUN,
    notify: bool = False,
    note: str = "",
) -> dict[str, object]:
    number = int(own["number"].max()) + 1 if len(own) else 1
    values = {name: row[name] for name in ("kind", "subject", "level")} | {"message": redact(str(row["message"]))}
    return {**values, "number": number, "as_of": as_of, "event": event, "by": by, "notify": notify, "note": note}


def _apart(earlier: object, later: pd.Timestamp) -> int:
    """Sessions from one to the other."""
    calendar = sessions()
    return int(calendar.searchsorted(later) - calendar.searchsorted(pd.Timestamp(earlier)))  # type: ignore[arg-type]
