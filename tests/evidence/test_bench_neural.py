"""The counting that the TCN's share of the device's limit rests on."""

from __future__ import annotations

import torch

from evidence.neural import _convolution, _convolutions, counted, tcn_step
from tasks.models.neural.networks import Shape, TcnNetwork
from tasks.models.neural.options import NeuralOptions


def test_operations_are_counted_forwards_and_backwards_by_hand():
    x, w = torch.Size((2, 3, 14)), torch.Size((4, 3, 5))
    forward = 2 * 2 * 4 * 10 * 3 * 5  # a multiply-add is two
    assert counted(_convolution(x, w, False, 1)) == 2 * forward
    assert counted(_convolution(x, w, True, 1)) == 3 * forward


def test_the_convolutions_by_themselves_are_almost_all_of_a_step():
    import numpy as np

    net = TcnNetwork(Shape(4, 3, 30, 8, 0.0), np.tile([-1.0, 0.0, 1.0], (2, 1)), median=1)
    batch = torch.randn(4, 14, 30)
    found = _convolutions(net, batch)
    assert len(found) == 4 + 2 * TcnNetwork.blocks  # own, two of the context, its mixing, two a block
    whole = counted(lambda: net(batch).sum().backward())
    assert 0.97 < sum(counted(_convolution(*shapes)) for shapes in found) / whole <= 1


def test_a_step_is_measured_against_its_convolutions():
    options = NeuralOptions(window=40, channels=8, batch=8)
    measured = tcn_step(4, 3, options, repeats=2)
    assert measured.figure > 0
    assert measured.ratio is not None
    assert "GFLOP" in measured.note
