"""registry/control_chart.yaml: the limits within which a serving champion stays."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.registry.entry import Entry, read_entries


class ControlLimits(Entry):
    """The limits of one horizon, in independent outcomes; ``loss`` in expected losses of the baseline."""

    narrow: float = Field(gt=0, description="Of the sum of misses beyond what is allowed.")
    wide: float = Field(gt=0, description="Of the sum of missing misses.")
    loss: float = Field(gt=0, description="Of the sum of losses above the baseline's.")


class ControlRule(Entry):
    """The allowances of the chart and its limits by horizon; a horizon without limits has no chart."""

    miss_allowance: float = Field(gt=0, lt=0.2, description="Share of misses beyond the nominal one that is tolerated.")
    loss_allowance: float = Field(ge=0, lt=1, description="Relative loss above the baseline's that is tolerated.")
    limits: dict[str, ControlLimits]


def load_control_rule(folder: Path) -> ControlRule:
    """The rule of registry/control_chart.yaml.

    Raises:
        RegistryError: a key is unknown or a value out of its range.
    """
    return read_entries(folder / "control_chart.yaml", ControlRule)
