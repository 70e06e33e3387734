"""The loss by hand, the loop over kills, and the devices."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.errors import SettingsError
from tasks.models.forecaster import joint_forecaster
from tasks.models.neural.device import AutocastMeasured, choose_device, compiled, measure_autocast
from tasks.models.neural.device_check import DeviceCheck, check_devices
from tasks.models.neural.loss import (
    LossWeights,
    average,
    direction_terms,
    horizon_weights,
    huber_terms,
    pinball_terms,
    training_loss,
)
from tasks.models.neural.options import NeuralOptions
from tasks.models.neural.training import unpacked
from tasks.settings import PROJECT
from tests.models.neural.conftest import PROBLEM, TINY, Slice

NAN = float("nan")


def test_each_term_of_the_loss_by_hand() -> None:
    levels = torch.tensor([0.1, 0.5, 0.9])
    quantiles = torch.tensor([[[-1.0, 0.5, 2.0], [-1.0, 0.0, 1.0]]])  # one row, two horizons
    target = torch.tensor([[3.0, NAN]])
    # 0.1 * 4, 0.5 * 2.5, 0.9 * 1; the second horizon is not known yet
    assert pinball_terms(quantiles, target, levels)[0].tolist() == pytest.approx([(0.4 + 1.25 + 0.9) / 3, 0.0])
    # 2.5 off: beyond the corner of 1 it grows as |e| - 1/2
    assert huber_terms(quantiles[..., 1], target)[0].tolist() == pytest.approx([2.0, 0.0])
    assert huber_terms(torch.tensor([[0.5]]), torch.tensor([[0.1]])).item() == pytest.approx(0.08)
    direction = direction_terms(torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[3.0, -3.0, 1.0]]))[0]
    sure = math.tanh(1.0) * math.tanh(6.0)
    assert direction.tolist() == pytest.approx([(1 - sure) / 2, (1 + sure) / 2, 0.5])
    assert horizon_weights(5, 0.7).tolist() == pytest.approx([1.0, 0.925, 0.85, 0.775, 0.7])


def test_the_average_weights_rows_and_horizons_and_leaves_out_what_is_unknown() -> None:
    terms = torch.tensor([[1.0, 10.0], [3.0, 20.0], [5.0, 30.0]])
    target = torch.tensor([[0.0, 0.0], [0.0, NAN], [0.0, NAN]])
    rows, horizons = torch.tensor([1.0, 1.0, 2.0]), torch.tensor([1.0, 0.5])
    # first: (1 + 3 + 2 * 5) / 4 = 3.5; second: 10; (3.5 + 0.5 * 10) / 1.5
    assert average(terms, target, rows, horizons).item() == pytest.approx(8.5 / 1.5)
    target[:, 1] = NAN
    assert average(terms, target, rows, horizons).item() == pytest.approx(3.5)


def test_an_unknown_target_has_no_gradient_and_the_direction_term_has_one() -> None:
    levels = torch.tensor([0.1, 0.5, 0.9])
    quantiles = torch.tensor([[[-1.0, 0.1, 1.0], [-1.0, 0.1, 1.0]]], requires_grad=True)
    target = torch.tensor([[0.8, NAN]])
    gradients = []
    for direction in (0.0, 1.0):
        loss = training_loss(
            quantiles,
            target,
            levels=levels,
            rows=torch.ones(1),
            horizons=torch.ones(2),
            weights=LossWeights(huber=0.1, direction=direction),
        )
        (gradient,) = torch.autograd.grad(loss, quantiles)
        assert not gradient.isnan().any()
        assert (gradient[0, 1] == 0).all()
        gradients.append(gradient[0, 0, 1].item())
    slope = -math.tanh(1.6) * 2 * (1 - math.tanh(0.2) ** 2) / 2
    assert gradients[1] - gradients[0] == pytest.approx(slope, rel=1e-4)


KILLED = """
import json, os, signal, sys
import pandas as pd
from pathlib import Path
from tasks.models.forecaster import JointProblem, joint_forecaster

folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])
sessions, quantiles, options = json.loads(sys.argv[3])
def progress(done, of, what):
    if done == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
