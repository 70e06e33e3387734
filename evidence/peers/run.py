"""One peer on the folds of a folder: ``python run.py FOLDER NAME``, inside the peers' environment.

Nothing of the product is imported: this environment does not have it. exchange.py describes the files.
Seconds are of fitting and forecasting, without imports and one small fit for late imports of the library.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CLOSES = 1000  # input of the statistical peers: about four years
LEVELS = [50, 80, 90]  # of the prediction intervals: their ends and the median are the published quantiles
OWN = ", own settings"  # suffix of a peer that is trained with its library's defaults
OWN_CHECK, OWN_PATIENCE = 100, 1  # steps between two validations (the library's), validations without a better one
TIMED = ("TFT",)  # a full training would take most of an hour per fold: only steps are timed
TIMED_STEPS = 2
Forecasts = list[pd.DataFrame]


def cpu_seconds() -> float:
    """User and system seconds of this process, its threads and the children that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in usage)


class OptimizerSteps:
    """Counts the steps of every torch optimizer of this process, and its parameters."""

    def __init__(self) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self.count, self.parameters = 0, 0
        register_optimizer_step_post_hook(self._step)

    def _step(self, optimizer: Any, given: Any, named: Any) -> None:
        self.count += 1
        if self.count == 1:
            self.parameters = sum(p.numel() for group in optimizer.param_groups for p in group["params"])

    def taken(self) -> dict[str, int]:
        """Steps since the last call, and parameters."""
        counts = {"steps": self.count, "parameters": self.parameters}
        self.count = 0
        return counts


class Task:
    """The product's files: folds, closes, the training table and the nets' inputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan: dict[str, Any] = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        self.sessions: dict[str, int] = self.plan["horizons"]
        self.names = [f"p{round(level * 100):02d}" for level in self.plan["quantiles"]]
        self.log_close = np.log(pd.read_parquet(folder / "closes.parquet")["close"].to_numpy())

    def table(self) -> pd.DataFrame:
        """One row per session: the columns that the product's families read, its scale, the targets."""
        return pd.read_parquet(self.folder / "table.parquet")

    def frame(self, horizon: str, rows: list[int], quantiles: np.ndarray) -> pd.DataFrame:
        """Quantiles of the log return in the format of the results."""
        result = pd.DataFrame(np.sort(quantiles, axis=1), columns=self.names)
        result.insert(0, "row", rows)
        result.insert(0, "horizon", horizon)
        return result


def statistical(model: Any, task: Task, fold: dict[str, Any]) -> Forecasts:
    """Parameters fitted once on the closes before the fold; at each origin they are applied to the closes up to it."""
    start = fold["first_row"]
    model.fit(_closes(task, start - 1))
    wanted = {name: set(rows) for name, rows in fold["origins"].items()}
    results: dict[str, tuple[list[int], list[list[float]]]] = {name: ([], []) for name in wanted}
    for row in sorted(set().union(*wanted.values())):
        found = model.forward(_closes(task, row), h=max(task.sessions.values()), level=LEVELS)
        keys = ["lo-90", "lo-80", "lo-50", "mean", "hi-50", "hi-80", "hi-90"]
        for name, sessions in task.sessions.items():
            if row in wanted[name]:
                results[name][0].append(row)
                results[name][1].append([found[key][sessions - 1] - task.log_close[row] for key in keys])
    return [task.frame(name, rows, np.array(values)) for name, (rows, values) in results.items()]


def _closes(task: Task, row: int) -> np.ndarray:
    """The last closes up to and with a session, log of cents/lb; a session without a close is left out."""
    known = task.log_close[: row + 1]
    return known[~np.isnan(known)][-CLOSES:]


def mlforecast(family: str, task: Task, fold: dict[str, Any]) -> Forecasts:
    """mlforecast with the same boosters, rows and columns: exogenous columns known ``sessions`` ahead, no lags.

    Its own recursion would repeat every step of a year. Without lags the boosters' forecasts are the same, so that they
    are called directly, which is faster for the peer.
    """
    from mlforecast import MLForecast

    table, results = task.table(), []
    given = task.plan["xgboost" if family.startswith("XGBoost") else "lightgbm"]
    columns = given["columns"]
    for name, sessions in task.sessions.items():
        train = fold["train"][name][:: given["every"]]
        scale = table["scale"].to_numpy() * np.sqrt(sessions)
        series = table.loc[train, columns].astype("float32").reset_index(drop=True)
        target = table.loc[train, f"target_{name}"].to_numpy() / scale[train]
        series = pd.concat(
            [pd.DataFrame({"unique_id": "zl", "ds": np.arange(len(train)), "y": target}), series], axis=1
        )
        library = MLForecast(models=_boosters(family, given, task), freq=1)
        library.fit(series, static_features=[], dropna=False)
        rows = fold["origins"][name]
        inputs = table.loc[rows, columns].astype("float32")
        scaled = np.column_stack([model.predict(inputs) for model in library.models_.values()])
        results.append(task.frame(name, rows, np.sort(scaled, axis=1) * scale[rows][:, None]))
    return results


