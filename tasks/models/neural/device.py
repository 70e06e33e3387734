"""The device that trains a net, and which of its features are safe to use: measured, not assumed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch

from tasks.errors import SettingsError

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3  # largest difference of a quantile, in standard deviations of the return, that is still "equal"
FASTER = 0.95  # of the plain time: less gain than this is noise


def choose_device(wanted: str) -> torch.device:
    """The device with this name. `auto` is mps, else cuda, else cpu.

    Raises:
        SettingsError: the name is unknown, or this machine has no such device.
    """
    there = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, found in there.items() if found))
    if not there.get(wanted, False):
        raise SettingsError(
            f"device `{wanted}` is not on this machine; there is {', '.join(k for k, v in there.items() if v)}. "
            f"Choose one of them, or `auto`"
        )
    return torch.device(wanted)


@contextmanager
def deterministic(threads: int, *, device: torch.device) -> Iterator[None]:
    """Allow only bit-for-bit reproducible algorithms, on ``threads`` CPU threads; restore the settings at the end.

    An operation without such an algorithm is an error on the CPU and a warning on a GPU, where some have none.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.set_num_threads(before[1])


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished, so that a measured time is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def compiled(network: torch.nn.Module, example: torch.Tensor) -> torch.nn.Module:
    """``network`` through torch.compile, or unchanged where compiling fails; both share their weights."""
    try:
        optimized = cast(torch.nn.Module, torch.compile(network))
        optimized(example)
    except Exception as error:  # the compiler's backends raise errors without a common class
        logger.warning("torch.compile failed (%s): continuing without it", str(error).splitlines()[0])
        return network
    return optimized


@dataclass(frozen=True)
class AutocastMeasured:
    """One forward and backward pass in float32 and under autocast (bfloat16)."""

    plain_s: float
    autocast_s: float
    largest_difference: float

    @property
    def pays(self) -> bool:
        """Whether it is faster by more than noise, and equal within tolerance."""
        return self.autocast_s < FASTER * self.plain_s and self.largest_difference <= TOLERANCE


def measure_autocast(network: torch.nn.Module, batch: torch.Tensor, *, repeats: int = 3) -> AutocastMeasured:
    """Time both (fastest of ``repeats``) and compare their outputs. Gradients are cleared afterwards."""
    seconds, outputs = [], []
    was_training = network.training
    network.train()  # cuDNN's LSTM has no backward pass in eval mode
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout1d):
            module.eval()  # dropout would make the two differ by chance
    for enabled in (False, True):
        taken = []
        for _ in range(repeats + 1):  # the first is a warm-up
            wait_for(batch.device)
            started = time.perf_counter()
            with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=enabled):
                out = network(batch)
            out.float().square().mean().backward()
            wait_for(batch.device)
            taken.append(time.perf_counter() - started)
        seconds.append(min(taken[1:]))
        outputs.append(out.detach().float())
    network.zero_grad(set_to_none=True)
    network.train(was_training)
    return AutocastMeasured(seconds[0], seconds[1], float((outputs[0] - outputs[1]).abs().max()))
