"""The search for options: what it may see, that it goes on, and that it ends the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import RegistryError, SettingsError
from tasks.models.catalogue import JOINT_FAMILIES
from tasks.models.forecaster import Problem, forecaster
from tasks.models.neural.options import NeuralOptions
from tasks.registry import ModelFamily, SearchRange, load_models, load_regime_calendar
from tasks.settings import PROJECT
from tasks.training.search import SearchBudget, StudyResult, Subject, search, training_window
from tests.conftest import Registry

pytestmark = pytest.mark.xdist_group("search")  # what its fixtures make is dear: one process makes it

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SCALES = ["zl_ewma_volatility_94_pct", "zl_ewma_volatility_97_pct", "zl_ewma_volatility_99_pct", "vix"]
COLUMNS = [*SCALES, "zl_return_1d", "zl_return_5d", "zl_percentile_1260d"]
DATED = ["target_date", "target_log_return", "target_price"]


@pytest.fixture(scope="module")
def tables(features: pd.DataFrame, labels: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Real training tables of 2003 to 2011."""
    found, calendar = {}, load_regime_calendar(PROJECT / "registry")[["start", "training_weight"]]
    for name in ("3m", "1w"):
        own = labels[labels["horizon"] == name].set_index("date")[DATED]
        table = features.set_index("date")[COLUMNS].loc["2003":"2011"]
        found[name] = pd.merge_asof(table.join(own).reset_index(), calendar, left_on="date", right_on="start")
    return found


@pytest.fixture(scope="module")
def subject(registry: Registry) -> Subject:
    entry = ModelFamily(
        title="HAR",
        surface="volatility",
        search={"scale_penalty": SearchRange(low=0.01, high=10.0, log=True)},
    )
    plan = registry.horizons.walk_forward
    return Subject("har", entry, tuple(COLUMNS), {}, {"3m": 63, "1w": 5}, LEVELS, plan)


def searched(subject: Subject, tables: dict[str, pd.DataFrame], folder: Path, trials: int = 7) -> list[StudyResult]:
    return search(subject, tables, SearchBudget(trials=trials), folder)


@pytest.fixture(scope="module")
def whole(subject: Subject, tables, tmp_path_factory: pytest.TempPathFactory) -> list[StudyResult]:
    """Seven trials a horizon in one go."""
    return searched(subject, tables, tmp_path_factory.mktemp("search"))


def test_nothing_of_a_scored_fold_is_read(subject: Subject, tables, whole, tmp_path: Path) -> None:
    changed = {}
    for name, table in tables.items():
        other = table.copy()
        later = other["date"] >= "2010"
        other.loc[later, COLUMNS] *= -3.0
        other.loc[~(other["target_date"] < "2010"), ["target_log_return", "target_price"]] = 9.0
        changed[name] = other[other["date"] < "2011-06"]
    assert searched(subject, changed, tmp_path) == whole
    kept = json.loads((tmp_path / "har.json").read_text())["studies"]
    assert [study["study"] for study in kept] == [found.study for found in whole]
    touched = {name: table.copy() for name, table in tables.items()}
    touched["1w"].loc[touched["1w"]["date"] == "2009-06-01", "vix"] *= 1.01
    week, quarter = searched(subject, touched, tmp_path, trials=1)
    assert (week.trials, quarter.trials) == (1, 7), "another window is another study"


def test_the_window_ends_before_the_first_scored_year_and_so_do_its_outcomes(subject: Subject, tables) -> None:
    window = training_window(tables["3m"], subject.plan)
    assert window["date"].max() < pd.Timestamp("2010-01-01")
    assert window["target_date"].max() < pd.Timestamp("2010-01-01")
    tail = window[window["target_date"].isna()]
    assert len(tail) == 63 and tail[DATED].isna().all(axis=None)


def test_a_search_that_was_stopped_ends_where_one_that_was_not_does(
    subject: Subject, tables, whole, tmp_path: Path
) -> None:
    assert [found.horizons for found in whole] == [("1w",), ("3m",)], "1w and 1m before the others"
    assert [found.trials for found in searched(subject, tables, tmp_path, trials=4)] == [4, 4]
    assert searched(subject, tables, tmp_path) == whole
    assert searched(subject, tables, tmp_path) == whole, "nothing is left to do"


def test_what_is_found_is_what_its_options_lose(subject: Subject, tables, whole, tmp_path: Path) -> None:
    assert all(found.best_loss <= found.default_loss for found in whole)
    found = next(one for one in whole if one.best_options)
    name = found.horizons[0]
    only = replace(subject, options=found.best_options, sessions={name: subject.sessions[name]})
    [again] = searched(only, tables, tmp_path, trials=1)
    assert again.default_loss == pytest.approx(found.best_loss, rel=1e-12)


def test_minutes_end_a_search(subject: Subject, tables, tmp_path: Path) -> None:
    found = search(subject, tables, SearchBudget(minutes=0.02), tmp_path)
    assert [one.horizons for one in found] == [("1w",), ("3m",)]
    with pytest.raises(SettingsError, match="a search needs one of them above 0"):
        SearchBudget()


def test_what_cannot_be_searched_is_refused_by_name(subject: Subject, tables, tmp_path: Path) -> None:
    nothing = ModelFamily(title="HAR", surface="volatility")
    unknown = ModelFamily(title="HAR", surface="volatility", search={"penalti": SearchRange(low=1, high=2)})
    with pytest.raises(RegistryError, match="har has no `search`"):
        searched(replace(subject, entry=nothing), tables, tmp_path)
    with pytest.raises(RegistryError, match=r"unknown options of har: penalti; known: \['scale_penalty'\]"):
        searched(replace(subject, entry=unknown), tables, tmp_path)


def test_every_declared_space_is_of_options_its_family_has(registry: Registry) -> None:
    with_space = set()
    for family, entry in load_models(PROJECT / "registry", registry.features).families.items():
        values = {name: of.low if isinstance(of, SearchRange) else of.choices[0] for name, of in entry.search.items()}
        if family in JOINT_FAMILIES:
            NeuralOptions.of({**entry.options, **values})
        else:
            forecaster(family)(Problem("1w", 5, LEVELS), {**entry.options, **values})
        with_space |= {family} if values else set()
    assert with_space == {"har", "har_seasonal", "ridge", "lightgbm", "xgboost", *JOINT_FAMILIES}


def test_a_range_is_ordered_and_positive_where_it_is_logarithmic() -> None:
    with pytest.raises(ValueError, match="low must be below high"):
        SearchRange(low=2, high=1)
    with pytest.raises(ValueError, match="above 0 if log"):
        SearchRange(low=0.0, high=1.0, log=True)
