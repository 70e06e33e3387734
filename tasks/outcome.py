"""What a daily run hands to those who publish and tell it. Light to import: flows name it before pandas is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from tasks.day import InputNotes
    from tasks.gates.run import GateReport
    from tasks.sources.ingest import Ingested


@dataclass(frozen=True)
class DayResult:
    """What a daily run made, for those who publish and tell it.

    ``series`` is a line a series held, ``quarantine`` the refused cells, ``gates`` every gate's results; ``trained``
    says whether this run trained models, ``notices`` what the model store has to say (a copy
    served in its place), ``inputs`` which inputs were set aside and what stands in for them.
    """

    data_snapshot: str
    panel: pd.DataFrame
    features: pd.DataFrame
    labels: pd.DataFrame
    forecasts: pd.DataFrame
    explainers: pd.DataFrame
    leaderboard: pd.DataFrame
    ingested: list[Ingested]
    series: pd.DataFrame
    quarantine: pd.DataFrame
    gates: list[GateReport]
    trained: bool
    notices: tuple[str, ...] = ()
    inputs: InputNotes | None = None
