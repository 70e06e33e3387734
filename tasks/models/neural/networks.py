"""Five architectures with one interface: a window of sessions in, quantiles of the scaled return of every horizon out.

Each has a context encoder for the other markets, a trunk that all horizons share, and one head per horizon. A head
starts at the no-change quantiles exactly: training adds only what the data show, and weight decay pulls back to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The sizes of a net's tensors: columns of both kinds, sessions per window, width, dropout."""

    own: int
    other: int
    sessions: int
    channels: int
    dropout: float


class ContextEncoder(nn.Module):
    """Maps the other markets, session by session, to a few channels."""

    def __init__(self, columns: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.first = pointwise(columns, channels)
        self.second = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout1d(dropout)  # whole channels, all sessions: the next session would fill the gap of one

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self.second(self.dropout(functional.gelu(self.first(x))))


class Embedding(nn.Module):
    """Maps the market's own columns and the context, session by session, to ``channels`` channels."""

    def __init__(self, shape: Shape, channels: int) -> None:
        super().__init__()
        self.cut = 2 * shape.own
        self.own = pointwise(shape.own, channels)
        self.context = ContextEncoder(shape.other, context_width(channels), shape.dropout) if shape.other else None
        self.mix = nn.Conv1d(context_width(channels), channels, 1) if shape.other else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        out = self.own(x[:, : self.cut])
        if self.context is not None and self.mix is not None:
            out = out + self.mix(self.context(x[:, self.cut :]))
        return out


def context_width(channels: int) -> int:
    """Half the trunk's width, so that other markets do not dominate."""
    return max(4, channels // 2)


def pointwise(columns: int, channels: int) -> nn.Conv1d:
    """A linear map of values and missing flags, session by session.

    Flags start with weight 0: one that never changed in training has no gradient, and must not matter on its first day.
    """
    layer = nn.Conv1d(2 * columns, channels, 1)
    with torch.no_grad():
        layer.weight[:, columns:] = 0
    return layer


class Heads(nn.Module):
    """One head per horizon: the median and positive steps outward, so that quantiles cannot cross."""

    start: torch.Tensor

    def __init__(self, width: int, anchor: np.ndarray, median: int, shape: Shape) -> None:
        """``anchor``: the no-change quantiles, horizons x levels, in scaled returns. ``median``: its index."""
        super().__init__()
        hidden = max(8, width // 2)
        self.median = median
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, hidden), nn.GELU(), nn.Dropout(shape.dropout), nn.Linear(hidden, anchor.shape[1])
            )
            for _ in anchor
        )
        for head in self.heads:
            nn.init.zeros_(head[-1].weight)
            nn.init.zeros_(head[-1].bias)
        steps = np.maximum(np.diff(anchor, axis=1), 1e-4)
        start = np.insert(np.log(np.expm1(steps)), median, anchor[:, median], axis=1)  # inverse of softplus
        self.register_buffer("start", torch.tensor(start, dtype=torch.float32))

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """Rows x horizons x levels."""
        raw = torch.stack([head(state) for head in self.heads], dim=1) + self.start
        middle = raw[..., self.median : self.median + 1]
        below = functional.softplus(raw[..., : self.median])
        above = functional.softplus(raw[..., self.median + 1 :])
        return torch.cat([middle - below @ summing(below).T, middle, middle + above @ summing(above)], dim=-1)


def summing(steps: torch.Tensor) -> torch.Tensor:
    """The matrix whose product with steps is their running sum: cumsum itself is not deterministic on CUDA."""
    return torch.ones(steps.shape[-1], steps.shape[-1], device=steps.device, dtype=steps.dtype).triu()


class NeuralNetwork(nn.Module):
    """A trunk and its heads."""

    width: int

    def __init__(self, shape: Shape, anchor: np.ndarray, median: int) -> None:
        super().__init__()
        self.build(shape)
        self.heads = Heads(self.width, anchor, median, shape)

    def build(self, shape: Shape) -> None:
        """Build the trunk's layers and set ``width``."""
        raise NotImplementedError

    def state(self, x: torch.Tensor) -> torch.Tensor:
        """The trunk's state at the window's last session: rows x width."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rows x channels x sessions to rows x horizons x levels."""
        return self.heads(self.state(x))


