"""What every neural family promises: nothing of the future, the same result twice, and plain files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tasks.errors import ModelStoreError, RegistryError, TrainingFailed
from tasks.models.catalogue import JOINT_FAMILIES, SCALE
from tasks.models.forecaster import Problem, forecaster, joint_forecaster
from tasks.models.neural.model import NeuralForecaster
from tasks.models.neural.networks import LstmAttentionNetwork, NeuralNetwork, Shape, TcnNetwork, TftNetwork
from tasks.models.neural.training import split_rows, tensors_under, unpacked
from tasks.models.neural.windows import Layout, RobustScaler, net_inputs, windows
from tasks.registry import WalkForwardPlan
from tasks.training.multi_horizon import joint_out_of_fold, joint_targets, sample_weights
from tasks.training.worker import out_of_fold
from tests.models.neural.conftest import LEVELS, OTHER, OWN, PROBLEM, TINY, Slice

pytestmark = pytest.mark.xdist_group("neural")  # what its fixtures make is dear: one process makes it

ANCHOR = np.tile([-1.7, -1.2, -0.6, 0.0, 0.7, 1.3, 1.8], (3, 1))
GAPPY = OTHER[1]
TRAINED = 700  # sessions that the shared models learnt from
AHEAD = np.arange(TRAINED, TRAINED + 40)


def fitted(family: str, rows: Slice, **options: object) -> NeuralForecaster:
    model = joint_forecaster(family)(PROBLEM, {**TINY, **options})
    model.fit(rows.features[:TRAINED], known_before(rows, TRAINED))
    return model  # type: ignore[return-value]


def known_before(rows: Slice, session: int) -> pd.DataFrame:
    targets = rows.targets[:session].copy()
    for name, horizon in PROBLEM.sessions.items():
        targets.loc[session - horizon :, name] = np.nan
    return targets


@pytest.fixture(scope="module", params=JOINT_FAMILIES)
def model(request: pytest.FixtureRequest, rows: Slice, tmp_path_factory: pytest.TempPathFactory) -> NeuralForecaster:
    """With the weights of its last epoch, whatever the validation says: an untrained net would hide most mistakes."""
    made, folder = joint_forecaster(request.param)(PROBLEM, TINY), tmp_path_factory.mktemp("checkpoint")
    assert isinstance(made, NeuralForecaster)
    made.fit(rows.features[:TRAINED], known_before(rows, TRAINED), folder=folder)
    made.nets[0].load_state_dict(tensors_under(last_weights(folder), ""))
    return made


def last_weights(folder: Path) -> dict[str, np.ndarray]:
    """The weights after the last epoch, best or not."""
    (checkpoint,) = folder.glob("*.npz")
    held = unpacked(checkpoint)
    assert held is not None
    return {k.removeprefix("network/"): array for k, array in held[0].items() if k.startswith("network/")}


def test_sessions_after_a_row_change_nothing_of_its_forecast(model: NeuralForecaster, rows: Slice) -> None:
    before = model.predict_quantiles(rows.features, AHEAD)
    changed = rows.features.copy()
    changed.iloc[AHEAD[-1] + 1 :] = 1e6
    after = model.predict_quantiles(changed, AHEAD)
    cut = model.predict_quantiles(rows.features[: AHEAD[-1] + 1], AHEAD)
    for name in PROBLEM.sessions:
        np.testing.assert_array_equal(after[name], before[name])
        np.testing.assert_array_equal(cut[name], before[name])
    changed = rows.features.copy()
    changed.loc[AHEAD[0] - 3, OWN[:2]] *= -3.0
    assert (model.predict_quantiles(changed, AHEAD[:1])["1w"] != before["1w"][:1]).any(), "history is seen"
    changed = rows.features.copy()
    changed.loc[AHEAD[0], OTHER] *= -3.0
    assert (model.predict_quantiles(changed, AHEAD[:1])["1w"] != before["1w"][:1]).any(), "other markets are seen"


def test_quantiles_never_cross_and_vary(model: NeuralForecaster, rows: Slice) -> None:
    for quantiles in model.predict_quantiles(rows.features, AHEAD).values():
        assert quantiles.shape == (len(AHEAD), len(LEVELS))
        assert (np.diff(quantiles, axis=1) > 0).all()
        assert quantiles[:, 3].std() > 0


def test_a_row_without_its_volatility_or_its_history_has_no_forecast(model: NeuralForecaster, rows: Slice) -> None:
    table = rows.features.copy()
    table.loc[AHEAD[1], SCALE] = np.nan
    found = model.predict_quantiles(table, np.array([TINY["window"] - 2, TINY["window"] - 1, *AHEAD[:3]]))["1m"]
    assert np.isnan(found).all(axis=1).tolist() == [True, False, False, True, False]
    assert not np.isnan(found[[1, 2, 4]]).any()


def test_that_a_value_is_missing_is_seen_and_not_taken_for_the_median(model: NeuralForecaster, rows: Slice) -> None:
    at_median, missing = rows.features.copy(), rows.features.copy()
    for i, name in enumerate(model.layout.columns):
        if name == GAPPY:
            at_median.loc[AHEAD, name] = model.scaler.centre[i]
    missing.loc[AHEAD, GAPPY] = np.nan
    assert rows.features[:TRAINED][GAPPY].isna().mean() > 0.2, "it has been missing where the net learnt"
    inputs = [net_inputs(table, model.scaler, model.layout)[AHEAD] for table in (at_median, missing)]
    different = (inputs[0] != inputs[1]).any(dim=0).nonzero().flatten().tolist()
    forecasts = [model.predict_quantiles(table, AHEAD)["1w"] for table in (at_median, missing)]
    assert (forecasts[0] != forecasts[1]).any()
    assert different == [2 * len(OWN) + len(OTHER) + model.layout.other.index(GAPPY)]


def test_a_saved_model_forecasts_and_explains_the_same(model: NeuralForecaster, rows: Slice, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = type(model).load(tmp_path, PROBLEM)
    assert loaded.layout == model.layout
    before, after = (m.predict_quantiles(rows.features, AHEAD) for m in (model, loaded))
    for name in PROBLEM.sessions:
        np.testing.assert_array_equal(after[name], before[name])
    pd.testing.assert_frame_equal(
        loaded.explain(rows.features, AHEAD[:2])["1m"], model.explain(rows.features, AHEAD[:2])["1m"]
    )
    with pytest.raises(ModelStoreError, match="not complete"):
        type(model).load(tmp_path / "nowhere", PROBLEM)
    with pytest.raises(ModelStoreError, match="holds"):
        type(model).load(tmp_path, type(PROBLEM)({"1w": 5}, LEVELS))
    with pytest.raises(ModelStoreError, match="lack"):
        loaded.predict_quantiles(rows.features.drop(columns=OTHER[0]), AHEAD)
    reordered = rows.features[list(reversed(rows.features.columns))]
    np.testing.assert_array_equal(loaded.predict_quantiles(reordered, AHEAD)["1w"], before["1w"])


def test_it_forecasts_with_its_share_of_the_voice_and_the_rest_is_no_change(
    model: NeuralForecaster, rows: Slice, tmp_path: Path
) -> None:
    model.save(tmp_path)
    half = type(model).load(tmp_path, PROBLEM)
    half.options = replace(model.options, own_share=0.5)
    scale = rows.features.loc[AHEAD, SCALE].to_numpy()[:, None] / 100 * np.sqrt(21 / 252)
    whole, mixed = (m.predict_quantiles(rows.features, AHEAD)["1m"] for m in (model, half))
    np.testing.assert_allclose(mixed, (whole + model.anchor[1] * scale) / 2, atol=1e-12)
    parts = [m.explain(rows.features, AHEAD[:2])["1m"] for m in (model, half)]
    pd.testing.assert_frame_equal(parts[0] / 2, parts[1])


def test_contributions_and_base_add_up_to_the_median(model: NeuralForecaster, rows: Slice) -> None:
    median = model.predict_quantiles(rows.features, AHEAD[:4])
    for name, parts in model.explain(rows.features, AHEAD[:4]).items():
        assert list(parts.columns) == [*OWN, *OTHER, "base"]
        size = parts.abs().sum(axis=1).to_numpy()
        assert (np.abs(parts.sum(axis=1).to_numpy() - median[name][:, 3]) < 0.02 * size + 1e-5).all()


@pytest.mark.parametrize("family", JOINT_FAMILIES)
def test_two_fits_are_equal_and_another_seed_is_not(family: str, rows: Slice, tmp_path: Path) -> None:
    made = []
    for fit, seed in enumerate((1, 1, 2)):
        model = joint_forecaster(family)(PROBLEM, {**TINY, "epochs": 1, "seeds": (seed,)})
        model.fit(rows.features[:400], known_before(rows, 400), folder=tmp_path / str(fit))
        made.append(last_weights(tmp_path / str(fit)))
    assert all(np.array_equal(made[0][name], made[1][name]) for name in made[0])
    assert any(not np.array_equal(made[0][name], made[2][name]) for name in made[0])


def test_an_untrained_net_is_the_no_change_forecast(rows: Slice) -> None:
    model = fitted("dense", rows, epochs=1, learning_rate=0.0)
    targets = known_before(rows, TRAINED)
    for name, sessions in PROBLEM.sessions.items():
        baseline = forecaster("no_change")(Problem(name, sessions, LEVELS))  # type: ignore[call-arg]
        baseline.fit(rows.features[:TRAINED], targets[name])
        expected = baseline.predict_quantiles(rows.features.loc[AHEAD])
        np.testing.assert_allclose(model.predict_quantiles(rows.features, AHEAD)[name], expected, atol=1e-6)


def test_scaling_is_learnt_from_the_training_sessions_only(rows: Slice) -> None:
    model = fitted("dense", rows, epochs=1)
    changed = rows.features.copy()
    changed.loc[TRAINED:, OWN[0]] = 1e3
    changed.loc[TRAINED:, SCALE] *= 7
    again = joint_forecaster("dense")(PROBLEM, {**TINY, "epochs": 1})
    again.fit(changed, known_before(rows, TRAINED).reindex(changed.index))
    np.testing.assert_array_equal(again.scaler.centre, model.scaler.centre)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(again.scaler.spread, model.scaler.spread)  # type: ignore[attr-defined]
    last = known_before(rows, TRAINED).dropna(how="all").index[-1]
    by_hand = rows.features.loc[:last, OWN[0]]
    assert model.scaler.centre[0] == pytest.approx(by_hand.median())
    assert model.scaler.spread[0] == pytest.approx(by_hand.quantile(0.75) - by_hand.quantile(0.25))


def test_a_column_never_seen_in_training_stays_missing_and_a_rare_flag_keeps_its_size() -> None:
    table = pd.DataFrame({"new": [np.nan] * 20, "flag": [0.0] * 19 + [1.0], "constant": [3.0] * 20})
    scaler = RobustScaler.fit(table, ("new", "flag", "constant"))
    later = pd.DataFrame({"new": [5.0], "flag": [1.0], "constant": [3.5]})
    scaled = scaler.transform(later)[0]
    assert np.isnan(scaled[0])
    assert scaled[1] == pytest.approx(1 / table["flag"].std(ddof=0))
    assert scaled[2] == pytest.approx(0.5)
    assert scaler.transform(later.assign(flag=99.0))[0, 1] == 5.0, "clipped"
    inputs = net_inputs(later, scaler, Layout(("new", "flag"), ("constant",)))
    assert inputs[0, [0, 2]].tolist() == [0.0, 1.0]


def test_a_window_ends_at_its_row() -> None:
    inputs = torch.arange(20.0).view(10, 2)
    seen = windows(inputs, torch.tensor([3, 9]), 4)
    assert seen.shape == (2, 2, 4)
    assert seen[0, 0].tolist() == [0.0, 2.0, 4.0, 6.0]
    assert seen[1, 1].tolist() == [13.0, 15.0, 17.0, 19.0]


@pytest.mark.parametrize("network", [TcnNetwork, LstmAttentionNetwork, TftNetwork])
def test_within_a_window_a_later_session_does_not_move_an_earlier_one(network: type[NeuralNetwork]) -> None:
    torch.manual_seed(0)
    net = network(Shape(4, 3, 60, 8, 0.0), ANCHOR, 3).eval()
    x = torch.randn(2, 14, 60)
    changed = x.clone()
    changed[..., 40:] += 10.0
    before, after = (net.sequence(inputs) for inputs in (x, changed))  # type: ignore[operator]
    if network is TcnNetwork:
        before, after = before.transpose(1, 2), after.transpose(1, 2)
    assert torch.equal(before[:, :40], after[:, :40])
    assert not torch.equal(before[:, 40:], after[:, 40:])


@pytest.mark.parametrize("sessions", [252, 61])
def test_the_tcn_at_its_last_session_is_the_dilated_network_and_sees_the_whole_window(sessions: int) -> None:
    torch.manual_seed(0)
    net = TcnNetwork(Shape(4, 3, sessions, 8, 0.0), ANCHOR, 3).eval()
    x = torch.randn(2, 14, sessions, requires_grad=True)
    torch.testing.assert_close(net.state(x), net.sequence(x)[..., -1], atol=1e-5, rtol=1e-4)
    (gradient,) = torch.autograd.grad(net.state(x).square().sum(), x)
    assert (gradient[:, 0].abs() > 0).all(), "every session of the window reaches the last state"


def test_validation_follows_training_and_each_horizon_is_purged_by_its_own_length() -> None:
    targets = np.ones((1000, 2))
    targets[995:, 0] = np.nan  # 5 sessions ahead, then 63
    targets[937:, 1] = np.nan
    learnt, validated = split_rows(targets, (5, 63), 200)
    cut = 795
    last = [int(np.flatnonzero(~np.isnan(column))[-1]) for column in learnt.T]
    assert [row + h for row, h in zip(last, (5, 63), strict=True)] == [cut - 1, cut - 1]
    assert [int(np.flatnonzero(~np.isnan(column))[0]) for column in validated.T] == [cut, cut]
    assert int(np.flatnonzero(~np.isnan(validated[:, 1]))[-1]) == 936


def test_joint_out_of_fold_has_the_rows_and_columns_of_a_family_that_learns_one_horizon(
    rows: Slice, tmp_path: Path
) -> None:
    plan = WalkForwardPlan(first_test_year=2011, warm_up_years=0, origin_step_sessions=5)
    calls: list[str] = []
    options = {**TINY, "epochs": 1}
    arguments = (joint_forecaster("dense"), PROBLEM, rows.tables, OWN + OTHER, plan)
    found = joint_out_of_fold(
        *arguments, years=[2011], options=options, folder=tmp_path, progress=lambda done, of, what: calls.append(what)
    )
    for name, sessions in PROBLEM.sessions.items():
        expected = out_of_fold(
            forecaster("no_change"), Problem(name, sessions, LEVELS), rows.tables[name], OWN + OTHER, plan
        )
        assert list(found[name].columns) == list(expected.columns)
        shared = [c for c in expected.columns if not c.startswith("p") and c != "direction_probability"]
        pd.testing.assert_frame_equal(found[name][shared], expected[shared])
    again = joint_out_of_fold(*arguments, years=[2011], options=options, folder=tmp_path)
    for name in PROBLEM.sessions:
        pd.testing.assert_frame_equal(again[name], found[name])
    assert len(calls) == 2


def test_targets_that_lie_in_the_test_year_are_not_learnt_from(rows: Slice) -> None:
    plan = WalkForwardPlan(first_test_year=2011, warm_up_years=0, origin_step_sessions=5)
    options = {**TINY, "epochs": 1, "learning_rate": 0.1}
    changed = {}
    for name, table in rows.tables.items():
        inside = (table["target_date"] >= "2011-01-03") & (table["date"] < "2011-01-03")
        assert inside.sum() == PROBLEM.sessions[name]
        changed[name] = table.assign(target_log_return=table["target_log_return"].mask(inside, 9.0))
    arguments = (OWN + OTHER, plan)
    made = [
        joint_out_of_fold(joint_forecaster("dense"), PROBLEM, tables, *arguments, years=[2011], options=options)
        for tables in (rows.tables, changed)
    ]
    for name in PROBLEM.sessions:
        pd.testing.assert_frame_equal(made[0][name], made[1][name])


def test_tables_of_other_sessions_are_refused(rows: Slice) -> None:
    with pytest.raises(TrainingFailed, match="table of 1m has other sessions"):
        joint_targets(PROBLEM, {**rows.tables, "1m": rows.tables["1m"].iloc[1:]})


def test_weights_are_the_regime_times_recency() -> None:
    table = pd.DataFrame({"training_weight": [50.0, 100.0, 400.0]})
    assert sample_weights(table, regimes=True, half_life_sessions=None).tolist() == [50, 100, 400]
    assert sample_weights(table, regimes=True, half_life_sessions=1).tolist() == [12.5, 50, 400]
    assert sample_weights(table, regimes=False, half_life_sessions=2).tolist() == pytest.approx([0.5, 0.5**0.5, 1])


def test_weights_change_what_is_learnt(rows: Slice) -> None:
    targets = known_before(rows, TRAINED)
    made = []
    for weights in (None, np.full(TRAINED, 7.0), np.linspace(0.0, 1.0, TRAINED)):
        model = joint_forecaster("dense")(PROBLEM, {**TINY, "epochs": 1})
        losses: list[str] = []
        model.fit(
            rows.features[:TRAINED], targets, weights=weights, progress=lambda d, of, what, to=losses: to.append(what)
        )
        made.append(model.progressed[0].history[0]["train"])  # type: ignore[attr-defined]
    assert made[0] == pytest.approx(made[1]), "only the ratios matter"
    assert made[0] != pytest.approx(made[2])


def test_what_cannot_be_trained_is_refused_with_the_reason(rows: Slice) -> None:
    with pytest.raises(TrainingFailed, match="rows have a target"):
        joint_forecaster("tcn")(PROBLEM, TINY).fit(rows.features[:40], rows.targets[:40])
    with pytest.raises(TrainingFailed, match="other_markets"):
        fitted("dense", rows, other_markets=("no_such_column",))
    with pytest.raises(RegistryError, match="unknown options"):
        joint_forecaster("tcn")(PROBLEM, {"chanels": 3})
    with pytest.raises(RegistryError, match="unknown joint family"):
        joint_forecaster("transformer")
