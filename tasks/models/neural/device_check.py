"""``cbi device-check``: every neural family on the chosen device against the CPU, one forward and one backward pass.

The batch is noise of the real size: the check is of arithmetic and speed, not of a forecast.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tasks.models.catalogue import JOINT_FAMILIES
from tasks.models.forecaster import joint_forecaster
from tasks.models.neural.device import TOLERANCE, deterministic, measure_autocast, wait_for
from tasks.models.neural.networks import NeuralNetwork, Shape
from tasks.models.neural.options import NeuralOptions

COLUMNS = (20, 20)  # of the market itself, of other markets
ANCHOR = np.tile([-1.645, -1.282, -0.674, 0.0, 0.674, 1.282, 1.645], (5, 1))  # normal quantiles, five horizons
FALLBACK = re.compile(r"operator '([\w:.]+)'.*fall back to run on the CPU", re.DOTALL)


@dataclass(frozen=True)
class DeviceCheck:
    """The result of one family on the device."""

    family: str
    cpu_s: float
    device_s: float
    output_difference: float
    gradient_difference: float  # relative to the largest gradient
    autocast_pays: bool
    fallbacks: tuple[str, ...]
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether it ran and agrees with the CPU."""
        return not self.error and max(self.output_difference, self.gradient_difference) <= TOLERANCE


def check_devices(
    device: torch.device, *, families: Iterable[str] = JOINT_FAMILIES, options: NeuralOptions | None = None
) -> list[DeviceCheck]:
    """Run each family with its own width. A family that fails becomes a row of the table."""
    options = options or NeuralOptions()
    torch.set_warn_always(True)  # MPS warns of its first fallback only
    try:
        with deterministic(options.threads, device=device):
            return [_check(family, device, options) for family in families]
    finally:
        torch.set_warn_always(False)


def _check(family: str, device: torch.device, options: NeuralOptions) -> DeviceCheck:
    torch.manual_seed(0)
    shape = Shape(*COLUMNS, options.window, options.channels, dropout=0.0)
    network = joint_forecaster(family).network(shape, ANCHOR, median=3)  # type: ignore[attr-defined]
    with torch.no_grad():  # heads start at zero, which would hide all layers before them
        for parameter in network.heads.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    batch = torch.randn(options.batch, 2 * sum(COLUMNS), options.window)
    cpu_s, expected, expected_gradient = _step(network, batch, torch.device("cpu"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            device_s, found, gradient = _step(network, batch, device)
            pays = measure_autocast(network, batch.to(device)).pays
        except (RuntimeError, NotImplementedError) as error:
            return DeviceCheck(family, cpu_s, np.nan, np.nan, np.nan, False, (), str(error).splitlines()[0])
    fallbacks = {match.group(1) for warning in caught if (match := FALLBACK.search(str(warning.message)))}
    return DeviceCheck(
        family,
        cpu_s,
        device_s,
        float((found - expected).abs().max()),
        float((gradient - expected_gradient).abs().max() / expected_gradient.abs().max()),
        pays,
        tuple(sorted(fallbacks)),
    )


def _step(
    network: NeuralNetwork, batch: torch.Tensor, device: torch.device
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Seconds of one step (the second one: the first warms up), quantiles, and all gradients as one vector."""
    network.to(device).train()
    x = batch.to(device)
    for _ in range(2):
        network.zero_grad(set_to_none=True)
        wait_for(device)
        started = time.perf_counter()
        out = network(x)
        out.square().mean().backward()
        wait_for(device)
        seconds = time.perf_counter() - started
    gradient = torch.cat([p.grad.flatten().cpu() for p in network.parameters() if p.grad is not None])
    return seconds, out.detach().cpu(), gradient


def show(device: torch.device, checked: list[DeviceCheck]) -> None:
    """Print the results as a table."""
    table = Table(title=f"one batch on {device.type} (torch {torch.__version__}) against the CPU")
    for name in ("family", "CPU ms", f"{device.type} ms", "outputs differ", "gradients differ", "autocast", "result"):
        table.add_column(name)
    for row in checked:
        result = row.error or ("ok" if row.passed else f"differs by more than {TOLERANCE}")
        if row.fallbacks:
            result += f"; on the CPU: {', '.join(row.fallbacks)}"
        table.add_row(
            row.family,
            f"{1000 * row.cpu_s:.0f}",
            f"{1000 * row.device_s:.0f}",
            f"{row.output_difference:.1e}",
            f"{row.gradient_difference:.1e}",
            "pays" if row.autocast_pays else "off",
            result,
        )
    Console(width=120).print(table)
