"""Who is champion of which session: trainings and persons, in the order in which their entries count."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.errors import ModelStoreError
from tasks.model_store.champions import (
    Entry,
    before_current,
    champion_by,
    counts_from,
    current_champions,
    family_serves_since,
    name_of,
    of_lines,
    tenures,
    to_lines,
    with_promotions,
)


def trained(version: str, day: str, family: str = "ridge") -> Entry:
    named = {"horizon": "3m", "family": family, "version": version, "trained_as_of": day}
    return named | {"run": f"run of {day}", "metadata": f"{family} {version}"}


def chosen(version: str, day: str, at: str, family: str = "ridge", **notes: str) -> Entry:
    return trained(version, day, family) | {"by": "person", "at": at} | notes


def serving(history: list[Entry], *days: str) -> list[str]:
    found = [champion_by(history, "3m", pd.Timestamp(day)) for day in days]
    return ["none" if one is None else f"{one['family']} {one['version']}" for one in found]


JANUARY, MARCH, MAY = (
    trained("v0001", "2023-01-06"),
    trained("v0002", "2023-03-03", "har"),
    trained("v0003", "2023-05-05"),
)


def test_a_persons_choice_serves_until_a_training_of_a_later_session_and_no_replay_before_it_sees_it() -> None:
    back = chosen("v0001", "2023-01-06", "2023-04-03T15:00:00Z")
    history = [JANUARY, MARCH, back]
    days = ("2023-01-05", "2023-02-01", "2023-03-31", "2023-04-03", "2023-06-01")
    assert serving(history, *days) == ["none", "ridge v0001", "har v0002", "ridge v0001", "ridge v0001"]
    assert serving([*history, MAY], *days) == ["none", "ridge v0001", "har v0002", "ridge v0001", "ridge v0003"]
    assert serving([*history, MAY], "2023-05-04") == ["ridge v0001"]
    assert current_champions(history)["3m"] == back


def test_a_choice_counts_from_the_exchanges_date_not_from_utc() -> None:
    assert counts_from(chosen("v0001", "2023-01-06", "2023-04-04T03:30:00Z")) == pd.Timestamp("2023-04-03")
    assert counts_from(JANUARY) == pd.Timestamp("2023-01-06")


def test_the_same_training_again_overrules_nobody() -> None:
    history = with_promotions([], [JANUARY, MARCH])
    with_choice = with_promotions(history, [chosen("v0001", "2023-01-06", "2023-03-03T20:00:00Z")])
    assert serving(with_choice, "2023-03-03") == ["ridge v0001"]
    assert with_promotions(with_choice, [MARCH]) == with_choice, "a training that is repeated"
    assert serving(with_promotions(with_choice, [MAY]), "2023-06-01") == ["ridge v0003"]
    other = trained("v0004", "2023-03-03")
    assert serving(with_promotions(with_choice, [other]), "2023-03-03") == ["ridge v0004"], (
        "a training after the choice"
    )


def test_a_choice_of_one_day_is_written_once_and_on_a_later_day_again() -> None:
    first = chosen("v0001", "2023-01-06", "2023-04-03T15:00:00Z", reason="a")
    history = with_promotions([JANUARY, MARCH], [first])
    assert with_promotions(history, [first | {"at": "2023-04-03T16:00:00Z", "reason": "b"}]) == history
    assert len(with_promotions(history, [first | {"at": "2023-04-10T16:00:00Z"}])) == len(history) + 1
    assert len(with_promotions([JANUARY], [first])) == 2, "a training's champion that a person chooses"


def test_a_second_roll_back_goes_one_further_back() -> None:
    history = [JANUARY, MARCH, MAY]
    left = name_of(MAY)
    for day, expected in (("2023-06-01", MARCH), ("2023-06-02", JANUARY)):
        before = before_current(history, "3m", pd.Timestamp(day))
        assert before is not None and name_of(before) == name_of(expected)
        history = [*history, expected | {"by": "person", "at": f"{day}T15:00:00Z", "rolled_back": left}]
        left = name_of(expected)
    assert before_current(history, "3m", pd.Timestamp("2023-06-03")) is None
    again = [*history, chosen("v0003", "2023-05-05", "2023-06-05T15:00:00Z")]
    before = before_current(again, "3m", pd.Timestamp("2023-06-05"))
    assert before is not None and name_of(before) == name_of(JANUARY)


def test_two_choices_of_one_day_can_be_rolled_back_one_by_one() -> None:
    history = [JANUARY, chosen("v0002", "2023-01-06", "2023-04-03T15:00:00Z", "har")]
    history.append(chosen("v0003", "2023-01-06", "2023-04-03T16:00:00Z", "garch"))
    before = before_current(history, "3m", pd.Timestamp("2023-04-03"))
    assert before is not None and before["family"] == "har"
    assert [name_of(one) for one in tenures(history, "3m", pd.Timestamp("2023-04-03"))] == [
        "ridge/3m/v0001",
        "garch/3m/v0003",
    ], "only the last of a day serves a run of it"


def test_a_familys_chart_begins_anew_with_another_family_or_a_person_and_not_with_a_training() -> None:
    again = trained("v0004", "2023-05-12")
    since = {day: family_serves_since([JANUARY, MARCH, MAY, again], "3m", pd.Timestamp(day)) for day in DAYS}
    assert since == {"2023-01-05": None, "2023-02-01": JANUARY_DAY, "2023-06-01": pd.Timestamp("2023-05-05")}
    person = chosen("v0004", "2023-05-12", "2023-05-30T15:00:00Z")
    history = [JANUARY, MARCH, MAY, again, person]
    assert family_serves_since(history, "3m", pd.Timestamp("2023-06-01")) == pd.Timestamp("2023-05-30")


DAYS = ("2023-01-05", "2023-02-01", "2023-06-01")
JANUARY_DAY = pd.Timestamp("2023-01-06")


def test_lines_of_before_persons_had_entries_are_read_and_a_persons_line_without_a_time_is_named() -> None:
    old = {name: JANUARY[name] for name in JANUARY if name != "metadata"}
    history = of_lines(to_lines([old, chosen("v0002", "2023-01-06", "2023-04-03T15:00:00Z")]), "here")
    assert serving(history, "2023-02-01", "2023-05-01") == ["ridge v0001", "ridge v0002"]
    for wrong in ({}, {"at": "yesterday"}, {"at": "2023-04-03T15:00:00"}):
        with pytest.raises(ModelStoreError, match=r"here, line 1 is not readable"):
            of_lines(to_lines([trained("v0002", "2023-01-06") | {"by": "person"} | wrong]), "here")
