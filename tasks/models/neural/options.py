"""The options of a net's fit. A model is saved with its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tasks.errors import RegistryError


@dataclass(frozen=True)
class NeuralOptions:
    """Settings of one fit; the defaults are what the quick bake-off uses on one CPU core."""

    other_markets: tuple[str, ...] = ()  # input columns that go through the context encoder
    window: int = 252  # sessions that a forecast reads
    channels: int = 32
    dropout: float = 0.3
    own_share: float = 0.5  # weight of the net in its forecast; the rest is the no-change forecast
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    batch: int = 64
    epochs: int = 20
    patience: int = 10  # epochs without a better validation before it stops
    clip_norm: float = 1.0
    every: int = 5  # neighboring sessions share almost all of window and target: every fifth is used
    validation_sessions: int = 504  # the purged tail of the training window that decides when to stop
    seeds: tuple[int, ...] = (1,)  # one net each, averaged quantile by quantile
    last_horizon_weight: float = 0.7
    huber_weight: float = 0.1
    direction_weight: float = 0.02
    device: str = "auto"  # of training; forecasts always run on the CPU
    threads: int = 1  # CPU threads; another number may round differently
    compile: bool = False
    autocast: bool = False  # used only where it measures faster (tasks/models/neural/device.py)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> NeuralOptions:
        """Options from the registry or JSON, where tuples are lists.

        Raises:
            RegistryError: an unknown option.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise RegistryError(f"unknown options of a neural family: {unknown}; known: {sorted(known)}")
        values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in given.items()}
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the saved model and a checkpoint's identity."""
        return asdict(self)
