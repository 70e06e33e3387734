"""`make bench-peers`: the product's families and libraries from outside on the same folds, in one run.

``python -m evidence.peers PYTHON [NAME ...]``: the interpreter of the peers' environment, and the contenders to run
anew; without any, all. The others' answers are those of the run before, which the page says by their time, as it
says which have never run. Reads the training files of CBI_HOME and writes docs/results/bench_peers.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from evidence.machine import this_machine
from evidence.measurement import BenchError
from evidence.peers.exchange import has_run, read_costs, read_forecasts, write_contest, write_net_inputs
from evidence.peers.ours import load_contest
from evidence.peers.report import OWN_PAIRS, PAIRS, accuracy, beside, every_cost, render
from evidence.peers.run import TIMED
from tasks.errors import CbiError
from tasks.registry import load_horizons
from tasks.settings import PROJECT, load_settings
from tasks.storage.files import write_bytes
from tasks.storage.hashes import sha256_of

if TYPE_CHECKING:
    from tasks.models.boosted import LightGbm, XGBoost

REPORT = PROJECT / "docs" / "results" / "bench_peers.md"
CONTENDERS = (  # ours and its peer next to each other, so that a busy moment meets both
    "no_change",
    "pooled",
    "har",
    "ridge",
    "AutoARIMA",
    "AutoETS",
    "AutoTheta",
    *(name for pair in PAIRS for name in pair),
    *(peer for _, peer in OWN_PAIRS),
)
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def main() -> int:
    """Run the contenders, measure them, write the report."""
    parser = argparse.ArgumentParser(prog="python -m evidence.peers", description=__doc__)
    parser.add_argument("python", help="interpreter of the environment of evidence/peers/requirements.txt")
    parser.add_argument("name", nargs="*", help=f"contenders to run anew: {', '.join(CONTENDERS)}; without any, all")
    parser.add_argument("--jobs", type=int, default=1, help="contenders at a time (default: %(default)s)")
    given = parser.parse_args()
    if unknown := sorted(set(given.name) - set(CONTENDERS)):
        parser.error(f"unknown contenders: {', '.join(unknown)}")
    machine, start = this_machine(), time.perf_counter()
    folder = load_settings().home / "bench_peers"
    try:
        contest = load_contest("lightgbm")
        before = _told(folder)
        write_contest(folder, contest, _parameters(contest.columns, contest.other_markets))
        write_net_inputs(folder, contest)
        if given.name and _told(folder) != before:
            raise BenchError(
                "the data, the folds or the parameters are not those of the run before: run all contenders"
            )
        forecasts, costs = {}, {}
        with ThreadPoolExecutor(given.jobs) as pool:
            chosen = [name for name in CONTENDERS if not given.name or name in given.name]
            for _ in pool.map(lambda name: _contend(folder, name, given.python), chosen):
                pass
        missing = [name for name in CONTENDERS if given.name and not has_run(folder, name)]
        for name in CONTENDERS:
            if name in missing:
                continue
            costs[name] = read_costs(folder, name)
            if name.split()[-1] not in TIMED:
                forecasts[name] = read_forecasts(folder, name, contest)
            print(
                f"{name}: " + ", ".join(f"{fold['year']} {fold['cpu_s']:.1f} CPU s" for fold in costs[name]["folds"]),
                flush=True,
            )
    except (BenchError, CbiError) as error:
        print(f"evidence.peers: {error}", file=sys.stderr)
        return 1
    tables = [
        beside("The same configuration, side by side", PAIRS, costs, forecasts),
        beside("Peers with their own settings", OWN_PAIRS, costs, forecasts),
        accuracy(forecasts, contest.levels, sessions=contest.sessions),
        every_cost(costs),
    ]
    packages = sorted({str(held["package"]) for held in costs.values()} - {"CBI"})
    took_s = time.perf_counter() - start
    page = render(machine, tables, packages=packages, took_s=took_s, jobs=given.jobs, missing=missing)
    write_bytes(REPORT, page.encode())
    print(f"written: {REPORT.relative_to(PROJECT)}")
    return 0


def _told(folder: Path) -> dict[str, str]:
    """What the contenders are given, a hash a file."""
    files = [folder / "plan.json", *folder.glob("closes.parquet"), *folder.glob("table.parquet")]
    return {path.name: sha256_of(path) for path in [*files, *folder.glob("inputs.*.parquet")] if path.exists()}


def _parameters(columns: tuple[str, ...], other_markets: tuple[str, ...]) -> dict[str, dict[str, object]]:
    """The configuration of ours, which the peers are given."""
    from tasks.models.boosted import LightGbm, XGBoost
    from tasks.models.neural.networks import Dense, Tcn, Tft
    from tasks.models.neural.options import NeuralOptions

    options = NeuralOptions()
    net = options.as_json() | {
        "kernel": Tcn.kernel,
        "blocks": Tcn.blocks,
        "heads_of_attention": Tft.heads_of_attention,
        "dense_layers": len(Dense.sizes),
        "dense_parameters": _parameters_of_dense(columns, other_markets),
        "seed": options.seeds[0],
    }
    return {
        "lightgbm": {"columns": columns, **_boosting(LightGbm)},
        "xgboost": {"columns": load_contest("xgboost").columns, **_boosting(XGBoost)},
        "net": net,
    }


def _boosting(family: type[LightGbm | XGBoost]) -> dict[str, object]:
    defaults = family.defaults
    tuned = {name: value for name, value in defaults.items() if name not in ("own_share", "rounds", "every")}
    return {"every": defaults["every"], "rounds": defaults["rounds"], "parameters": {**family.fixed, **tuned}}


def _parameters_of_dense(columns: tuple[str, ...], other_markets: tuple[str, ...]) -> int:
    """How many parameters our dense network has: its peer, whose layers are all of one width, gets as many."""
    import numpy as np

    from tasks.models.neural.networks import Dense, Shape
    from tasks.models.neural.options import NeuralOptions
    from tasks.models.neural.windows import Layout

    options, layout = NeuralOptions(), Layout.of(list(columns), other_markets)
    horizons = load_horizons(PROJECT / "registry")
    levels = horizons.quantiles
    anchor = np.arange(len(levels), dtype="float64") * np.ones((len(horizons.horizons), 1))
    shape = Shape(len(layout.own), len(layout.other), options.window, options.channels, options.dropout)
    return sum(held.numel() for held in Dense(shape, anchor, levels.index(0.5)).parameters())


def _contend(folder: Path, name: str, python: str) -> None:
    """One contender in a process of its own.

    Raises:
        BenchError: it did not end well, with the last line it wrote.
    """
    outside = any(letter.isupper() for letter in name)
    command = (
        [python, str(Path(__file__).with_name("run.py")), str(folder), name]
        if outside
        else [sys.executable, "-m", "evidence.peers.ours", str(folder), name]
    )
    where = folder if outside else PROJECT  # Lightning leaves logs where it runs
    done = subprocess.run(command, cwd=where, env=os.environ | ONE_THREAD, capture_output=True, encoding="utf-8")
    if done.returncode:
        said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "nothing")
        raise BenchError(f"{name} ended with {done.returncode}; its last line: {said}")


if __name__ == "__main__":
    sys.exit(main())
