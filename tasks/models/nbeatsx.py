"""N-BEATS with exogenous series."""

from __future__ import annotations

from tasks.models.neural.model import NeuralForecaster
from tasks.models.neural.networks import NBeatsX


class Model(NeuralForecaster):
    """Trained as tasks/models/neural/training.py says."""

    family = "nbeatsx"
    network = NBeatsX
