"""registry/alerts.yaml: how severe a kind of alert is, how often a person is notified, and the limits of the rules."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.registry.entry import Entry, read_entries

FILE = "alerts.yaml"


class AlertKind(Entry):
    """One kind of alert."""

    severity: Literal["critical", "warning", "info"]
    cooldown_sessions: int = Field(ge=1, description="Sessions after a notice in which nobody is notified again.")


class AlertLimits(Entry):
    """The limits of tasks/alerts/rules.py."""

    jump_quantile: float = Field(gt=0.5, lt=1, description="Of past absolute moves; above it a forecast jumped.")
    jump_least_history: int = Field(ge=20, description="Moves that must be known before one is judged.")
    jump_history: int = Field(ge=20, description="The newest moves that are compared with.")
    disagree_margin: float = Field(gt=0, lt=0.5, description="Of P(higher), on both sides of one half.")
    budget_rise: float = Field(gt=0, lt=1, description="Of the chance to exceed the budget, in a session.")
    roll_sessions: int = Field(ge=1, description="Sessions before a roll.")
    model_age_days: int = Field(ge=1, description="Days since a serving model was trained.")
    disk_free_gb: float = Field(gt=0, description="Least free space on the volume of CBI_HOME.")


class AlertRules(Entry):
    """registry/alerts.yaml."""

    default: AlertKind
    kinds: dict[str, AlertKind]
    limits: AlertLimits

    def of(self, kind: str) -> AlertKind:
        """The entry of a kind."""
        return self.kinds.get(kind, self.default)


def load_alerts(folder: Path) -> AlertRules:
    """The rules of registry/alerts.yaml.

    Raises:
        RegistryError: a key is unknown or a value out of its range.
    """
    return read_entries(folder / FILE, AlertRules)
