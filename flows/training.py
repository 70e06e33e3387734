"""``python -m flows.training``: the bake-off on the exported training files."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from prefect import flow

from flows.runtime import Steps, as_task, prefect_at_home
from tasks.errors import CbiError
from tasks.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd

    from tasks.context import Run
    from tasks.gates.run import GateReport


def gate_training(run: Run) -> GateReport:
    """PRE_TRAINING: the training files as they are on disk."""
    from tasks.gates.run import pass_gate
    from tasks.gates.tables import training_tables

    return pass_gate(run, "PRE_TRAINING", training_tables(run.work.exports, run.features, run.horizons))


def bake_off(run: Run) -> pd.DataFrame:
    """Train and compare every family at every horizon; promote the best of each. Returns the leaderboard."""
    from tasks.evaluation.bake_off import train_and_compare
    from tasks.exports import check_exports
    from tasks.model_store.store import ModelStore
    from tasks.registry import load_quality_gates, load_surface
    from tasks.zones import exclusive

    check_exports(run.work.exports)
    with exclusive(run.zones, "models", wait_s=3600), Steps("fit") as progress:
        return train_and_compare(
            run.work.exports,
            ModelStore(run.zones.models),
            run.horizons,
            {
                "production": list(load_surface(run.settings.registry, run.features).features),
                "full": run.features.production(),
            },
            as_of=run.as_of,
            rule=load_quality_gates(run.settings.registry).promotion,
            code_version=run.code_version,
            workers=run.settings.workers,
            progress=progress,
        )


@flow(name="training", flow_run_name="training {as_of}", persist_result=False)
def training(as_of: str, origin: str = "live") -> tuple[pd.DataFrame, GateReport]:
    """The bake-off as of one session, once its training files have passed the gate: leaderboard and gate."""
    from tasks.context import open_run

    run = open_run(load_settings(), origin=origin, as_of=as_of)
    gate = as_task(gate_training, "gate PRE_TRAINING")(run)
    return as_task(bake_off, "bake-off")(run), gate


def main() -> int:
    """Command line."""
    from tasks.errors import ManifestMismatch
    from tasks.zones import Zones, read_json

    parser = argparse.ArgumentParser(prog="python -m flows.training", description=__doc__)
    parser.parse_args()
    try:
        settings = load_settings()
        held = read_json(Zones(settings.home).exports / "manifest.json")
        if held is None:
            raise ManifestMismatch("there are no training files yet; run `make demo` or `make daily` first")
        with prefect_at_home(settings):
            board, gate = training(held["as_of"])
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    for warned in gate.failed("warn"):
        print(f"{gate.gate}: {warned}", file=sys.stderr)
    columns = ["horizon", "family", "pinball_log_return", "skill_over_no_change_pct", "coverage_80", "champion"]
    print(board.reindex(columns=columns).to_string(index=False))
    for message in board.loc[board["refusal"] != "", "refusal"]:
        print(message)
    return 0


if __name__ == "__main__":
    sys.exit(main())
