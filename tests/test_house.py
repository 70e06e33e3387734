"""The rules of the house, by imports: one direction, no circle, heavy libraries where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tasks.settings import PROJECT

# docs/architecture.md; what stands in one line may import each other
STAGES = (
    ("spellings", "secrets", "errors", "clock", "quantiles", "command_line", "units"),
    ("storage", "settings", "gcp", "network", "calendar", "logs", "transfer", "http", "registry"),
    ("sources",),
    ("staging",),
    ("panel", "texts"),
    ("features",),
    ("labels",),
    ("exports", "gates", "run", "day"),
    ("models",),
    ("evaluation",),
    ("training",),
    ("model_store", "proofs"),
    ("forecasting",),
    ("decision",),
    ("alerts",),
    ("outcome", "bundles"),
    ("warehouse",),
    ("reporting",),
    ("operations",),
    ("door",),
)
RANK = {name: rank for rank, names in enumerate(STAGES) for name in names}
LEAVES = ("tasks.models.catalogue",)
"""Imports nothing and may be read from anywhere."""
HEAVY = ("great_expectations", "torch", "google", "optuna", "shap", "ray", "dask", "altair", "vl_convert")
HEAVY = (*HEAVY, "lightgbm", "xgboost", "apprise", "typst")
HEAVY_ALLOWED = ("tasks/models/neural/", "tasks/gates/expectations/")
"""Folders whose modules are themselves imported inside functions."""


def imports(path: Path, *, at_top: bool = False) -> Iterator[str]:
    """The modules that a file imports when it runs; those for type checking alone are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in tree.body if at_top else ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def modules(folder: str) -> dict[str, Path]:
    paths = (PROJECT / folder).rglob("*.py")
    return {".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


TASKS = modules("tasks")


@pytest.mark.parametrize("folder", [*sorted({name.split(".")[1] for name in TASKS if "." in name})])
def test_a_stage_imports_no_later_one(folder: str) -> None:
    assert folder in RANK, f"tasks/{folder}: give it a place in STAGES and in docs/architecture.md"
    for name, path in TASKS.items():
        if name.split(".")[1:2] != [folder] or name in LEAVES:
            continue
        for other in set(imports(path)) & set(TASKS) - set(LEAVES):
            if "." in other:
                assert RANK[other.split(".")[1]] <= RANK[folder], f"{name} imports {other}, which comes later"


@pytest.mark.parametrize("outside", ["cli", "flows", "evidence", "tests", "prefect"])
def test_tasks_know_nothing_of_what_runs_them(outside: str) -> None:
    for name, path in TASKS.items():
        found = {module for module in imports(path) if module.split(".")[0].split("_")[0] == outside}
        assert not found, f"{name} imports {sorted(found)}"


def test_only_flows_import_prefect_and_only_the_front_door_imports_flows() -> None:
    for name, path in modules("cli").items():
        assert not [module for module in imports(path) if module.split(".")[0].split("_")[0] == "prefect"], name
        heavy = [module for module in imports(path, at_top=True) if module.split(".")[0] == "flows"]
        assert {".".join(module.split(".")[:2]) for module in heavy} <= {"flows.ending"}, f"{name}: {heavy}"
    for name, path in modules("flows").items():
        # `python -m flows.daily` goes through the front door
        assert {module for module in imports(path) if module.split(".")[0] == "cli"} <= {"cli.app", "cli.app.main"}, (
            name
        )


def test_nothing_imports_the_evidence() -> None:
    for name, path in (modules("flows") | modules("cli")).items():
        assert not [module for module in imports(path) if module.split(".")[0] == "evidence"], name


def test_there_is_no_circle_of_modules() -> None:
    graph = {name: {other for other in imports(path) if other in TASKS} - {name} for name, path in TASKS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    for name, path in TASKS.items():
        if path.relative_to(PROJECT).as_posix().startswith(HEAVY_ALLOWED):
            continue
        found = {module for module in imports(path, at_top=True) if module.split(".")[0] in HEAVY}
        assert not found, f"{name} imports {sorted(found)} at its top"


def test_no_module_is_longer_than_500_lines() -> None:
    for folder in ("cli", "tasks", "flows", "evidence"):
        for name, path in modules(folder).items():
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 500, f"{name} has {lines} lines"
