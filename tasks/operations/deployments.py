"""Which flows run when: prefect.yaml, from the registry. ``cbi project deployments`` writes it."""

from __future__ import annotations

from typing import Any

import yaml

from tasks.calendar import CHICAGO
from tasks.operations.services import POOL
from tasks.registry import DataSources, Schedule

PREFECT_YAML = "prefect.yaml"
# 18:30 is when the bars are asked for and up to five minutes more; a run before they are in would use yesterday's
DAILY = Schedule(cron="0 19 * * 1-5", timezone=CHICAGO, spread_s=0)
TRAINING = Schedule(cron="0 8 * * 6", timezone=CHICAGO, spread_s=0)
HEALTH = Schedule(cron="5 * * * *", timezone="UTC", spread_s=0)
HEADER = (
    "# Written by `make deployments` from registry/data_sources.yaml and tasks/operations/deployments.py: edit those.\n"
)


def deployments(sources: DataSources) -> list[dict[str, Any]]:
    """Every deployment as prefect.yaml writes it: one a source, then daily, training and health."""
    asked = [
        _deployment(
            source,
            "ingest",
            spec.schedule,
            f"Land and stage {spec.title}.",
            parameters={"source": source, "spread_s": spec.schedule.spread_s},
        )
        for source, spec in sources.sources.items()
    ]
    return [
        *asked,
        _deployment("daily", "daily", DAILY, "From payloads to a published forecast, once a CBOT session."),
        _deployment("training", "training", TRAINING, "The bake-off of every family.", parameters={"budget": "full"}),
        # a health that waits for another tells nothing new
        _deployment("health", "health", HEALTH, "The state of every source.", collision="CANCEL_NEW"),
    ]


def _deployment(
    name: str,
    flow: str,
    schedule: Schedule,
    description: str,
    *,
    parameters: dict[str, Any] | None = None,
    collision: str = "ENQUEUE",
) -> dict[str, Any]:
    """One entry. A second run waits (ENQUEUE): cancelled, it would be lost when the first one crashed."""
    return {
        "name": name,
        "description": description,
        "entrypoint": f"flows/scheduled.py:{flow}",
        "parameters": parameters or {},
        "schedules": [{"cron": schedule.cron, "timezone": schedule.timezone, "slug": name.replace("_", "-")}],
        "concurrency_limit": {"limit": 1, "collision_strategy": collision},
        "work_pool": {"name": POOL},
    }


def prefect_yaml(sources: DataSources) -> str:
    """The text of prefect.yaml. CHECKOUT is set by the worker: it knows where its code lies, the server need not."""
    content = {
        "name": "cbi",
        "pull": [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $CHECKOUT }}"}}],
        "deployments": deployments(sources),
    }
    return HEADER + yaml.safe_dump(content, sort_keys=False, width=120)