def _boosters(family: str, given: dict[str, Any], task: Task) -> dict[str, Any]:
    """LightGBM: one per quantile. XGBoost: one for all, like ours. With own settings: LightGBM's defaults."""
    from lightgbm import LGBMRegressor
    from xgboost import XGBRegressor

    levels = task.plan["quantiles"]
    if family == "XGBoost":
        every = {"quantile_alpha": np.array(levels), "n_estimators": given["rounds"], **given["parameters"]}
        return {"all": XGBRegressor(**every)}
    tuned = {"n_estimators": given["rounds"], **given["parameters"]}
    if family.endswith(OWN):
        tuned = {name: given["parameters"][name] for name in ("objective", "seed", "num_threads", "verbose")}
    return {name: LGBMRegressor(alpha=level, **tuned) for name, level in zip(task.names, levels, strict=True)}


def neural(family: str, task: Task, fold: dict[str, Any]) -> Forecasts:
    """A net of neuralforecast: the log close with the product's input channels, 252 steps ahead at once.

    The library scales each window by its own values, and learns every step up to the last.
    With its own settings it uses its defaults (Adam, its rate and number of steps, windows of every session), except
    early stopping, which is off by default.
    """
    import torch
    from neuralforecast import NeuralForecast

    given, own, timed = task.plan["net"], family.endswith(OWN), family in TIMED
    torch.set_num_threads(given["threads"])
    inputs = pd.read_parquet(task.folder / f"inputs.{fold['year']}.parquet")
    begin = int(np.flatnonzero(np.isnan(task.log_close))[-1]) + 1 if np.isnan(task.log_close).any() else 0
    longest, window = max(task.sessions.values()), given["window"]
    train = _series("zl", task, inputs, begin, fold["first_row"])
    examples = (len(train) - given["validation_sessions"] - window - longest) // given["every"] + 1
    common = dict(
        h=longest,
        input_size=window,
        scaler_type="robust",
        batch_size=1,
        windows_batch_size=given["batch"],
        step_size=1 if own else given["every"],
        random_seed=given["seed"],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    if own:
        common |= dict(val_check_steps=OWN_CHECK, early_stop_patience_steps=OWN_PATIENCE)
    elif timed:
        common |= dict(max_steps=TIMED_STEPS)
    else:
        common |= _training(given, steps_an_epoch=-(-examples // given["batch"]))
    net = _net(family.removesuffix(OWN), task.plan, common | dict(hist_exog_list=list(inputs.columns)))
    library = NeuralForecast(models=[net], freq=1)
    library.fit(train, val_size=0 if timed else given["validation_sessions"])
    if timed:
        return []
    rows = sorted(set().union(*fold["origins"].values()))
    shown = [_series(f"{row:06d}", task, inputs, row + 1 - window, row + 1) for row in rows]
    found = library.predict(pd.concat(shown, ignore_index=True))
    columns = [name for name in found.columns if name not in ("unique_id", "ds")]
    ahead = found.sort_values(["unique_id", "ds"])[columns].to_numpy().reshape(len(rows), longest, len(columns))
    place, results = {row: i for i, row in enumerate(rows)}, []
    for name, sessions in task.sessions.items():
        at = fold["origins"][name]
        price = ahead[[place[row] for row in at], sessions - 1]
        results.append(task.frame(name, at, price - task.log_close[at][:, None]))
    return results


def _training(given: dict[str, Any], *, steps_an_epoch: int) -> dict[str, Any]:
    """The product's training loop as arguments of the library."""
    import torch

    most = given["epochs"] * steps_an_epoch
    return dict(
        max_steps=most,
        learning_rate=given["learning_rate"],
        optimizer=torch.optim.AdamW,
        optimizer_kwargs={"weight_decay": given["weight_decay"]},
        lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR,
        lr_scheduler_kwargs={"T_max": most},
        early_stop_patience_steps=given["patience"],
        val_check_steps=steps_an_epoch,
        gradient_clip_val=given["clip_norm"],
    )


def _net(family: str, plan: dict[str, Any], common: dict[str, Any]) -> Any:
    """A net of the library as near to the product's as its arguments allow."""
    from neuralforecast.losses.pytorch import MQLoss
    from neuralforecast.models import LSTM, MLP, TCN, TFT, NBEATSx

    given = plan["net"]
    width, common = given["channels"], common | dict(loss=MQLoss(quantiles=plan["quantiles"]))
    if family == "TCN":
        return TCN(
            kernel_size=given["kernel"],
            dilations=[2**k for k in range(given["blocks"])],
            encoder_hidden_size=width,
            context_size=width,
            decoder_hidden_size=width // 2,
            **common,
        )
    if family == "LSTM":  # the library has no LSTM with attention
        return LSTM(
            encoder_n_layers=1, encoder_hidden_size=width, decoder_layers=2, decoder_hidden_size=width, **common
        )
    if family == "TFT":
        return TFT(hidden_size=width, n_head=given["heads_of_attention"], dropout=given["dropout"], **common)
    if family == "MLP":
        inputs = given["window"] * (1 + len(common["hist_exog_list"]))
        outputs = common["h"] * len(plan["quantiles"])
        layers = given["dense_layers"]
        return MLP(
            num_layers=layers,
            hidden_size=_width_of(given["dense_parameters"], inputs=inputs, outputs=outputs, layers=layers),
            **common,
        )
    return NBEATSx(
        stack_types=["trend", "seasonality", "identity", "identity"],  # its exogenous basis takes known futures only
        n_blocks=[1] * 4,
        mlp_units=[[2 * width, 2 * width]] * 3,
        dropout_prob_theta=given["dropout"],
        **common,
    )


def _width_of(parameters: int, *, inputs: int, outputs: int, layers: int) -> int:
    """The width at which ``layers`` equal layers and an output have the nearest number of parameters."""

    def count(width: int) -> int:
        return (inputs + 1) * width + (layers - 1) * (width + 1) * width + (width + 1) * outputs

    return min(range(1, 4096), key=lambda width: abs(count(width) - parameters))


def _series(name: str, task: Task, inputs: pd.DataFrame, begin: int, end: int) -> pd.DataFrame:
    frame = inputs.iloc[begin:end].reset_index(drop=True)
    frame.insert(0, "y", task.log_close[begin:end].astype("float32"))
    frame.insert(0, "ds", np.arange(begin, end))
    frame.insert(0, "unique_id", name)
    return frame


def _statistical(name: str) -> Callable[[Task, dict[str, Any]], Forecasts]:
    from statsforecast import models

    kinds = {
        "AutoARIMA": lambda: models.AutoARIMA(),
        "AutoETS": lambda: models.AutoETS(),
        "AutoTheta": lambda: models.AutoTheta(decomposition_type="additive"),
    }

    def forecast(task: Task, fold: dict[str, Any]) -> Forecasts:
        return statistical(kinds[name](), task, fold)

    return forecast


def contender(name: str) -> tuple[Callable[[Task, dict[str, Any]], Forecasts], str]:
    """The function that forecasts a fold, and its package."""
    if name in ("AutoARIMA", "AutoETS", "AutoTheta"):
        return _statistical(name), "statsforecast"
    package, family = name.split(" ", maxsplit=1)
    kind = {"mlforecast": mlforecast, "neuralforecast": neural}[package]
    return (lambda task, fold: kind(family, task, fold)), package


def main(folder: Path, name: str) -> None:
    """Write `forecasts.NAME.parquet` (not of a peer that is only timed) and `costs.NAME.json`."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    task = Task(folder)
    forecast, package = contender(name)
    _warm_up(name, package)
    steps = OptimizerSteps() if package == "neuralforecast" else None
    timed = name.split(" ", maxsplit=1)[-1] in TIMED
    parts: Forecasts = []
    costs = []
    for fold in task.plan["folds"][-1:] if timed else task.plan["folds"]:
        np.random.seed(0)
        wall, cpu = time.perf_counter(), cpu_seconds()
        forecasts = forecast(task, fold)
        cost = {"year": fold["year"], "wall_s": time.perf_counter() - wall, "cpu_s": cpu_seconds() - cpu}
        costs.append(cost | (steps.taken() if steps else {}))
        parts += forecasts
    if parts:
        pd.concat(parts, ignore_index=True).to_parquet(folder / f"forecasts.{name}.parquet")
    costs_file = {"package": f"{package} {version(package)}", "folds": costs}
    (folder / f"costs.{name}.json").write_text(json.dumps(costs_file), encoding="utf-8")


def _warm_up(name: str, package: str) -> None:
    """Import the peer's modules, so that they do not count in the first fold."""
    if package == "statsforecast":
        _statistical(name)
    elif package == "mlforecast":
        import lightgbm
        import mlforecast
        import xgboost

        assert lightgbm and mlforecast and xgboost
    else:
        import neuralforecast
        import neuralforecast.models

        assert neuralforecast


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
