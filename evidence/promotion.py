"""``python -m evidence.promotion``: how often the promotion rule errs, and what it can find; writes promotion.md.

No recorded price is used: losses are simulated, so that the truth is known. Daily returns have GARCH volatility and
Student's t shocks; every family knows the true volatility up to an error of its own that lasts. Families whose errors
are equally large have equal skill.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evidence.command_line import page_command
from evidence.machine import stamp
from evidence.page import table, write_page
from tasks.evaluation.bootstrap import block_length, resampled_means
from tasks.evaluation.comparison import overlapping_origins
from tasks.evaluation.groups import group_length, interval
from tasks.evaluation.superior import family_wise_p_values
from tasks.quantiles import pinball
from tasks.registry import PromotionRule, load_horizons, load_quality_gates
from tasks.settings import PROJECT

PAGE = PROJECT / "docs" / "results" / "promotion.md"
SESSIONS_A_YEAR, YEARS, STEP = 252, 13, 5
FAMILIES = 7
"""As many of the daily budget may become champion: pooled, garch, har, har_seasonal, ridge, lightgbm, ensemble."""
TRIALS, OLD_TRIALS, LIVED_TRIALS = 600, 150, 150
ALPHA, BETA, DEGREES, BURN_IN = 0.06, 0.92, 5, 500
ERROR = 0.12
"""Standard deviation of a family's error: of the log of its scale, and of its center in units of the scale."""
HALF_LIVES = (63, 252)
GAINS_PCT = (1, 3, 5)
EVERY = 4  # weekly origins between two decisions of the simulated years


@dataclass(frozen=True)
class Setting:
    """One simulated world. ``reference_error``: of the reference and of all families but the first."""

    sessions: int
    half_life_sessions: float
    reference_error: float = ERROR


