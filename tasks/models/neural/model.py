"""What all neural families share: scaling, fitting one net per seed, forecasting, explaining, saving."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch

from tasks.errors import ModelStoreError, TrainingFailed
from tasks.models.catalogue import SCALE, expected_move
from tasks.models.forecaster import JointProblem, curve_moves, horizon_scale, without_curve_moves
from tasks.models.neural.device import choose_device, deterministic
from tasks.models.neural.networks import NeuralNetwork, Shape
from tasks.models.neural.options import NeuralOptions
from tasks.models.neural.training import (
    Progress,
    Progressed,
    TrainingData,
    fit_network,
    packed,
    split_rows,
    tensors_under,
    unpacked,
)
from tasks.models.neural.windows import DTYPE, Layout, RobustScaler, net_inputs, windows
from tasks.models.shapley import gradient_values
from tasks.quantiles import probability_above_zero
from tasks.storage.files import read_json, write_bytes, write_json

CPU = torch.device("cpu")
MOST_MISSED = 0.1
"""Share of the contributions by which their sum may miss the median: the sampling error of expected gradients."""


class NeuralForecaster:
    """One net per seed, averaged quantile by quantile. A family names its network.

    A net learns and is validated at full weight. In its forecast it has the weight `own_share`, the no-change forecast
    has the rest: noise in the location costs more than the little that can be learned about it.
    """

    family: ClassVar[str]
    around_curve: bool = True
    network: ClassVar[type[NeuralNetwork]]

    def __init__(self, problem: JointProblem, options: Mapping[str, Any] | None = None) -> None:
        """``options``: overrides of the defaults of NeuralOptions."""
        self.problem = problem
        self.options = NeuralOptions.of(options or {})
        self.layout = Layout((), ())
        self.scaler = RobustScaler((), np.empty(0), np.empty(0))
        self.anchor = np.empty((0, 0))
        self.nets: list[NeuralNetwork] = []
        self.progressed: list[Progressed] = []

    @property
    def history_sessions(self) -> int:
        """The window."""
        return self.options.window

    def fit(
        self,
        features: pd.DataFrame,
        targets: pd.DataFrame,
        *,
        weights: np.ndarray | None = None,
        folder: Path | None = None,
        progress: Progress = lambda done, of, what: None,
    ) -> None:
        """Learn all horizons at once from the rows whose target is known.

        Args:
            features: every session up to the last training row, one per row, without gaps: windows are cut from them.
            targets: log returns, one column per horizon, the same rows; NaN where not known at the origin.
            weights: relative row weights. folder: for one checkpoint per seed.

        Scaling and no-change quantiles come from this training window, validation tail included.

        Raises:
            TrainingFailed: too few rows, or a loss that is not finite.
        """
        self.around_curve = any(expected_move(sessions) in features for sessions in self.problem.sessions.values())
        around = targets[list(self.problem.sessions)].to_numpy(dtype="float64") - self._centres(features)
        scaled = around / self._scales(features)
        self.anchor = np.stack([_centred_quantiles(column, self.problem.quantiles) for column in scaled.T])
        scaled[: self.options.window - 1] = np.nan
        known = np.flatnonzero(~np.isnan(scaled).all(axis=1))
        if len(known) < 2 * self.options.batch:
            raise TrainingFailed(
                f"{self.family}: {len(known)} rows have a target, {SCALE} and {self.options.window} sessions of "
                f"history; a net needs {2 * self.options.batch}. Give it an earlier start or a shorter window"
            )
        features, scaled = features.iloc[: known[-1] + 1], scaled[: known[-1] + 1]
        self.layout = Layout.of(without_curve_moves(features.columns), self.options.other_markets)
        self.scaler = RobustScaler.fit(features, self.layout.columns)
        data = self._data(features, scaled, weights)
        device = choose_device(self.options.device)
        self.nets, self.progressed = [], []
        with deterministic(self.options.threads, device=device):
            for seed in self.options.seeds:
                torch.manual_seed(seed)
                net = self._net()
                checkpoint = folder / f"{self.family}_seed{seed}.npz" if folder else None
                self.progressed.append(
                    fit_network(
                        net, data, self.options, seed=seed, device=device, checkpoint=checkpoint, progress=progress
                    )
                )
                self.nets.append(net)

    def predict_quantiles(self, features: pd.DataFrame, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Log-return quantiles of each horizon, rows x quantiles.

        Args:
            features: every session up to the last of ``rows``, without gaps. rows: row numbers to forecast from.

        A row without its own volatility or without a whole window of sessions before it is NaN.
        """
        scale = self._scales(features)[rows]
        able = ~np.isnan(scale[:, 0]) & (rows >= self.options.window - 1)
        out = np.full((len(rows), *self.anchor.shape), np.nan)
        if able.any():
            inputs, at = net_inputs(features, self.scaler, self.layout), torch.from_numpy(rows[able])
            with deterministic(self.options.threads, device=CPU), torch.no_grad():
                batches = [windows(inputs, part, self.options.window) for part in at.split(256)]
                outputs = [np.concatenate([net(x).numpy() for x in batches]).astype("float64") for net in self.nets]
            share = self.options.own_share
            out[able] = (share * np.mean(outputs, axis=0) + (1 - share) * self.anchor) * scale[able][:, :, None]
            out[able] += self._centres(features)[rows[able]][:, :, None]
        return {name: out[:, i] for i, name in enumerate(self.problem.sessions)}

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """Probability implied by the quantiles."""
        return probability_above_zero(quantiles, self.problem.quantiles)

    def explain(self, features: pd.DataFrame, rows: np.ndarray) -> dict[str, pd.DataFrame]:
        """Expected gradients of the median as log return, summed over the window.

        The reference is where every column is at its training median and nothing is missing; `base` is the median there
        and the sampling error, so that a row's contributions and its base add up to its median. A column's contribution
        includes that of its missing flag. NaN where there is no forecast.
        """
        scale = self._scales(features)[rows]
        able = ~np.isnan(scale[:, 0]) & (rows >= self.options.window - 1)
        names = [*self.layout.columns, "base"]
        out = np.full((len(self.problem.sessions), len(rows), len(names)), np.nan)
        inputs = net_inputs(features, self.scaler, self.layout)
        with deterministic(self.options.threads, device=CPU):
            for i in np.flatnonzero(able):
                window = windows(inputs, torch.tensor([int(rows[i])]), self.options.window)
                parts = np.mean([self._attributions(net, window) for net in self.nets], axis=0)
                out[:, i] = self.options.own_share * parts * scale[i][:, None]  # the median of the rest is no change
        centres = self._centres(features)[rows]
        tables = {
            name: pd.DataFrame(out[h], columns=names, index=features.index[rows])
            for h, name in enumerate(self.problem.sessions)
        }
        if not self.around_curve:
            return tables
        return {
            name: tables[name].assign(**{expected_move(sessions): centres[:, h]})
            for h, (name, sessions) in enumerate(self.problem.sessions.items())
        }

    def save(self, folder: Path) -> None:
        """One JSON file, and one .npz of the scaler's and the nets' arrays."""
        arrays = {"scaler/centre": self.scaler.centre, "scaler/spread": self.scaler.spread, "anchor": self.anchor}
        for seed, net in zip(self.options.seeds, self.nets, strict=True):
            arrays |= {f"seed{seed}/{name}": tensor.numpy() for name, tensor in net.state_dict().items()}
        write_bytes(folder / "weights.npz", packed(arrays, {"family": self.family}))
        content = {
            "family": self.family,
            "dtype": DTYPE,
            "own": self.layout.own,
            "other": self.layout.other,
            "horizons": list(self.problem.sessions.items()),
            "quantiles": self.problem.quantiles,
            "around_curve": self.around_curve,
            "options": self.options.as_json(),
            "training": [state.__dict__ for state in self.progressed],
        }
        write_json(folder / "model.json", content)

    @classmethod
    def load(cls, folder: Path, problem: JointProblem) -> Self:
        """Read it back.

        Raises:
            ModelStoreError: the folder is not complete, or has a model of another family, problem or number type.
        """
        content, weights = read_json(folder / "model.json"), unpacked(folder / "weights.npz")
        if not content or not weights:
            raise ModelStoreError(f"{folder} is not complete; delete it and run `cbi train`")
        wanted = [cls.family, DTYPE, [list(pair) for pair in problem.sessions.items()], list(problem.quantiles)]
        found = [content[name] for name in ("family", "dtype", "horizons", "quantiles")]
        if wanted != found:
            raise ModelStoreError(f"{folder} holds {found}, not {wanted}; run `cbi train`")
        model = cls(problem, content["options"])
        model.around_curve = bool(content.get("around_curve", False))  # trained before the curve was read
        model.layout = Layout(tuple(content["own"]), tuple(content["other"]))
        arrays = weights[0]
        model.scaler = RobustScaler(model.layout.columns, arrays["scaler/centre"], arrays["scaler/spread"])
        model.anchor = arrays["anchor"]
        model.progressed = [Progressed(**state) for state in content["training"]]
        for seed in model.options.seeds:
            net = model._net()
            net.load_state_dict(tensors_under(arrays, f"seed{seed}/"))
            model.nets.append(net.eval())
        return model

    def _net(self) -> NeuralNetwork:
        shape = Shape(
            len(self.layout.own),
            len(self.layout.other),
            self.options.window,
            self.options.channels,
            self.options.dropout,
        )
        return self.network(shape, self.anchor, self.problem.median)

    def _scales(self, features: pd.DataFrame) -> np.ndarray:
        """Standard deviation of the log return, rows x horizons."""
        return np.column_stack([horizon_scale(features, sessions) for sessions in self.problem.sessions.values()])

    def _centres(self, features: pd.DataFrame) -> np.ndarray:
        """The log move to each horizon's centre, rows x horizons."""
        if not self.around_curve:
            return np.zeros((len(features), len(self.problem.sessions)))
        return np.column_stack([curve_moves(features, sessions) for sessions in self.problem.sessions.values()])

    def _data(self, features: pd.DataFrame, scaled: np.ndarray, weights: np.ndarray | None) -> TrainingData:
        learnt, validated = split_rows(scaled, tuple(self.problem.sessions.values()), self.options.validation_sessions)
        train = np.flatnonzero(~np.isnan(learnt).all(axis=1))
        train = train[::-1][:: self.options.every][::-1]  # counted from the newest row, which is always used
        validation = np.flatnonzero(~np.isnan(validated).all(axis=1))
        if not len(train) or not len(validation):
            raise TrainingFailed(
                f"{self.family}: {len(train)} rows to learn from and {len(validation)} to validate on; "
                f"lower `validation_sessions`, which is {self.options.validation_sessions}"
            )
        weight = np.ones(len(scaled)) if weights is None else np.asarray(weights, dtype="float64")[: len(scaled)]
        return TrainingData(
            inputs=net_inputs(features, self.scaler, self.layout),
            target=torch.from_numpy(learnt.astype(DTYPE)),
            weight=torch.from_numpy((weight / weight[train].mean()).astype(DTYPE)),
            train=torch.from_numpy(train),
            validation=torch.from_numpy(validation),
            validation_target=torch.from_numpy(validated.astype(DTYPE)),
            levels=torch.tensor(self.problem.quantiles, dtype=torch.float32),
        )

    def _attributions(self, net: NeuralNetwork, window: torch.Tensor) -> np.ndarray:
        """Horizons x (columns and base), in scaled returns, of one window."""
        medians = _Medians(net, self.problem.median)
        reference = torch.zeros_like(window)
        channels = gradient_values(medians, window, reference).sum(axis=1).T  # horizons x channels
        own, other = len(self.layout.own), len(self.layout.other)
        start = 2 * own
        by_column = np.concatenate(
            [
                channels[:, :own] + channels[:, own:start],
                channels[:, start : start + other] + channels[:, start + other :],
            ],
            axis=1,
        )
        with torch.no_grad():
            base, median = (medians(x)[0].numpy().astype("float64") for x in (reference, window))
        missed = median - base - by_column.sum(axis=1)
        if (np.abs(missed) > MOST_MISSED * np.abs(by_column).sum(axis=1) + 1e-6).any():
            raise TrainingFailed(
                f"{self.family}: contributions miss the median by {np.abs(missed).max():.4f} standard deviations of "
                f"the return, more than {MOST_MISSED:.0%} of their size"
            )
        return np.column_stack([by_column, base + missed])


class _Medians(torch.nn.Module):
    """The medians of a net at every horizon, rows x horizons."""

    def __init__(self, net: NeuralNetwork, median: int) -> None:
        super().__init__()
        self.net, self.median = net, median

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Rows x horizons."""
        return self.net(windows)[..., self.median]


def _centred_quantiles(scaled: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """The no-change quantiles of a horizon (tasks/models/naive.py)."""
    known = scaled[~np.isnan(scaled)]
    if not len(known):
        raise TrainingFailed("a horizon has no known target in the training window; leave it out of the problem")
    return np.quantile(known, levels) - np.median(known)
