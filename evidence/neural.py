"""One training step of the TCN, compared with the time of its convolutions alone on this CPU.

The step is that of the training loop (tasks/models/neural/training.py) without its data: forward, loss, backward,
clipping, AdamW, on one thread, with random inputs of the real sizes. torch counts its floating-point operations as it
runs, forward and backward. The peer is each of its convolutions alone, forward and backward, shape by shape. A second
peer is a matrix product of the trunk's shape. All are medians of CPU seconds, taken in turns: wall seconds of one
thread on a busy machine measure how busy it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.inputs import Inputs
from evidence.measurement import Measurement, in_turns
from tasks.registry import load_models, load_surface

if TYPE_CHECKING:
    import torch

    from tasks.models.neural.networks import NeuralNetwork
    from tasks.models.neural.options import NeuralOptions

ANCHOR = np.tile([-1.645, -1.282, -0.674, 0.0, 0.674, 1.282, 1.645], (5, 1))  # normal quantiles, five horizons
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
REPEATS = 15
GIGA = 1e9


def measure(inputs: Inputs) -> list[Measurement]:
    from tasks.models.neural.options import NeuralOptions

    models = load_models(inputs.settings.registry, inputs.run.features)
    surface = load_surface(inputs.settings.registry, inputs.run.features)
    columns = models.columns("tcn", inputs.run.features, surface)
    other = sum(name in columns for name, entry in surface.features.items() if entry.category in models.context)
    return [tcn_step(len(columns) - other, other, NeuralOptions(threads=1))]


def tcn_step(own: int, other: int, options: NeuralOptions, *, repeats: int = REPEATS) -> Measurement:
    """Milliseconds of a step, and the share of the device's measured rate that it reaches.

    Args:
        own, other: columns of the market itself and of other markets. repeats: number of steps for the median.
    """
    import torch

    from tasks.models.neural.device import deterministic
    from tasks.models.neural.networks import Shape, TcnNetwork

    torch.manual_seed(0)
    with deterministic(options.threads, device=torch.device("cpu")):
        net = TcnNetwork(Shape(own, other, options.window, options.channels, options.dropout), ANCHOR, median=3).train()
        batch = torch.randn(options.batch, 2 * (own + other), options.window)
        step = _training_step(net, batch, options)
        operations = counted(step)
        alone = [_convolution(*shapes) for shapes in _convolutions(net, batch)]
        of_convolutions = sum(counted(call) for call in alone)
        product = _product(options)
        calls = [step, product, *alone]
        for call in calls:  # the first turn warms up
            call()
        step_s, product_s, *alone_s = (s for s, _ in in_turns(*calls, repeats=repeats, clock=time.process_time))
    limit_s = sum(alone_s)
    matmul, convolution = counted(product) / product_s / GIGA, of_convolutions / limit_s / GIGA
    return Measurement(
        "TCN training step, CPU time",
        1000 * step_s,
        "ms",
        peer=f"its convolutions alone, {1000 * limit_s:.1f} ms",
        ratio=step_s / limit_s,
        note=(
            f"{operations / GIGA:.2f} GFLOP forward and backward (counted), {of_convolutions / operations:.1%} of it "
            f"in convolutions; the step does {operations / step_s / GIGA:.1f} GFLOP/s, its convolutions alone "
            f"{convolution:.1f}, a matrix product of the trunk's shape {matmul:.1f}: the step reaches "
            f"{limit_s / step_s:.0%} of the convolutions' limit and {operations / step_s / GIGA / matmul:.0%} of the "
            f"matrix product's; batch {options.batch}, window {options.window}, {options.channels} channels, "
            f"{own} + {other} columns, one thread, median of {repeats}"
        ),
    )


def counted(call: Callable[[], Any]) -> int:
    """Floating-point operations of one call, its backward pass included; a multiply-add counts two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def _training_step(net: NeuralNetwork, batch: torch.Tensor, options: NeuralOptions) -> Callable[[], Any]:
    """The training loop's step on a batch."""
    import torch

    from tasks.models.neural.loss import LossWeights, horizon_weights, training_loss

    optimizer = torch.optim.AdamW(net.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    target, rows = torch.randn(len(batch), len(ANCHOR)), torch.ones(len(batch))
    levels, horizons = torch.tensor(LEVELS), horizon_weights(len(ANCHOR), options.last_horizon_weight)
    weights = LossWeights(options.huber_weight, options.direction_weight)

    def step() -> None:
        loss = training_loss(net(batch), target, levels=levels, rows=rows, horizons=horizons, weights=weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), options.clip_norm)
        optimizer.step()

    return step


def _convolutions(net: NeuralNetwork, batch: torch.Tensor) -> list[tuple[torch.Size, torch.Size, bool, int]]:
    """Shapes of input and weight of every convolution of a step, whether the input needs a gradient, the stride."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    shapes: list[tuple[torch.Size, torch.Size, bool, int]] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if operation is torch.ops.aten.convolution.default:
                # the first layers read the batch itself, which needs no gradient
                own = args[0].untyped_storage().data_ptr() != batch.untyped_storage().data_ptr()
                shapes.append((args[0].shape, args[1].shape, own, args[3][0]))
            return operation(*args, **(kwargs or {}))

    with Watch():
        net(batch)
    return shapes


def _convolution(inputs: torch.Size, weight: torch.Size, differentiated: bool, stride: int) -> Callable[[], Any]:
    """One convolution with its backward pass."""
    import torch

    x = torch.randn(inputs, requires_grad=differentiated)
    w = torch.randn(weight, requires_grad=True)
    wanted = (x, w) if differentiated else (w,)
    with torch.no_grad():
        gradient = torch.randn_like(torch.nn.functional.conv1d(x, w, stride=stride))
    return lambda: torch.autograd.grad(torch.nn.functional.conv1d(x, w, stride=stride), wanted, gradient)


def _product(options: NeuralOptions) -> Callable[[], Any]:
    """The trunk's first convolution as a matrix product: channels x (channels x kernel) x all sessions."""
    import torch

    from tasks.models.neural.networks import TcnNetwork

    left = torch.randn(options.channels, options.channels * TcnNetwork.kernel)
    right = torch.randn(options.channels * TcnNetwork.kernel, options.batch * options.window)
    return lambda: left @ right
