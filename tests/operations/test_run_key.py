"""When a scheduled run has nothing to do: its key is done, or its day is no session."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pytest

from tasks.operations.run_key import RunKey, done, local_day, no_session, write_done
from tasks.storage.zones import Zones

KEY = RunKey("daily", "2023-12-29", ("live", "abc"))


def test_a_key_is_done_once_it_is_written_and_no_other_key_is(zones: Zones) -> None:
    assert done(zones, KEY) is None
    write_done(zones, KEY, "5 forecasts", now=pd.Timestamp("2023-12-30T01:30Z"))
    assert done(zones, KEY) == "daily of 2023-12-29 was done 2023-12-30T01:30 UTC: 5 forecasts"
    for other in (
        RunKey("daily", "2024-01-02", ("live", "abc")),
        RunKey("daily", "2023-12-29", ("live", "newer code")),
        RunKey("daily", "2023-12-29", ("/archive", "abc")),
        RunKey("training", "2023-12-29", ("live", "abc")),
    ):
        assert done(zones, other) is None, other


@pytest.mark.parametrize(
    ("due", "why"),
    [
        ("2023-12-25 19:00", "Monday 2023-12-25 is no CBOT session (the last one was 2023-12-22)"),
        ("2023-12-26 19:00", None),
        ("2024-07-04 19:00", "Thursday 2024-07-04 is no CBOT session (the last one was 2024-07-03)"),
        ("2023-12-31 23:59", "Sunday 2023-12-31 is no CBOT session (the last one was 2023-12-29)"),
        ("2024-03-11 00:30", None),  # the day after clocks went forward
    ],
)
def test_a_run_due_on_no_session_has_nothing_to_do(due: str, why: str | None) -> None:
    assert no_session(pd.Timestamp(due, tz="America/Chicago").tz_convert("UTC")) == why


def test_the_day_of_a_source_is_that_of_its_own_clock() -> None:
    now = pd.Timestamp("2024-01-01T02:00Z")
    assert (local_day("America/Chicago", now=now), local_day("Asia/Shanghai", now=now)) == ("2023-12-31", "2024-01-01")


@pytest.mark.parametrize(("by_schedule", "state"), [(True, "Skipped"), (False, None)])
def test_the_scheduled_daily_ends_at_once_on_christmas(by_schedule: bool, state: str | None, monkeypatch) -> None:
    from uuid import uuid4

    from prefect.client.schemas.objects import FlowRun
    from prefect.context import FlowRunContext

    from flows import scheduled

    opened: list[str] = []

    def open_daily_run(origin: str, as_of: str | None) -> None:
        opened.append(origin)
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduled.by_day, "open_daily_run", open_daily_run)
    due = datetime.fromisoformat("2023-12-25T19:00:00-06:00")
    run = FlowRun(flow_id=uuid4(), auto_scheduled=by_schedule, expected_start_time=due)
    with FlowRunContext.model_construct(flow_run=run):
        if state:
            ended = scheduled.daily.fn()
            assert (ended.name, ended.is_completed(), opened) == (state, True, [])
            assert "2023-12-25 is no CBOT session" in ended.message
        else:
            with pytest.raises(KeyboardInterrupt):  # a person who asks on a holiday gets the newest session
                scheduled.daily.fn()
            assert opened == ["live"]
