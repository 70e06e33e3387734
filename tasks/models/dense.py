"""A fully connected network over the whole window."""

from __future__ import annotations

from tasks.models.neural.model import NeuralForecaster
from tasks.models.neural.networks import Dense


class Model(NeuralForecaster):
    """Trained as tasks/models/neural/training.py says."""

    family = "dense"
    network = Dense
