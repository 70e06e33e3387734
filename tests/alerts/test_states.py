"""An alert is raised once, cooled down, acknowledged, resolved; a rerun of a session changes nothing."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.alerts import states
from tasks.alerts.rules import rows_of
from tasks.calendar import sessions
from tasks.errors import NothingStored
from tasks.registry import AlertRules

RULES = AlertRules.model_validate(
    {
        "default": {"severity": "warning", "cooldown_sessions": 3},
        "kinds": {},
        "limits": {
            "jump_quantile": 0.99,
            "jump_least_history": 60,
            "jump_history": 252,
            "disagree_margin": 0.05,
            "budget_rise": 0.1,
            "roll_sessions": 5,
            "model_age_days": 45,
            "disk_free_gb": 5,
        },
    }
)
START = int(sessions().searchsorted(pd.Timestamp("2023-12-01")))
HOT = rows_of([("stale", "cot", "old")])
NONE = HOT.iloc[:0]


def day(number: int) -> pd.Timestamp:
    return sessions()[START + number]


def run(events: pd.DataFrame, alerts: pd.DataFrame, number: int) -> pd.DataFrame:
    new = states.next_events(events, alerts, RULES, day(number))
    return pd.concat([events, new], ignore_index=True) if len(new) else events


def test_an_alert_is_raised_once_and_a_reminder_follows_its_cool_down() -> None:
    events = states.no_events()
    for number in range(8):
        events = run(events, HOT, number)
        events = run(events, HOT, number)  # the same session again
    assert list(events["event"]) == ["raised"] * 3 and list(events["as_of"]) == [day(0), day(3), day(6)]
    assert events["notify"].all() and list(events["number"]) == [1, 2, 3]


def test_an_alert_that_is_gone_is_resolved_and_one_that_flaps_is_told_once_in_its_cool_down() -> None:
    events = run(states.no_events(), HOT, 0)
    events = run(run(events, NONE, 1), HOT, 2)
    assert list(events["event"]) == ["raised", "resolved", "raised"]
    assert list(events["notify"]) == [True, False, False], "nobody is told twice within the cool-down"
    assert list(states.open_alerts(events)["since"]) == [day(2)]
    events = run(events, HOT, 3)
    assert list(events["notify"]) == [True, False, False, True]


def test_an_acknowledged_alert_stays_open_without_reminders_until_it_is_gone() -> None:
    events = run(states.no_events(), HOT, 0)
    word = states.by_person(events, "stale", "cot", day(0), states.ACKNOWLEDGED, "known")
    events = pd.concat([events, word], ignore_index=True)
    for number in range(12):
        events = run(events, HOT, number)
    assert list(events["event"]) == ["raised", "acknowledged"] and len(states.open_alerts(events)) == 1
    assert states.unsent(events).empty
    assert list(run(events, NONE, 12)["event"])[-1] == "resolved"


def test_what_a_person_resolved_stays_closed_through_the_cool_down() -> None:
    events = run(states.no_events(), HOT, 0)
    word = states.by_person(events, "stale", "cot", day(0), states.RESOLVED, "")
    events = pd.concat([events, word], ignore_index=True)
    for number in (0, 1, 2):
        events = run(events, HOT, number)
    assert list(events["event"]) == ["raised", "resolved"] and states.open_alerts(events).empty
    with pytest.raises(NothingStored, match="cbi alerts list"):
        states.by_person(events, "stale", "cot", day(2), states.ACKNOWLEDGED, "")
    assert list(run(events, HOT, 3)["event"]) == ["raised", "resolved", "raised"]


def test_a_notice_waits_until_it_is_sent_and_a_replay_of_an_earlier_session_says_nothing() -> None:
    events = run(states.no_events(), HOT, 1)
    assert len(states.unsent(events)) == 1
    events = run(events, HOT, 2)
    assert len(states.unsent(events)) == 1, "undelivered, and tried again on the next session"
    done = states.sent(events, states.unsent(events), day(2), "by 1 of 1 routes")
    events = pd.concat([events, done], ignore_index=True)
    assert states.unsent(events).empty and len(states.open_alerts(events)) == 1
    assert states.next_events(events, NONE, RULES, day(0)).empty
