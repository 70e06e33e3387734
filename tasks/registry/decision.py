"""registry/decision.yaml: what a buyer needs, and the thresholds of the buying rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tasks.registry.entry import Entry, read_entries

FILE = "decision.yaml"
EXAMPLE_NOTE = "example need: edit registry/decision.yaml"
MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
Unit = Literal["cents/lb", "USD/short ton", "USD/tonne", "EUR/tonne"]


def require_month(text: str) -> str:
    """A calendar month as 2026-02.

    Raises:
        ValueError: it is written in another way.
    """
    if not MONTH.fullmatch(text):
        raise ValueError(f"{text!r} is not a month; write it as 2026-02")
    return text


class BuyingRule(Entry):
    """The thresholds of tasks/decision/policy.py, in shares of the simulated paths."""

    buy_below_chance: float = Field(ge=0, le=1)
    wait_above_chance: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> BuyingRule:
        if self.buy_below_chance > self.wait_above_chance:
            raise ValueError(
                f"buy_below_chance {self.buy_below_chance} is above wait_above_chance {self.wait_above_chance}"
            )
        return self


class Need(Entry):
    """What one buyer needs. Prices and costs per weight are in ``unit``."""

    title: str
    example: bool = Field(default=False, description="shipped with the product; every output says so")
    unit: Unit
    pounds_per_month: float = Field(gt=0)
    months_ahead: int = Field(ge=1, le=12, description="calendar months after that of the forecast")
    covered_pounds: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default={}, description="by month, bought before the ledger was kept"
    )
    budget_price: float = Field(gt=0, description="delivered")
    basis: float = Field(description="the buyer's cash price less the front-month price")
    storage_per_month: float | None = Field(
        default=None, ge=0, description="of a weight in store; empty: nothing can be stored"
    )
    financing_pct_year: float = Field(ge=0, le=100, description="simple interest")
    aversion: float = Field(ge=0, description="a path above the budget counts 1 + aversion times")

    @field_validator("covered_pounds")
    @classmethod
    def _months(cls, covered: dict[str, float]) -> dict[str, float]:
        return {require_month(month): pounds for month, pounds in covered.items()}


class DecisionRegistry(Entry):
    """registry/decision.yaml."""

    rule: BuyingRule
    needs: dict[str, Need]


def load_decision(folder: Path) -> DecisionRegistry:
    """registry/decision.yaml, checked.

    Raises:
        RegistryError: it is missing, or an entry is invalid; the message names file and entry.
    """
    return read_entries(folder / FILE, DecisionRegistry)
