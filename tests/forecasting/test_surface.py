"""The response surface: the answers of `cbi what-if` at its points, and what lies between them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli.app import main
from tasks.errors import RegistryError
from tasks.forecasting.explain import Served
from tasks.forecasting.forecast import problem_of
from tasks.forecasting.surface import EVERY, TODAY, answers_of, surface_answer, surface_rows
from tasks.forecasting.what_if import moves_of, what_if
from tasks.model_store.folder import FolderStore
from tasks.models.forecaster import Problem, forecaster
from tasks.registry.scenarios import Scenarios, SurfaceAxis, load_scenarios
from tasks.reporting.surface_check import check_surface
from tasks.settings import load_settings
from tasks.storage.files import write_json, write_parquet
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.tables import tables
from tests.conftest import Registry
from tests.forecasting.market import Market, ReadHere

TABLE = "forecasts.zl_surface_daily"


@pytest.fixture(scope="module")
def spec(registry: Registry) -> Scenarios:
    return load_scenarios(registry.folder)


def served_by(market: Market, family: str) -> list[Served]:
    return [Served(problem_of("1m", market.horizons), market.versions[family], "1 month")]


@dataclass(frozen=True)
class Reacting:
    """A store whose champion is a ridge that reads crude and the VIX, and that version."""

    store: FolderStore
    served: list[Served]


@pytest.fixture(scope="module")
def ridge(market: Market, tmp_path_factory: pytest.TempPathFactory) -> Reacting:
    problem = problem_of("1m", market.horizons)
    moved = ["cl_return_21d", "vix_z_252d"]
    columns = [*market.versions["ridge"].metadata["columns"], *moved]
    known = market.features[market.features["date"].isin(market.outcomes.index)].reset_index(drop=True)
    model = forecaster("ridge")(problem)
    model.fit(known[list(dict.fromkeys(columns))], market.outcomes.reset_index(drop=True))
    folder = tmp_path_factory.mktemp("reacting")
    (files := folder / "files").mkdir()
    model.save(files)
    write_json(files / "calibration.json", {"quantiles": list(problem.quantiles), "log_width": 0.1})
    store = FolderStore(folder / "models")
    metadata = {**market.versions["ridge"].metadata, "columns": list(dict.fromkeys(columns)), "identity": "reacting"}
    version = store.add(files, metadata, dict(market.versions["ridge"].metrics))
    store.promote(version, run="tests")
    return Reacting(store, [Served(problem, version, "1 month")])


@pytest.fixture(scope="module")
def rows(
    ridge: Reacting, panel: pd.DataFrame, features: pd.DataFrame, registry: Registry, spec: Scenarios
) -> pd.DataFrame:
    """The surface of a ridge as of the archive's last session."""
    before = panel.copy()
    found = surface_rows(panel, features, ridge.served, ReadHere(), registry.features, spec)
    pd.testing.assert_frame_equal(panel, before), "the panel of the run is not touched"
    return found.reindex(columns=list(tables()[TABLE].columns))


def test_every_point_is_the_answer_of_what_if(
    rows: pd.DataFrame,
    ridge: Reacting,
    panel: pd.DataFrame,
    features: pd.DataFrame,
    registry: Registry,
    spec: Scenarios,
) -> None:
    own = rows[rows["horizon"] == "1m"].set_index("point")
    reacting = own[own["input"].notna() & (own["p50"] != own.loc[TODAY, "p50"])]
    pair = str(reacting[reacting["other_input"].notna()].index[0])
    for point in [*reacting.index[:3], "dollar -8", "rain +2", pair]:
        words = [
            f"{name}={float(move):+g}{'%' if spec.surface[name].by == 'percent' else ''}"
            for name, move in (part.split(" ") for part in str(point).split(", "))
        ]
        moves = moves_of(words, panel, spec)
        _, _, told, _ = what_if(panel, features, moves, ridge.served, ReadHere(), registry.features)
        expected = told.loc[0, ["scenario_p10", "scenario_centre", "scenario_p90"]].to_numpy(dtype="float64")
        # of an input whose last value is older, what-if starts from that value alone, the surface from all such values
        assert own.loc[point, ["p10", "p50", "p90"]].to_numpy(dtype="float64") == pytest.approx(expected, rel=1e-7), (
            point
        )


def test_each_level_is_there_and_pairs_only_of_what_reacts(rows: pd.DataFrame, spec: Scenarios) -> None:
    own = rows[rows["horizon"] == "1m"]
    alone = own[own["other_input"].isna() & own["input"].notna()]
    for name, axis in spec.surface.items():
        assert sorted(alone.loc[alone["input"] == name, "move"]) == list(axis.moves), name
    today = own.loc[own["point"] == TODAY, "p50"].iloc[0]
    reacting = set(alone.loc[(alone["p50"] != today), "input"])
    pairs = own[own["other_input"].notna()]
    assert 2 <= len(reacting) < len(spec.surface)
    assert set(pairs["input"]) | set(pairs["other_input"]) == reacting
    assert len(pairs) == 4 * len(reacting) * (len(reacting) - 1) / 2
    assert own["surface"].nunique() == 1 and own["point"].is_unique


