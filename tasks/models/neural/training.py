"""The training loop of every net.

After each epoch a checkpoint stores all that the next epoch needs. Each epoch draws its random numbers from its own
seed. So a training that was killed continues to the same weights, bit for bit, on the CPU.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks.errors import TrainingFailed
from tasks.models.neural.device import compiled, measure_autocast
from tasks.models.neural.loss import LossWeights, average, horizon_weights, pinball_terms, training_loss
from tasks.models.neural.networks import NeuralNetwork
from tasks.models.neural.options import NeuralOptions
from tasks.models.neural.windows import windows
from tasks.storage.files import write_bytes
from tasks.storage.hashes import fingerprint

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
SEED_STRIDE = 1_000_003  # keeps the epochs' seeds of different nets apart


@dataclass(frozen=True)
class TrainingData:
    """The training data of a net. Row numbers count the sessions of ``inputs``."""

    inputs: torch.Tensor  # sessions x channels
    target: torch.Tensor  # sessions x horizons, scaled log returns, NaN where unknown or not for training
    weight: torch.Tensor  # sessions; mean 1 over the training rows
    train: torch.Tensor  # row numbers
    validation: torch.Tensor
    validation_target: torch.Tensor  # sessions x horizons
    levels: torch.Tensor

    def identity(self) -> str:
        """A hash of all fields: a checkpoint of other data is not used."""
        tensors = [getattr(self, name) for name in self.__dataclass_fields__]
        return fingerprint([hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for tensor in tensors])


@dataclass
class Progressed:
    """The progress of a training: stored in a checkpoint beside weights and optimizer."""

    epoch: int = 0  # epochs done
    best_epoch: int = 0  # 0: the untrained net, which is the no-change forecast
    best_loss: float = float("inf")
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


def split_rows(targets: np.ndarray, sessions: tuple[int, ...], tail: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets to learn from, and targets to validate on: the last ``tail`` sessions that have any.

    Args:
        targets: sessions x horizons, NaN where not known. sessions: length of each horizon.

    Invariants: no training target reaches into the validation sessions; each horizon is purged by its own length.
    """
    known = np.flatnonzero(~np.isnan(targets).all(axis=1))
    if len(known) < 2:
        raise TrainingFailed("there is no row with a known target to train a net on")
    cut = int(known[-1]) + 1 - tail
    learnt, validated = targets.copy(), targets.copy()
    validated[: max(cut, 0)] = np.nan
    for i, horizon in enumerate(sessions):
        learnt[max(0, cut - horizon) :, i] = np.nan
    return learnt, validated


