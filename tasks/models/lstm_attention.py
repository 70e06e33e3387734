"""An LSTM with scaled dot-product attention."""

from __future__ import annotations

from tasks.models.neural.model import NeuralForecaster
from tasks.models.neural.networks import LstmAttention


class Model(NeuralForecaster):
    """Trained as tasks/models/neural/training.py says."""

    family = "lstm_attention"
    network = LstmAttention
