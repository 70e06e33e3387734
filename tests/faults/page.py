"""What the fault tests saw, as docs/reliability.md (`make test-faults`): no figure there is typed by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evidence.machine import stamp

# fault, what happens, and words of the tests that show it
TOLD: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("kill -9 of a flow", "the rerun ends with the tables of an undisturbed run", ("test_kill.py",)),
    ("kill -9 at random, day after day", "each day is run again; the same warehouse", ("test_soak.py",)),
    ("kill -9 in a publish", "readers keep the last snapshot; the rerun publishes the rest", ("test_warehouse_crash",)),
    ("kill -9 of a run on the worker", "it is marked crashed; the next run heals", ("test_up_run",)),
    ("kill -9 of the worker in a run", "its run ends at its next word, marked crashed; the next run heals",
     ("worker_killed",)),
    ("kill -9 of the server in a run", "one that is up again in a minute is not missed; else the run ends, saying so",
     ("server_killed",)),
    ("disk full", "the run ends naming the folder; nothing is half-written", ("full_disk",)),
    ("a read-only data folder", "the run ends naming the folder and the remedy", ("read_only",)),
    ("the clock jumps: DST, New Year", "the session is the one whose 18:00 Chicago has passed",
     ("clock_that_jumps", "last_finished_session")),
    ("two daily runs at once", "one waits for the other's locks; one state at the end",
     ("at_once_end", "second_run_is_refused")),
    ("a lock's file or folder is deleted while it is held", "the next run still waits; the file gets its name back",
     ("lock_holds_while",)),
    ("Prefect's database is locked", "the run waits for it", ("database_is_locked",)),
    ("a corrupted DuckDB file", "readers go on; the error says the cure, which works", ("corrupt_writer_file",)),
    ("the warehouse's working file is lost, older, or of another home",
     "publishing goes on from what readers have; a foreign file is refused with the remedy",
     ("without_its_working_file", "older_working_file", "working_file_of_another")),
    ("a staged file changed: a bit, a price, rows cut, emptied", "it is not read; staging makes it again from raw/",
     ("what_changed_of",)),
    ("a champion's files abort, hang or flood whoever reads them",
     "that horizon is served by the baseline, degraded, with the reason; the others as before",
     ("aborts_its_reader", "tree_that_never_ends", "xgboost_json", "declare_a_huge_array")),
    ("a file of the backup is deleted, or damaged before a restore",
     "the next day writes it again; a restore refuses it by name before anything is placed",
     ("file_of_the_backup", "damaged_file_of_a_backup")),
    ("kill -9 at any write of a backup or a restore", "the next one ends the same",
     ("backup_killed_at", "restore_killed_at")),
    ("a source streams slowly for minutes", "a minute is read whole; after 180 s the request ends; stored data serves",
     ("slow_drip",)),
    ("an answer that grows: 160 kB to 160 MB, encodings stacked",
     "it ends at the limit of bytes or is refused unread, in a few MB of memory",
     ("inflates_to", "encoding_that_was_not_asked")),
    ("a server that drips headers, redirects, bodies, reasons", "all of it counts; the request ends within its time",
     ("counts_everything",)),
    ("30 days offline, then catch-up", "the next run asks for the whole gap", ("offline",)),
    ("upgrade from an earlier commit's data", "the new code reads it; no row is lost", ("upgrade",)),
    ("a payload replaced while staging reads it", "none of it is used; the file is named; restored, it serves",
     ("replaced_while_it_is_read",)),
    ("a payload or sidecar lost in raw/", "its dates are requested again; what is missing until then is reported",
     ("lost_from_raw", "takes_the_lost_ones_place")),
    ("a damaged snapshot or pointer of the warehouse",
     "readers are notified; the next run writes it again; no new warehouse takes the place of history",
     ("damaged_snapshot", "damaged_pointer", "newest_snapshot_that_can_be_read", "history_can_be_read")),
    ("every kind of file under CBI_HOME cut, zeroed, emptied, deleted, one at a time",
     "the run makes it again, or names it with the remedy, which works; health and audit end with a code",
     ("damaged_file_of",)),
    ("SIGSTOP of a run for two minutes, then SIGCONT", "a second run names the lock; the first goes on and ends well",
     ("stopped_run_goes_on",)),
    ("ten daily runs at once", "each ends well or names the lock that it waited for; one set of rows",
     ("ten_daily_runs",)),
    ("200 queued ingests of one source", "each waits for the one before; one payload, its rows once",
     ("two_hundred_queued",)),
    ("5,000 payloads of one series; 2,000 days of forecasts", "the same forecasts; time and memory stay bounded",
     ("home_that_has_grown",)),
    ("the clock moved by a day or back by an hour in a run", "no value of the future; a revision counts from its next "
     "fetch at the latest", ("clock_moved_between",)),
    ("umask 077 and 000", "what is private stays private; others who may write are reported", ("under_a_umask",)),
    ("a source refuses and echoes our key", "no file of the home has it, nor Prefect's database, nor the bundle",
     ("echoes_it",)),
)  # fmt: skip
seen: list[tuple[str, str, float, dict[str, object]]] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and "faults" in report.keywords:
        seen.append((report.nodeid, report.outcome, report.duration, dict(report.user_properties)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Before the page is written from a run: each row has a test, each test a row."""
    if not os.environ.get("RELIABILITY_PAGE"):
        return
    found = [item.nodeid for item in session.items if "faults" in item.keywords]
    words = [word for *_, words in TOLD for word in words]
    untold = [test for test in found if not any(word in test for word in words)]
    unshown = [word for word in words if not any(word in test for test in found)]
    if untold or unshown:
        raise pytest.UsageError(f"docs/reliability.md: no row for {untold}, no test for {unshown} (tests/faults)")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    page = os.environ.get("RELIABILITY_PAGE")
    if page and seen and not hasattr(session.config, "workerinput"):  # one of pytest's processes sees all reports
        Path(page).write_text(table())


def table() -> str:
    lines = [
        "# Faults survived",
        "",
        stamp("make test-faults"),
        "",
        "The last column is measured by the tests, on real processes: from the fault's end, or from the start of "
        "the run that heals, until all is well; where nothing has to heal, the test's own time.",
        "",
        "| fault | what happens | lost | tests | healed in |",
        "|---|---|---|---|---:|",
    ]
    for fault, happens, words in TOLD:
        runs = [one for one in seen if any(word in one[0] for word in words)]
        passed = sum(outcome == "passed" for _, outcome, _, _ in runs)
        healed = [float(str(said["healed_s"])) for _, _, _, said in runs if "healed_s" in said]
        took = f"{max(healed):.1f} s" if healed else f"{max((d for _, _, d, _ in runs), default=0):.1f} s (test)"
        lost = "nothing" if runs and passed == len(runs) else "not shown here"
        lines.append(f"| {fault} | {happens} | {lost} | {passed} of {len(runs)} passed | {took if runs else ''} |")
    return "\n".join(lines) + "\n"
