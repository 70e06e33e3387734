"""Dated tables of the registry that are a source by themselves: events, tariffs, mandates, checked row by row.

A hand-kept table ends where its keeper stopped. So each table has a date until which it is complete; after that day
everything computed from it is missing (registry/data_sources.yaml: ``tables``).
"""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from tasks.errors import RegistryError
from tasks.registry.entry import Entry, Model, TimeOfDay, how_to_restore


class PolicyEvent(Entry):
    """One line of registry/policy_events.csv: something decided or done that moves soybean oil."""

    announced: date
    known_time: TimeOfDay | None = Field(
        default=None, description="New York time, where it was later than the source's rule"
    )
    effective: date | None = None
    kind: Literal["tariff", "mandate", "tax", "lcfs", "export_ban", "conflict", "trade_deal"]
    direction_for_zl: Literal["up", "neutral", "down"]
    title: str = Field(min_length=1)
    detail: str = ""
    certainty: str = Field(default="", description="how certain it is, if it is not officially recorded")


class TariffStep(Entry):
    """One line of registry/tariff_timeline.csv: China's added tariff on US soybeans from ``effective`` on.

    ``added_tariff_pct``: the official rate. ``exempted_tariff_pct``: the rate of buyers whom China exempts from the
    tariffs of 2018 and 2019. A step that changes only one of them leaves the other empty.
    """

    announced: date
    effective: date
    added_tariff_pct: float | None = Field(default=None, ge=0, le=200)
    exempted_tariff_pct: float | None = Field(default=None, ge=0, le=200)
    why: str = Field(min_length=1)
    certainty: str = ""

    @model_validator(mode="after")
    def _says_something(self) -> TariffStep:
        if self.added_tariff_pct is None and self.exempted_tariff_pct is None:
            raise ValueError("added_tariff_pct or exempted_tariff_pct is needed")
        return self


class MandateVolume(Entry):
    """One line of registry/mandate_volumes.csv: the biomass-based diesel volume of one year's final rule.

    Until 2025 a rule sets gallons, from 2026 on RINs (about 1.6 per gallon, depending on the fuel). No rule says how
    many gallons its RINs are, so these are two series without conversion.
    """

    year: int = Field(ge=2006, le=2100)
    announced: date
    billion_gallons: float | None = Field(default=None, gt=0, le=100)
    billion_rins: float | None = Field(default=None, gt=0, le=200)
    why: str = Field(min_length=1)
    certainty: str = ""

    @model_validator(mode="after")
    def _one_unit(self) -> MandateVolume:
        if (self.billion_gallons is None) == (self.billion_rins is None):
            raise ValueError("either billion_gallons or billion_rins, as the rule sets it")
        return self


class MandatePath(Entry):
    """One line of registry/mandate_paths.csv: what a programme requires from ``effective`` on, as announced.

    A later line of the same date replaces an earlier one from its announcement on. ``source``: where it was read.
    """

    path: Literal["rfs_advanced", "rfs_total", "renovabio", "indonesia_blend", "brazil_blend", "eu_saf"]
    announced: date
    effective: date
    billion_rins: float | None = Field(default=None, gt=0, le=200)
    million_cbio: float | None = Field(default=None, gt=0, le=1000)
    blend_pct: float | None = Field(default=None, gt=0, le=100)
    why: str = Field(min_length=1)
    source: str = Field(min_length=1)
    certainty: str = ""

    @model_validator(mode="after")
    def _one_unit(self) -> MandatePath:
        if sum(value is not None for value in (self.billion_rins, self.million_cbio, self.blend_pct)) != 1:
            raise ValueError("exactly one of billion_rins, million_cbio and blend_pct")
        return self


PolicyRow = PolicyEvent | TariffStep | MandateVolume | MandatePath
POLICY_TABLES: dict[str, type[PolicyEvent] | type[TariffStep] | type[MandateVolume] | type[MandatePath]] = {
    "policy_events": PolicyEvent,
    "tariff_timeline": TariffStep,
    "mandate_volumes": MandateVolume,
    "mandate_paths": MandatePath,
}


def read_table(path: Path, model: type[Model]) -> list[tuple[int, Model]]:
    """The rows of a dated table, each with the line it ends on.

    Raises:
        RegistryError: names file, line and column of a row that is invalid or listed twice.
    """
    rows: list[tuple[int, Model]] = []
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle, strict=True)
            header = set(reader.fieldnames or ())
            needed = {name for name, column in model.model_fields.items() if column.is_required()}
            if wrong := (header - set(model.model_fields)) | (needed - header):
                raise RegistryError(f"{path}:1: columns {sorted(wrong)} are unknown or missing")
            for cells in reader:
                named = {str(name): value for name, value in cells.items() if value != ""}
                try:
                    row = model.model_validate(named)
                except ValidationError as error:
                    problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
                    raise RegistryError(f"{path}:{reader.line_num}: {problems}") from None
                if any(row == earlier for _, earlier in rows):
                    raise RegistryError(f"{path}:{reader.line_num}: this row is in the table already")
                rows.append((reader.line_num, row))
    except FileNotFoundError:
        raise RegistryError(f"{path} is missing; {how_to_restore(path)}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise RegistryError(f"{path} is not a CSV: {error}") from None
    if not rows:
        raise RegistryError(f"{path} has no rows")
    return rows


def load_policy_events(folder: Path) -> list[PolicyEvent]:
    """registry/policy_events.csv, checked row by row."""
    return [event for _, event in read_table(folder / "policy_events.csv", PolicyEvent)]
