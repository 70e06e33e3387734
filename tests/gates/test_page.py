"""The gate page: what failed comes first with its count and reason, nothing in it is live, history is in order."""

from __future__ import annotations

import html
import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.gates.page import RUNS_SHOWN, render_gate_page
from tasks.gates.run import run_gate
from tasks.gates.states import KEY, count_states, result_table, with_states, worst_first
from tasks.gates.suites import GATES
from tasks.gates.words import rules
from tasks.settings import PROJECT

EXPECTATIONS = PROJECT / "expectations"
AS_OF = pd.Timestamp("2002-06-28")
NO_HISTORY = pd.DataFrame()


@pytest.fixture
def reports(staging: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """POST_STAGING with four prices lost and one series too old."""
    staging["observations"].loc[[2, 5, 6, 9], "value"] = np.nan
    staging["series_summary"].loc[1, "age_days"] = 90
    results = run_gate("POST_STAGING", staging, expectations=EXPECTATIONS).frame()
    return results.merge(rules(["POST_STAGING"], EXPECTATIONS), on=KEY)


def one_result(**changed: object) -> pd.DataFrame:
    row = {
        "gate": "POST_FEATURES",
        "suite": "features.features",
        "expectation": "expect_no_placeholder",
        "column_name": "",
        "on_fail": "block",
        "success": False,
        "unexpected_count": 7,
        "element_count": 110,
        "examples": json.dumps([{"column": "close", "value": 0.5}]),
        "reason": "One value on most rows stands in for missing data",
        "table": "features",
        "rule": "No column is mostly one value",
    }
    return pd.DataFrame([{**row, **changed}])


def past_run(reports: pd.DataFrame, day: str, *, at: str = "20:00", **changed: object) -> pd.DataFrame:
    """What the warehouse holds of a run as of ``day``."""
    held = reports.drop(columns=["table", "rule"]).assign(**changed)
    return held.assign(run=f"{day} {at}", as_of=pd.Timestamp(day), created_at=pd.Timestamp(f"{day} {at}", tz="UTC"))


class Seen(HTMLParser):
    """The tags of a page, its text, and its squares in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.squares: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "i":
            said = dict(attrs)
            self.squares.append((str(said["class"]), str(said["title"])))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_what_failed_comes_first_with_its_rule_count_reason_and_rows(reports: pd.DataFrame) -> None:
    page = render_gate_page(reports, NO_HISTORY, AS_OF)
    told = " ".join(" ".join(Seen(page).text).split())
    assert f"{len(reports) - 2} of {len(reports)} expectations met; 1 blocked, 1 warned" in told
    places = [
        told.index(words)
        for words in (
            "value is never missing",
            "A missing value belongs in quarantine",
            "2002-06-05",  # the first of the rows that lost its price
            "the first 3 of 4",
            "4 of 20 fail",
            "age_days is not above stale_limit_days where critical is false",
            "1 of 1 fail",
            "source is never missing",
        )
    ]
    assert places == sorted(places)


def test_every_expectation_is_on_the_page(reports: pd.DataFrame) -> None:
    told = html.unescape(render_gate_page(reports, NO_HISTORY, AS_OF))
    for row in reports.to_dict("records"):
        assert row["rule"] in told and row["reason"] in told


def test_history_is_in_the_order_of_sessions_and_then_of_runs(reports: pd.DataFrame) -> None:
    now = one_result()
    history = [
        past_run(now, "2002-06-28", at="21:00"),
        past_run(now, "2002-06-26", success=True, unexpected_count=0),
        past_run(now, "2002-06-28", at="20:00", success=True, unexpected_count=0),
        past_run(now, "2002-06-27", on_fail="warn"),
        past_run(reports.head(1), "2002-06-25"),
    ]
    page = render_gate_page(now, pd.concat(history, ignore_index=True), AS_OF)
    seen = Seen(page)
    assert [state for state, _ in seen.squares] == ["absent", "met", "warned", "met", "blocked"]
    assert [told[:10] for _, told in seen.squares] == [f"2002-06-{day}" for day in (25, 26, 27, 28, 28)]
    assert seen.squares[2][1] == "2002-06-27: warned, 7 of 110 (run at 2002-06-27 20:00 UTC)"
    assert seen.squares[0][1].startswith("2002-06-25: not run")
    assert "2002-06-25 to 2002-06-28" in page
    assert render_gate_page(now, pd.concat(history[::-1]), AS_OF) == page, "the order of rows says nothing"


def test_only_the_newest_runs_are_shown() -> None:
    days = pd.date_range("2002-01-01", periods=RUNS_SHOWN + 3)
    history = pd.concat([past_run(one_result(), f"{day:%Y-%m-%d}") for day in days])
    seen = Seen(render_gate_page(one_result(), history, AS_OF))
    assert [told[:10] for _, told in seen.squares] == [f"{day:%Y-%m-%d}" for day in days[3:]]


def test_the_page_asks_nothing_of_anyone(reports: pd.DataFrame) -> None:
    page = render_gate_page(reports, past_run(reports, "2002-06-28"), AS_OF)
    assert not {"script", "link", "img", "iframe", "object"} & set(Seen(page).tags)
    for reach in ("http:", "https:", "src=", "url(", "@import"):
        assert reach not in page


@settings(max_examples=40, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1))
def test_no_value_becomes_markup(text: str) -> None:
    sound = Seen(render_gate_page(one_result(), NO_HISTORY, AS_OF))
    changed = one_result(
        reason=text, rule=text, column_name=text, gate=text, examples=json.dumps([{text: text, "b": f"<b>{text}"}])
    )
    page = render_gate_page(changed, past_run(changed, "2002-06-28"), AS_OF)
    extra = ["i", "div", "th", "td"]  # a square and its row, a second example column
    assert sorted(tag for tag in Seen(page).tags if tag not in extra) == sorted(t for t in sound.tags if t not in extra)
    assert "&lt;b&gt;" in page and "".join(Seen(page).text).count(text) >= 4


def test_a_script_in_a_value_is_shown_as_text() -> None:
    planted = "<script>alert(1)</script>"
    page = render_gate_page(one_result(examples=json.dumps([{"series": planted}])), NO_HISTORY, AS_OF)
    assert planted not in page and html.escape(planted) in page


def test_an_example_is_shown_in_digits_that_a_person_reads() -> None:
    examples = json.dumps([{"share": 0.11153846153846154, "cells": 961867.0, "price": 47.84, "volume": 12345678.5}])
    cells = Seen(render_gate_page(one_result(examples=examples), NO_HISTORY, AS_OF)).text
    assert {"0.111538", "961867", "47.84", "12345678.5"} <= set(cells)


def test_a_failure_comes_to_what_its_suite_and_its_waiver_say() -> None:
    results = pd.concat(
        [
            one_result(success=True, expectation="a"),
            one_result(on_fail="warn", expectation="b"),
            one_result(on_fail="warn", expectation="c", reason="waived until 2002-07-31: known. Too old"),
            one_result(expectation="d"),
            one_result(on_fail="quarantine", expectation="e"),
            one_result(success=True, on_fail="warn", expectation="f", reason="waived until the end"),
        ],
        ignore_index=True,
    )
    assert list(with_states(results)["state"]) == ["met", "warned", "waived", "blocked", "quarantined", "met"]
    assert list(worst_first(results)["expectation"]) == ["d", "e", "b", "c", "a", "f"]
    counts = count_states(results).to_dict("records")
    assert counts == [
        {
            "gate": "POST_FEATURES",
            "expectations": 6,
            "blocked": 1,
            "quarantined": 1,
            "warned": 1,
            "waived": 1,
            "met": 2,
        }
    ]
    table = result_table(results)
    assert table["reason"][0].endswith("missing data\ncolumn: close, value: 0.5")
    assert "value: 0.5" not in table["reason"][4], "rows of what was met are no examples of a failure"


def test_every_rule_of_every_suite_is_a_sentence_that_names_its_column() -> None:
    said = rules(GATES, EXPECTATIONS)
    assert not said.duplicated(["gate", "table", "rule"]).any()
    for row in said.to_dict("records"):
        assert "``" not in row["rule"] and "expect_" not in row["rule"]
        for name in filter(None, row["column_name"].split(", ")):
            assert name in row["rule"], row
