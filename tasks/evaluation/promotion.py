"""The promotion rule: a champion beats the better naive with 90% confidence, has true coverage, and is no leak.

A model that is too good to be true waits for a leakage audit. Until then the baseline is published. The audit is a
file that the proofs write (tasks/proofs): which training data, which code, passed or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tasks.models.catalogue import BASELINE
from tasks.registry import Aspirations, PromotionRule


@dataclass(frozen=True)
class Audit:
    """The result of the proofs. ``data_snapshots``: horizon: hash of the training file that was tested."""

    passed: bool
    data_snapshots: Mapping[str, str]
    code_version: str
    as_of: str
    findings: tuple[str, ...] = ()


class Candidate(Protocol):
    """The part of a model version that promotion reads."""

    @property
    def family(self) -> str:
        """Its model family."""

    @property
    def horizon(self) -> str:
        """Its horizon."""

    @property
    def name(self) -> str:
        """Its name in forecasts."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """``data_snapshot``: hash of its training file."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Its measured figures."""


def refusal(version: Candidate, rule: PromotionRule, audit: Audit | None, *, code_version: str) -> str:
    """Why this version may not become champion; empty when it may.

    Invariants: above the limit of the direction hit rate, only a passing audit of the same training file and code
    lets a version pass. Any other audit counts as none. The baseline predicts no direction and always passes.
    """
    hit_rate = version.metrics.get("direction_hit_rate")
    if version.family == BASELINE or version.horizon not in rule.horizons or hit_rate is None:
        return ""
    percent = 100 * float(str(hit_rate))
    if percent <= rule.max_direction_hit_rate_pct:
        return ""
    wanting = _wanting(version, audit, code_version=code_version)
    if not wanting:
        return ""
    return (
        f"{version.name} is not promoted: its direction hit rate of {percent:.1f}% is above "
        f"{rule.max_direction_hit_rate_pct:g}%, which has been a leak every time so far, and {wanting}. {BASELINE} is "
        f"served. Run `make proofs`, then `make train`"
    )


def verdict(
    version: Candidate,
    measured: Mapping[str, object],
    rule: PromotionRule,
    audit: Audit | None,
    *,
    code_version: str,
) -> str:
    """All reasons why this version may not become champion; empty when it may.

    Args:
        measured: the version's row of tasks.evaluation.comparison.leaderboard (``better_naive``, ``skill_pct_low``,
            ``coverage_80``).

    Invariants: a figure that is not measured counts as not met. The baseline is the fallback and always passes.
    """
    if version.family == BASELINE:
        return ""
    unmet = "; ".join(unmet_gates(measured, rule))
    reason = f"{version.name} is not promoted: {unmet}. {BASELINE} is served" if unmet else ""
    return ". ".join(filter(None, (reason, refusal(version, rule, audit, code_version=code_version))))


def unmet_gates(measured: Mapping[str, object], rule: PromotionRule) -> tuple[str, ...]:
    """The conditions of promotion that a row of the leaderboard does not meet, in words with the figures."""
    unmet = []
    lower, naive = _number(measured, "skill_pct_low"), measured.get("better_naive", "the better naive")
    if lower is None:
        unmet.append(f"its skill over {naive} has no measured lower 90% bound")
    elif lower <= rule.min_skill_lower_bound_pct:
        skill = _number(measured, "skill_pct")
        estimate = "" if skill is None else f" of {skill:+.2f}%"
        unmet.append(
            f"the lower 90% bound of its skill{estimate} over {naive} is {lower:+.2f}%, "
            f"not above {rule.min_skill_lower_bound_pct:g}%"
        )
    covered = _number(measured, "coverage_80")
    if covered is None:
        unmet.append("the coverage of its 80% band is not measured")
    elif abs(covered - 0.8) > rule.coverage_80_within + 1e-12:
        unmet.append(
            f"its 80% band covered {covered:.1%} of the outcomes, "
            f"more than {100 * rule.coverage_80_within:g} points from 80%"
        )
    return tuple(unmet)


def aspirations_met(measured: Mapping[str, object], aspirations: Aspirations) -> dict[str, bool | None]:
    """Each aspiration and whether a row of the leaderboard meets it; None if its figure is not measured."""
    met: dict[str, bool | None] = {}
    for name, limit in aspirations.model_dump().items():
        figure, _, side = name.rpartition("_")
        value = _number(measured, figure)
        met[figure] = None if value is None else (value < limit if side == "below" else value > limit)
    return met


def _number(measured: Mapping[str, object], name: str) -> float | None:
    value = measured.get(name)
    number = math.nan if value is None else float(str(value))
    return None if math.isnan(number) else number


def _wanting(version: Candidate, audit: Audit | None, *, code_version: str) -> str:
    if audit is None:
        return "there is no leakage audit"
    if audit.data_snapshots.get(version.horizon) != version.metadata["data_snapshot"]:
        return f"the leakage audit is of other training data (as of {audit.as_of})"
    if audit.code_version != code_version:
        return f"the leakage audit is of other code ({audit.code_version}, now {code_version})"
    if not audit.passed:
        return f"the leakage audit failed: {'; '.join(audit.findings[:3])}"
    return ""