def test_a_model_that_reads_none_of_the_inputs_gives_exactly_todays_answer(
    market: Market, panel: pd.DataFrame, features: pd.DataFrame, registry: Registry, spec: Scenarios
) -> None:
    found = surface_rows(panel, features, served_by(market, "curve"), ReadHere(), registry.features, spec)
    assert found["p50"].nunique() == found["p10"].nunique() == found["p90"].nunique() == 1
    assert "other_input" not in found


def test_an_input_without_a_value_and_a_horizon_without_an_answer_say_why(
    market: Market, panel: pd.DataFrame, features: pd.DataFrame, registry: Registry, spec: Scenarios
) -> None:
    gone = panel.assign(vix_last=np.nan)
    broken = replace(served_by(market, "ridge")[0], problem=Problem("3m", 63, (0.1, 0.5, 0.9)))
    served = [*served_by(market, "curve"), broken]
    found = surface_rows(gone, features, served, ReadHere(), registry.features, spec)
    (vix,) = found[found["horizon"] == EVERY].to_dict("records")
    assert vix["input"] == "vix" and "have no value in 21 sessions" in vix["note"]
    (three,) = found[found["horizon"] == "3m"].to_dict("records")
    assert three["point"] == TODAY and np.isnan(three["p50"]) and three["note"]
    assert found.loc[found["horizon"] == "1m", "p50"].notna().all()


def test_between_the_points_it_is_interpolated_and_at_them_exact(rows: pd.DataFrame) -> None:
    answers = answers_of(rows[rows["horizon"] == "1m"])
    for point, prices in answers.items():
        assert surface_answer(answers, dict(point)) == pytest.approx(prices, rel=1e-9), point
    half = surface_answer(answers, {"vix": 25.0})
    assert half["p50"] == pytest.approx(np.sqrt(answers[()]["p50"] * answers[(("vix", 50.0),)]["p50"]))
    holes = {**answers, (("vix", 50.0),): dict.fromkeys(("p10", "p50", "p90"), np.nan)}
    assert np.isnan(surface_answer(holes, {"vix": 25.0})["p50"])
    assert not np.isnan(surface_answer(holes, {"vix": -20.0})["p50"])


def test_the_largest_error_is_measured_for_the_published_surface_alone(
    ridge: Reacting,
    panel: pd.DataFrame,
    rows: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CBI_HOME", str(tmp_path))
    shutil.copytree(ridge.store.folder, tmp_path / "models")
    write_parquet(tmp_path / "panel" / "panel.parquet", panel)
    assert main(["site", "--check-surface"]) == 1
    assert "no response surface of 2023-12-29 is published" in capsys.readouterr().err
    zones = Zones(tmp_path)
    warehouse = DuckDbWarehouse(zones)
    forecast = {
        name: {"FLOAT64": 1.0, "INT64": 1, "BOOL": False, "DATE": panel["date"].iloc[-1], "STRING": "x"}.get(
            kind, pd.Timestamp("2024-01-01", tz="UTC")
        )
        for name, kind in tables()["forecasts.zl_forecasts_daily"].columns.items()
    } | {"horizon": "1m"}

    def publish(surface: pd.DataFrame) -> None:
        frames = {TABLE: surface, "forecasts.zl_forecasts_daily": pd.DataFrame([forecast])}
        warehouse.publish(frames, as_of=panel["date"].iloc[-1], staging=zones.staging)

    publish(rows)
    (found,) = check_surface(load_settings(), points=8).to_dict("records")
    assert found["points"] == 8 and 0 < found["largest_median_error_cents_lb"] < 0.5
    (shown,) = warehouse.query("SELECT * FROM api.vw_surface_checks").to_dict("records")
    assert shown["largest_median_error_cents_lb"] == found["largest_median_error_cents_lb"]
    publish(rows.assign(surface="another"))
    assert warehouse.query("SELECT * FROM api.vw_surface_checks").empty, "a figure of other points is not shown"
    publish(rows.assign(model_version="ridge/1m/v0009"))
    assert main(["site", "--check-surface"]) == 1
    assert "is of another" in capsys.readouterr().err


@pytest.mark.parametrize("moves", [(0.0, 10.0), (10.0, 20.0), (20.0, -10.0), (-100.0, 10.0)])
def test_an_axis_must_lie_around_today(moves: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"must rise from below 0|leaves no price"):
        SurfaceAxis(by="percent", moves=moves)


def test_an_axis_of_an_unknown_name_is_refused(registry: Registry, tmp_path: Path) -> None:
    text = (registry.folder / "scenarios.yaml").read_text(encoding="utf-8")
    (tmp_path / "scenarios.yaml").write_text(text.replace("\n  palm: {by", "\n  plam: {by"), encoding="utf-8")
    with pytest.raises(RegistryError, match="plam is not in names"):
        load_scenarios(tmp_path)