def fit_network(
    network: NeuralNetwork,
    data: TrainingData,
    options: NeuralOptions,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Path | None,
    progress: Progress,
) -> Progressed:
    """Train ``network`` and end with the weights of its best epoch, on the CPU.

    Args:
        checkpoint: a file written after each epoch. Training continues from it if it belongs to the same data,
            options and seed. progress: called with (epoch, of, what) after each epoch.
    """
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.epochs)
    identity = fingerprint(options.as_json(), seed, type(network).__name__, data.identity(), device.type)
    inputs, target, validation_target = (
        tensor.to(device) for tensor in (data.inputs, data.target, data.validation_target)
    )
    weight, levels = data.weight.to(device), data.levels.to(device)
    by_horizon = horizon_weights(target.shape[1], options.last_horizon_weight).to(device)
    loss_weights = LossWeights(options.huber_weight, options.direction_weight)

    example = windows(inputs, data.train[: options.batch].to(device), options.window)
    run = compiled(network, example) if options.compile else network
    autocast = options.autocast and measure_autocast(network, example).pays
    saved = read_checkpoint(checkpoint, identity) if checkpoint else None
    if saved is None:
        state = Progressed()
        state.best_loss = validate(run, inputs, data.validation, validation_target, by_horizon, levels, options)
        best = copied(network)
    else:
        state, best = restore(saved, network, optimizer, schedule)

    while not state.finished:
        epoch = state.epoch
        torch.manual_seed(seed * SEED_STRIDE + epoch)  # every device: dropout and row order depend on the epoch only
        order = data.train[torch.randperm(len(data.train))]
        network.train()
        total = torch.zeros((), device=device)
        for rows in order.split(options.batch):
            at = rows.to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
                quantiles = run(windows(inputs, at, options.window))
            loss = training_loss(
                quantiles.float(),
                target[at],
                levels=levels,
                rows=weight[at],
                horizons=by_horizon,
                weights=loss_weights,
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
            optimizer.step()
            total += loss.detach() * len(rows)
        schedule.step()
        trained = float(total) / len(order)
        validated = validate(run, inputs, data.validation, validation_target, by_horizon, levels, options)
        if not np.isfinite(trained + validated):
            raise TrainingFailed(
                f"{type(network).__name__}, seed {seed}: the loss of epoch {epoch + 1} is not finite; "
                f"lower `learning_rate`, which is {options.learning_rate}"
            )
        state.epoch = epoch + 1
        state.history.append({"train": trained, "validation": validated})
        if validated < state.best_loss:
            state.best_loss, state.best_epoch, best = validated, state.epoch, copied(network)
        state.finished = state.epoch >= options.epochs or state.epoch - state.best_epoch >= options.patience
        if checkpoint:
            write_checkpoint(checkpoint, identity, state, network, best, optimizer, schedule)
        progress(state.epoch, options.epochs, f"seed {seed}: validation {validated:.4f}, best {state.best_loss:.4f}")
    network.to("cpu")
    network.load_state_dict(best)
    network.eval()
    return state


@torch.no_grad()
def validate(
    network: torch.nn.Module,
    inputs: torch.Tensor,
    rows: torch.Tensor,
    target: torch.Tensor,
    horizons: torch.Tensor,
    levels: torch.Tensor,
    options: NeuralOptions,
) -> float:
    """Quantile loss over the validation rows, horizons weighted as in training, rows equally."""
    network.eval()
    at = rows.to(inputs.device)
    quantiles = torch.cat([network(windows(inputs, part, options.window)) for part in at.split(256)]).float()
    known = target[at]
    ones = torch.ones(len(at), device=inputs.device)
    return float(average(pinball_terms(quantiles, known, levels), known, ones, horizons))


def copied(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights as they are now, on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}


def write_checkpoint(
    path: Path,
    identity: str,
    state: Progressed,
    network: NeuralNetwork,
    best: dict[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Write one file of plain arrays and JSON, replaced atomically."""
    arrays = {f"network/{name}": tensor.numpy() for name, tensor in copied(network).items()}
    arrays |= {f"best/{name}": tensor.numpy() for name, tensor in best.items()}
    optimizer_state = optimizer.state_dict()
    for number, moments in optimizer_state["state"].items():
        arrays |= {f"optimiser/{number}/{name}": tensor.cpu().numpy() for name, tensor in moments.items()}
    meta = {
        "identity": identity,
        "progressed": state.__dict__,
        "groups": optimizer_state["param_groups"],
        "schedule": schedule.state_dict(),
    }
    write_bytes(path, packed(arrays, meta))


def restore(
    saved: tuple[dict[str, np.ndarray], dict[str, Any]],
    network: NeuralNetwork,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> tuple[Progressed, dict[str, torch.Tensor]]:
    """Restore network, optimizer and schedule from a checkpoint. Returns the progress and the best weights."""
    arrays, meta = saved
    network.load_state_dict(tensors_under(arrays, "network/"))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors_under(arrays, "optimiser/").items():
        number, name = key.split("/")
        moments.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": meta["groups"]})
    schedule.load_state_dict(meta["schedule"])
    return Progressed(**meta["progressed"]), tensors_under(arrays, "best/")


def tensors_under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, torch.Tensor]:
    """The arrays whose name starts with ``prefix``, without it."""
    return {name.removeprefix(prefix): torch.from_numpy(a) for name, a in arrays.items() if name.startswith(prefix)}


def packed(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> bytes:
    """An .npz of arrays, and the JSON ``meta`` in it as bytes: one file, no pickles."""
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), dtype=np.uint8)
    np.savez(buffer, allow_pickle=False, **{"meta": text, **arrays})
    return buffer.getvalue()


def unpacked(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The arrays and meta of a ``packed`` file, or None where there is no readable file."""
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        return arrays, json.loads(arrays.pop("meta").tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def read_checkpoint(path: Path, identity: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The checkpoint of exactly this training, or None."""
    saved = unpacked(path)
    return saved if saved and saved[1]["identity"] == identity else None
