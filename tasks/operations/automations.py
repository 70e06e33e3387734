"""deploy/automations.yaml: what the server does when a run is lost, fails, crashes, or does not start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from tasks.registry.entry import Entry, read_entries
from tasks.settings import PROJECT

AUTOMATIONS = PROJECT / "deploy" / "automations.yaml"
HEARTBEAT_S = 30
PREFIX = "cbi: "  # an automation on the server with this prefix that is not in the file is removed
EVENT = "prefect.flow-run."
HEARTBEAT = f"{EVENT}heartbeat"
STATES = (
    *(
        "Scheduled",
        "Late",
        "AwaitingRetry",
        "AwaitingConcurrencySlot",
        "Pending",
        "Submitting",
        "InfrastructurePending",
    ),
    *("Running", "Retrying", "Paused", "Suspended", "Cancelling", "Cancelled", "Completed", "Cached", "RolledBack"),
    *("Failed", "TimedOut", "Crashed"),
    *("Skipped", "Disabled", "Partial"),
)
"""The names of a run's states, and so of its events: Prefect's, and those of flows/scheduled.py."""


def _event(name: str) -> str:
    if name != HEARTBEAT and name.removeprefix(EVENT) not in STATES:
        raise ValueError(f"no run has an event {name!r}; there are {HEARTBEAT} and {EVENT}… with {', '.join(STATES)}")
    return name


Event = Annotated[str, AfterValidator(_event)]


class Trigger(Entry):
    """When an automation acts: on an event, or (Proactive) if an event does not occur."""

    type: Literal["event"]
    posture: Literal["Reactive", "Proactive"]
    match: dict[str, str] = Field(min_length=1)
    match_related: dict[str, str] = Field(default={})
    for_each: tuple[str, ...] = Field(min_length=1)
    after: tuple[Event, ...] = Field(default=(), description="what makes it wait for the next")
    expect: tuple[Event, ...] = Field(min_length=1)
    threshold: int = Field(ge=1)
    within: int = Field(ge=0, description="seconds")

    @model_validator(mode="after")
    def _patient(self) -> Trigger:
        if HEARTBEAT in self.expect and self.within < 3 * HEARTBEAT_S:
            raise ValueError(f"within: a heartbeat comes every {HEARTBEAT_S} s, and one may be late: give it three")
        return self


NOBODY = "Nobody is notified: NOTIFY_URL was not set when the services started (docs/running.md)."
"""Prefect's page shows an automation that only notifies, without an address, as one without any action."""


class Automation(Entry):
    """One automation."""

    description: str = Field(min_length=1)
    trigger: Trigger
    actions: tuple[dict[str, Any], ...] = Field(default=(), description="in Prefect's words")
    notify: bool = Field(default=False, description="tell a person")

    @model_validator(mode="after")
    def _acts(self) -> Automation:
        if not self.actions and not self.notify:
            raise ValueError("it does nothing: give it actions, or notify: true")
        return self


class Notification(Entry):
    """The text of a notification, as Prefect's templates."""

    subject: str
    body: str


class Automations(Entry):
    """deploy/automations.yaml."""

    notification: Notification
    automations: dict[str, Automation]


def automations(notify: list[dict[str, Any]], *, path: Path = AUTOMATIONS) -> list[dict[str, Any]]:
    """Every automation of the file, for Prefect's API. ``notify``: the actions that notify a person.

    Raises:
        RegistryError: an entry of the file does not fit; the message names file and entry.
    """
    notifications = tuple(notify or [{"type": "do-nothing"}])  # the server's page of events shows it anyway
    return [
        {
            "name": f"{PREFIX}{name}",
            "description": one.description if notify or not one.notify else f"{one.description} {NOBODY}",
            "trigger": one.trigger.model_dump(mode="json", exclude_unset=True),
            "actions": [*one.actions, *(notifications if one.notify else ())],
        }
        for name, one in read_entries(path, Automations).automations.items()
    ]


def notification(block: str, *, path: Path = AUTOMATIONS) -> dict[str, Any]:
    """The action that notifies a person through a notification block (its id): run, state and message."""
    words = read_entries(path, Automations).notification
    return {"type": "send-notification", "block_document_id": block, **words.model_dump()}
