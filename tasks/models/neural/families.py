"""The neural families: each is the shared forecaster with its own network."""

from __future__ import annotations

from tasks.models.neural import networks
from tasks.models.neural.model import NeuralForecaster


class Tcn(NeuralForecaster):
    """Causal convolutions with exponential dilation."""

    family = "tcn"
    network = networks.TcnNetwork


class LstmAttention(NeuralForecaster):
    """An LSTM with scaled dot-product attention."""

    family = "lstm_attention"
    network = networks.LstmAttentionNetwork


class NBeatsX(NeuralForecaster):
    """N-BEATS with exogenous series."""

    family = "nbeatsx"
    network = networks.NBeatsXNetwork


class Tft(NeuralForecaster):
    """A temporal fusion transformer."""

    family = "tft"
    network = networks.TftNetwork


class Dense(NeuralForecaster):
    """A fully connected network over the whole window."""

    family = "dense"
    network = networks.DenseNetwork
