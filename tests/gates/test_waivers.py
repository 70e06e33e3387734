"""A waiver makes one blocking failure a warning until a date; a waiver that waives nothing is told by name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import GateFailed, RegistryError
from tasks.gates.run import run_gate
from tasks.registry import GateWaiver, load_waivers
from tasks.settings import PROJECT

EXPECTATIONS = PROJECT / "expectations"
Tables = dict[str, pd.DataFrame]
WAIVER = GateWaiver(
    gate="POST_ASSEMBLY",
    suite="assembly.panel",
    expectation="expect_no_infinite_values",
    reason="the feed sends inf at rollovers, ticket 12",
    granted=date(2026, 1, 5),
    expires=date(2026, 1, 12),
)


def entry(**changes: str) -> str:
    said = {name: str(value) for name, value in WAIVER.model_dump().items()} | changes
    return "waivers:\n  - {" + ", ".join(f'{name}: "{value}"' for name, value in said.items()) + "}\n"


def test_the_registry_has_no_waivers() -> None:
    assert load_waivers(PROJECT / "registry") == ()


def test_a_waived_failure_warns_until_its_date_and_says_why(assembly: Tables) -> None:
    assembly["panel"].loc[3, "zl_close"] = float("inf")
    report = run_gate("POST_ASSEMBLY", assembly, expectations=EXPECTATIONS, waivers=[WAIVER], today=date(2026, 1, 12))
    report.require()
    (warned,) = report.failed("warn")
    assert warned.expectation == "expect_no_infinite_values"
    assert warned.reason.startswith("waived until 2026-01-12: the feed sends inf at rollovers, ticket 12. An infinite")
    assert warned.unexpected_count == 1


def test_an_expired_waiver_waives_nothing_and_is_told_by_name(assembly: Tables) -> None:
    late = {"expectations": EXPECTATIONS, "waivers": [WAIVER], "today": date(2026, 1, 13)}
    (told,) = run_gate("POST_ASSEMBLY", assembly, **late).failed("warn")
    assert told.expectation == "expect_waiver_in_force"
    assert told.column_name == "assembly.panel expect_no_infinite_values"
    assembly["panel"].loc[3, "zl_close"] = float("inf")
    with pytest.raises(GateFailed, match=r"Its waiver is not in force: 2026-01-05 to 2026-01-12"):
        run_gate("POST_ASSEMBLY", assembly, **late).require()


def test_a_waiver_holds_for_one_expectation_only(assembly: Tables) -> None:
    assembly["panel"].loc[3, "zl_close__age_days"] = -1.0
    report = run_gate("POST_ASSEMBLY", assembly, expectations=EXPECTATIONS, waivers=[WAIVER], today=date(2026, 1, 6))
    with pytest.raises(GateFailed, match="expect_ages_not_negative"):
        report.require()


def test_what_could_not_be_evaluated_is_not_waived(assembly: Tables) -> None:
    waiver = WAIVER.model_copy(update={"expectation": "expect_column_strictly_increasing", "column": "date"})
    assembly["panel"] = assembly["panel"].drop(columns="date")
    report = run_gate("POST_ASSEMBLY", assembly, expectations=EXPECTATIONS, waivers=[waiver], today=date(2026, 1, 6))
    with pytest.raises(GateFailed, match=r"expect_column_strictly_increasing\. column `date` is missing"):
        report.require()


@pytest.mark.parametrize(
    "changes",
    [
        {"gate": "POST_ASEMBLY"},
        {"suite": "assembly.pannel"},
        {"expectation": "expect_no_infinite_value"},
        {"column": "zl_close"},
        {
            "suite": "assembly.panel_summary",
            "expectation": "expect_column_values_to_be_between",
            "column": "recent_missing_share",
        },
    ],
    ids=["gate", "suite", "expectation", "column", "only warns"],
)
def test_a_waiver_that_names_no_blocking_expectation_is_refused(assembly: Tables, changes: dict[str, str]) -> None:
    waiver = WAIVER.model_copy(update=changes)
    with pytest.raises(RegistryError, match="no blocking expectation") as caught:
        run_gate("POST_ASSEMBLY", assembly, expectations=EXPECTATIONS, waivers=[waiver])
    assert next(iter(changes.values())) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (entry(expires="2026-01-04"), "before it was granted"),
        (entry(reason="later"), r"waivers\.0\.reason"),
        (entry(until="2026-02-01"), r"waivers\.0\.until: Extra inputs"),
        (entry() + entry().removeprefix("waivers:\n"), "waived twice: POST_ASSEMBLY assembly.panel"),
    ],
)
def test_a_waiver_with_a_typo_is_refused_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "gate_waivers.yaml").write_text(text)
    with pytest.raises(RegistryError, match=rf"gate_waivers\.yaml: .*{said}"):
        load_waivers(tmp_path)


def test_a_waiver_is_read_with_its_dates(tmp_path: Path) -> None:
    (tmp_path / "gate_waivers.yaml").write_text(entry())
    assert load_waivers(tmp_path) == (WAIVER,)
