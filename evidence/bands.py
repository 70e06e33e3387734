"""``python -m evidence.bands``: other widths of the bands, tried on the years to 2018; writes docs/results/bands.md.

It reads the training files in CBI_HOME (`make demo` leaves them). Each variant is around the curve and refitted each
January, with adaptive bands as published. Nothing here is served: what gains on both halves would become a family.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import pandas as pd

from evidence.command_line import page_command
from evidence.inputs import last_run
from evidence.machine import stamp
from evidence.page import table, write_page
from tasks.evaluation import calibration
from tasks.evaluation.comparison import evaluate
from tasks.exports import file_name
from tasks.models.forecaster import Problem, forecaster
from tasks.models.har import MEMORIES, Har
from tasks.models.naive import MeanReverting, Pooled
from tasks.registry import load_quality_gates
from tasks.settings import PROJECT
from tasks.training.blending import REGIMES
from tasks.training.worker import out_of_fold

PAGE = PROJECT / "docs" / "results" / "bands.md"
TRIED_UNTIL = 2018
"""The last year on which a variant has to gain; the years after confirm it."""
RANGES = ("zl_parkinson_21d_pct", "zl_garman_klass_63d_pct")
FAST_STEPS = (0.1, 0.2)


class Reverting(MeanReverting):
    """The scale drawn to the long run, around the curve."""

    around_curve = True


class HarRange(Har):
    """HAR with range volatility of bars; a missing one is the EWMA's."""

    logs: ClassVar[tuple[str, ...]] = (*Har.logs, *RANGES)

    def _inputs(self, features: pd.DataFrame) -> np.ndarray:
        known = {name: features[name].where(features[name] > 0) for name in RANGES}
        filled = features.assign(**{name: values.fillna(features[MEMORIES[0]]) for name, values in known.items()})
        return super()._inputs(filled)


class HarRegimes(Har):
    """HAR with the causal regime's probabilities."""

    levels: ClassVar[tuple[str, ...]] = (*Har.levels, *REGIMES[:2])


class HalfHar(Har):
    """Half of HAR's variance, half of that drawn to the long run."""

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """Both."""
        super().learn(features, target, weights)
        self.state["long_run"] = float(np.sqrt((features[MEMORIES[2]] ** 2).mean()))

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """Root of the mean of both variances."""
        other = MeanReverting(self.problem)
        other.state = {"long_run_pct": self.state["long_run"]}
        return np.sqrt((super().scale(features) ** 2 + other.scale(features) ** 2) / 2)


VARIANTS: dict[str, tuple[Callable[[Problem], Any], float]] = {
    "curve": (forecaster("curve"), calibration.STEP),
    "the long run's share in the scale": (Reverting, calibration.STEP),
    "shape shrunk to weekly moves (pooled)": (Pooled, calibration.STEP),
    "HAR": (Har, calibration.STEP),
    "HAR with range volatility": (HarRange, calibration.STEP),
    "HAR with regime probabilities": (HarRegimes, calibration.STEP),
    "half HAR, half the long run": (HalfHar, calibration.STEP),
    **{
        f"bands that adapt {step / calibration.STEP:g} times as fast": (forecaster("curve"), step)
        for step in FAST_STEPS
    },
}


def longest_miss(part: pd.DataFrame) -> int:
    """The most origins one after another whose outcome lay outside the 80% band."""
    missed = ~part["target_log_return"].between(part["p10"], part["p90"])
    return int(missed.groupby((~missed).cumsum()).sum().max())


def measure() -> None:
    """Forecast every fold by every variant, and write the page."""
    before, run = stamp("make bands"), last_run()
    levels, walk = tuple(run.horizons.quantiles), run.horizons.walk_forward
    cost = load_quality_gates(run.settings.registry).trading_cost.round_trip_cents_lb
    newest, rows = run.as_of.year, []
    halves = ((walk.first_test_year, TRIED_UNTIL), (TRIED_UNTIL + 1, newest))
    for name, horizon in run.horizons.horizons.items():
        training = pd.read_parquet(run.work.exports / file_name("prod", name))
        columns = [one for one in training if one in run.features.features]
        compared = partial(
            evaluate, sessions=horizon.sessions, step=walk.origin_step_sessions, round_trip_cost_cents_lb=cost
        )
        base = pd.DataFrame()
        for title, (family, step) in VARIANTS.items():
            raw = out_of_fold(family, Problem(name, horizon.sessions, levels), training, columns, walk)  # type: ignore[arg-type]
            with patch.object(calibration, "STEP", step):
                oof, _ = calibration.calibrate(raw, levels, horizon=horizon.sessions, step=walk.origin_step_sessions)
            oof = oof[oof["scored"]]
            base = oof if base.empty else base
            cells = []
            for first, last in halves:
                part = oof[oof["date"].dt.year.between(first, last)]
                found = compared(part, base, levels)
                cells += [f"{found['skill_pct']:+z.2f}", f"{found['coverage_80']:.0%}", longest_miss(part)]
            rows.append((name, title, *cells))
        print(f"{name}: done", flush=True)
    write_page(
        PAGE,
        "Other widths of the bands",
        before,
        "Skill in percent of the pinball loss of `curve`, the share of outcomes inside the 80% band, and the longest "
        "run of weekly origins whose outcome lay outside it. To be taken, a variant has to gain on the years to 2018 "
        "and to hold it after. No source of the archive has implied volatility of soybean oil, and asymmetric GARCH "
        "was not tried.",
        table(
            [
                "horizon",
                "variant",
                *(f"{a} to {b}: {what}" for a, b in halves for what in ("skill %", "80% band covered", "longest miss")),
            ],
            rows,
        ),
    )


if __name__ == "__main__":
    sys.exit(page_command("evidence.bands", __doc__, measure, PAGE))
