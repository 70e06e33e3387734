"""`make bench-peers`: the product's families and other libraries on the same folds, in one run.

``python -m evidence.peers PYTHON [NAME ...]``: the interpreter of the peers' environment, and the contenders to run
again (default: all). The results of the others are those of an earlier run; the page shows their time, and
which have never run. Reads the training files of CBI_HOME and writes docs/results/bench_peers.md.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from evidence.command_line import command, exit_status
from evidence.machine import stamp, training_files
from evidence.measurement import BenchError
from evidence.peers.exchange import has_run, read_costs, read_forecasts, write_contest, write_net_inputs
from evidence.peers.ours import load_contest
from evidence.peers.report import OWN_PAIRS, PAIRS, accuracy, beside, every_cost, render
from evidence.peers.run import TIMED
from evidence.processes import run
from tasks.exports import check_exports, file_name
from tasks.registry import load_horizons
from tasks.settings import PROJECT, load_settings
from tasks.storage.files import write_bytes
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones

if TYPE_CHECKING:
    from tasks.models.boosted import LightGbm, XGBoost

REPORT = PROJECT / "docs" / "results" / "bench_peers.md"
CONTENDERS = (  # ours next to its peer, so that a busy moment affects both
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
    parser = command("evidence.peers", __doc__, ".venv-peers/bin/python", ".venv-peers/bin/python ridge AutoETS")
    parser.add_argument("python", help="interpreter of the environment of evidence/peers/requirements.txt")
    parser.add_argument("name", nargs="*", help=f"contenders to run again: {', '.join(CONTENDERS)}; without any, all")
    given = parser.parse_args()
    if unknown := sorted(set(given.name) - set(CONTENDERS)):
        parser.error(f"unknown contenders: {', '.join(unknown)}")
    return exit_status(lambda: contend(given.python, given.name))


def contend(python: str, chosen: list[str]) -> int:
    """Run the chosen contenders, or all, and write the report."""
    start, home = time.perf_counter(), load_settings().home
    contest, folder = load_contest("lightgbm"), home / "bench_peers"
    manifest = check_exports(Zones(home).exports)
    snapshots = {name: manifest["files"][file_name("prod", name)]["sha256"] for name in contest.tables}  # type: ignore[index]
    before = stamp("make bench-peers", training_files(str(manifest["as_of"]), snapshots))
    given = _hashes(folder)
    write_contest(folder, contest, _parameters(contest.columns, contest.other_markets))
    write_net_inputs(folder, contest)
    if chosen and _hashes(folder) != given:
        raise BenchError("the data, the folds or the parameters are not those of the run before: run all contenders")
    for name in CONTENDERS:
        if not chosen or name in chosen:
            _contend(folder, name, python)
    missing = [name for name in CONTENDERS if not has_run(folder, name)]
    costs = {name: read_costs(folder, name) for name in CONTENDERS if name not in missing}
    forecasts = {name: read_forecasts(folder, name, contest) for name in costs if name.split()[-1] not in TIMED}
    tables = [
        beside("The same configuration, side by side", PAIRS, costs, forecasts),
        beside("Peers with their own settings", OWN_PAIRS, costs, forecasts),
        accuracy(forecasts, contest.levels, sessions=contest.sessions),
        every_cost(costs),
    ]
    packages = sorted({str(cost["package"]) for cost in costs.values()} - {"CBI"})
    page = render(before, tables, packages=packages, took_s=time.perf_counter() - start, missing=missing)
    write_bytes(REPORT, page.encode())
    print(f"written: {REPORT.relative_to(PROJECT)}")
    return 0


def _hashes(folder: Path) -> dict[str, str]:
    """One hash per input file of the contenders."""
    files = [folder / "plan.json", *folder.glob("closes.parquet"), *folder.glob("table.parquet")]
    return {path.name: sha256_of(path) for path in [*files, *folder.glob("inputs.*.parquet")] if path.exists()}


def _parameters(columns: tuple[str, ...], other_markets: tuple[str, ...]) -> dict[str, dict[str, object]]:
    """Our configuration, which the peers get too."""
    from tasks.models.boosted import LightGbm, XGBoost
    from tasks.models.neural.networks import DenseNetwork, TcnNetwork, TftNetwork
    from tasks.models.neural.options import NeuralOptions

    options = NeuralOptions()
    net = options.as_json() | {
        "kernel": TcnNetwork.kernel,
        "blocks": TcnNetwork.blocks,
        "heads_of_attention": TftNetwork.heads_of_attention,
        "dense_layers": len(DenseNetwork.sizes),
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
    """The number of parameters of our dense network. Its peer, with layers of one width, gets as many."""
    import numpy as np

    from tasks.models.neural.networks import DenseNetwork, Shape
    from tasks.models.neural.options import NeuralOptions
    from tasks.models.neural.windows import Layout

    options, layout = NeuralOptions(), Layout.of(list(columns), other_markets)
    horizons = load_horizons(PROJECT / "registry")
    levels = horizons.quantiles
    anchor = np.arange(len(levels), dtype="float64") * np.ones((len(horizons.horizons), 1))
    shape = Shape(len(layout.own), len(layout.other), options.window, options.channels, options.dropout)
    return sum(parameter.numel() for parameter in DenseNetwork(shape, anchor, levels.index(0.5)).parameters())


def _contend(folder: Path, name: str, python: str) -> None:
    """Run one contender in its own process.

    Raises:
        BenchError: it failed; the message has its last line.
    """
    outside = any(letter.isupper() for letter in name)
    words = (
        [python, str(Path(__file__).with_name("run.py")), str(folder), name]
        if outside
        else [sys.executable, "-m", "evidence.peers.ours", str(folder), name]
    )
    where = folder if outside else PROJECT  # Lightning writes logs to its working folder
    done = run(words, folder=where, environment=os.environ | ONE_THREAD)
    print(f"{name}: {done.seconds:.0f} s, its start included", flush=True)


if __name__ == "__main__":
    sys.exit(main())
