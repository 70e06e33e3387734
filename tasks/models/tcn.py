"""Causal convolutions with exponential dilation."""

from __future__ import annotations

from tasks.models.neural.model import NeuralForecaster
from tasks.models.neural.networks import Tcn


class Model(NeuralForecaster):
    """Trained as tasks/models/neural/training.py says."""

    family = "tcn"
    network = Tcn
