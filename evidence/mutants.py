"""``python -m evidence.mutants``: the share of small faults, planted in the code, that the tests notice.

``N`` mutants (evidence/mutation.py) of the modules that build, check and score data are drawn with a recorded
seed. Each is tried in a copy of the tree with the tests that reach its function, in warm processes that fork
(evidence/mutant_worker.py). The page lists the survivors.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evidence.command_line import command
from evidence.machine import stamp
from evidence.mutant_worker import NOT_REACHED, SURVIVED
from evidence.mutants_page import counted, score, write
from evidence.mutation import Mutant, mutants_of, nothing, sampled
from tasks.settings import PROJECT

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
    # derived series of tasks/panel, and vintages of payloads
    *("tests/features/test_weather.py", "tests/features/test_supply_demand.py", "tests/features/test_policy.py"),
    *("tests/features/test_china.py", "tests/features/test_finbert.py", "tests/features/test_signals.py"),
    *("tests/sources/test_fred_vintages.py", "tests/sources/test_usda_wasde.py", "tests/sources/test_inmet.py"),
    *("tests/sources/test_refusals.py", "tests/sources/test_one_bad_record.py", "tests/sources/test_sina.py"),
)
SEED, PROCESSES = 18, 2
Result = dict[str, Any]


def source_files(root: Path) -> list[str]:
    """The files to mutate, relative to the project."""
    found: list[Path] = []
    for place in MUTATED:
        found += [root / place] if place.endswith(".py") else sorted((root / place).glob("*.py"))
    return [str(path.relative_to(root)) for path in found if path.stat().st_size]


def copied_tree(target: Path) -> Path:
    """The tracked and new files of the project; the recorded archive is linked, because nothing writes there."""
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


def tried(mutants: list[Mutant], *, minutes: float, folder: Path) -> list[Result | None]:
    """The result of each mutant; None if the time was over before its turn."""
    (folder / "mutants.json").write_text(json.dumps([asdict(mutant) for mutant in mutants]))
    end, started = time.monotonic() + 60 * minutes, []
    for number in range(PROCESSES):
        copied_tree(folder / f"tree{number}")
    try:
        for number in range(PROCESSES):
            tree = folder / f"tree{number}"
            environment = {name: value for name, value in os.environ.items() if not name.startswith("CBI_")} | {
                "PYTHONPATH": str(tree),
                "PYTEST_XDIST_WORKER": f"gw{number}",
                **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
            }
            role = "first" if number == 0 else "later"
            words = [sys.executable, "-m", "evidence.mutant_worker", str(folder), str(folder / "tests" / f"gw{number}")]
            there = [name for name in TESTED_BY if (tree / name).exists()]
            (folder / "tests").mkdir(exist_ok=True)
            with (folder / f"worker{number}.log").open("w") as log:
                started.append(
                    subprocess.Popen([*words, role, *there], cwd=tree, env=environment, stdout=log, stderr=log)
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


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = command("evidence.mutants", __doc__, "--count 20 --minutes 10")
    parser.add_argument("--count", type=int, default=100, help="how many mutants")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    before, start = stamp("make mutants"), time.perf_counter()
    every = mutants_of(PROJECT, source_files(PROJECT))
    mutants = sampled(every, given.count, given.seed)
    print(f"{len(every)} possible, {len(mutants)} to try", file=sys.stderr)
    unchanged = [nothing(PROJECT, path) for path in sorted({mutant.path for mutant in mutants})]
    with tempfile.TemporaryDirectory(prefix="cbi-mutants-") as folder:
        found = tried([*unchanged, *mutants], minutes=given.minutes, folder=Path(folder))
    for mutant, result in zip(unchanged, found, strict=False):
        if result and result["outcome"] not in (SURVIVED, NOT_REACHED):
            print(f"{mutant.path}: tests fail although nothing was changed: {result}", file=sys.stderr)
    outcomes = [
        (mutant, str(result["outcome"]))
        for mutant, result in zip(mutants, found[len(unchanged) :], strict=True)
        if result is not None
    ]
    minutes = (time.perf_counter() - start) / 60
    write(given.page, before, outcomes, possible=len(every), seed=given.seed, minutes=minutes)
    for module, row in counted(outcomes).items():
        print(f"{module:20} {row} {score(row)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
