"""docs/results/bench_peers.md from the contenders' forecasts and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.machine import Machine
from bench.measurement import Table
from bench.report import table
from tasks.evaluation.comparison import evaluate

BASELINE = "no_change"
PAIRS = (("lightgbm", "mlforecast LightGBM"), ("tcn", "neuralforecast TCN"), ("nbeatsx", "neuralforecast NBEATSx"))
HOW = """## How it was made

- Every contender forecasts the same origins (every fifth session of the test years) from the same data, and is fitted
  once a fold on sessions before it, purged by the horizon. All are judged by tasks/evaluation, uncalibrated: what a
  family forecasts by itself, before the product calibrates and averages families.
- AutoARIMA, AutoETS and AutoTheta: log closes, the last 1,000 before the fold choose and fit the model; at each origin
  its fixed parameters are applied to the last 1,000 closes up to it (`forward`). No season: of 252 sessions it would
  be longer than the models take. Quantiles are the ends of the 50, 80 and 90% intervals, and the mean for the median.
- mlforecast: the same boosters, parameters, columns and rows (every third) as ours, one a quantile and horizon; its
  target, as ours, is the return over the volatility. Ours is then mixed with the no-change quantiles, three parts of
  four; mlforecast has no such step.
- neuralforecast: window, channels, kernel, blocks, epochs at most, batch, patience, optimiser, schedule, clipping and
  input channels are ours. What differs: it forecasts the log close at all 252 steps, not five horizons' scaled
  returns, so its heads are wider; it learns from windows that have all 252 steps and every close; its TCN has no
  dropout, an MLP decoder a step and computes every session; NBEATSx's exogenous basis takes known futures only, so
  two identity stacks stand in, and it reads every column of every session where ours projects them to 8 series first;
  it scales each window by itself. Ours starts at the no-change forecast and is mixed with it half and half; the
  library's nets start anywhere, and in so few steps at so small a rate they do not come far: at equal settings their
  loss says more of the settings than of the architecture.
- Seconds are of fitting and forecasting a fold, five horizons, on one thread; imports are left out on both sides.
  Each contender ran in a process of its own, one after the other.
"""


def accuracy(
    forecasts: Mapping[str, Mapping[str, pd.DataFrame]], levels: tuple[float, ...], *, sessions: Mapping[str, int]
) -> Table:
    """A row a horizon and contender, best first: pinball loss, skill over no change, coverage of the 80% band."""
    lines = []
    for name, length in sessions.items():
        naive = forecasts[BASELINE][name]
        rows = []
        for contender, held in forecasts.items():
            found = evaluate(held[name], naive, levels, sessions=length, step=5, round_trip_cost_cents_lb=0.0)
            rows.append((found["pinball_log_return"], contender, found))
        for loss, contender, found in sorted(rows, key=lambda row: row[0]):
            lines.append(
                {
                    "horizon": name,
                    "forecaster": contender,
                    "origins": str(found["origins"]),
                    "pinball (log return)": f"{loss:.5f}",
                    "skill over no change": f"{found['skill_pct']:+.1f}%",
                    "90% interval": _interval(found),
                    "80% band held": f"{found['coverage_80']:.0%}",
                }
            )
    note = (
        "Skill: 100 x (1 - pinball / that of no change) on the same origins; its interval from a block bootstrap, "
        "missing where there are fewer than three independent stretches. Two years are little evidence: at six and "
        "twelve months the targets of all origins overlap."
    )
    return Table("Accuracy", pd.DataFrame(lines), note)


def _interval(found: Mapping[str, Any]) -> str:
    low, high = found["skill_pct_low"], found["skill_pct_high"]
    return "" if pd.isna(low) else f"{low:+.1f} to {high:+.1f}"


def seconds(costs: Mapping[str, Mapping[str, Any]], forecasts: Mapping[str, Mapping[str, pd.DataFrame]]) -> Table:
    """Ours beside the peer of the same configuration: seconds a fold, and the pinball loss over the horizons."""
    lines = []
    for own, peer in PAIRS:
        if own not in costs or peer not in costs:
            continue
        ours, theirs = _mean(costs[own]), _mean(costs[peer])
        better, of = _better(forecasts[own], forecasts[peer])
        lines.append(
            {
                "ours": own,
                "peer": f"{peer} ({costs[peer]['package']})",
                "ours, CPU s a fold": f"{ours['cpu_s']:.1f}",
                "peer, CPU s a fold": f"{theirs['cpu_s']:.1f}",
                "ratio": f"{ours['cpu_s'] / theirs['cpu_s']:.2f}",
                "ours, wall s": f"{ours['wall_s']:.1f}",
                "peer, wall s": f"{theirs['wall_s']:.1f}",
                "horizons where ours loses less": f"{better} of {of}",
            }
        )
    note = (
        "A ratio below 1: ours is faster. Means of the folds; each pair one after the other in the same run. "
        "Both sides run on one thread, so CPU seconds are what a fold costs; wall seconds hold what else the machine "
        "did."
    )
    return Table("Seconds a fold, side by side", pd.DataFrame(lines), note)


def every_cost(costs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Seconds a fold of every contender."""
    lines = [
        {
            "forecaster": name,
            "package": held["package"],
            "wall s": ", ".join(f"{fold['year']}: {fold['wall_s']:.1f}" for fold in held["folds"]),
            "CPU s a fold": f"{_mean(held)['cpu_s']:.1f}",
            "measured (UTC)": held["measured"],
        }
        for name, held in costs.items()
    ]
    return Table("Seconds of every contender", pd.DataFrame(lines), "Fitting and forecasting, five horizons.")


def render(machine: Machine, tables: Sequence[Table], *, packages: Sequence[str], took_s: float) -> str:
    """The whole page."""
    parts = [
        "# Peers from outside (written by `make bench-peers`: generated, never edited)",
        f"- Machine: {machine.cpu}, {machine.cores} cores, {machine.memory_gb:.0f} GB memory; {machine.system}; "
        f"Python {machine.python}; one thread each\n"
        f"- Load average before the run: {machine.load}\n"
        f"- Packages: {', '.join(packages)}\n"
        f"- Commit: {machine.commit}\n"
        f"- Date: {machine.date}; the run took {took_s:.0f} s",
    ]
    for held in tables:
        cells = [[str(cell) for cell in line] for line in held.frame.itertuples(index=False)]
        parts.append(f"## {held.title}\n\n{table(held.frame.columns, cells)}\n\n{held.note}")
    return "\n\n".join([*parts, HOW])


def _mean(costs: Mapping[str, Any]) -> pd.Series:
    return pd.DataFrame(costs["folds"])[["wall_s", "cpu_s"]].mean()


def _better(ours: Mapping[str, pd.DataFrame], theirs: Mapping[str, pd.DataFrame]) -> tuple[int, int]:
    """At how many horizons the first has the lower pinball loss, of how many."""
    from tasks.evaluation.metrics import pinball

    def loss(frame: pd.DataFrame) -> float:
        names = [name for name in frame.columns if name[0] == "p" and name[1:].isdigit()]
        levels = tuple(int(name[1:]) / 100 for name in names)
        return float(pinball(frame["target_log_return"].to_numpy(), frame[names].to_numpy(), levels).mean())

    return sum(loss(ours[name]) <= loss(theirs[name]) for name in ours), len(ours)
