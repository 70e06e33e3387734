"""Who may become champion: a model too good to be true waits for a leakage audit, and the baseline serves meanwhile.

The audit is a file that the proofs write (tasks/proofs): which training data, which code, passed or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.model_store.store import Version
from tasks.models.forecaster import BASELINE
from tasks.registry import PromotionRule
from tasks.zones import read_json, write_json

AUDIT = "leakage_audit.json"


@dataclass(frozen=True)
class Audit:
    """What the proofs found. ``data_snapshots``: horizon: hash of the training file that was proved."""

    passed: bool
    data_snapshots: Mapping[str, str]
    code_version: str
    as_of: str
    findings: tuple[str, ...] = ()


def write_audit(models: Path, audit: Audit) -> Path:
    """Put the audit beside the models it speaks of, in place of the one before."""
    return write_json(models / AUDIT, asdict(audit))


def read_audit(models: Path) -> Audit | None:
    """The last audit, or None where there is none or what is there is unreadable."""
    held = read_json(models / AUDIT)
    try:
        return Audit(**{**held, "findings": tuple(held["findings"])}) if held else None
    except (KeyError, TypeError):
        return None


def refusal(version: Version, rule: PromotionRule, audit: Audit | None, *, code_version: str) -> str:
    """Why this version may not become champion; empty when it may.

    Invariants: with a direction hit rate above the limit only a passing audit of the very training file and code that
    made it lets a version through; an audit of anything else counts as none. The baseline has no view of direction
    and always may.
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
        f"{rule.max_direction_hit_rate_pct:g}%, which has always been a leak so far, and {wanting}. {BASELINE} is "
        f"served. Run `make proofs`, then `make train`"
    )


def _wanting(version: Version, audit: Audit | None, *, code_version: str) -> str:
    if audit is None:
        return "there is no leakage audit"
    if audit.data_snapshots.get(version.horizon) != version.metadata["data_snapshot"]:
        return f"the leakage audit is of other training data (as of {audit.as_of})"
    if audit.code_version != code_version:
        return f"the leakage audit is of other code ({audit.code_version}, now {code_version})"
    if not audit.passed:
        return f"the leakage audit failed: {'; '.join(audit.findings[:3])}"
    return ""
