"""``cbi gates`` on what a daily run left, and what that run itself shows of its gates."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tasks.gates.stored import TABLES_OF_GATE
from tasks.gates.suites import GATES
from tasks.reporting.terminal import gates_markdown, in_markdown, print_result
from tasks.settings import PROJECT
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones
from tests.conftest import EARLY, FinishedRun

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daily")]
Gates = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gates(few_families: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gates:
    """The command in this process: exit code, what it printed, what it said on the side."""
    from cli.app import main

    def run(home: Path, *words: str, **environment: str) -> tuple[int, str, str]:
        for name, value in {"CBI_HOME": str(home), "CBI_REGISTRY": str(few_families), **environment}.items():
            monkeypatch.setenv(name, value)
        code = main(["gates", *words])
        return code, *capsys.readouterr()

    return run


def files_of(home: Path) -> dict[Path, str]:
    return {path.relative_to(home): sha256_of(path) for path in home.rglob("*") if path.is_file()}


def test_every_gate_can_be_run_by_hand() -> None:
    assert set(TABLES_OF_GATE) == set(GATES)


def test_by_hand_all_gates_are_met_and_their_page_is_the_one_the_run_wrote(gates: Gates, copied_home: Path) -> None:
    page = copied_home / "reports" / f"gates_{EARLY}.html"
    before = files_of(copied_home)
    code, told, said = gates(copied_home, "--json", "--page")
    assert code == 0, said
    rows = json.loads(told)
    assert {row["gate"] for row in rows} == set(GATES)
    states = [row["state"] for row in rows]
    assert "blocked" not in states and states[-1] == "met"
    assert str(page) in said
    assert files_of(copied_home) == before, "the same results and the same history are the same bytes"


def test_one_gate_is_printed_with_counts_and_its_page_leaves_the_run_s_alone(gates: Gates, copied_home: Path) -> None:
    page = copied_home / "reports" / f"gates_{EARLY}.html"
    before = sha256_of(page)
    code, told, _ = gates(copied_home, "POST_FEATURES", "--page")
    assert code == 0
    assert f"Gates as of {EARLY}" in told and "POST_FEATURES" in told
    assert "POST_STAGING" not in told
    assert sha256_of(page) == before
    assert (page.parent / f"gates_post_features_{EARLY}.html").exists()


def test_a_blocked_expectation_ends_with_1_and_is_the_first_thing_told(
    gates: Gates, first_run: FinishedRun, tmp_path: Path
) -> None:
    expectations = Path(shutil.copytree(PROJECT / "expectations", tmp_path / "expectations"))
    suite = expectations / "assembly" / "panel.json"
    planted = (
        '{"type": "expect_column_values_to_be_between", "kwargs": {"column": "zl_close", "max_value": 60}, '
        '"meta": {"on_fail": "block", "reason": "planted by the test"}},'
    )
    suite.write_text(suite.read_text().replace('"expectations": [', '"expectations": [' + planted, 1))
    code, told, _ = gates(first_run.home, "POST_ASSEMBLY", "--json", CBI_EXPECTATIONS=str(expectations))
    first = json.loads(told)[0]
    assert code == 1
    assert (first["state"], first["reason"]) == ("blocked", "planted by the test")
    assert all(row["zl_close"] > 60 for row in first["examples"])


def test_tables_of_another_session_are_not_judged_for_the_one_asked(gates: Gates, first_run: FinishedRun) -> None:
    code, told, said = gates(first_run.home, "POST_FEATURES", "--as-of", "2012-02-01")
    assert (code, told) == (1, "")
    assert "ends at 2011-12-30, not 2012-02-01; run `cbi daily --as-of 2012-02-01`" in said
    code, told, said = gates(first_run.home, "POST_STAGING", "--as-of", "2012-02-01", "--json")
    blocked = [row["expectation"] for row in json.loads(told) if row["state"] == "blocked"]
    assert code == 1 and any("expect_column_not_above_column" in name for name in blocked), "ZL is a month old by then"


def test_without_anything_staged_one_line_says_so(gates: Gates, tmp_path: Path) -> None:
    for words in ([], ["--as-of", "2011-12-30"]):
        code, told, said = gates(tmp_path / "empty", "POST_STAGING", *words)
        assert (code, told) == (1, "")
        assert "NothingStored: " in said and "nothing is staged under" in said and "`make demo`" in said
    assert not (tmp_path / "empty").exists(), "looking writes nothing"


def test_without_a_critical_price_the_gate_says_it_and_not_a_stack_trace(
    gates: Gates, first_run: FinishedRun, tmp_path: Path
) -> None:
    zones = Zones(tmp_path / "home")
    for zone in ("staging", "quarantine"):
        shutil.copytree(first_run.home / zone / "fred", zones.home / zone / "fred")
    code, told, _ = gates(zones.home, "POST_STAGING", "--as-of", EARLY, "--json")
    blocked = {row["expectation"] for row in json.loads(told) if row["state"] == "blocked"}
    assert code == 1 and "expect_critical_series_present" in blocked


def test_an_unknown_gate_is_refused_with_those_there_are(gates: Gates, first_run: FinishedRun) -> None:
    code, told, said = gates(first_run.home, "POST_STAGNATION")
    assert (code, told) == (1, "")
    assert "unknown gate `POST_STAGNATION`; known: " in said and "POST_STAGING" in said


def test_data_docs_are_a_zip_with_a_page_a_suite_and_links_that_work_offline(gates: Gates, copied_home: Path) -> None:
    code, _, said = gates(copied_home, "POST_FEATURES", "--data-docs", "--json")
    path = copied_home / "reports" / f"data_docs_post_features_{EARLY}.zip"
    assert code == 0 and str(path) in said
    with zipfile.ZipFile(path) as docs:
        names = docs.namelist()
        contents = docs.read("data_docs/contents.html").decode()
        (validated,) = [name for name in names if "/validations/" in name and name.endswith("features.html")]
        page = docs.read(validated).decode()
    assert "data_docs/index.html" in names
    assert f'href="{validated.removeprefix("data_docs/")}"' in contents
    assert "expect_no_placeholder" in page and "Run Name" in page and EARLY in page


def test_the_run_names_its_gate_page_in_terminal_and_artifact(first_run: FinishedRun) -> None:
    page = first_run.summary.pages.gate_page
    assert page == first_run.home / "reports" / f"gates_{EARLY}.html"
    told = page.read_text()
    for gate in set(first_run.summary.gates["gate"]):
        assert f'<h2 id="{gate}">' in told
    assert f'title="{EARLY}: met (run at ' in told, "the run itself is in its history"
    console = Console(width=300, record=True, file=io.StringIO())
    print_result(first_run.summary, console)
    assert f"Gate page: {page}" in console.export_text()
    markdown = gates_markdown(first_run.summary)
    warned = first_run.summary.gates[~first_run.summary.gates["success"]]
    assert str(page) in markdown and all(in_markdown(reason) in markdown for reason in warned["reason"])
    assert "# Gates as of " in first_run.gate_artifact
