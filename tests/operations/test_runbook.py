"""Every error and every alert that a person can meet has its entry in docs/runbook.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tasks import errors
from tasks.errors import CbiError
from tasks.registry import load_alerts
from tasks.settings import PROJECT
from tests.test_house import modules

RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^#{2,3} (.+)$", RUNBOOK, flags=re.MULTILINE)
ERRORS = sorted(
    name
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, CbiError) and one is not CbiError
)


def alert_kinds() -> set[str]:
    """Kinds of registry/alerts.yaml, and those that the code raises without an entry there."""
    kinds = set(load_alerts(PROJECT / "registry").kinds)
    for folder in ("tasks", "flows"):
        for path in modules(folder).values():
            kinds |= set(_kinds(ast.parse(path.read_text(encoding="utf-8"))))
    return kinds


def _kinds(tree: ast.AST) -> Iterator[str]:
    """Texts at the key ``kind`` beside ``subject``, at the argument ``kind`` beside ``subject``, in ``rows_of``."""
    for node in ast.walk(tree):
        named: dict[str, ast.expr] = {}
        if isinstance(node, ast.Dict):
            named = {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
        elif isinstance(node, ast.Call):
            named = {one.arg: one.value for one in node.keywords if one.arg}
            if ast.unparse(node.func).split(".")[-1] == "rows_of":
                yield from (one.elts[0].value for one in ast.walk(node) if _is_row(one))
        if {"kind", "subject"} <= named.keys():
            kind = named["kind"]
            choices = (kind.body, kind.orelse) if isinstance(kind, ast.IfExp) else (kind,)
            yield from (one.value for one in choices if isinstance(one, ast.Constant) and isinstance(one.value, str))


def _is_row(node: ast.AST) -> bool:
    return isinstance(node, ast.Tuple) and len(node.elts) == 3 and isinstance(node.elts[0], ast.Constant)


def test_the_kinds_are_found() -> None:
    assert {"unconfirmed", "input", "source", "roll", "backup", "site", "history", "alerts"} <= alert_kinds()


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_has_its_entry(name: str) -> None:
    assert name in HEADINGS


@pytest.mark.parametrize("kind", sorted(alert_kinds()))
def test_an_alert_has_its_entry(kind: str) -> None:
    assert f"Alert: {kind}" in HEADINGS


def test_no_entry_is_of_something_that_is_gone() -> None:
    assert {name for name in HEADINGS if re.fullmatch(r"[A-Z]\w+[a-z][A-Z]\w+", name)} <= {*ERRORS}
    assert {name.removeprefix("Alert: ") for name in HEADINGS if name.startswith("Alert: ")} <= alert_kinds()


def test_a_message_that_names_a_place_of_the_runbook_names_one_that_exists() -> None:
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in HEADINGS}
    for folder in ("tasks", "flows", "cli"):
        for name, path in modules(folder).items():
            for anchor in re.findall(r"docs/runbook\.md#([\w-]+)", path.read_text(encoding="utf-8")):
                assert anchor in anchors, f"{name}: docs/runbook.md#{anchor}"
