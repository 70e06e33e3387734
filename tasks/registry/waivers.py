"""registry/gate_waivers.yaml: blocking expectations that may fail for a while."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from pydantic import Field, model_validator

from tasks.registry.entry import Entry, read_entries


class GateWaiver(Entry):
    """A blocking expectation that may fail for a while: why, from when, until when."""

    gate: str
    suite: str
    expectation: str = Field(description="as ops.gate_results names it")
    column: str = Field(default="", description="its column_name there; empty for the table")
    reason: str = Field(min_length=10, description="why the run may go on with it")
    granted: date
    expires: date = Field(description="the last day on which it is in force")

    @model_validator(mode="after")
    def _ends(self) -> GateWaiver:
        if self.expires < self.granted:
            raise ValueError(f"expires {self.expires}, before it was granted ({self.granted})")
        return self

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The waived expectation: gate, suite, expectation, column."""
        return self.gate, self.suite, self.expectation, self.column


class GateWaivers(Entry):
    """registry/gate_waivers.yaml."""

    waivers: tuple[GateWaiver, ...]

    @model_validator(mode="after")
    def _once(self) -> GateWaivers:
        keys = [waiver.key for waiver in self.waivers]
        if double := sorted({" ".join(key).strip() for key in keys if keys.count(key) > 1}):
            raise ValueError(f"waived twice: {', '.join(double)}; keep one entry")
        return self


def load_waivers(folder: Path) -> tuple[GateWaiver, ...]:
    """registry/gate_waivers.yaml, checked. Their gate checks that the expectations exist."""
    return read_entries(folder / "gate_waivers.yaml", GateWaivers).waivers
