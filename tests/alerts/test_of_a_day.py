"""A published day's alerts: recorded, delivered, retried, acknowledged; and no failure of theirs touches a forecast."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cli.app import main
from tasks.errors import CbiError
from tasks.reporting import watch_session
from tasks.reporting.watch_session import known_events, tell, with_watched
from tasks.run import RunContext, open_run
from tasks.settings import load_settings
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.conftest import EARLY, FinishedRun

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daily")]
KEY = "s3cretTokenOfARoute"  # pragma: allowlist secret


@pytest.fixture
def fresh(copied_home: Path, first_run: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """The home of a published run, and the run; no route is configured."""
    monkeypatch.setenv("CBI_HOME", str(copied_home))
    monkeypatch.setenv("CBI_REGISTRY", str(first_run.registry))
    monkeypatch.delenv("CBI_NOTIFY", raising=False)
    return open_run(load_settings(), origin=str(first_run.archive), as_of=EARLY)


def events(run: RunContext) -> pd.DataFrame:
    return known_events(DuckDbWarehouse(Zones(run.settings.home)))


def planted(first_run: FinishedRun) -> pd.DataFrame:
    new = pd.DataFrame([{"kind": "disk", "subject": "CBI_HOME", "level": "warning", "message": f"full?token={KEY}"}])
    return pd.concat([first_run.summary.alerts, new], ignore_index=True)


def test_the_run_recorded_its_alerts_and_says_that_nobody_is_told(first_run: FinishedRun, fresh: RunContext) -> None:
    kept = events(fresh)
    assert set(kept["event"]) == {"raised"}
    found = set(zip(first_run.summary.alerts["kind"], first_run.summary.alerts["subject"], strict=True))
    assert set(zip(kept["kind"], kept["subject"], strict=True)) == found and found
    assert first_run.summary.alert_note.startswith("Nobody is notified of alerts")
    assert tell(fresh, first_run.summary).raised.empty and len(events(fresh)) == len(kept), "a rerun appends nothing"


def test_notices_wait_for_a_server_that_is_down_and_arrive_once(first_run, fresh, server, monkeypatch, caplog) -> None:
    server.script = [(503, b"down"), (200, b"ok")]
    monkeypatch.setenv("CBI_NOTIFY", f"json{server.url.removeprefix('http')}/{KEY}")
    result = replace(first_run.summary, alerts=planted(first_run))
    down = tell(fresh, result)
    assert down.note == "alerts: not delivered (json failed); the next run tries again"
    assert "sent" not in set(events(fresh)["event"])
    assert tell(fresh, result).note == ""
    assert tell(fresh, result).note == "" and len(server.requests) == 2, "nobody is told twice"
    body = json.loads(server.requests[-1].body)["message"]
    assert body.startswith("CRITICAL disk CBI_HOME: full") and KEY not in body
    assert KEY not in caplog.text and KEY not in events(fresh).to_csv()
    assert (events(fresh)["event"] == "sent").sum() == len(result.alerts)


def test_a_person_acknowledges_and_resolves_at_the_command_line(first_run, fresh, capsys) -> None:
    tell(fresh, replace(first_run.summary, alerts=planted(first_run)))
    assert main(["alerts", "ack", "disk", "CBI_HOME", "--note", "a new one is ordered"]) == 0
    assert main(["alerts", "list", "--json"]) == 0
    first = json.loads(capsys.readouterr().out.partition("\n")[2])[0]
    assert (first["kind"], first["state"], first["level"]) == ("disk", "acknowledged", "critical")
    assert KEY not in json.dumps(first)
    assert main(["alerts", "resolve", "disk", "CBI_HOME"]) == 0
    assert main(["alerts", "resolve", "disk", "CBI_HOME"]) == 1
    assert "no alert `disk` of `CBI_HOME` is open" in capsys.readouterr().err
    assert main(["alerts", "list"]) == 0
    text = capsys.readouterr().out
    assert "Nobody is notified of alerts: CBI_NOTIFY is not set" in text and "CBI_HOME" not in text
    view = DuckDbWarehouse(Zones(fresh.settings.home)).query("SELECT kind, state, since FROM api.vw_open_alerts")
    assert "disk" not in set(view["kind"]) and set(view["state"]) == {"raised"} and view["since"].notna().all()


@pytest.mark.parametrize("broken", ["rule", "registry"])
def test_a_rule_that_fails_is_an_alert_and_the_forecasts_stay(first_run, fresh, broken, monkeypatch, tmp_path) -> None:
    if broken == "rule":
        monkeypatch.setattr(watch_session.rules, "roll_ahead", lambda *_: 1 / 0)
    else:
        folder = Path(shutil.copytree(first_run.registry, tmp_path / "registry"))
        (folder / "alerts.yaml").write_text("default: {severity: loud}")
        fresh = replace(fresh, settings=fresh.settings.model_copy(update={"registry": folder}))
    result = with_watched(fresh, replace(first_run.summary, alerts=first_run.summary.alerts.iloc[:0]))
    (row,) = result.alerts[result.alerts["kind"] == "alerts"].to_dict("records")
    assert ("ZeroDivisionError" if broken == "rule" else "alerts.yaml") in row["message"]
    pd.testing.assert_frame_equal(result.forecasts, first_run.summary.forecasts)


def test_events_that_cannot_be_published_stop_nothing(first_run, fresh, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CbiError("the disk is full")

    monkeypatch.setattr(DuckDbWarehouse, "publish", refuse)
    done = tell(fresh, replace(first_run.summary, alerts=planted(first_run)))
    assert done.note == "no record of the alerts: the disk is full"
