"""The schedule of the flows: prefect.yaml, from the registry. ``cbi project deployments`` writes it."""

from __future__ import annotations

from typing import Any

import yaml

from tasks.calendar import CHICAGO
from tasks.operations.services import POOL
from tasks.registry import DataSources, Schedule

PREFECT_YAML = "prefect.yaml"
# bars are fetched at 18:30 and up to five minutes later; a run before that would use yesterday's
DAILY = Schedule(cron="0 19 * * 1-5", timezone=CHICAGO, spread_s=0)
TRAINING = Schedule(cron="0 8 * * 6", timezone=CHICAGO, spread_s=0)
BRIEF = Schedule(cron="0 7 * * 1-5", timezone=CHICAGO, spread_s=0)  # before the morning meeting
HEALTH = Schedule(cron="5 * * * *", timezone="UTC", spread_s=0)
HEADER = (
    "# Written by `make deployments` from registry/data_sources.yaml and tasks/operations/deployments.py: edit those.\n"
)


def deployments(sources: DataSources) -> list[dict[str, Any]]:
    """Every deployment for prefect.yaml: one per source, then daily, training, brief and health."""
    ingests = [
        _deployment(
            source,
            "ingest",
            spec.schedule,
            f"Land and stage {spec.title}.",
            parameters={"source": source, "spread_s": spec.schedule.spread_s},
            tag="source",
        )
        for source, spec in sources.sources.items()
    ]
    return [
        *ingests,
        _deployment(
            "daily", "daily", DAILY, "From payloads to a published forecast, once per CBOT session.", tag="daily"
        ),
        _deployment(
            "training",
            "training",
            TRAINING,
            "The bake-off of every family.",
            parameters={"budget": "full"},
            tag="training",
        ),
        _deployment("brief", "brief", BRIEF, "The brief of the newest session, once, to CBI_NOTIFY.", tag="operations"),
        # a queued health run would report nothing new
        _deployment("health", "health", HEALTH, "The state of every source.", collision="CANCEL_NEW", tag="operations"),
    ]


def _deployment(
    name: str,
    flow: str,
    schedule: Schedule,
    description: str,
    *,
    tag: str,
    parameters: dict[str, Any] | None = None,
    collision: str = "ENQUEUE",
) -> dict[str, Any]:
    """One entry. A second run waits (ENQUEUE): if cancelled, it would be lost when the first one crashes."""
    return {
        "name": name,
        "description": description,
        "tags": [tag],
        "entrypoint": f"flows/scheduled.py:{flow}",
        "parameters": parameters or {},
        "schedules": [{"cron": schedule.cron, "timezone": schedule.timezone, "slug": name.replace("_", "-")}],
        "concurrency_limit": {"limit": 1, "collision_strategy": collision},
        "work_pool": {"name": POOL},
    }


def prefect_yaml(sources: DataSources) -> str:
    """The text of prefect.yaml. CHECKOUT is set by the worker: it knows the path of its code, the server need not."""
    content = {
        "name": "cbi",
        "pull": [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $CHECKOUT }}"}}],
        "deployments": deployments(sources),
    }
    return HEADER + yaml.safe_dump(content, sort_keys=False, width=120)
