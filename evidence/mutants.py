"""``python -m evidence.mutants``: how many small faults planted in the code the tests notice.

``N`` mutants (evidence/mutation.py) of the modules that make, judge and score data are drawn with a seed that is
written down. Each is tried in a copy of the tree against the tests that run its function, in warm processes that fork
(evidence/mutant_worker.py). The page lists what survived.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from evidence.mutant_worker import KILLED, NOT_REACHED, SLOWEST_S, SURVIVED, TIMED_OUT
from evidence.mutants_page import counted, render, score
from evidence.mutation import NOTHING, Mutant, mutants_of, nothing, sampled
from tasks.settings import PROJECT
from tasks.storage.files import write_bytes

PAGE = PROJECT / "docs" / "results" / "mutants.md"
MUTATED = (
    "tasks/panel",
    "tasks/staging",
    "tasks/evaluation",
    "tasks/training",
    "tasks/forecasting",
    "tasks/labels.py",
    "tasks/quantiles.py",
)
TESTED_BY = (
    *(
        "tests/panel",
        "tests/staging",
        "tests/evaluation",
        "tests/training",
        "tests/forecasting",
        "tests/test_labels.py",
    ),
    *("tests/models/test_families.py", "tests/models/test_promotion.py", "tests/models/test_scale_families.py"),
    *("tests/models/test_weights_and_options.py", "tests/gates", "tests/leakage"),
    *("tests/test_day.py", "tests/test_exports.py"),
    # of the derived series of tasks/panel, and of vintages that a payload tells
    *("tests/features/test_weather.py", "tests/features/test_supply_demand.py", "tests/features/test_policy.py"),
    *("tests/features/test_china.py", "tests/features/test_finbert.py", "tests/features/test_signals.py"),
    *("tests/sources/test_fred_vintages.py", "tests/sources/test_usda_wasde.py", "tests/sources/test_inmet.py"),
    *("tests/sources/test_refusals.py", "tests/sources/test_one_bad_record.py", "tests/sources/test_sina.py"),
)
SEED = 18
Result = dict[str, Any]


def source_files(root: Path) -> list[str]:
    """The files that are mutated, from the root of the project."""
    found: list[Path] = []
    for place in MUTATED:
        found += [root / place] if place.endswith(".py") else sorted((root / place).glob("*.py"))
    return [str(path.relative_to(root)) for path in found if path.stat().st_size]


def copied_tree(target: Path) -> Path:
    """The tracked and new files of the project; the recorded archive is linked, for nothing writes there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    for name in listed.split("\0"):
        path = PROJECT / name
        if not name or name.startswith("recorded/") or not path.is_file():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target / name)
    (target / "recorded").symlink_to(PROJECT / "recorded")
    compileall.compile_dir(target, quiet=2)
    return target


def tried(
    mutants: list[Mutant], *, tests: list[str], processes: int, minutes: float, fixtures: bool, folder: Path
) -> list[Result | None]:
    """What became of each mutant; None where the time was over before its turn."""
    (folder / "mutants.json").write_text(json.dumps([mutant.told() for mutant in mutants]))
    end, started = time.monotonic() + 60 * minutes, []
    redo = "fixtures" if fixtures else "lines"
    for number in range(processes):
        if not (folder / f"tree{number}").exists():
            copied_tree(folder / f"tree{number}")
    try:
        for number in range(processes):
            tree = folder / f"tree{number}"
            environment = {name: value for name, value in os.environ.items() if not name.startswith("CBI_")} | {
                "PYTHONPATH": str(tree),
                "PYTEST_XDIST_WORKER": f"gw{number}",
                **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            }
            role = "first" if number == 0 else "later"
            command = [
                sys.executable,
                "-m",
                "evidence.mutant_worker",
                str(folder),
                str(folder / "tests" / f"gw{number}"),
            ]
            there = [name for name in tests if (tree / name).exists()]
            (folder / "tests").mkdir(exist_ok=True)
            with (folder / f"worker{number}.log").open("w") as log:
                started.append(
                    subprocess.Popen([*command, role, redo, *there], cwd=tree, env=environment, stdout=log, stderr=log)
                )
            while number == 0 and not (folder / "reached.json").exists():
                if started[0].poll() is not None:
                    raise SystemExit((folder / "worker0.log").read_text()[-3000:])
                time.sleep(0.5)
        while any(worker.poll() is None for worker in started) and time.monotonic() < end:
            for number, worker in enumerate(started):
                if worker.poll():
                    raise SystemExit((folder / f"worker{number}.log").read_text()[-3000:])
            time.sleep(1)
            done = len(list(folder.glob("[0-9]*.json")))
            print(f"\r{done} of {len(mutants)}", end="", file=sys.stderr, flush=True)
    finally:
        for worker in started:
            if worker.poll() is None:
                worker.terminate()
                worker.wait()
    results: list[Result | None] = []
    for number in range(len(mutants)):
        path = folder / f"{number}.json"
        results.append(json.loads(path.read_text()) if path.exists() else None)
    return results


