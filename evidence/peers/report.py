"""docs/results/bench_peers.md from the contenders' forecasts and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from evidence.measurement import ReportTable
from evidence.page import facts, page
from evidence.peers.run import OWN
from tasks.evaluation.comparison import evaluate
from tasks.quantiles import pinball

BASELINE = "no_change"
PAIRS = (
    ("lightgbm", "mlforecast LightGBM"),
    ("xgboost", "mlforecast XGBoost"),
    ("tcn", "neuralforecast TCN"),
    ("lstm_attention", "neuralforecast LSTM"),
    ("nbeatsx", "neuralforecast NBEATSx"),
    ("dense", "neuralforecast MLP"),
    ("tft", "neuralforecast TFT"),
)
OWN_PAIRS = tuple((ours, f"{peer}{OWN}") for ours, peer in PAIRS if ours not in ("xgboost", "tft"))
HOW = """## How it was made

- Every contender forecasts the same origins (every fifth session of the test years) from the same data, and is fitted
  once a fold on sessions before it, purged by the horizon. All are judged by tasks/evaluation, uncalibrated: what a
  family forecasts by itself, before the product calibrates and averages families.
- AutoARIMA, AutoETS and AutoTheta: log closes, the last 1,000 before the fold choose and fit the model; at each origin
  its fixed parameters are applied to the last 1,000 closes up to it (`forward`). No season: of 252 sessions it would
  be longer than the models take. Quantiles are the ends of the 50, 80 and 90% intervals, and the mean for the median.
- mlforecast: the same boosters, parameters, columns and rows (every third) as ours: LightGBM one a quantile and
  horizon, XGBoost one a horizon for all quantiles; its target, as ours, is the return over the volatility. Ours is then
  mixed with the no-change quantiles, three parts of four; mlforecast has no such step.
- neuralforecast: window, channels, kernel, blocks, epochs at most, batch, patience, optimizer, schedule, clipping and
  input channels are ours. What differs: it forecasts the log close at all 252 steps, not five horizons' scaled
  returns, so its heads are wider; it learns from windows that have all 252 steps and every close, so it has fewer of
  them and of steps an epoch; it scales each window by itself; its early stopping keeps the last weights, ours the best.
  Its TCN has no dropout, an MLP decoder a step and computes every session. NBEATSx's exogenous basis takes known
  futures only, so two identity stacks stand in, and it reads every column of every session where ours projects them to
  8 series first. Its LSTM (one layer, as wide as ours) has no attention, reads all columns itself and decodes every
  step. Its MLP has five layers of one width, the one with the nearest number of parameters to our
  512-256-128-64-32; most of them read the window's columns, which ours presses into 8 a session.
- neuralforecast's TFT embeds and gates each of the 104 input channels by itself at every session, and attends to all
  504: one fold at our number of steps would take the better part of an hour, so it takes two steps on the newest fold,
  without validation, and only its seconds a step stand beside ours. What it would lose is not measured.
- Ours starts at the no-change forecast and is mixed with it half and half; the library's nets start anywhere, and in so
  few steps at so small a rate they do not come far: at equal settings their loss says more of the settings than of the
  architecture. Hence a second line with their own settings: same architecture, inputs and batch, windows of every
  session, Adam at the library's rate, its 1,000 steps at most, stopped at the first of its validations (each 100 steps)
  that is not better than the best. LightGBM's own settings: the package's defaults (100 rounds, 31 leaves), same rows.
