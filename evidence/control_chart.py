"""``python -m evidence.control_chart``: how often the control chart is wrong, and how soon it finds what is.

Writes docs/results/control_chart.md.

It reads the newest bake-off of the daily budget in CBI_HOME (`make demo` or `cbi daily` leaves one). A sound champion
is simulated twice: from a family's own out-of-fold forecasts on the recorded archive, its bands rescaled so that
exactly 20% of the outcomes miss them and its loss shifted to that of the baseline, in blocks of two horizons; and from
normal returns with their true bands, whose targets overlap. Both are ten years long, many times.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evidence.bake_off_report import newest_bake_off
from evidence.command_line import page_command
from evidence.machine import stamp
from evidence.page import table, write_page
from tasks.calendar import sessions
from tasks.evaluation.comparison import NAIVE
from tasks.forecasting.control import LOSS_A_WIDTH, NOMINAL_MISSES, cumulative_sums
from tasks.models.catalogue import BASELINE
from tasks.quantiles import column, pinball
from tasks.registry import ControlLimits, ControlRule, load_control_rule, load_models, load_quality_gates
from tasks.run import open_run
from tasks.settings import PROJECT, load_settings
from tasks.sources.payloads import RECORDED

PAGE = PROJECT / "docs" / "results" / "control_chart.md"
BUDGET = "daily"
DECADE_SESSIONS = 2520
DECADES = 4000
SEED = 20231229
FALSE_ALARMS = 0.05
"""Of a sound champion in ten years, all three sums together; each sum has a third of it."""
CHARTS = ("narrow", "wide", "loss")
PLANTED = (0.5, 0.7)
FEWEST_BLOCK = 26
NORMAL_80 = 1.2815515655446004


@dataclass(frozen=True)
class Past:
    """A family's outcomes at one horizon: ``miss_size`` (1 is the edge of the 80% band), loss over the baseline's."""

    miss_size: np.ndarray
    relative_loss: np.ndarray

    def sound(self) -> tuple[np.ndarray, np.ndarray]:
        """The same outcomes under bands that 20% miss, and a loss that is the baseline's on average."""
        missed = (self.miss_size > np.quantile(self.miss_size, 1 - NOMINAL_MISSES)).astype("float64")
        return missed, self.relative_loss - self.relative_loss.mean()


def past_of(oof: pd.DataFrame, base: pd.DataFrame, levels: tuple[float, ...], *, width: float = 1.0) -> Past:
    """The outcomes of a family on the origins that it shares with the baseline; ``width`` scales its bands."""
    names = [column(level) for level in levels]
    own, other = (one[one["scored"] & one["p50"].notna()].set_index("date") for one in (oof, base))
    shared = own.index.intersection(other.index)
    own, other = own.loc[shared], other.loc[shared]
    target, median = own["target_log_return"].to_numpy(), own["p50"].to_numpy()
    quantiles = median[:, None] + width * (own[names].to_numpy() - median[:, None])
    low, high = (quantiles[:, levels.index(level)] for level in (0.1, 0.9))
    miss_size = np.where(target > median, (target - median) / (high - median), (median - target) / (median - low))
    losses = pinball(target, quantiles, levels) - pinball(target, other[names].to_numpy(), levels)
    return Past(miss_size, losses / (LOSS_A_WIDTH * (other["p90"] - other["p10"]).to_numpy()))