def again(earlier: list[Result], mutants: list[Mutant]) -> tuple[list[Mutant], list[Result], list[Result]]:
    """Of an earlier run: the mutants to try again, what was noticed then, and what is not in the code any more."""
    by_key = {mutant.key: mutant for mutant in mutants}
    todo, settled, gone = [], [], []
    for held in earlier:
        told = held["mutant"]
        key = tuple(told[name] for name in ("path", "function", "kind", "before", "after", "nth"))
        if held["outcome"] in (KILLED, TIMED_OUT):
            settled.append(held)
        elif key in by_key:
            todo.append(by_key[key])
        else:
            gone.append(held)
    return todo, settled, gone


def commit() -> str:
    """The commit that is checked out, and whether files differ from it."""
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    return head.stdout.strip() + (" and changes" if changed.stdout.strip() else "")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m evidence.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="how many mutants")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--first", type=int, default=0, help="leave out so many of the drawn ones")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--fixtures", action="store_true", help="make shared fixtures again where the line is theirs")
    parser.add_argument("--tests", nargs="+", default=list(TESTED_BY), help="files or folders of tests")
    parser.add_argument("--folder", type=Path, help="where to work, kept; a new temporary one unless given")
    parser.add_argument("--results", type=Path, help="a JSON file of every mutant and what became of it")
    parser.add_argument("--page", type=Path, help=f"write the page, {PAGE.relative_to(PROJECT)} as a rule")
    parser.add_argument("--again", type=Path, help="the results of an earlier run: try again what it left unnoticed")
    given = parser.parse_args(arguments)
    every = mutants_of(PROJECT, source_files(PROJECT))
    settled: list[Result] = []
    gone: list[Result] = []
    if given.again:
        mutants, settled, gone = again(json.loads(given.again.read_text())["results"], every)
    else:
        mutants = sampled(every, given.count, given.seed)[given.first :]
    print(f"{len(every)} possible, {len(mutants)} to try", file=sys.stderr)
    unchanged = [nothing(PROJECT, path) for path in sorted({mutant.path for mutant in mutants})]
    mutants = [*unchanged, *mutants]
    start = time.perf_counter()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="cbi-mutants-"))
    folder.mkdir(exist_ok=True)
    try:
        found = tried(
            mutants,
            tests=given.tests,
            processes=given.processes,
            minutes=given.minutes,
            fixtures=given.fixtures,
            folder=folder,
        )
    finally:
        if not given.folder:
            shutil.rmtree(folder)
    for mutant, result in zip(unchanged, found, strict=False):
        if result and result["outcome"] not in (SURVIVED, NOT_REACHED):
            print(f"{mutant.path}: tests fail although nothing was changed: {result}", file=sys.stderr)
    results = [
        {"mutant": mutant.told(), **result}
        for mutant, result in zip(mutants, found, strict=True)
        if result is not None and mutant.kind != NOTHING
    ]
    told = {
        "commit": commit(),
        "seed": given.seed,
        "possible": len(every),
        "slowest_s": SLOWEST_S,
        "tried_now": len(results),
        "minutes": round((time.perf_counter() - start) / 60, 1),
        "results": results + settled,
        "gone": gone,
    }
    if given.results:
        write_bytes(given.results, json.dumps(told, indent=1).encode())
    if given.page:
        earlier = json.loads(given.again.read_text()) if given.again else None
        write_bytes(given.page, render(told, earlier).encode())
    for module, row in counted(told["results"]).items():
        print(f"{module:20} {row} {score(row)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
