"""Our objects on the server: the work pool, the deployments of prefect.yaml, the automations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tasks.errors import RegistryError, ServiceFailed
from tasks.operations.automations import AUTOMATIONS, PREFIX, automations, notification
from tasks.operations.services import POOL, WEBHOOK
from tasks.secrets import end_of, find_secret
from tasks.settings import PROJECT
from tasks.storage.files import read_json
from tasks.storage.hashes import code_fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore

    from tasks.storage.zones import Zones

BLOCK = "cbi-notify"


def pool(client: SyncPrefectClient) -> None:
    """Create the work pool, unless it exists."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        from prefect.workers.process import ProcessWorker

        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))


def deploy(environment: Mapping[str, str]) -> None:
    """Create or update every deployment of prefect.yaml.

    Raises:
        ServiceFailed: it failed; the message has Prefect's output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=PROJECT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise ServiceFailed(
            f"`prefect deploy --all` ended with {done.returncode}: {end_of(done.stdout + done.stderr, most=1500)}"
        )


def deployed_from() -> str:
    """The fingerprint of the deployments' inputs: prefect.yaml, and the parameters of its flows."""
    return code_fingerprint(PROJECT / "prefect.yaml", PROJECT / "flows" / "scheduled.py")


def deployed_path(zones: Zones) -> Path:
    """The file that records what is deployed."""
    return zones.home / "services" / "deployed.json"


def deployed_already(zones: Zones, client: SyncPrefectClient) -> bool:
    """Whether the server has every deployment as prefect.yaml is now: deploying takes ten seconds of CPU time."""
    return read_json(deployed_path(zones)) == deployed_from() and declared() <= set(deployed(client))


def declared() -> set[str]:
    """The deployments that prefect.yaml names, as ``flow/name``."""
    import yaml

    entries = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return {f"{entry['entrypoint'].rsplit(':', 1)[1]}/{entry['name']}" for entry in entries}


def deployed(client: SyncPrefectClient) -> dict[str, Any]:
    """The deployments of the pool on the server, by ``flow/name``."""
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

    found: dict[str, Any] = {}
    page = 100
    while True:
        batch = client.read_deployments(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])), limit=page, offset=len(found)
        )
        flows = {one.flow_id: client.read_flow(one.flow_id).name for one in batch}
        found |= {f"{flows[one.flow_id]}/{one.name}": one for one in batch}
        if len(batch) < page:
            return found


def retire(client: SyncPrefectClient) -> None:
    """Delete deployments that are no longer in prefect.yaml: a removed source is not fetched."""
    named = declared()
    for name, one in deployed(client).items():
        if name not in named:
            client.delete_deployment(one.id)
            print(f"deployment {name}: deleted, it is not in prefect.yaml")


def automate(client: SyncPrefectClient) -> None:
    """Apply the declared automations: create new ones, update existing ones, remove others of ours.

    Raises:
        RegistryError: Prefect refuses an entry of deploy/automations.yaml; then nothing was changed.
    """
    from prefect.events.schemas.automations import AutomationCore

    entries = [understood(entry) for entry in automations(notify(client))]
    existing = {one.name: one for one in client.read_automations() if one.name.startswith(PREFIX)}
    for wanted in entries:
        before = existing.pop(wanted.name, None)
        if before is None:
            client.create_automation(wanted)
        elif AutomationCore.model_validate(before.model_dump()) != wanted:
            client.update_automation(before.id, wanted)
    for left in existing.values():
        client.delete_automation(left.id)


def understood(entry: dict[str, Any]) -> AutomationCore:
    """An automation as a Prefect object.

    Raises:
        RegistryError: Prefect refuses it; the message names file and entry.
    """
    from prefect.events.schemas.automations import AutomationCore

    try:
        return AutomationCore.model_validate(entry)
    except ValidationError as error:
        raise RegistryError(f"{AUTOMATIONS}: automations.{entry['name'].removeprefix(PREFIX)}: {error}") from None


def notify(client: SyncPrefectClient) -> list[dict[str, Any]]:
    """The action that notifies a person: a JSON ``text`` to the webhook in NOTIFY_URL; none without one."""
    url = find_secret(WEBHOOK)
    if url is None:
        return []
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    block = CustomWebhookNotificationBlock(
        name=BLOCK, url="{{url}}", json_data={"text": "{{subject}}\n{{body}}"}, secrets={"url": url}
    )
    return [notification(str(block.save(BLOCK, overwrite=True)))]
