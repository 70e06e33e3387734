"""``python -m evidence.direction``: chances of a higher price against what happened; writes docs/results/direction.md.

It reads the newest bake-off of the daily budget in CBI_HOME (`make demo` or `cbi daily` leaves one).
"""

from __future__ import annotations

import sys

import pandas as pd

from evidence.bake_off_report import newest_bake_off
from evidence.command_line import page_command
from evidence.inputs import last_run
from evidence.machine import stamp
from evidence.page import shown, table, write_page
from tasks.evaluation.comparison import overlapping_origins
from tasks.evaluation.metrics import direction_reliability
from tasks.forecasting.forecast import why_no_direction
from tasks.models.catalogue import BASELINE
from tasks.registry import load_models, load_quality_gates
from tasks.reporting.evaluation_charts import direction_figure
from tasks.settings import PROJECT

PAGE = PROJECT / "docs" / "results" / "direction.md"
FIGURE = PROJECT / "docs" / "images" / "direction.png"
BUDGET, BEFORE = "daily", "no_change"


def constant(oof: pd.DataFrame) -> tuple[str, str, str]:
    """Of the share of past moves that were up: its mean, how often the price was higher, and its Brier score."""
    chance, higher = oof["direction_probability"], oof["target_log_return"] > 0
    return f"{chance.mean():.0%}", f"{higher.mean():.0%}", f"{((chance - higher) ** 2).mean():.4f}"


def measure() -> None:
    """Measure every family's chances, and write the page and its figure."""
    before, run = stamp("make direction"), last_run()
    models, gates = load_models(run.settings.registry, run.features), load_quality_gates(run.settings.registry)
    bake_off = newest_bake_off(run, BUDGET, models=models, gates=gates)
    step, rows, old, views = run.horizons.walk_forward.origin_step_sessions, [], [], {}
    sessions = {name: horizon.sessions for name, horizon in run.horizons.horizons.items()}
    for name in bake_off.horizons:
        scored = {family: oof[oof["scored"] & oof["p50"].notna()] for family, oof in bake_off.oofs[name].items()}
        old.append((name, *constant(scored[BEFORE])))
        base = scored[BASELINE][scored[BASELINE]["p50"] != 0]
        views[name] = pd.DataFrame(
            {"chance": base["direction_probability"], "higher": (base["target_log_return"] > 0).astype(float)}
        ).dropna()
        for family in (BASELINE, "ridge", "har", "lightgbm"):
            found = direction_reliability(scored[family], overlap=overlapping_origins(sessions[name], step))
            why = why_no_direction(1.0, found)
            rows.append(
                (
                    name,
                    family,
                    shown(found["brier"], "{:.4f}"),
                    shown(found["brier_high"], "{:.4f}"),
                    shown(found["direction_slope"], "{:+.2f}"),
                    "shown" if not why else "empty",
                )
            )
    direction_figure(FIGURE, views, sessions, step=step)
    write_page(
        PAGE,
        "The chance that the price is higher",
        before,
        "On out-of-fold origins from 2010 on whose forecast is not the last price. A coin has a Brier score of 0.25. A "
        "chance is published where the upper end of the score's 90% interval is below 0.25 and the slope is above "
        "zero; else the cell is empty and `direction_reason` says why. The interval is from groups of neighboring "
        "origins; with fewer than five groups there is none, and no chance.",
        "## Before: the share of past moves that were up, shown always",
        table(["horizon", "mean chance", "price was higher", "Brier score"], old),
        "## Now",
        table(["horizon", "family", "Brier score", "its upper bound", "slope", "P(higher)"], rows),
        "![the baseline's chances against what happened](../images/direction.png)",
        "Dots are fifths of the baseline's origins with a view; inside its gray bar a dot is where luck would put it.",
    )


if __name__ == "__main__":
    sys.exit(page_command("evidence.direction", __doc__, measure, PAGE))