def decades(rows: int, *, horizon: int, step: int, random: np.random.Generator) -> np.ndarray:
    """Rows of a past in blocks of two horizons, ten years of them, ``DECADES`` times (circular block bootstrap)."""
    length, block = DECADE_SESSIONS // step, max(FEWEST_BLOCK, 2 * horizon // step)
    starts = random.integers(0, rows, (DECADES, -(-length // block)))
    return ((starts[:, :, None] + np.arange(block)) % rows).reshape(DECADES, -1)[:, :length]


def normal_misses(*, horizon: int, step: int, random: np.random.Generator) -> np.ndarray:
    """Misses of true 80% bands of sums of normal returns over ``horizon`` sessions, an origin every ``step``."""
    days = random.standard_normal((DECADES // 4, DECADE_SESSIONS + horizon))
    total = np.cumsum(days, axis=1)
    sums = total[:, horizon:] - total[:, :-horizon]
    return (np.abs(sums[:, ::step]) > NORMAL_80 * np.sqrt(horizon)).astype("float64")


def maxima(
    missed: np.ndarray, relative_loss: np.ndarray, rule: ControlRule, *, horizon: int, step: int
) -> dict[str, np.ndarray]:
    """The largest value of each sum in each path."""
    share = np.full(missed.shape[-1], min(1.0, step / horizon))
    sums = cumulative_sums(missed, relative_loss, share, rule)
    return {name: getattr(sums, name).max(axis=1) for name in CHARTS}


def alarm_rate(found: Mapping[str, np.ndarray], limits: ControlLimits) -> float:
    """Share of the paths in which any sum is above its limit."""
    beyond = [found[name] > getattr(limits, name) for name in CHARTS]
    return float(np.logical_or.reduce(beyond).mean())


def delays(
    past: Past, rows: np.ndarray, rule: ControlRule, limits: ControlLimits, *, horizon: int, step: int
) -> np.ndarray:
    """Sessions from the first origin to the alarm, when the outcome is known; inf where ten years do not find it."""
    missed = (past.miss_size > 1).astype("float64")
    share = np.full(rows.shape[1], min(1.0, step / horizon))
    sums = cumulative_sums(missed[rows], past.relative_loss[rows], share, rule)
    beyond = np.logical_or.reduce(list(sums.beyond(limits).values()))
    return np.where(beyond.any(axis=1), beyond.argmax(axis=1) * step + horizon, np.inf)


def own_path(
    past: Past, dates: pd.DatetimeIndex, rule: ControlRule, limits: ControlLimits, *, horizon: int, step: int
) -> str:
    """When the archive itself would have raised an alarm over a family that had served since the first origin."""
    share = np.full(len(dates), min(1.0, step / horizon))
    sums = cumulative_sums((past.miss_size > 1).astype("float64"), past.relative_loss, share, rule)
    beyond = sums.beyond(limits)
    crossed = np.logical_or.reduce(list(beyond.values()))
    if not crossed.any():
        return "none"
    at = int(crossed.argmax())
    days = sessions()
    due = days[int(days.searchsorted(dates[at])) + horizon]
    return f"{due:%Y-%m-%d} ({', '.join(name for name in CHARTS if beyond[name][at])})"


def _ranges(found: list[tuple[float, float, float]]) -> tuple[str, str, str]:
    """Coverage, share that is found, and median delay: the lowest and the highest of the families."""
    covered, share, late = (sorted(column) for column in zip(*found, strict=True))
    last = f"{late[-1]:.0f}" if np.isfinite(late[-1]) else "not in ten years"
    first = f"{late[0]:.0f}" if np.isfinite(late[0]) else "not in ten years"
    return (
        f"{covered[0]:.0%} to {covered[-1]:.0%}",
        f"{share[0]:.0%} to {share[-1]:.0%}",
        first if first == last else f"{first} to {last}",
    )


def measure() -> None:
    """Simulate, and write the page."""
    before = stamp("make control-chart")
    run = open_run(load_settings(), origin=RECORDED, as_of=None)
    models, gates = load_models(run.settings.registry, run.features), load_quality_gates(run.settings.registry)
    rule = load_control_rule(run.settings.registry)
    bake_off = newest_bake_off(run, BUDGET, models=models, gates=gates)
    levels, step = tuple(run.horizons.quantiles), run.horizons.walk_forward.origin_step_sessions
    random = np.random.default_rng(SEED)
    limit_rows, alarm_rows, planted_rows, path_rows = [], [], [], []
    for name in bake_off.horizons:
        horizon, oofs, limits = run.horizons.horizons[name].sessions, bake_off.oofs[name], rule.limits[name]
        base = oofs[BASELINE]
        sound: dict[str, dict[str, np.ndarray]] = {}
        narrow: dict[float, list[tuple[float, float, float]]] = {width: [] for width in PLANTED}
        for family in (one for one in oofs if one not in NAIVE):
            past = past_of(oofs[family], base, levels)
            rows = decades(len(past.miss_size), horizon=horizon, step=step, random=random)
            missed, loss = past.sound()
            sound[family] = maxima(missed[rows], loss[rows], rule, horizon=horizon, step=step)
            alarm_rows.append(
                (
                    name,
                    family,
                    f"{alarm_rate(sound[family], limits):.1%}",
                    *(f"{(sound[family][chart] > getattr(limits, chart)).mean():.1%}" for chart in CHARTS),
                )
            )
            for width in PLANTED:
                planted = past_of(oofs[family], base, levels, width=width)
                late = delays(planted, rows, rule, limits, horizon=horizon, step=step)
                covered = 1 - (planted.miss_size > 1).mean()
                narrow[width].append((covered, float(np.isfinite(late).mean()), float(np.median(late))))
        planted_rows += [(name, f"{width:g}", *_ranges(each)) for width, each in narrow.items()]
        normal = {
            every: maxima(missed, np.full_like(missed, np.nan), rule, horizon=horizon, step=every)
            for every in (1, step)
            for missed in [normal_misses(horizon=horizon, step=every, random=random)]
        }
        quantile = 1 - FALSE_ALARMS / len(CHARTS)
        for chart in CHARTS:
            by_family = {family: float(np.quantile(found[chart], quantile)) for family, found in sound.items()}
            worst = max(by_family, key=lambda family: by_family[family])
            by_normal = [f"{np.quantile(normal[every][chart], quantile):.2f}" for every in (1, step)]
            limit_rows.append(
                (
                    name,
                    chart,
                    f"{by_family[worst]:.2f} ({worst})",
                    *(by_normal if chart != "loss" else ["", ""]),
                    f"{getattr(limits, chart):g}",
                )
            )
        for every in (1, step):
            found_in = {chart: f"{(normal[every][chart] > getattr(limits, chart)).mean():.1%}" for chart in CHARTS}
            alarm_rows.append(
                (
                    name,
                    f"normal returns, an origin every {every}",
                    f"{alarm_rate(normal[every], limits):.1%}",
                    found_in["narrow"],
                    found_in["wide"],
                    "",
                )
            )
        for family in (one for one in oofs if one != BASELINE):
            past = past_of(oofs[family], base, levels)
            own = oofs[family][oofs[family]["scored"] & oofs[family]["p50"].notna()]
            dates = pd.DatetimeIndex(own.loc[own["date"].isin(base.loc[base["p50"].notna(), "date"]), "date"])
            planted = past_of(oofs[family], base, levels, width=PLANTED[0])
            found = [own_path(one, dates, rule, limits, horizon=horizon, step=step) for one in (past, planted)]
            path_rows.append((name, family, len(dates), *found))
        print(f"{name}: done", flush=True)
    write_page(
        PAGE,
        "False alarms and detection of the control chart",
        before,
        "A serving champion returns to the baseline by itself when one of three cumulative sums of its outcomes leaves "
        "its limit (tasks/forecasting/control.py, registry/control_chart.yaml). `narrow` counts misses of the 80% band "
        f"above 20% plus {100 * rule.miss_allowance:g} points, `wide` misses below 20% less as much, `loss` the "
        f"pinball loss above the baseline's, less {100 * rule.loss_allowance:g}% of it. All are in independent "
        "outcomes: an outcome whose target overlaps with that of the origin before counts by the sessions between the "
        "two origins over those of the horizon.",
        "A sound champion is simulated for ten years, "
        f"{DECADES} times, from each learned family's own out-of-fold forecasts on the recorded archive: "
        "bands rescaled so that 20% of the outcomes miss them, loss shifted to the baseline's, drawn in blocks of two "
        "horizons, so that targets overlap and misses cluster as they did. A second simulation has normal returns and "
        "true bands, which need no archive; it has no loss to compare. Limits are set so that a sound champion leaves "
        f"each with a chance of at most {100 * FALSE_ALARMS / 3:.1f}% in ten years by either. At twelve months the "
        "archive has thirteen outcomes that do not overlap: what it says there is little, and detection is slow by "
        "nature.",
        "## Limits: where a sound champion's largest sum of ten years stays with 98.3%",
        table(
            [
                "horizon",
                "sum",
                "archive, the family with the widest",
                "normal, daily origins",
                f"normal, every {step}",
                "limit",
            ],
            limit_rows,
        ),
        "## False alarms of a sound champion in ten years",
        table(["horizon", "simulated from", "any sum", *CHARTS], alarm_rows),
        "## Narrow bands that were planted: how soon they are found",
        "Each learned family's bands times a width, drawn as above: the lowest and the highest of the families. "
        "Sessions are counted from the first origin to the session at which the outcome is known.",
        table(
            ["horizon", "width", "80% band then holds", "found within ten years", "median sessions to the alarm"],
            planted_rows,
        ),
        "## The archive as it was",
        "Every family as if it had served since its first scored origin, with its own bands and losses: the session at "
        "which the chart would have returned it to the baseline; and the same with its bands halved.",
        table(["horizon", "family", "origins", "first alarm", "with half the width"], path_rows),
    )


if __name__ == "__main__":
    sys.exit(page_command("evidence.control_chart", __doc__, measure, PAGE))
