"""A few families fitted on a slice of the recorded archive, each servable from a store of its own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.day import InputNotes
from tasks.forecasting.apart import IsolatedModels
from tasks.forecasting.explain import Explained, explain_day
from tasks.forecasting.forecast import DayForecast, forecast_day, problem_of
from tasks.forecasting.questions import Answer, Question, answer
from tasks.model_store.folder import FolderStore
from tasks.model_store.protocol import Version
from tasks.models import har
from tasks.models.catalogue import BASELINE, expected_move
from tasks.models.forecaster import forecaster
from tasks.registry import Horizons
from tasks.registry.explanations import load_explanations
from tasks.storage.files import write_json
from tests.conftest import Registry

AS_OF = pd.Timestamp("2014-12-30")
TRAINED = pd.Timestamp("2010-12-16")
BETTER_THAN_A_COIN = {"brier": 0.24, "brier_high": 0.249, "direction_slope": 1.0}
FAMILIES = (BASELINE, "drift", "ridge", "lightgbm")
BANDS = {0.05: "p05", 0.1: "p10", 0.25: "p25", 0.5: "p50", 0.75: "p75", 0.9: "p90", 0.95: "p95"}
DAYS = pd.DatetimeIndex(["2014-12-30", "2013-08-06", "2012-09-04", "2011-03-02"])


class ReadHere(IsolatedModels):
    """Models that are read in the test's own process, where a test can alter them."""

    def __init__(self) -> None:
        self.features = pd.DataFrame()

    def show(self, features: pd.DataFrame) -> None:
        self.features = features

    def ask(self, question: Question) -> Answer:
        return answer(question, self.features)


@dataclass(frozen=True)
class Market:
    """What is known of every session, and a store with each family fitted on what was known by ``TRAINED``."""

    features: pd.DataFrame
    panel: pd.DataFrame
    outcomes: pd.Series
    registry: Registry
    horizons: Horizons
    versions: dict[str, Version]
    folder: Path

    def day(self, store: FolderStore, *at: pd.Timestamp, **given: Any) -> tuple[pd.Series, pd.DataFrame]:
        """The forecast and the drivers of one month from a day, as ``whole_day`` is asked for it."""
        day = self.whole_day(store, *at, **given)
        return day.forecasts.iloc[0], self.explained(day, features=given.get("features")).drivers

    def explained(self, day: DayForecast, features: pd.DataFrame | None = None) -> Explained:
        """The reasons of a day's forecasts."""
        features = self.features if features is None else features
        models, known = ReadHere(), features["date"] <= day.forecasts["as_of"].iloc[0]
        models.show(features[known].reset_index(drop=True))
        words = load_explanations(self.registry.folder, self.registry.features)
        return explain_day(
            day.forecasts, day.served, models.features, models, registry=self.registry.features, words=words
        )

    def whole_day(
        self,
        store: FolderStore,
        as_of: pd.Timestamp = AS_OF,
        *,
        features: pd.DataFrame | None = None,
        panel: pd.DataFrame | None = None,
        max_age: int = 5000,
        notes: InputNotes | None = None,
    ) -> DayForecast:
        """The day, in which one month is the only horizon."""
        features, panel = (self.features if features is None else features), (self.panel if panel is None else panel)
        return forecast_day(
            features[features["date"] <= as_of].reset_index(drop=True),
            panel[(panel["date"] <= as_of).to_numpy()].reset_index(drop=True),
            store,
            registry=self.registry.features,
            horizons=self.horizons.model_copy(update={"champion_max_age_sessions": max_age}),
            as_of=as_of,
            data_snapshot="s",
            code_version="c",
            notes=notes,
            models=ReadHere(),
        )

    def served_by(self, family: str, folder: Path) -> FolderStore:
        """A store of the same versions in which a family is champion."""
        shutil.copytree(self.folder, folder)
        store = FolderStore(folder)
        store.promote(store.versions(family, "1m")[-1], run="tests")
        return store


def make_market(
    features: pd.DataFrame,
    panel: pd.DataFrame,
    labels: pd.DataFrame,
    registry: Registry,
    folder: Path,
) -> Market:
    horizons = registry.horizons.model_copy(update={"horizons": {"1m": registry.horizons.horizons["1m"]}})
    problem = problem_of("1m", horizons)
    shown = features[features["date"].between("2004-01-01", AS_OF)].reset_index(drop=True)
    targets = labels[labels["horizon"] == "1m"].set_index("date")
    known = targets[(targets["target_date"] <= TRAINED) & targets["reachable"]].index
    production = registry.features.production()
    needed = [*har.Har(problem).reads, "zl_ewma_volatility_99_pct", *production[:24], expected_move(21)]
    columns = list(dict.fromkeys(needed))
    rows = shown[shown["date"].isin(known) & shown["zl_ewma_volatility_99_pct"].notna()].reset_index(drop=True)
    outcomes = targets["target_log_return"].reindex(rows["date"]).reset_index(drop=True)
    store, versions = FolderStore(folder / "store"), {}
    for family in FAMILIES:
        model = forecaster(family)(problem)
        model.fit(rows[columns], outcomes)
        files = folder / family
        files.mkdir()
        model.save(files)
        write_json(files / "calibration.json", {"quantiles": list(problem.quantiles), "log_width": 0.1})
        metadata = {
            "family": family,
            "horizon": "1m",
            "horizons": {"1m": problem.sessions},
            "identity": family,
            "run": "tests",
            "trained_as_of": f"{TRAINED:%Y-%m-%d}",
            "columns": columns,
        }
        versions[family] = store.add(files, metadata, {"coverage_80": 0.8, **BETTER_THAN_A_COIN})
    outcomes = outcomes.set_axis(rows["date"])
    return Market(shown, panel, outcomes, registry, horizons, versions, folder / "store")