model = joint_forecaster("dense")(JointProblem(sessions, tuple(quantiles)), options)
model.fit(
    pd.read_parquet(folder / "features.parquet"), pd.read_parquet(folder / "targets.parquet"),
    folder=folder, progress=progress,
)
"""


def test_a_training_killed_at_a_random_epoch_goes_on_to_the_same_weights(rows: Slice, tmp_path: Path) -> None:
    features, targets = rows.features[:400], rows.targets[:400]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir(), cut.mkdir()
    features.to_parquet(cut / "features.parquet")
    targets.to_parquet(cut / "targets.parquet")
    options = {**TINY, "epochs": 6, "seeds": (1, 2)}
    joint_forecaster("dense")(PROBLEM, options).fit(features, targets, folder=whole)
    given = json.dumps([dict(PROBLEM.sessions), PROBLEM.quantiles, options])
    kill_at = int.from_bytes(os.urandom(1)) % 5 + 1
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(cut), str(kill_at), given], cwd=PROJECT, capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert unpacked(cut / "dense_seed1.npz")[1]["progressed"]["epoch"] == kill_at  # type: ignore[index]
    seen: list[int] = []
    resumed = joint_forecaster("dense")(PROBLEM, options)
    resumed.fit(features, targets, folder=cut, progress=lambda done, of, what: seen.append(done))
    assert seen[:1] == [kill_at + 1], "it went on and did not start again"
    for seed in (1, 2):
        name = f"dense_seed{seed}.npz"
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), f"killed at epoch {kill_at}"


def test_a_checkpoint_of_other_data_or_options_is_not_gone_on_from(rows: Slice, tmp_path: Path) -> None:
    def epochs(options: dict[str, object], targets: float) -> list[int]:
        seen: list[int] = []
        model = joint_forecaster("dense")(PROBLEM, {**TINY, "epochs": 2, **options})
        model.fit(
            rows.features[:600],
            rows.targets[:600] * targets,
            folder=tmp_path,
            progress=lambda done, of, what: seen.append(done),
        )
        return seen

    assert epochs({}, 1.0) == [1, 2]
    assert epochs({}, 1.0) == [], "finished"
    assert epochs({}, 2.0) == [1, 2]
    assert epochs({"dropout": 0.5}, 2.0) == [1, 2]
    (tmp_path / "dense_seed1.npz").write_bytes((tmp_path / "dense_seed1.npz").read_bytes()[:1000])
    assert epochs({"dropout": 0.5}, 2.0) == [1, 2], "an unreadable checkpoint is none"


def test_it_stops_when_validation_no_longer_improves_and_keeps_the_best_epoch(rows: Slice) -> None:
    made = joint_forecaster("dense")(PROBLEM, {**TINY, "epochs": 30, "patience": 2, "learning_rate": 0.01})
    made.fit(rows.features[:600], rows.targets[:600])
    state = made.progressed[0]  # type: ignore[attr-defined]
    losses = [epoch["validation"] for epoch in state.history]
    assert state.epoch == state.best_epoch + 2 < 30
    assert state.best_loss <= min(losses)


def test_the_rate_falls_as_a_cosine_one_step_an_epoch(rows: Slice, tmp_path: Path) -> None:
    rates = []
    model = joint_forecaster("dense")(PROBLEM, {**TINY, "epochs": 4, "learning_rate": 0.01, "patience": 9})
    model.fit(
        rows.features[:600],
        rows.targets[:600],
        folder=tmp_path,
        progress=lambda *step: rates.append(unpacked(tmp_path / "dense_seed1.npz")[1]["groups"][0]["lr"]),  # type: ignore[index]
    )
    assert rates == pytest.approx([0.01 * (1 + math.cos(math.pi * k / 4)) / 2 for k in (1, 2, 3, 4)], abs=1e-9)


def test_every_family_agrees_with_itself_on_the_cpu_and_a_difference_is_found() -> None:
    options = NeuralOptions(window=40, channels=8, batch=4)
    checked = check_devices(torch.device("cpu"), options=options)
    assert len(checked) == 5
    assert all(row.passed and not row.fallbacks for row in checked)
    assert not DeviceCheck("tcn", 0.1, 0.1, 0.01, 0.0, False, ()).passed
    assert not DeviceCheck("tcn", 0.1, np.nan, np.nan, np.nan, False, (), "no such operation").passed


def test_a_device_that_is_not_there_is_refused_and_auto_finds_one() -> None:
    assert choose_device("auto").type in {"mps", "cuda", "cpu"}
    assert choose_device("cpu").type == "cpu"
    missing = next(name for name in ("mps", "tpu") if name == "tpu" or not torch.backends.mps.is_available())
    with pytest.raises(SettingsError, match=missing):
        choose_device(missing)


def test_autocast_pays_only_where_faster_and_equal() -> None:
    assert AutocastMeasured(1.0, 0.5, 1e-5).pays
    assert not AutocastMeasured(1.0, 0.5, 0.1).pays
    assert not AutocastMeasured(1.0, 0.99, 1e-5).pays
    layer = torch.nn.Linear(64, 64)
    measured = measure_autocast(layer, torch.randn(8, 64), repeats=1)
    assert 0 < measured.largest_difference < 0.1
    assert layer.weight.grad is None


def test_where_compiling_fails_the_plain_net_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: torch.nn.Module) -> torch.nn.Module:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", broken)
    layer = torch.nn.Linear(2, 2)
    assert compiled(layer, torch.zeros(1, 2)) is layer
