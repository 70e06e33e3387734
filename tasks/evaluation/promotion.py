"""The promotion rule: a champion surely beats the best naive, by enough, has true coverage, and is no leak.

Sure is a family-wise p-value (tasks/evaluation/superior.py), so that the luckiest of many families is not promoted for
its luck. A champion stays until it is refuted or clearly beaten: the rule has one limit to enter and one to leave.

A model that is too good to be true waits for a leakage audit. Until then the baseline is published. The audit is a
file that the proofs write (tasks/proofs): which training data, which code, passed or not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

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
    serving: bool = False,
) -> str:
    """All reasons why this version may not become champion; empty when it may.

    Args:
        measured: the version's row of tasks.evaluation.standings (``best_naive``, ``served_gain_pct``,
            ``promotion_p_value``, ``independent_periods``, ``coverage_80``). serving: its family is champion already.

    Invariants: a figure that is not measured counts as not met. The baseline is the fallback and always passes.
    """
    if version.family == BASELINE:
        return ""
    unmet = "; ".join(unmet_gates(measured, rule, serving=serving))
    reason = f"{version.name} is not promoted: {unmet}. {BASELINE} is served" if unmet else ""
    return ". ".join(filter(None, (reason, refusal(version, rule, audit, code_version=code_version))))


def unmet_gates(measured: Mapping[str, object], rule: PromotionRule, *, serving: bool = False) -> tuple[str, ...]:
    """The conditions of promotion, or of staying champion, that a family does not meet, in words with the figures."""
    unmet = []
    naive = measured.get("best_naive") or "the best naive"
    periods = _number(measured, "independent_periods")
    if periods is None or periods < rule.min_independent_periods:
        unmet.append(
            f"its record has {periods or 0:.0f} periods that do not overlap, and {rule.min_independent_periods} are "
            "needed: not promotable at this horizon with this history"
        )
    gain, least = _number(measured, "served_gain_pct"), 0.0 if serving else rule.min_gain_pct
    if gain is None:
        unmet.append(f"its gain over {naive} is not measured")
    elif gain < least or gain <= 0:
        unmet.append(f"its gain over {naive} is {gain:+.2f}%, below {least:g}%")
    chance, most = (
        _number(measured, "promotion_p_value"),
        rule.max_p_value_serving if serving else rule.max_p_value,
    )
    if chance is None:
        unmet.append("how sure that is cannot be measured with this history")
    elif chance > most:
        unmet.append(
            f"without skill, the best of all families tried does as well with a chance of {chance:.0%}, "
            f"above {most:.0%}"
        )
    covered, within = _number(measured, "coverage_80"), rule.coverage_80_within
    if covered is None:
        unmet.append("the coverage of its 80% band is not measured")
    elif abs(covered - 0.8) > within + 1e-12:
        unmet.append(f"its 80% band covered {covered:.1%} of the outcomes, more than {100 * within:g} points from 80%")
    return tuple(unmet)


def choose_champion(standings: pd.DataFrame, able: Collection[str], rule: PromotionRule, *, serving: str) -> str:
    """The family to serve: the one with the highest gain among those that may; a champion is replaced for a clear gain.

    Args:
        standings: ``family`` and ``served_gain_pct`` of one horizon. able: families that meet the rule. serving: the
            champion's family so far.
    """
    gains = standings.set_index("family")["served_gain_pct"]
    candidates = [family for family in gains.index if family in able and family != BASELINE]
    if not candidates:
        return BASELINE
    best = max(candidates, key=lambda family: float(gains[family]))
    if serving in candidates and gains[best] < gains[serving] + rule.min_gain_pct:
        return serving
    return best


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
