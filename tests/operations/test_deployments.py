"""prefect.yaml is what the registry says, and Prefect takes it."""

from __future__ import annotations

import shutil
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from cli.app import main
from flows.registered import understood
from tasks.errors import RegistryError
from tasks.operations.automations import AUTOMATIONS, HEARTBEAT_S, PREFIX, automations, notification
from tasks.operations.deployments import prefect_yaml
from tasks.operations.services import POOL
from tasks.settings import PROJECT
from tests.conftest import Registry


def test_the_file_is_what_the_registry_says(registry: Registry) -> None:
    assert (PROJECT / "prefect.yaml").read_text() == prefect_yaml(registry.sources), "run `make deployments`"


def test_a_drift_is_told_with_the_command_that_mends_it(tmp_path: Path, monkeypatch, capsys) -> None:
    folder = Path(shutil.copytree(PROJECT / "registry", tmp_path / "registry"))
    changed = (folder / "data_sources.yaml").read_text().replace('cron: "30 18 * * 1-5"', 'cron: "31 18 * * 1-5"')
    (folder / "data_sources.yaml").write_text(changed)
    monkeypatch.setenv("CBI_REGISTRY", str(folder))
    assert main(["project", "deployments", "--check"]) == 1
    assert "run `make deployments`" in capsys.readouterr().err


def test_every_source_has_a_deployment_that_prefect_can_schedule(registry: Registry) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    import flows.scheduled

    entries = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    asked = {one["name"]: one for one in entries if one["entrypoint"].endswith(":ingest")}
    assert set(asked) == set(registry.sources.sources)
    for entry in entries:
        (schedule,) = entry["schedules"]
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        ZoneInfo(schedule["timezone"])
        file, name = entry["entrypoint"].split(":")
        flow = getattr(flows.scheduled, name)
        assert (file, flow.name, entry["work_pool"]) == ("flows/scheduled.py", name, {"name": POOL})
        flow.validate_parameters(entry["parameters"])
        assert entry["concurrency_limit"]["limit"] == 1
    assert {one["name"] for one in entries} - set(asked) == {"daily", "training", "brief", "health"}


@pytest.mark.parametrize("actions", [[], [notification("7b1e9f0a-58a4-4dd0-a8ba-1e4dd1b7a5c0")]])
def test_automations_are_what_prefect_understands(actions: list) -> None:
    from prefect.events.schemas.automations import AutomationCore

    declared = automations(actions)
    understood = [AutomationCore.model_validate(one) for one in declared]
    assert len({one.name for one in understood}) == len(declared) == 5
    assert all(one.name.startswith(PREFIX) for one in understood)
    lost, *_, stale = understood
    assert lost.trigger.within.total_seconds() == 90 == 3 * HEARTBEAT_S
    assert "prefect.flow-run.Skipped" in lost.trigger.expect, "a run that had nothing to do is not lost"
    assert stale.trigger.within.total_seconds() > 72 * 3600, "a weekend is no alarm"
    assert [("Nobody is notified" in one.description) for one in understood] == [False, *[not actions] * 4]


@pytest.mark.parametrize(
    ("written", "mistaken", "told"),
    [
        ("posture: Proactive", "posture: Proactiv", "automations.a lost run is a crashed run.trigger.posture: "),
        ("threshold: 1", "treshold: 1", "automations.a lost run is a crashed run.trigger.treshold: "),
        ("within: 90", "within: 60", "automations.a lost run is a crashed run.trigger: .* every 30 s"),
        ("[prefect.flow-run.Late]", "[prefect.flow-run.Lat]", "automations.a run is late.trigger.expect.0: .*Lat'"),
        ("    notify: true\n", "", "automations.a run failed: .*it does nothing"),
        ("  subject:", "  subjekt:", "notification.subject: "),
        ("  a run crashed:", "  a run failed:", "written twice: a run failed"),
    ],
)
def test_a_mistake_in_the_automations_names_file_and_entry(
    written: str, mistaken: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "automations.yaml"
    path.write_text(AUTOMATIONS.read_text().replace(written, mistaken, 1))
    with pytest.raises(RegistryError, match=f"(?s){path}.*{told}"):
        automations([], path=path)


def test_an_action_that_prefect_does_not_know_names_file_and_entry(tmp_path: Path) -> None:
    path = tmp_path / "automations.yaml"
    path.write_text(AUTOMATIONS.read_text().replace("type: change-flow-run-state", "type: change-flow-run-stat"))
    lost, *_ = automations([], path=path)
    with pytest.raises(RegistryError, match=r"automations\.yaml: automations\.a lost run is a crashed run: "):
        understood(lost)
