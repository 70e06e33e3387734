"""An expectation as a sentence, so that nobody has to read its type and arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.gates.states import KEY
from tasks.gates.suites import Check, load_suites

Arguments = Mapping[str, Any]
Sentence = Callable[[Arguments], str]
LISTED = 12
UNSPOKEN = {"mostly", "tolerance"}
"""Arguments that the sentences below leave out."""


def _between(what: str) -> Sentence:
    def sentence(given: Arguments) -> str:
        low, high = given.get("min_value"), given.get("max_value")
        if low is None or high is None:
            return f"{what} {f'at least {_text(low)}' if high is None else f'at most {_text(high)}'}"
        return f"{what} {_text(low)} to {_text(high)}"

    return sentence


def _not_above(given: Arguments) -> str:
    sentence = f"{given['column']} is not above {given['limit']}"
    where = [f"{name} is {_text(value)}" for name, value in (given.get("where") or {}).items()]
    unless = [f"{name} is {' or '.join(map(_text, values))}" for name, values in (given.get("unless") or {}).items()]
    sentence += f" where {' and '.join(where)}" if where else ""
    sentence += f", unless {' or '.join(unless)}" if unless else ""
    return sentence + ("; missing is a failure" if given.get("missing_fails") else "")


def _dtypes(given: Arguments) -> str:
    others = f"; every other column is {given['others']}" if given.get("others") else ""
    return ", ".join(f"{name} is {kind}" for name, kind in given["dtypes"].items()) + others


SENTENCES: dict[str, Sentence] = {
    "expect_table_columns_to_match_ordered_list": lambda g: (
        f"The columns are, in this order: {_text(g['column_list'])}"
    ),
    "expect_table_row_count_to_be_between": _between("The number of rows is"),
    "expect_table_column_count_to_be_between": _between("The number of columns is"),
    "expect_column_values_to_not_be_null": lambda g: f"{g['column']} is never missing",
    "expect_column_values_to_be_unique": lambda g: f"{g['column']} has no value twice",
    "expect_compound_columns_to_be_unique": lambda g: f"No two rows have the same {', '.join(g['column_list'])}",
    "expect_column_values_to_be_between": lambda g: _between(f"{g['column']} is")(g),
    "expect_table_row_count_to_equal": lambda g: f"The number of rows is {_text(g['value'])}",
    "expect_column_pair_values_to_be_equal": lambda g: f"{g['column_A']} is the same as {g['column_B']}",
    "expect_column_values_to_be_in_set": lambda g: (
        f"{g['column']} is {'one of ' if len(g['value_set']) > 1 else ''}{_text(g['value_set'])}"
    ),
    "expect_column_distinct_values_to_contain_set": lambda g: f"{g['column']} has each of {_text(g['value_set'])}",
    "expect_column_not_above_column": _not_above,
    "expect_column_dtypes": _dtypes,
    "expect_shorts_equal_open_interest": lambda g: (
        "Every short of the COT report has an owner: the groups' shorts and spreads add up to open interest"
    ),
}


def rule_in_words(check: Check) -> str:
    """A sentence: one written here, or the first one of the expectation's own docstring with its arguments."""
    given = check.kwargs
    if check.type in SENTENCES:
        sentence, spoken = SENTENCES[check.type](given), set(given) - UNSPOKEN
    else:
        sentence, spoken = _documented(check.type, given)
    rest = [_aside(name, value) for name, value in given.items() if name not in {*spoken, "beside"}]
    return sentence + (f" ({'; '.join(rest)})" if rest else "")


def _aside(name: str, value: Any) -> str:
    """An argument that the sentence does not contain."""
    if name == "mostly":
        return f"on at least {100 * value:.4g}% of rows"
    return f"{name.replace('_', ' ')}: {_text(value)}"


def _documented(kind: str, given: Arguments) -> tuple[str, set[str]]:
    """The first sentence of the docstring, and the arguments that it names."""
    from great_expectations.expectations.registry import get_expectation_impl

    import tasks.gates.expectations  # noqa: F401 registers ours

    text = " ".join((get_expectation_impl(kind).__doc__ or kind).split("\n\n")[0].split())
    sentence = re.split(r"(?<=[a-z)`0-9])\.(?:\s|$)", text)[0]
    named = {name for name in re.findall(r"``(\w+)``", sentence) if name in given}
    return re.sub(r"``(.+?)``", lambda m: _text(given.get(m[1], m[1])), sentence), named


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, (list, tuple)):
        more = f" and {len(value) - LISTED} more" if len(value) > LISTED else ""
        return ", ".join(map(_text, value[:LISTED])) + more
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(one)}" for name, one in value.items())
    if value == "":
        return "empty"
    return str(value) if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else json.dumps(value)


def rules(gates: Iterable[str], expectations: Path) -> pd.DataFrame:
    """One row per expectation of these gates: its key, its ``table`` and its ``rule`` in words."""
    rows = [
        (gate, suite.name, name, check.column_name, suite.table, rule_in_words(check))
        for gate in gates
        for suite in load_suites(gate, expectations).values()
        for name, check in zip(suite.names(), suite.expectations, strict=True)
    ]
    return pd.DataFrame(rows, columns=[*KEY, "table", "rule"])