- Seconds are of fitting and forecasting a fold, five horizons, on one thread; imports are left out on both sides.
  Each contender ran in a process of its own, in the order of the last table."""


def accuracy(
    forecasts: Mapping[str, Mapping[str, pd.DataFrame]], levels: tuple[float, ...], *, sessions: Mapping[str, int]
) -> ReportTable:
    """One row per horizon and contender, best first: pinball loss, skill over no change, coverage of the 80% band."""
    lines = []
    for name, length in sessions.items():
        naive = forecasts[BASELINE][name]
        rows = []
        for contender, frames in forecasts.items():
            found = evaluate(frames[name], naive, levels, sessions=length, step=5, round_trip_cost_cents_lb=0.0)
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
                    "80% band covered": f"{found['coverage_80']:.0%}",
                }
            )
    note = (
        "Skill: 100 x (1 - pinball / that of no change) on the same origins; its interval from a block bootstrap, "
        "missing where there are fewer than three independent stretches. Two years are little evidence: at six and "
        "twelve months the targets of all origins overlap."
    )
    return ReportTable("Accuracy", pd.DataFrame(lines), note)


def _interval(found: Mapping[str, Any]) -> str:
    low, high = found["skill_pct_low"], found["skill_pct_high"]
    return "" if pd.isna(low) else f"{low:+.1f} to {high:+.1f}"


def beside(
    title: str,
    pairs: Sequence[tuple[str, str]],
    costs: Mapping[str, Mapping[str, Any]],
    forecasts: Mapping[str, Mapping[str, pd.DataFrame]],
) -> ReportTable:
    """Ours compared with a peer: CPU seconds and gradient steps per fold, skill over no change, lower loss."""
    lines = []
    for own, peer in pairs:
        if own not in costs or peer not in costs:
            continue
        ours, theirs, whole = _mean(costs[own]), _mean(costs[peer]), peer in forecasts
        line = {
            "ours": own,
            "peer": peer,
            "CPU s a fold, ours": f"{ours['cpu_s']:.1f}",
            "CPU s a fold, peer": f"{theirs['cpu_s']:.1f}" if whole else "",
            "ratio": f"{ours['cpu_s'] / theirs['cpu_s']:.2f}" if whole else "",
            "steps, ours": _steps(ours),
            "steps, peer": _steps(theirs),
            "CPU s a step, ours": _a_step(ours),
            "CPU s a step, peer": _a_step(theirs),
            "skill, ours": f"{_skill(forecasts[own], forecasts[BASELINE]):+.1f}%",
            "skill, peer": f"{_skill(forecasts[peer], forecasts[BASELINE]):+.1f}%" if whole else "",
            "ours loses less": _better(forecasts[own], forecasts[peer]) if whole else "",
        }
        lines.append(line)
    note = (
        "A ratio below 1: ours is faster. Means of the folds. CPU seconds are user and system time of the process and "
        "its children, so they hardly depend on what else the machine does; both sides run on one thread. Steps are "
        "those of the optimizer; seconds a step hold validation and forecasting too. Skill: of the pinball loss over "
        "no change, mean of the horizons. Ours loses less: at how many horizons. A peer without seconds a fold was "
        "stopped after a few steps (see below)."
    )
    return ReportTable(title, pd.DataFrame(lines), note)


def _steps(costs: pd.Series) -> str:
    return f"{costs['steps']:.0f}" if "steps" in costs else ""


def _a_step(costs: pd.Series) -> str:
    return f"{costs['cpu_s'] / costs['steps']:.3f}" if "steps" in costs else ""


def every_cost(costs: Mapping[str, Mapping[str, Any]]) -> ReportTable:
    """Seconds per fold of every contender."""
    lines = [
        {
            "forecaster": name,
            "package": cost["package"],
            "wall s": ", ".join(f"{fold['year']}: {fold['wall_s']:.1f}" for fold in cost["folds"]),
            "CPU s": ", ".join(f"{fold['year']}: {fold['cpu_s']:.1f}" for fold in cost["folds"]),
            "parameters": f"{_mean(cost)['parameters']:,.0f}" if "parameters" in cost["folds"][0] else "",
            "measured (UTC)": cost["measured"],
        }
        for name, cost in costs.items()
    ]
    return ReportTable("Seconds of every contender", pd.DataFrame(lines), "Fitting and forecasting, five horizons.")


def render(
    stamp: str, tables: Sequence[ReportTable], *, packages: Sequence[str], took_s: float, missing: Sequence[str]
) -> str:
    """The whole page."""
    known = {
        "Packages": ", ".join(packages),
        "Contenders": "one thread each, one at a time",
        "The run took": f"{took_s:.0f} s",
        "Not run yet": ", ".join(missing) or "none",
    }
    return page("Peers from outside", stamp, facts(known), *(table.section for table in tables), HOW)


def _mean(costs: Mapping[str, Any]) -> pd.Series:
    return pd.DataFrame(costs["folds"]).drop(columns="year").mean()


def _skill(forecast: Mapping[str, pd.DataFrame], baseline: Mapping[str, pd.DataFrame]) -> float:
    """Percent of the baseline's pinball loss that a forecast saves, mean over horizons."""
    return 100 * float(np.mean([1 - _loss(forecast[name]) / _loss(baseline[name]) for name in baseline]))


def _better(ours: Mapping[str, pd.DataFrame], theirs: Mapping[str, pd.DataFrame]) -> str:
    """The number of horizons at which the first has the lower pinball loss, of all."""
    return f"{sum(_loss(ours[name]) <= _loss(theirs[name]) for name in ours)} of {len(ours)}"


def _loss(frame: pd.DataFrame) -> float:
    names = [name for name in frame.columns if name[0] == "p" and name[1:].isdigit()]
    levels = tuple(int(name[1:]) / 100 for name in names)
    return float(pinball(frame["target_log_return"].to_numpy(), frame[names].to_numpy(), levels).mean())
