"""A temporal fusion transformer."""

from __future__ import annotations

from tasks.models.neural.model import NeuralForecaster
from tasks.models.neural.networks import Tft


class Model(NeuralForecaster):
    """Trained as tasks/models/neural/training.py says."""

    family = "tft"
    network = Tft