class SessionNorm(nn.Module):
    """GroupNorm within each session: across time a later session would change an earlier one."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight, self.bias = nn.Parameter(torch.ones(channels, 1)), nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        rows, channels, sessions = x.shape
        grouped = x.view(rows, self.groups, channels // self.groups, sessions)
        centred = grouped - grouped.mean(dim=2, keepdim=True)  # var_mean takes ten times as long over this dimension
        variance = (centred * centred).mean(dim=2, keepdim=True)
        normal = (centred * torch.rsqrt(variance + 1e-5)).view(rows, channels, sessions)
        return normal * self.weight + self.bias


class CausalBlock(nn.Module):
    """Two causal convolutions with a residual (Bai, Kolter and Koltun 2018), GroupNorm in place of weight norm."""

    def __init__(self, channels: int, kernel: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.first, self.second = (nn.Conv1d(channels, channels, kernel) for _ in range(2))
        self.norm_first, self.norm_second = (SessionNorm(groups, channels) for _ in range(2))
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: torch.Tensor, *, dilation: int = 1, keep: int = 1) -> torch.Tensor:
        """The output at every ``keep``-th session, counted back from the last. Only the left is padded."""
        skipped = (x.shape[-1] - 1) % keep  # sessions before the first that is kept
        y = self.dropout(functional.gelu(self.norm_first(self.causal(self.first, x, dilation))))
        y = self.causal(self.second, y, dilation, skipped=skipped, keep=keep)
        return x[..., skipped::keep] + self.dropout(functional.gelu(self.norm_second(y)))

    def causal(
        self, layer: nn.Conv1d, x: torch.Tensor, dilation: int, *, skipped: int = 0, keep: int = 1
    ) -> torch.Tensor:
        """A convolution over this and earlier sessions, at every ``keep``-th after the ``skipped`` first ones."""
        padded = functional.pad(x, ((self.kernel - 1) * dilation - skipped, 0))
        return functional.conv1d(padded, layer.weight, layer.bias, stride=keep, dilation=dilation)


class TcnNetwork(NeuralNetwork):
    """Causal convolutions with dilation 1, 2, 4 … 32: six blocks of kernel 5 see 505 sessions, five only 249."""

    blocks, kernel, group = 6, 5, 8  # group: channels normalized together; of two, only which is larger would be left

    def build(self, shape: Shape) -> None:  # noqa: D102
        self.width = shape.channels
        self.embedding = Embedding(shape, shape.channels)
        self.trunk = nn.ModuleList(
            CausalBlock(shape.channels, self.kernel, max(1, shape.channels // self.group), shape.dropout)
            for _ in range(self.blocks)
        )

    def state(self, x: torch.Tensor) -> torch.Tensor:
        """The last session of ``sequence``, without computing what it does not depend on.

        Block k at dilation 2^k reads only every 2^k-th session counted from the last. Keeping every second session
        of each block turns dilation into plain convolution on ever shorter series: a quarter of the work.
        """
        x = self.embedding(x)
        for block in self.trunk:
            x = block(x, keep=2)
        return x[..., -1]

    def sequence(self, x: torch.Tensor) -> torch.Tensor:
        """The trunk at every session: rows x width x sessions, in the usual form."""
        x = self.embedding(x)
        for k, block in enumerate(self.trunk):
            x = block(x, dilation=2**k)
        return x


class LstmAttentionNetwork(NeuralNetwork):
    """An LSTM, and scaled dot-product attention of its last state over all of them (Vaswani et al. 2017)."""

    heads_of_attention = 2

    def build(self, shape: Shape) -> None:  # noqa: D102
        c = shape.channels
        self.width = 2 * c
        self.embedding = Embedding(shape, c)
        self.lstm = nn.LSTM(c, c, batch_first=True)
        self.query, self.key, self.value = (nn.Linear(c, c) for _ in range(3))
        self.norm = nn.LayerNorm(2 * c)

    def sequence(self, x: torch.Tensor) -> torch.Tensor:
        """The LSTM's state at every session: rows x sessions x channels."""
        return self.lstm(functional.gelu(self.embedding(x)).transpose(1, 2))[0]

    def state(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        states = self.sequence(x)
        last = states[:, -1:]
        found = attend(self.query(last), self.key(states), self.value(states), self.heads_of_attention)
        return self.norm(torch.cat([last, found], dim=-1)[:, 0])


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Multi-head scaled dot-product attention, rows x queries x channels."""
    rows, queries, channels = query.shape
    q, k, v = (x.view(rows, x.shape[1], heads, channels // heads).transpose(1, 2) for x in (query, key, value))
    weights = torch.softmax(q @ k.transpose(-2, -1) / (channels // heads) ** 0.5, dim=-1)
    return (weights @ v).transpose(1, 2).reshape(rows, queries, channels)


class NBeatsBlock(nn.Module):
    """Fully connected layers whose outputs weight a basis (backcast) and add to the trunk's state (forecast)."""

    def __init__(self, series: int, sessions: int, basis: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.series, self.basis = series, basis
        self.layers = nn.Sequential(
            nn.Linear(series * sessions, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.backcast = nn.Linear(hidden, series * basis)
        self.forecast = nn.Linear(hidden, hidden)

    def forward(self, x: torch.Tensor, basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What is left of the series (rows x series x sessions), and what was learned from it (rows x hidden)."""
        hidden = self.layers(x.flatten(1))
        weights = self.backcast(hidden).view(len(x), self.series, self.basis)
        return x - weights @ basis, self.forecast(hidden)


class NBeatsXNetwork(NeuralNetwork):
    """Doubly residual stacks: trend, season, exogenous, generic (Oreshkin et al. 2020; Olivares et al. 2023).

    The series is a learned projection of the market's own columns, the exogenous basis the encoded other markets.
    """

    series, degree, harmonics, generic = 8, 3, 6, 8
    trend: torch.Tensor
    season: torch.Tensor

    def build(self, shape: Shape) -> None:  # noqa: D102
        self.width = 2 * shape.channels
        self.cut = 2 * shape.own
        self.project = pointwise(shape.own, self.series)
        time = torch.linspace(-1, 1, shape.sessions)
        self.register_buffer("trend", torch.stack([time**k for k in range(self.degree + 1)]))
        turn = torch.arange(shape.sessions) * (2 * torch.pi / 252)  # a year has 252 sessions
        waves = [wave(k * turn) for k in range(1, self.harmonics + 1) for wave in (torch.sin, torch.cos)]
        self.register_buffer("season", torch.stack(waves))
        self.learnt = nn.Parameter(torch.randn(self.generic, shape.sessions) / shape.sessions**0.5)
        sizes = [len(self.trend), len(self.season), self.generic]
        self.context = None
        if shape.other:
            self.context = ContextEncoder(shape.other, context_width(shape.channels), shape.dropout)
            sizes.insert(2, context_width(shape.channels))
        self.stacks = nn.ModuleList(
            NBeatsBlock(self.series, shape.sessions, size, self.width, shape.dropout) for size in sizes
        )

    def state(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        left = self.project(x[:, : self.cut])
        bases: list[torch.Tensor] = [self.trend, self.season, self.learnt]
        if self.context is not None:
            bases.insert(2, self.context(x[:, self.cut :]))
        state = torch.zeros((), device=x.device)
        for block, basis in zip(self.stacks, bases, strict=True):
            left, forecast = block(left, basis)
            state = state + forecast
        return state


class GatedResidual(nn.Module):
    """The gated residual network of the temporal fusion transformer, with an optional context."""

    def __init__(self, size_in: int, size_out: int, context: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(size_in, size_out), nn.Linear(size_out, 2 * size_out)
        self.context = nn.Linear(context, size_out, bias=False) if context else None
        self.skip = nn.Linear(size_in, size_out) if size_in != size_out else nn.Identity()
        self.norm, self.dropout = nn.LayerNorm(size_out), nn.Dropout1d(dropout)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:  # noqa: D102
        hidden = self.first(x)
        if self.context is not None and context is not None:
            hidden = hidden + self.context(context)
        hidden = self.dropout(functional.elu(hidden).transpose(1, 2)).transpose(1, 2)  # same channels at every session
        gated = functional.glu(self.second(hidden), dim=-1)
        return self.norm(self.skip(x) + gated)


class TftNetwork(NeuralNetwork):
    """A temporal fusion transformer (Lim et al. 2021) without known future inputs.

    The market's own columns are embedded and selected one by one, session by session; the other markets are the
    context that steers the selection. Only the attention of the last session, the origin, is computed.
    """

    heads_of_attention = 2

    def build(self, shape: Shape) -> None:  # noqa: D102
        c = shape.channels
        self.width, self.columns, self.cut = c, shape.own, 2 * shape.own
        context = context_width(c) if shape.other else 0
        self.context = ContextEncoder(shape.other, context, shape.dropout) if shape.other else None
        self.embed = nn.Parameter(torch.randn(3, shape.own, c) / c**0.5)  # slope, missing, level of each column
        with torch.no_grad():
            self.embed[1] = 0
        self.select = GatedResidual(2 * shape.own, c, context, shape.dropout)
        self.choose = nn.Linear(c, shape.own)
        self.lstm = nn.LSTM(c, c, batch_first=True)
        self.gate, self.norm = nn.Linear(c, 2 * c), nn.LayerNorm(c)
        self.enrich = GatedResidual(c, c, context, shape.dropout)
        self.query, self.key, self.value = nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, c)
        self.attended, self.attended_norm = nn.Linear(c, 2 * c), nn.LayerNorm(c)
        self.last = GatedResidual(c, c, 0, shape.dropout)

    def sequence(self, x: torch.Tensor) -> torch.Tensor:
        """Enriched states of every session: rows x sessions x channels."""
        own = x[:, : self.cut].transpose(1, 2)
        values, missing = own[..., : self.columns], own[..., self.columns :]
        context = None if self.context is None else self.context(x[:, self.cut :]).transpose(1, 2)
        share = torch.softmax(self.choose(self.select(own, context)), dim=-1)
        # sum over columns of share x (value x slope + missing x effect + level), without a rows x columns x c tensor
        chosen = (share * values) @ self.embed[0] + (share * missing) @ self.embed[1] + share @ self.embed[2]
        encoded = self.lstm(chosen)[0]
        encoded = self.norm(chosen + functional.glu(self.gate(encoded), dim=-1))
        return self.enrich(encoded, context)

    def state(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        states = self.sequence(x)
        last = states[:, -1:]
        found = attend(self.query(last), self.key(states), self.value(states), self.heads_of_attention)
        return self.last(self.attended_norm(last + functional.glu(self.attended(found), dim=-1)))[:, 0]


class DenseNetwork(NeuralNetwork):
    """Fully connected layers 512-256-128-64-32 over the whole window, each session first reduced to 8 channels."""

    sizes, pressed = (512, 256, 128, 64, 32), 8

    def build(self, shape: Shape) -> None:  # noqa: D102
        self.width = self.sizes[-1]
        self.embedding = Embedding(shape, self.pressed)
        layers: list[nn.Module] = []
        for before, after in zip((self.pressed * shape.sessions, *self.sizes), self.sizes, strict=False):
            layers += [nn.Linear(before, after), nn.GELU(), nn.Dropout(shape.dropout)]
        self.layers = nn.Sequential(*layers)

    def state(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self.layers(self.embedding(x).flatten(1))
