"""The result of a daily run. The warehouse's tables, the terminal, the charts and the artifacts are functions of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from tasks.sources.ingest import Ingested


@dataclass(frozen=True)
class Pages:
    """The paths of a run's pictures and pages."""

    fan_chart: Path
    coverage_chart: Path
    gate_page: Path


@dataclass(frozen=True)
class DayResult:
    """The result of one daily run. Prices in cents/lb.

    ``origin`` is ``live``, ``recorded`` or ``folder``. ``forecasts`` and ``explainers`` have the rows of
    ``forecasts.zl_forecasts_daily`` and ``forecasts.zl_explainers_daily``, ``contracts`` those of
    ``forecasts.zl_contracts_daily``, ``decisions`` those of ``forecasts.zl_decisions_daily`` (none where they failed);
    ``leaderboard`` what was measured of the models behind them. ``price_notes``: what the price is of, in words.
    ``shadows`` has the rows of ``forecasts.zl_shadow_daily`` (forecasts that are not served), ``promotions`` those of
    ``performance.promotions``. ``series`` has one row per series, ``quarantine`` one per source, series, field and
    rule, ``gates`` one per expectation, ``alerts`` one per alert, ``coverage`` one per feature category and year.
    ``trained`` says whether this run trained models. ``changed_rows`` and ``pages`` are set once it is published.
    """

    as_of: pd.Timestamp
    origin: str
    data_snapshot: str
    forecasts: pd.DataFrame
    contracts: pd.DataFrame
    explainers: pd.DataFrame
    leaderboard: pd.DataFrame
    ingested: list[Ingested]
    series: pd.DataFrame
    quarantine: pd.DataFrame
    gates: pd.DataFrame
    alerts: pd.DataFrame
    coverage: pd.DataFrame
    trained: bool
    price_notes: tuple[str, ...] = ()
    shadows: pd.DataFrame | None = None
    promotions: pd.DataFrame | None = None
    decisions: pd.DataFrame = field(default_factory=pd.DataFrame)
    changed_rows: int = 0
    pages: Pages | None = None
