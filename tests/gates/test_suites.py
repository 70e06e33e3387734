"""A suite with a typo is refused with its file; those in expectations/ load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.errors import RegistryError
from tasks.gates.suites import GATES, build_expectations, load_suites, suite_path
from tasks.registry import load_horizons
from tasks.settings import PROJECT

EXPECTATIONS = PROJECT / "expectations"
GOOD = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "close", "min_value": 0},
    "meta": {"on_fail": "block", "reason": "a price is never negative"},
}


def write(folder: Path, *checks: dict, **changes: object) -> Path:
    path = folder / "features" / "prices.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"name": "prices", "table": "prices", "expectations": checks} | changes))
    return folder


@pytest.mark.parametrize("gate", GATES)
def test_every_suite_in_expectations_loads(gate: str) -> None:
    for table, suite in load_suites(gate, EXPECTATIONS).items():
        built = build_expectations(suite, suite_path(gate, table, EXPECTATIONS))
        assert len(built) == len(suite.expectations)


def test_every_folder_of_suites_belongs_to_a_gate() -> None:
    assert {path.parent.name for path in EXPECTATIONS.glob("*/*.json")} == {gate.folder for gate in GATES.values()}


def test_the_horizons_of_the_labels_suite_are_the_registry_s() -> None:
    horizons = {name: one.sessions for name, one in load_horizons(PROJECT / "registry").horizons.items()}
    for check in load_suites("POST_ASSEMBLY", EXPECTATIONS)["labels"].expectations:
        assert check.kwargs.get("sessions", horizons) == horizons
        assert check.kwargs.get("value_set", list(horizons)) == list(horizons)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kwarg": {}}, "expectations.0.kwarg: Extra inputs are not permitted"),
        ({"meta": {"on_fail": "stop", "reason": "a price is never negative"}}, "expectations.0.meta.on_fail"),
        ({"meta": {"on_fail": "warn"}}, "expectations.0.meta.reason: Field required"),
    ],
)
def test_a_typo_is_refused_with_the_file_and_the_key(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(RegistryError, match=r"prices\.json") as caught:
        load_suites("POST_FEATURES", write(tmp_path, GOOD | change))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "expect_column_values_to_be_betwen"}, "no such expectation"),
        ({"kwargs": {"column": "close", "min_valu": 0}}, "min_valu"),
        ({"type": "expect_sessions_complete", "kwargs": {"first": "2000-01-03", "frist": 1}}, "frist"),
        ({"type": "expect_no_placeholder", "kwargs": {}}, "max_share"),
    ],
)
def test_an_unknown_type_or_argument_is_refused_with_the_file(tmp_path: Path, change: dict, said: str) -> None:
    suite = load_suites("POST_FEATURES", write(tmp_path, GOOD | change))["prices"]
    with pytest.raises(RegistryError, match=r"prices\.json: expectations\[0\] expect_") as caught:
        build_expectations(suite, suite_path("POST_FEATURES", "prices", tmp_path))
    assert said in str(caught.value)


def test_what_is_no_suite_is_refused_with_the_file(tmp_path: Path) -> None:
    folder = write(tmp_path, GOOD, table="price")
    with pytest.raises(RegistryError, match=r"prices\.json: its table is `price`"):
        load_suites("POST_FEATURES", folder)
    (folder / "features" / "prices.json").write_text("{")
    with pytest.raises(RegistryError, match=r"prices\.json is not JSON"):
        load_suites("POST_FEATURES", folder)
    with pytest.raises(RegistryError, match="no suites in"):
        load_suites("POST_STAGING", folder)
    with pytest.raises(RegistryError, match="unknown gate `POST_STAGEING`; known: POST_COLLECTION"):
        load_suites("POST_STAGEING", folder)


def test_a_repeated_expectation_is_told_apart_by_its_arguments(tmp_path: Path) -> None:
    looser = GOOD | {"kwargs": {"column": "close", "min_value": 0, "mostly": 0.9}}
    other = GOOD | {"kwargs": {"column": "open", "min_value": 0}}
    suite = load_suites("POST_FEATURES", write(tmp_path, GOOD, looser, other))["prices"]
    between = GOOD["type"]
    assert suite.names() == [f"{between}[mostly=null]", f"{between}[mostly=0.9]", between]
    with pytest.raises(RegistryError, match=r"prices\.json: the same expectation twice"):
        load_suites("POST_FEATURES", write(tmp_path, GOOD, GOOD))
