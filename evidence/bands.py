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
from evidence.long_volatility import OWN_MARKET, ROW, GjrStudent, HarOfHistory, HarShort, futures_history
from evidence.machine import stamp
from evidence.page import table, write_page
from tasks.errors import ManifestMismatch
from tasks.evaluation import calibration
from tasks.evaluation.comparison import evaluate
from tasks.exports import file_name
from tasks.models.forecaster import Problem, forecaster
from tasks.models.har import MEMORIES, Har
from tasks.models.naive import MeanReverting, Pooled
from tasks.models.volatility_scaled import DAILY_RETURN
from tasks.quantiles import column, pinball
from tasks.registry import WalkForwardPlan, load_quality_gates
from tasks.settings import PROJECT
from tasks.staging.stage import read_staged
from tasks.training.blending import REGIMES
from tasks.training.worker import out_of_fold

PAGE = PROJECT / "docs" / "results" / "bands.md"
TRIED_UNTIL = 2018
"""The last year on which a variant has to gain; the years after confirm it."""
RANGES = ("zl_parkinson_21d_pct", "zl_garman_klass_63d_pct")
FAST_STEPS = (0.1, 0.2)
EXPERT_STEPS = (0.0125, 0.025, 0.05, 0.1, 0.2)


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


Variant = tuple[Callable[[Problem], Any], tuple[float, ...]]
"""A family, and the steps of its adaptive bands: of more than one, their forecasts weighted by their past loss."""


def variants(pairs: pd.DataFrame, dates: pd.DatetimeIndex, returns: np.ndarray) -> dict[str, Variant]:
    """Every variant by its title.

    Args:
        pairs: observations of ``pysystemtrade``. dates, returns: of each row of the training file; ``returns`` are
            daily log returns.
    """
    history, one = futures_history(pairs), (calibration.STEP,)
    own = history[history["market"] == OWN_MARKET]
    reading = {"dates": dates.to_numpy()}
    since_1970 = type("HarSince1970", (HarOfHistory,), {**reading, "history": own})
    all_futures = type("HarOfAllFutures", (HarOfHistory,), {**reading, "history": history})
    gjr = type("GjrOfZl", (GjrStudent,), {"returns": returns})
    curve = forecaster("curve")
    faster = {f"bands that adapt {step / calibration.STEP:g} times as fast": (curve, (step,)) for step in FAST_STEPS}
    return {
        "curve": (curve, one),
        "the long run's share in the scale": (Reverting, one),
        "shape shrunk to weekly moves (pooled)": (Pooled, one),
        "GARCH on two decays (`garch`)": (forecaster("garch"), one),
        "GJR-GARCH with Student's t (arch)": (gjr, one),
        "HAR": (Har, one),
        "HAR with range volatility": (HarRange, one),
        "HAR with regime probabilities": (HarRegimes, one),
        "half HAR, half the long run": (HalfHar, one),
        "HAR without VIX and price level": (HarShort, one),
        "the same, coefficients of soybean oil since 1970": (since_1970, one),
        "the same, coefficients of all recorded futures": (all_futures, one),
        **faster,
        "bands of five speeds, weighted by past loss (AgACI)": (curve, EXPERT_STEPS),
    }


def weighted_by_past_loss(experts: list[pd.DataFrame], levels: tuple[float, ...]) -> pd.DataFrame:
    """Quantiles averaged over experts, with weights exponential in their losses on outcomes known at each origin.

    Aggregated adaptive conformal inference (Zaffran et al. 2022), with one weight for all levels and the learning rate
    of AdaHedge's kind: the root of log(experts) over the summed squared spread of the losses.

    Args:
        experts: out-of-fold forecasts of the same origins, in the same order.
    """
    names = [column(level) for level in levels]
    ordered = [one.sort_values("date").reset_index(drop=True) for one in experts]
    quantiles = np.stack([one[names].to_numpy(dtype="float64") for one in ordered])
    target = ordered[0]["target_log_return"].to_numpy(dtype="float64")
    losses = np.stack([pinball(target, one, levels) for one in quantiles])
    by_target = ordered[0].sort_values("target_date", kind="stable")
    known = np.searchsorted(by_target["target_date"].to_numpy(), ordered[0]["date"].to_numpy(), side="right")
    past = losses[:, by_target.index]
    summed = np.cumsum(past, axis=1)
    spread = np.cumsum((past.max(axis=0) - past.min(axis=0)) ** 2)
    mixed = quantiles.mean(axis=0)
    for row in np.flatnonzero(known):
        last = known[row] - 1
        rate = np.sqrt(np.log(len(experts)) / spread[last]) if spread[last] > 0 else 0.0
        weight = np.exp(-rate * (summed[:, last] - summed[:, last].min()))
        mixed[row] = np.tensordot(weight / weight.sum(), quantiles[:, row], axes=1)
    return ordered[0].assign(**dict(zip(names, mixed.T, strict=True)))


def forecasts_of(
    variant: Variant, problem: Problem, training: pd.DataFrame, columns: list[str], walk: WalkForwardPlan
) -> pd.DataFrame:
    """A variant's scored out-of-fold forecasts, with the bands that it would have had."""
    family, steps = variant
    raw, experts = out_of_fold(family, problem, training, columns, walk), []  # type: ignore[arg-type]
    for speed in steps:
        with patch.object(calibration, "STEP", speed):
            adapted, _ = calibration.calibrate(
                raw, problem.quantiles, horizon=problem.sessions, step=walk.origin_step_sessions
            )
        experts.append(adapted)
    found = experts[0] if len(experts) == 1 else weighted_by_past_loss(experts, problem.quantiles)
    return found[found["scored"]]


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
    pairs = read_staged(run.zones, "pysystemtrade")
    if pairs is None:
        raise ManifestMismatch("this home has no contract prices (pysystemtrade); run `make demo`")
    for name, horizon in run.horizons.horizons.items():
        training = pd.read_parquet(run.work.exports / file_name("prod", name))
        training[ROW] = np.arange(len(training))
        tried = variants(
            pairs.observations, pd.DatetimeIndex(training["date"]), training[DAILY_RETURN].to_numpy(dtype="float64")
        )
        columns = [one for one in training if one in run.features.features or one == ROW]
        compared = partial(
            evaluate, sessions=horizon.sessions, step=walk.origin_step_sessions, round_trip_cost_cents_lb=cost
        )
        problem = Problem(name, horizon.sessions, levels)
        base = pd.DataFrame()
        for title, variant in tried.items():
            oof = forecasts_of(variant, problem, training, columns, walk)
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
        "and to keep it after. Coefficients of other rows are fitted on returns until the training's last session. No "
        "source of the archive has implied volatility of soybean oil.",
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
