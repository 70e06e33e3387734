"""The last log line of a task, and the bars of progress that go when the work is done."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pandas as pd
import pytest

from flows.figures import figure
from flows.runtime import Steps, as_task, name_run
from tasks.gates.run import GateReport
from tasks.sources.ingest import Ingested


def test_a_result_is_told_by_its_figure_and_what_has_none_by_nothing() -> None:
    report = GateReport("G", (SimpleNamespace(success=True), SimpleNamespace(success=False)))  # type: ignore[arg-type]
    assert figure(report) == "1 of 2 expectations met"
    assert figure((Ingested("cftc", "ok", 4, 1), object())) == "ok, 1 new payloads of 4"
    assert figure(None) == figure("text") == figure(pd.DataFrame()) == ""


def test_a_result_that_cannot_be_read_stops_nothing() -> None:
    assert figure(GateReport("G", None)) == ""  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.xdist_group("daily")
def test_runs_have_readable_names_and_leave_no_bar_of_progress(prefect_server, caplog, monkeypatch) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client

    monkeypatch.setattr("flows.runtime.ARTIFACT_EVERY_S", 0.0)

    def work() -> GateReport:
        with Steps("count") as progress:
            for done in range(3):
                progress(done + 1, 3, "one")
            with get_client(sync_client=True) as client:
                assert [one.key for one in client.read_artifacts() if one.key == "count-progress"], (
                    "seen while it lasts"
                )
        return GateReport("G", ())

    @flow(name="alone", flow_run_name="alone")
    def alone() -> str:
        from prefect.runtime import flow_run

        name_run("alone 2023-12-29 · recorded")
        as_task(work, "count")()
        return str(flow_run.id)

    with caplog.at_level(logging.INFO, logger="prefect.task_runs"):
        run = alone()
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run).name == "alone 2023-12-29 · recorded"
        assert not [one for one in client.read_artifacts() if one.key == "count-progress"]
    assert "count: 0 of 0 expectations met" in caplog.text


def test_long_work_outside_a_run_says_how_far_it_is_where_no_bar_can_be_drawn(capsys, monkeypatch) -> None:
    monkeypatch.setattr("flows.runtime.LINE_EVERY_S", 0.0)
    with Steps("replay") as progress:
        progress(3, 56, "2010-07-01")
    assert capsys.readouterr().err == "replay: 3 of 56: 2010-07-01\n"
    monkeypatch.setattr("flows.runtime.LINE_EVERY_S", 60.0)
    with Steps("replay") as progress:
        progress(4, 56, "2010-10-01")
    assert capsys.readouterr().err == "", "once a minute"
