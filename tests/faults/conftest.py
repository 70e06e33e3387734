"""What the fault tests saw, as docs/reliability.md (`make test-faults`): no figure there is typed by hand."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tasks.operations.soak import commit, machine

# fault, what happens, and a word of the test that shows it
TOLD = (
    ("kill -9 of a flow", "the rerun ends with the tables of an undisturbed run", "test_kill.py"),
    ("kill -9 at random, day after day", "each day is run again; the same warehouse", "test_soak.py"),
    ("kill -9 in a publish", "readers keep the last snapshot; the rerun publishes the rest", "test_warehouse_crash.py"),
    ("kill -9 of the server in a run", "the run ends with an error; the next one starts a server", "server_killed"),
    ("kill -9 of a run on the worker", "it is marked crashed; the next run heals", "test_up.py"),
    ("disk full", "the run ends naming the folder; nothing is half-written", "full_disk"),
    ("a read-only data folder", "the run ends naming the folder and the remedy", "read_only"),
    ("the clock jumps: DST, New Year", "the session is the one whose 18:00 Chicago has passed", "clock"),
    ("two daily runs at once", "one waits for the other's locks; one state at the end", "at_once"),
    ("Prefect's database is locked", "the run waits for it", "database_is_locked"),
    ("a corrupted DuckDB file", "readers go on; the error says the cure, which works", "corrupt_writer_file"),
    ("a source streams slowly for minutes", "the request ends at its total limit; what is held serves", "slow_drip"),
    ("30 days offline, then catch-up", "the next run asks for the whole gap", "offline"),
    ("upgrade from an earlier commit's data", "the new code reads it; no row is lost", "upgrade"),
)  # fmt: skip
seen: list[tuple[str, str, float, dict[str, object]]] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and "faults" in report.keywords:
        seen.append((report.nodeid, report.outcome, report.duration, dict(report.user_properties)))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    page = os.environ.get("RELIABILITY_PAGE")
    if page and seen:
        Path(page).write_text(table())


def table() -> str:
    lines = [
        "# Faults survived",
        "",
        f"Written by `make test-faults` on {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, commit `{commit()}`; "
        f"{machine()}. The last column is measured by the tests, on real processes: from the fault's end, or from the "
        "start of the run that heals, until all is well; where nothing has to heal, the test's own time.",
        "",
        "| fault | what happens | lost | tests | healed in |",
        "|---|---|---|---|---:|",
    ]
    for fault, happens, word in TOLD:
        runs = [one for one in seen if word in one[0]]
        passed = sum(outcome == "passed" for _, outcome, _, _ in runs)
        healed = [float(str(said["healed_s"])) for _, _, _, said in runs if "healed_s" in said]
        took = f"{max(healed):.1f} s" if healed else f"{max((d for _, _, d, _ in runs), default=0):.1f} s (test)"
        lost = "nothing" if runs and passed == len(runs) else "not shown here"
        lines.append(f"| {fault} | {happens} | {lost} | {passed} of {len(runs)} passed | {took if runs else ''} |")
    return "\n".join(lines) + "\n"
