"""What the server does by itself when a run is lost, fails, crashes, or does not come: Prefect automations as data."""

from __future__ import annotations

from typing import Any

from tasks.operations.services import POOL

HEARTBEAT_S = 30
LOST_AFTER_S = 3 * HEARTBEAT_S
# from Friday's run to Monday's are 72 hours; a holiday's run ends at once and counts
DAILY_WITHIN_S = 75 * 3600
PREFIX = "cbi: "  # what bears it and is not below is removed
WELL = ("Completed", "Skipped")  # Prefect names the event after the state, and flows/scheduled.py says Skipped
# a source that is disabled, or of which something did not arrive (flows/scheduled.py)
HALF = ("Disabled", "Partial")
ENDED = (*WELL, *HALF, "Failed", "TimedOut", "Cancelled", "Cancelling", "Crashed")


def automations(notify: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every automation, in the words of Prefect's API. ``notify`` are the actions that tell a person."""
    runs = {"prefect.resource.id": "prefect.flow-run.*"}
    quiet = notify or [{"type": "do-nothing"}]  # the server's page of events shows it all the same
    return [
        {
            "name": f"{PREFIX}a lost run is a crashed run",
            "description": f"A run without a heartbeat for {LOST_AFTER_S} s was killed: mark it, free its slot.",
            "trigger": {
                "type": "event",
                "posture": "Proactive",
                "match": runs,
                "for_each": ["prefect.resource.id"],
                "after": ["prefect.flow-run.heartbeat"],
                "expect": ["prefect.flow-run.heartbeat", *(f"prefect.flow-run.{name}" for name in ENDED)],
                "threshold": 1,
                "within": LOST_AFTER_S,
            },
            "actions": [
                {
                    "type": "change-flow-run-state",
                    "state": "CRASHED",
                    "message": f"no heartbeat for {LOST_AFTER_S} s: the process was killed, or its machine is gone",
                }
            ],
        },
        _told("a run failed", "A run ended with an error.", ["Failed", "TimedOut", "Partial"], runs, quiet),
        _told("a run crashed", "A run's process was killed; the next run heals it.", ["Crashed"], runs, quiet),
        _told("a run is late", f"A run is due and no worker of the pool {POOL} takes it.", ["Late"], runs, quiet),
        {
            "name": f"{PREFIX}the forecast is stale",
            "description": f"No daily run has ended well for {DAILY_WITHIN_S // 3600} hours.",
            "trigger": {
                "type": "event",
                "posture": "Proactive",
                "match": runs,
                "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": "daily"},
                "for_each": ["related:flow:prefect.resource.id"],
                "after": [f"prefect.flow-run.{name}" for name in WELL],
                "expect": [f"prefect.flow-run.{name}" for name in WELL],
                "threshold": 1,
                "within": DAILY_WITHIN_S,
            },
            "actions": quiet,
        },
    ]


def _told(
    name: str, description: str, states: list[str], match: dict[str, Any], actions: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "name": f"{PREFIX}{name}",
        "description": description,
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "match": match,
            "for_each": ["prefect.resource.id"],
            "expect": [f"prefect.flow-run.{state}" for state in states],
            "threshold": 1,
            "within": 0,
        },
        "actions": actions,
    }


def notification(block: str) -> dict[str, Any]:
    """The action that tells a person through a notification block (its id): which run, what state, what it said."""
    return {
        "type": "send-notification",
        "block_document_id": block,
        "subject": "{{ automation.name }}",
        "body": "{{ flow.name }} / {{ flow_run.name }}: {{ flow_run.state.name }}. {{ flow_run.state.message }}",
    }
