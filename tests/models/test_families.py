"""What every model family promises, on the real feature table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.errors import ModelStoreError
from tasks.evaluation.calibration import apply, calibrate_out_of_fold, corrections
from tasks.evaluation.metrics import measure
from tasks.model_store.contest import judged
from tasks.model_store.folder import FolderStore
from tasks.model_store.protocol import Version
from tasks.models.catalogue import FAMILIES
from tasks.models.ensemble import Ensemble
from tasks.models.forecaster import Problem, curve_moves, forecaster, horizon_scale
from tasks.quantiles import coverage, pinball, probability_above_zero
from tasks.registry import load_quality_gates
from tasks.settings import PROJECT
from tasks.training.blending import REGIMES
from tasks.training.folds import walk_forward
from tests.conftest import Registry

RULE = load_quality_gates(PROJECT / "registry").promotion
SURE = {"promotion_p_value": 0.01, "independent_periods": 100, "coverage_80": 0.8}

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
PROBLEM = Problem("1m", 21, LEVELS)


@pytest.fixture(scope="module")
def rows(features: pd.DataFrame, labels: pd.DataFrame, registry: Registry) -> tuple[pd.DataFrame, pd.Series]:
    """Production features and one-month targets of 2006 to 2014."""
    target = labels[labels["horizon"] == "1m"].set_index("date")["target_log_return"]
    table = features.set_index("date")[registry.features.production()].loc["2006":"2014"]
    known = target.reindex(table.index).notna()
    return table[known].reset_index(drop=True), target.reindex(table.index)[known].reset_index(drop=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_gives_the_same_forecast_and_two_fits_are_equal(
    family: str, rows: tuple[pd.DataFrame, pd.Series], tmp_path: Path
) -> None:
    table, target = rows
    made = []
    for _ in range(2):
        model = forecaster(family)(PROBLEM)  # type: ignore[call-arg]
        model.fit(table[:1500], target[:1500])
        made.append(model.predict_quantiles(table[1500:]))
    np.testing.assert_array_equal(made[0], made[1])
    model.save(tmp_path)
    loaded = forecaster(family).load(tmp_path, PROBLEM)
    np.testing.assert_array_equal(loaded.predict_quantiles(table[1500:]), made[0])
    assert (np.diff(made[0], axis=1) >= 0).all(), "quantiles never cross"
    with pytest.raises(ModelStoreError):
        forecaster(family).load(tmp_path / "nowhere", PROBLEM)


def test_the_no_change_median_is_the_last_price_and_its_width_follows_volatility(
    rows: tuple[pd.DataFrame, pd.Series],
) -> None:
    table, target = rows
    model = forecaster("no_change")(PROBLEM)  # type: ignore[call-arg]
    model.fit(table, target)
    quantiles = model.predict_quantiles(table)
    assert (quantiles[:, 3] == 0).all()
    ratio = (quantiles[:, 5] - quantiles[:, 1]) / table["zl_ewma_volatility_99_pct"]
    assert np.ptp(ratio.dropna()) < 1e-12
    assert model.explain(table).eq(0).all(axis=None), "nothing moves it"


def test_contributions_and_base_add_up_to_the_median(rows: tuple[pd.DataFrame, pd.Series]) -> None:
    table, target = rows
    model = forecaster("lightgbm")(PROBLEM)  # type: ignore[call-arg]
    model.fit(table[:1500], target[:1500])
    published = model.predict_quantiles(table[1500:1600])[:, 3]
    np.testing.assert_allclose(model.explain(table[1500:1600]).sum(axis=1), published, atol=1e-12)
    inputs = table.loc[1500:1599, model.columns].to_numpy(dtype="float32")  # type: ignore[attr-defined]
    boosted = model.boosters[3].predict(inputs)  # type: ignore[attr-defined]
    alone = curve_moves(table[1500:1600], 21) + 0.25 * boosted * horizon_scale(table[1500:1600], 21)
    as_fitted = np.isclose(alone, published, atol=1e-12)
    assert 0 < as_fitted.sum() < 100, "where quantiles cross, the published median is another tree's"


def test_a_fold_never_trains_on_a_target_that_lies_in_its_test_year(registry: Registry, panel: pd.DataFrame) -> None:
    dates = pd.DatetimeIndex(panel["date"])
    for name, horizon in registry.horizons.horizons.items():
        folds = list(walk_forward(dates, registry.horizons.walk_forward, horizon=horizon.sessions))
        assert [fold.year for fold in folds if fold.scored] == list(range(2010, 2024)), name
        for fold in folds:
            last_target = dates[fold.train[-1] + horizon.sessions]
            assert last_target < dates[fold.test[0]]
            assert dates[fold.train[-1] + horizon.sessions + 1] == dates[fold.test[0]], (
                "and no more is purged than must be"
            )


def test_pinball_by_hand() -> None:
    loss = pinball(np.array([1.0, -1.0]), np.array([[0.0, 2.0], [0.0, 2.0]]), (0.1, 0.9))
    # y=1: 0.1*(1-0)=0.1 and 0.1*(2-1)=0.1; y=-1: 0.9*(0+1)=0.9 and 0.1*(2+1)=0.3
    np.testing.assert_allclose(loss, [0.1, 0.6])
    assert coverage(np.array([0.0, 1.0, 3.0]), np.zeros(3), np.full(3, 2.0)) == pytest.approx(2 / 3)


def test_direction_probability_from_quantiles() -> None:
    rows = np.array([[-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], [1.0, 2, 3, 4, 5, 6, 7], [-7.0, -6, -5, -4, -3, -2, -1]])
    up = probability_above_zero(rows, LEVELS)
    assert up[0] == pytest.approx(0.5)
    # the first piece has 5% a unit: zero lies one unit below the 5% quantile, where nothing is left below
    assert up[1] == pytest.approx(1.0)
    assert up[2] == pytest.approx(0.0)
    assert np.isnan(probability_above_zero(np.array([[np.nan] * 7]), LEVELS)[0])


def test_calibration_widens_a_band_that_was_too_narrow_and_uses_only_outcomes_known_before_each_fold() -> None:
    rng = np.random.default_rng(7)  # a hand-made miscalibration: true scale twice the one forecast
    dates = pd.bdate_range("2007-01-01", "2012-12-31")[::5]
    target = rng.normal(0, 2.0, len(dates))
    z = np.array([-1.645, -1.282, -0.674, 0, 0.674, 1.282, 1.645])
    names = ["p05", "p10", "p25", "p50", "p75", "p90", "p95"]
    oof = pd.DataFrame(
        {"date": dates, "target_date": dates + pd.Timedelta(days=7), "target_log_return": target, "fold": dates.year}
    ).assign(**dict(zip(names, np.tile(z, (len(dates), 1)).T, strict=True)))
    features = pd.DataFrame({"zl_ewma_volatility_99_pct": np.full(len(dates), 100 * np.sqrt(252 / 5))})
    calibrated, shift = calibrate_out_of_fold(oof, features, LEVELS, horizon=5, step=5)
    raw = coverage(target, oof["p10"].to_numpy(), oof["p90"].to_numpy())
    late = (calibrated["fold"] >= 2009).to_numpy()
    after = coverage(target[late], calibrated["p10"].to_numpy()[late], calibrated["p90"].to_numpy()[late])
    assert raw < 0.55
    assert 0.72 < after < 0.85
    assert shift[3] == 0.0
    first = (calibrated["fold"] == 2007).to_numpy()
    pd.testing.assert_frame_equal(calibrated.loc[first, names], oof.loc[first, names])
    changed = oof.copy()
    changed.loc[changed["fold"] >= 2010, "target_log_return"] = 50.0
    again, _ = calibrate_out_of_fold(changed, features, LEVELS, horizon=5, step=5)
    early = (again["fold"] <= 2009).to_numpy()
    pd.testing.assert_frame_equal(again.loc[early, names], calibrated.loc[early, names])


def test_corrections_shrink_where_few_outcomes_are_independent() -> None:
    scores = np.full((40, 7), 1.0)
    few, many = (corrections(scores, LEVELS, origins_a_horizon=overlap) for overlap in (50.4, 1.0))
    assert 0 < few[0] < 0.05
    assert many[0] == pytest.approx(40 / 60)
    assert (apply(np.zeros((1, 7)), np.ones(1), np.array([0, 3.0, 0, 0, 0, 0, 0])).argsort() == np.arange(7)).all()


def test_the_figures_of_the_leaderboard_by_hand() -> None:
    oof = pd.DataFrame(
        {
            "date": pd.to_datetime(["2010-01-04", "2011-01-04"]),
            "last_price": [50.0, 50.0],
            "target_log_return": [np.log(1.1), np.log(0.9)],
            "direction_probability": [0.6, 0.6],
            **{
                name: [value] * 2
                for name, value in zip(
                    ("p05", "p10", "p25", "p50", "p75", "p90", "p95"),
                    (-0.3, -0.2, -0.1, 0, 0.096, 0.2, 0.3),
                    strict=True,
                )
            },
        }
    )
    found = measure(oof, LEVELS)
    assert found["mape_pct"] == pytest.approx(100 * (abs(50 / 55 - 1) + abs(50 / 45 - 1)) / 2)
    assert (found["coverage_50"], found["coverage_80"], found["direction_hit_rate"]) == (0.5, 1.0, 0.5)
    assert (found["folds"], found["origins"]) == (2, 2)


def fake_version(
    store: FolderStore, files: Path, family: str, *, loss: float, identity: str, day: str = "2020-01-02"
) -> Version:
    metadata: dict[str, object] = {
        "family": family,
        "horizon": "1w",
        "identity": identity,
        "run": "r",
        "trained_as_of": day,
    }
    gain = 100 * (1 - loss / 0.010)
    return store.add(files, metadata, {"pinball_log_return": loss, "served_gain_pct": gain, **SURE})


def test_the_baseline_is_champion_unless_a_family_is_truly_better(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for loss, winner in ((0.011, "curve"), (0.010, "curve"), (0.009, "lightgbm")):
        store = FolderStore(tmp_path / f"store{loss}")
        base = fake_version(store, tmp_path / "files", "curve", loss=0.010, identity="a")
        rival = fake_version(store, tmp_path / "files", "lightgbm", loss=loss, identity="b")
        board = judged([rival, base], RULE, None, code_version="c")
        assert board[board["champion"]]["family"].tolist() == [winner]


def test_a_family_of_fewer_origins_is_judged_by_its_gain_and_not_by_the_loss_of_calmer_years(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    store = FolderStore(tmp_path / "store")

    def stored(family: str, loss: float, gain: float) -> Version:
        metadata = {"family": family, "horizon": "1w", "identity": family, "run": "r", "trained_as_of": "2020-01-02"}
        return store.add(tmp_path / "files", metadata, {"pinball_log_return": loss, "served_gain_pct": gain, **SURE})

    versions = [stored("curve", 0.010, 0.0), stored("ridge", 0.0095, 5.0), stored("tcn", 0.006, 1.0)]
    board = judged(versions, RULE, None, code_version="c")
    assert board[board["champion"]]["family"].tolist() == ["ridge"], "five calm years lose less, and are no skill"


def test_a_champion_stays_until_it_is_refuted_or_clearly_beaten(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    store = FolderStore(tmp_path / "store")

    def stored(family: str, gain: float, **changed: float) -> Version:
        metadata = {
            "family": family,
            "horizon": "1w",
            "identity": f"{family} {gain} {changed}",
            "run": "r",
            "trained_as_of": "2020-01-02",
        }
        metrics = {"pinball_log_return": 0.01, "served_gain_pct": gain, **SURE, **changed}
        return store.add(tmp_path / "files", metadata, metrics)

    def champion(*versions: Version, serving: str) -> str:
        board = judged([base, *versions], RULE, None, code_version="c", serving={"1w": serving})
        return str(board.loc[board["champion"], "family"].item())

    base = stored("curve", 0.0)
    unsure, sure, little = stored("har", 1.0, promotion_p_value=0.15), stored("har", 1.0), stored("har", 0.3)
    assert champion(unsure, serving="curve") == "curve" and champion(unsure, serving="har") == "har"
    assert champion(little, serving="curve") == "curve" and champion(little, serving="har") == "har"
    assert champion(stored("har", -0.1), serving="har") == "curve"
    assert champion(stored("har", 1.0, promotion_p_value=0.25), serving="har") == "curve"
    assert champion(sure, stored("ridge", 1.4), serving="har") == "har"
    assert champion(sure, stored("ridge", 1.6), serving="har") == "ridge"
    assert champion(sure, stored("ridge", 1.4), serving="curve") == "ridge"


def test_the_store_keeps_one_version_an_identity_and_serves_none_trained_later(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "model.json").write_text("{}")
    store = FolderStore(tmp_path / "store")
    old = fake_version(store, tmp_path / "files", "curve", loss=1.0, identity="a", day="2020-01-02")
    assert fake_version(store, tmp_path / "files", "curve", loss=1.0, identity="a").folder == old.folder
    new = fake_version(store, tmp_path / "files", "curve", loss=1.0, identity="b", day="2021-01-04")
    assert [v.number for v in store.versions("curve", "1w")] == ["v0001", "v0002"]
    for version in (new, old, new, new):
        store.promote(version, run="r")
    assert len(store.history()) == 2
    found = {day: store.champion("1w", pd.Timestamp(day)) for day in ("2019-06-03", "2020-06-01", "2022-01-03")}
    assert found["2019-06-03"] is None
    assert found["2020-06-01"].folder == old.folder  # type: ignore[union-attr]
    assert found["2022-01-03"].folder == new.folder  # type: ignore[union-attr]
    (new.folder / "model.json").write_text('{"tampered": 1}')
    with pytest.raises(ModelStoreError, match=r"model\.json is not the file that was stored"):
        new.load(Problem("1w", 5, LEVELS))


def test_of_two_champions_of_one_day_the_later_promotion_serves(tmp_path: Path) -> None:
    """Trained again on the same data by other code; and promoting the first again is a rollback."""
    (tmp_path / "files").mkdir()
    store, day = FolderStore(tmp_path / "store"), pd.Timestamp("2020-01-02")
    first, second = (fake_version(store, tmp_path / "files", "curve", loss=1.0, identity=i) for i in "ab")
    for version in (first, second, first):
        store.promote(version, run="r")
        assert store.champion("1w", day).folder == version.folder  # type: ignore[union-attr]
        assert f'"version": "{version.number}"' in (tmp_path / "store" / "champions.json").read_text()


def test_the_served_ensemble_gives_a_member_without_a_forecast_no_weight(
    rows: tuple[pd.DataFrame, pd.Series],
) -> None:
    table, target = rows
    table = table.assign(**dict.fromkeys(REGIMES, np.nan))
    members = {family: forecaster(family)(PROBLEM) for family in ("no_change", "har")}  # type: ignore[call-arg]
    for member in members.values():
        member.fit(table, target)
    unmoved = {"quantiles": list(LEVELS), "log_width": 0.0}
    weights = {regime: {"no_change": 0.25, "har": 0.75} for regime in (*REGIMES, "unknown")}
    made = Ensemble(PROBLEM, members, dict.fromkeys(members, unmoved), weights)
    blind = table.assign(zl_percentile_1260d=table["zl_percentile_1260d"].where(table.index < 1000))
    assert np.isnan(members["har"].predict_quantiles(blind)[1000:]).all(), "nothing is missing, so nothing is tested"
    whole, found = made.predict_quantiles(table), made.predict_quantiles(blind)
    np.testing.assert_array_equal(found[:1000], whole[:1000])
    np.testing.assert_allclose(found[1000:], members["no_change"].predict_quantiles(table)[1000:])
    nothing = table.assign(**dict.fromkeys([name for name in table if name.startswith(("zl_", "vix"))], np.nan))
    assert np.isnan(made.predict_quantiles(nothing)).all()