def simulated_losses(setting: Setting, levels: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Pinball losses at weekly origins whose outcome is known: the reference, then every family."""
    from scipy import stats
    from scipy.signal import lfilter

    days = YEARS * SESSIONS_A_YEAR + BURN_IN
    shocks = rng.standard_t(DEGREES, days) / np.sqrt(DEGREES / (DEGREES - 2))
    variance = np.ones(days)
    for day in range(1, days):
        variance[day] = 1 - ALPHA - BETA + (ALPHA * shocks[day - 1] ** 2 + BETA) * variance[day - 1]
    path = np.concatenate([[0.0], np.cumsum((shocks * np.sqrt(variance))[BURN_IN:])])
    origins = np.arange(0, YEARS * SESSIONS_A_YEAR - setting.sessions, STEP)
    target = path[origins + setting.sessions] - path[origins]
    kept = ALPHA + BETA
    ahead = setting.sessions + (variance[BURN_IN:][origins] - 1) * (1 - kept**setting.sessions) / (1 - kept)
    memory = 0.5 ** (STEP / setting.half_life_sessions)
    normal = stats.norm.ppf(levels)

    def lasting() -> np.ndarray:
        steps = rng.standard_normal(len(origins)) * np.sqrt(1 - memory**2)
        steps[0] /= np.sqrt(1 - memory**2)
        return lfilter([1.0], [1.0, -memory], steps)

    def losses(error: float) -> np.ndarray:
        scale = np.sqrt(ahead) * np.exp(error * lasting())
        centre = error * lasting() * np.sqrt(ahead)
        return pinball(target, centre[:, None] + scale[:, None] * normal, levels)

    errors = [setting.reference_error, ERROR, *([setting.reference_error] * (FAMILIES - 1))]
    return np.column_stack([losses(error) for error in errors])


def reference_error(gain_pct: float, levels: tuple[float, ...]) -> float:
    """The error of a reference over which a family with ``ERROR`` gains so much, for normal outcomes."""
    from scipy import stats
    from scipy.optimize import brentq

    rng = np.random.default_rng(3)
    outcome, width, centre = rng.standard_normal((3, 200_000))

    def loss(error: float) -> float:
        scale = np.exp(error * width)[:, None]
        return float(pinball(outcome, error * centre[:, None] + scale * stats.norm.ppf(levels), levels).mean())

    own = loss(ERROR)
    return float(brentq(lambda error: 100 * (1 - own / loss(error)) - gain_pct, ERROR, 1.5))


def trials(setting: Setting, levels: tuple[float, ...], count: int) -> Iterator[np.ndarray]:
    """Losses of ``count`` simulated worlds."""
    rng = np.random.default_rng(11)
    for _ in range(count):
        yield simulated_losses(setting, levels, rng)


def promoted(losses: np.ndarray, rule: PromotionRule, sessions: int) -> np.ndarray:
    """Which families meet the rule's gain and p-value."""
    gains = losses[:, [0]] - losses[:, 1:]
    sure = family_wise_p_values(gains, overlap=overlapping_origins(sessions, STEP)) <= rule.max_p_value
    return sure & (100 * gains.mean(axis=0) / losses[:, 0].mean() >= rule.min_gain_pct)


def promoted_before(losses: np.ndarray, sessions: int) -> np.ndarray:
    """Which families met the rule of before: the lower 5% bound of a bootstrap with blocks as long as the overlap."""
    block = block_length(len(losses), overlap=overlapping_origins(sessions, STEP))
    means = resampled_means(losses, block=block, replicates=400)
    return np.quantile(1 - means[:, 1:] / means[:, [0]], 0.05, axis=0) > 0


def bound_above_zero(losses: np.ndarray, sessions: int) -> np.ndarray:
    """Whose lower 5% bound of skill, as pages show it, lies above zero."""

    def skill(means: np.ndarray) -> np.ndarray:
        return 1 - means[:, 1:] / means[:, [0]]

    length = group_length(overlapping_origins(sessions, STEP))
    return interval(losses, skill, length=length)[0] > 0


def ever_promoted(losses: np.ndarray, rule: PromotionRule, sessions: int) -> bool:
    """Whether any family meets the rule at some decision of the years, each on the outcomes known by then."""
    ends = np.arange(EVERY, len(losses) + 1, EVERY)
    return any(promoted(losses[:end], rule, sessions).any() for end in ends if end * STEP // sessions >= 5)


def measure() -> None:
    """Simulate, and write the page."""
    before = stamp("make promotion-power")
    horizons, gates = load_horizons(PROJECT / "registry"), load_quality_gates(PROJECT / "registry")
    rule, levels = gates.promotion, tuple(horizons.quantiles)
    errors = {gain: reference_error(gain, levels) for gain in GAINS_PCT}
    false, power = [], []
    for name, horizon in horizons.horizons.items():
        sessions = horizon.sessions
        for half_life in HALF_LIVES:
            setting = Setting(sessions, half_life)
            now = [
                (promoted(x, rule, sessions).any(), bound_above_zero(x, sessions))
                for x in trials(setting, levels, TRIALS)
            ]
            then = [promoted_before(x, sessions) for x in trials(setting, levels, OLD_TRIALS)]
            ever = [ever_promoted(x, rule, sessions) for x in trials(setting, levels, LIVED_TRIALS)]
            false.append(
                (
                    name,
                    half_life,
                    f"{np.mean([t.any() for t in then]):.0%}",
                    f"{np.mean([n for n, _ in now]):.1%}",
                    f"{np.mean(ever):.0%}",
                    f"{np.mean(then):.1%}",
                    f"{np.mean([b for _, b in now]):.1%}",
                )
            )
            print(f"{name}: no skill, half-life {half_life}: done", flush=True)
        cells = []
        for gain, error in errors.items():
            setting = Setting(sessions, HALF_LIVES[0], error)
            now_found = np.mean([promoted(x, rule, sessions)[0] for x in trials(setting, levels, TRIALS // 2)])
            then_found = np.mean([promoted_before(x, sessions)[0] for x in trials(setting, levels, OLD_TRIALS)])
            cells += [f"{then_found:.0%}", f"{now_found:.0%}"]
            print(f"{name}: a true gain of {gain}%: done", flush=True)
        power.append((name, *cells))
    write_page(
        PAGE,
        "How often the promotion rule errs, and what it can find",
        before,
        f"Simulated: {YEARS} years of daily returns with GARCH volatility and t({DEGREES}) shocks, forecasts every "
        f"{STEP} sessions, {FAMILIES} families beside the reference. Each knows the true volatility up to an error of "
        f"its own (standard deviation {ERROR:g}, of its log scale and of its center in units of the scale) that halves "
        "in the number of sessions given. No recorded price is used; the truth is known.",
        "**Before**: the lower 5% bound of a moving-block bootstrap, with blocks as long as the targets overlap, is "
        f"above zero. **Now**: the family-wise p-value is at most {rule.max_p_value:.0%} and the gain at least "
        f"{rule.min_gain_pct:g}% (tasks/evaluation/superior.py). The coverage gate would lower both.",
        "## False promotions: no family has skill",
        "One decision at the end of the years: the chance that some family is promoted. `ever`: the chance that the "
        f"rule of now promotes one at some decision of the {YEARS} years, one every {EVERY} weeks. The last two "
        "columns are of the intervals on pages: the chance that the lower 5% bound of one family is above zero.",
        table(
            [
                "horizon",
                "half-life of an error, sessions",
                "some family, before",
                "some family, now",
                "ever, now",
                "one bound, before",
                "one bound, now",
            ],
            false,
        ),
        "## Power: one family has a true gain, the others have none",
        f"The chance that this family is promoted at the end of {YEARS} years (errors halve in {HALF_LIVES[0]} "
        "sessions). Where it is low, a family is rarely promotable at this horizon with this history, however good; "
        "the baseline then serves, and says so.",
        table(
            ["horizon", *(f"{gain}%, {when}" for gain in GAINS_PCT for when in ("before", "now"))],
            power,
        ),
    )


if __name__ == "__main__":
    sys.exit(page_command("evidence.promotion", __doc__, measure, PAGE))
