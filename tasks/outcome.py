"""The result of a daily run. The warehouse's tables, the terminal, the charts and the artifacts are functions of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from tasks.sources.ingest import Ingested


def _no_rows() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame()


@dataclass(frozen=True)
class Pages:
    """The paths of a run's pictures and pages."""

    fan_chart: Path
    coverage_chart: Path
    gate_page: Path
    waterfall: Path | None = None
    beeswarm: Path | None = None


@dataclass(frozen=True)
class DayResult:
    """The result of one daily run. Prices in cents/lb.

    ``origin`` is ``live``, ``recorded`` or ``folder``. ``forecasts``, ``explainers``, ``contracts``, ``explanations``,
    ``changes``, ``scenarios``, ``surface`` and ``decisions`` have the rows of ``forecasts.zl_forecasts_daily`` and of
    the tables of the others' names there; ``shadows`` those of ``forecasts.zl_shadow_daily`` (forecasts that are not
    served), ``promotions`` those of ``performance.promotions``, ``document_scores`` those of
    ``raw_intelligence.document_scores``. ``driver_history`` has contributions of earlier sessions, for a chart;
    ``leaderboard`` what was measured of the models behind them. ``price_notes``: what the price is of, in words.
    ``series`` has one row per series, ``quarantine`` one per source, series, field and rule, ``gates`` one per
    expectation, ``alerts`` one per alert, ``coverage`` one per feature category and year.
    ``trained`` says whether this run trained models. ``changed_rows`` and ``pages`` are set once it is published;
    ``alert_note`` says who was told of its alerts, if not everything went well.
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
    explanations: pd.DataFrame = field(default_factory=_no_rows)
    driver_history: pd.DataFrame = field(default_factory=_no_rows)
    changes: pd.DataFrame = field(default_factory=_no_rows)
    scenarios: pd.DataFrame = field(default_factory=_no_rows)
    surface: pd.DataFrame = field(default_factory=_no_rows)
    document_scores: pd.DataFrame = field(default_factory=_no_rows)
    price_notes: tuple[str, ...] = ()
    shadows: pd.DataFrame | None = None
    promotions: pd.DataFrame | None = None
    decisions: pd.DataFrame = field(default_factory=pd.DataFrame)
    changed_rows: int = 0
    alert_note: str = ""
    pages: Pages | None = None
