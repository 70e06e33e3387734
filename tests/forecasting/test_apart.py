"""A model whose files crash whoever reads them costs its own forecast: the baseline serves there, and says why."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from pydantic import ValidationError

from tasks.errors import StaleSource
from tasks.forecasting.apart import isolated_models
from tasks.forecasting.forecast import forecast_day, problem_of
from tasks.forecasting.questions import Question
from tasks.model_store.folder import FolderStore
from tasks.models.catalogue import SCALE
from tasks.models.forecaster import JointProblem, forecaster, joint_forecaster
from tasks.quantiles import calibrated
from tasks.registry import Horizons, Models
from tasks.storage.files import read_json, write_json
from tasks.storage.hashes import sha256_of
from tests.conftest import Registry

TRAINED = pd.Timestamp("2019-12-30")
FAMILIES = ("curve", "lightgbm", "xgboost")
pytestmark = pytest.mark.xdist_group("apart")


@dataclass(frozen=True)
class Day:
    features: pd.DataFrame
    store: Path
    registry: Registry
    horizons: Horizons

    def forecast(self, store: Path, **limits: int) -> pd.DataFrame:
        panel = pd.DataFrame({"zl_last": [50.0], "zl_last__age_days": [0]})
        as_of = pd.Timestamp(self.features["date"].iloc[-1])
        with isolated_models(**limits) as models:
            day = forecast_day(
                self.features,
                panel,
                FolderStore(store),
                registry=self.registry.features,
                horizons=self.horizons,
                as_of=as_of,
                data_snapshot="test",
                code_version="test",
                models=models,
            )
        return day.forecasts.set_index("horizon")


def calibration(levels: tuple[float, ...]) -> dict[str, object]:
    return {"log_width": 0.0, "quantiles": list(levels)}


@pytest.fixture(scope="module")
def day(archive: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Day:
    """ZL's recorded closes, and at three horizons a champion each: LightGBM, XGBoost and LightGBM."""
    bars = pd.read_csv(sorted((archive / "yahoo" / "ZL=F").glob("*.csv"))[-1])
    bars["date"] = pd.to_datetime(bars.filter(regex="(?i)^date$").iloc[:, 0])
    close = pd.to_numeric(bars.set_index("date").filter(regex="(?i)^close$").iloc[:, 0], errors="coerce").dropna()
    close = close[:"2020-01-02"][-700:]  # type: ignore[misc]
    moves = np.log(close).diff()
    features = pd.DataFrame(
        {
            SCALE: 100 * moves.ewm(alpha=0.06).std() * 252**0.5,
            "zl_return_1d": moves,
            "zl_return_5d": np.log(close).diff(5),
            "regime_calm": np.nan,
        }
    ).reset_index()
    columns = [SCALE, "zl_return_1d", "zl_return_5d"]
    names = ("1w", "1m", "3m")
    horizons = registry.horizons.model_copy(
        update={"horizons": {name: registry.horizons.horizons[name] for name in names}}
    )
    folder = tmp_path_factory.mktemp("apart")
    store = FolderStore(folder / "models")
    for name, champion in zip(names, ("lightgbm", "xgboost", "lightgbm"), strict=True):
        problem = problem_of(name, horizons)
        target = np.log(close.shift(-problem.sessions) / close).reset_index(drop=True)
        known = (features[SCALE].notna() & target.notna() & (features["date"] < TRAINED)).to_numpy()
        for family in FAMILIES:
            if family not in ("curve", champion):
                continue
            options = {"rounds": 5} if family != "curve" else {}
            model = forecaster(family)(problem, options)
            model.fit(features.loc[known, columns], target[known])
            files = folder / family / name
            files.mkdir(parents=True)
            model.save(files)
            write_json(files / "calibration.json", calibration(horizons.quantiles))
            told = {
                "family": family,
                "horizon": name,
                "horizons": {name: problem.sessions},
                "identity": f"{family} {name}",
                "run": "r",
                "trained_as_of": f"{TRAINED:%Y-%m-%d}",
                "columns": columns,
            }
            version = store.add(
                files, told, {"coverage_80": 0.8, "brier": 0.24, "brier_high": 0.249, "direction_slope": 1.0}
            )
            if family == champion:
                store.promote(version, run="r")
    return Day(features, store.folder, registry, horizons)


@pytest.fixture
def altered(day: Day, tmp_path: Path) -> Callable[[str, str, Callable[[str], str]], Path]:
    """A copy of the store in which one file of a champion is another, with hashes that say it was always so."""

    def alter(family: str, name: str, change: Callable[[str], str], horizon: str = "") -> Path:
        store = Path(shutil.copytree(day.store, tmp_path / "models", dirs_exist_ok=True))
        folder = next(store.glob(f"{family}/{horizon or '*'}/v0001"))
        text = (folder / name).read_text()
        changed = change(text)
        assert changed != text
        (folder / name).write_text(changed)
        told = read_json(folder / "metadata.json")
        write_json(folder / "metadata.json", {**told, "files": {**told["files"], name: sha256_of(folder / name)}})
        without_digests = [json.loads(line) for line in (store / "history.jsonl").read_text().splitlines()]
        for line in without_digests:
            line.pop("metadata")
        (store / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in without_digests))
        return store

    return alter


def line(name: str, value: Callable[[str], str]) -> Callable[[str], str]:
    """Another value in each line ``name=value`` of a LightGBM text."""
    return lambda text: re.sub(rf"^{name}=(.*)$", lambda found: f"{name}={value(found[1])}", text, flags=re.MULTILINE)


def only_one_gives_way(found: pd.DataFrame, undisturbed: pd.DataFrame, horizon: str) -> str:
    """The others are served as ever; this one by the baseline, degraded. Why."""
    others = [name for name in undisturbed.index if name != horizon]
    told = [name for name in found if name != "degraded_reason"]
    pd.testing.assert_frame_equal(found.loc[others, told], undisturbed.loc[others, told], check_exact=True)
    assert found.loc[horizon, "family"] == "curve" and found.loc[horizon, "degraded"]
    assert found.loc[horizon, ["p05", "p50", "p95"]].notna().all()
    return str(found.loc[horizon, "degraded_reason"])


@pytest.fixture(scope="module")
def undisturbed(day: Day) -> pd.DataFrame:
    found = day.forecast(day.store)
    assert list(found["family"]) == ["lightgbm", "xgboost", "lightgbm"] and not found["degraded"].any()
    return found


def test_a_model_read_apart_forecasts_to_the_digit_what_it_does_here(day: Day, undisturbed: pd.DataFrame) -> None:
    store = FolderStore(day.store)
    for horizon, family in undisturbed["family"].items():
        model = store.versions(family, str(horizon))[0].load(problem_of(str(horizon), day.horizons))
        levels = day.horizons.quantiles
        quantiles = calibrated(model.predict_quantiles(day.features[-1:]), levels, calibration(levels))
        np.testing.assert_array_equal(
            50.0 * np.exp(quantiles[0, [0, 3, 6]]),
            undisturbed.loc[str(horizon), ["p05", "p50", "p95"]].to_numpy(dtype=float),
        )
        assert undisturbed.loc[str(horizon), "direction_probability"] == model.direction_probability(quantiles)[0]


ABORTING = {
    "a number of leaves": line("num_leaves", lambda value: "2000000000"),
    "a branch to nowhere": line("left_child", lambda value: " ".join(["99999999"] * len(value.split()))),
    "sizes of trees": line("tree_sizes", lambda value: "9999999999 1 2"),
}


@pytest.mark.faults
@pytest.mark.parametrize(
    "how", [next(iter(ABORTING)), *(pytest.param(how, marks=pytest.mark.more) for how in [*ABORTING][1:])]
)
def test_a_lightgbm_text_that_aborts_its_reader_costs_that_model_alone(
    how: str, day: Day, undisturbed: pd.DataFrame, altered: Callable[..., Path]
) -> None:
    found = day.forecast(altered("lightgbm", "quantile_0.5.txt", ABORTING[how], horizon="1w"))
    reason = only_one_gives_way(found, undisturbed, "1w")
    assert re.search(r"lightgbm/1w/v0001 cannot serve: .* its reader ended with SIG(ABRT|SEGV)", reason)


@pytest.mark.more
@pytest.mark.faults
def test_a_tree_that_never_ends_costs_that_model_alone(
    day: Day, undisturbed: pd.DataFrame, altered: Callable[..., Path]
) -> None:
    def circles(text: str) -> str:
        return re.sub(r"^(left|right)_child=(-?)\d", r"\1_child=\g<2>0", text, flags=re.MULTILINE)

    found = day.forecast(altered("lightgbm", "quantile_0.5.txt", circles, horizon="1w"), limit_s=20)
    reason = only_one_gives_way(found, undisturbed, "1w")
    assert "lightgbm/1w/v0001 cannot serve" in reason and "its reader took more than 20 s" in reason


@pytest.mark.more
@pytest.mark.faults
@pytest.mark.parametrize(
    "change",
    [
        lambda text: re.sub(r'"left_children":\[\d+', '"left_children":[1999999999', text),
        lambda text: re.sub(r'"num_nodes":"\d+"', '"num_nodes":"2000000000"', text),
        lambda text: text.replace('"split_indices":[', '"split_indices":[2000000000,', 1),
        lambda text: text[: len(text) // 2],
    ],
    ids=["a branch to nowhere", "a number of nodes", "a column that is none", "cut"],
)
def test_an_xgboost_json_that_was_altered_costs_that_model_alone(
    change: Callable[[str], str], day: Day, undisturbed: pd.DataFrame, altered: Callable[..., Path]
) -> None:
    found = day.forecast(altered("xgboost", "booster.json", change))
    assert "xgboost/1m/v0001 cannot serve" in only_one_gives_way(found, undisturbed, "1m")


@pytest.mark.parametrize(
    "content",
    ["null", *(pytest.param(text, marks=pytest.mark.more) for text in ('{"own_share": "many"}', "[" * 100_000, "{"))],
    ids=["nothing", "a word", "deep", "cut"],
)
def test_a_model_s_json_of_another_shape_costs_that_model_alone(
    content: str, day: Day, undisturbed: pd.DataFrame, altered: Callable[..., Path]
) -> None:
    found = day.forecast(altered("xgboost", "options.json", lambda _: content))
    assert "xgboost/1m/v0001 cannot serve" in only_one_gives_way(found, undisturbed, "1m")


@pytest.mark.more
def test_without_any_model_that_can_be_read_the_day_ends_with_one_line(day: Day, altered: Callable[..., Path]) -> None:
    store = altered("lightgbm", "quantile_0.5.txt", ABORTING["a number of leaves"], horizon="1w")
    shutil.rmtree(store / "curve" / "1w")
    with pytest.raises(Exception, match=r"its reader ended with SIG(ABRT|SEGV)"):
        day.forecast(store)
    features = day.features.copy()
    features.loc[features.index[-1], SCALE] = np.nan
    with pytest.raises(StaleSource, match=f"no forecast without {SCALE};"):
        Day(features, day.store, day.registry, day.horizons).forecast(day.store)


def weights_that_declare(shape: tuple[int, ...]) -> bytes:
    """An .npz of one array whose header promises more than it holds."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, header)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as bundle:
        bundle.writestr("anchor.npy", array.getvalue())
        bundle.writestr("meta.npy", array.getvalue())
    return packed.getvalue()


@pytest.mark.faults
@pytest.mark.parametrize("shape", [(10**9, 10**9), pytest.param((10**5, 10**5), marks=pytest.mark.more)])
def test_a_net_whose_weights_declare_a_huge_array_is_one_clear_error(
    shape: tuple[int, ...], day: Day, tmp_path: Path
) -> None:
    (tmp_path / "weights.npz").write_bytes(weights_that_declare(shape))
    write_json(tmp_path / "model.json", {"family": "dense"})
    question = Question("dense/1w/v0001", "dense", str(tmp_path), "1w", 5, (0.05, 0.5, 0.95), {"1w": 5})
    with isolated_models(memory_bytes=4 * 2**30) as models:
        models.show(day.features)
        told = models.ask(question)
    assert not told.quantiles and not told.explained
    assert re.search("MemoryError: Unable to allocate|is not complete|reader ended with SIG", told.error)
    assert "\n" not in told.error


@pytest.mark.more
def test_a_net_is_read_apart_to_the_digit(day: Day, tmp_path: Path) -> None:
    problem = JointProblem({"1w": 5, "1m": 21}, (0.05, 0.5, 0.95))
    options = {"window": 20, "channels": 4, "epochs": 1, "seeds": (1,), "validation_sessions": 100, "other_markets": []}
    model = joint_forecaster("dense")(problem, options)
    columns = [SCALE, "zl_return_1d", "zl_return_5d"]
    close = day.features["zl_return_1d"].fillna(0).cumsum()
    targets = pd.DataFrame({name: close.shift(-h) - close for name, h in problem.sessions.items()})
    model.fit(day.features[columns], targets)
    model.save(tmp_path)
    write_json(tmp_path / "calibration.json", calibration(problem.quantiles))
    question = Question("dense/1w/v0001", "dense", str(tmp_path), "1w", 5, problem.quantiles, dict(problem.sessions))
    with isolated_models() as models:
        models.show(day.features)
        told, why = models.ask(question), models.ask(replace(question, wanted="reasons"))
    here = model.predict_quantiles(day.features, np.array([len(day.features) - 1]))["1w"]
    assert told.quantiles == calibrated(here, problem.quantiles, calibration(problem.quantiles))[0].tolist()
    assert not why.error and set(why.reasons[-1].centre) == {*columns, "base"}


def test_two_libraries_never_share_a_process(day: Day, tmp_path: Path) -> None:
    """Two OpenMP runtimes can crash one macOS process. Seen in the libraries that each process has mapped."""
    problem = JointProblem({"1w": 5}, day.horizons.quantiles)
    options = {"window": 20, "channels": 4, "epochs": 1, "seeds": (1,), "validation_sessions": 100, "other_markets": []}
    model = joint_forecaster("dense")(problem, options)
    columns = [SCALE, "zl_return_1d", "zl_return_5d"]
    close = day.features["zl_return_1d"].fillna(0).cumsum()
    model.fit(day.features[columns], pd.DataFrame({"1w": close.shift(-5) - close}))
    model.save(tmp_path)
    write_json(tmp_path / "calibration.json", calibration(problem.quantiles))
    trees = FolderStore(day.store).versions("lightgbm", "1w")[0].folder
    net = Question("dense/1w/v0001", "dense", str(tmp_path), "1w", 5, problem.quantiles, {"1w": 5})
    of_trees = replace(net, name="lightgbm/1w/v0001", family="lightgbm", folder=str(trees))
    known = {child.pid for child in psutil.Process().children(recursive=True)}
    with isolated_models() as models:
        models.show(day.features)
        assert models.ask(net).quantiles and models.ask(of_trees).quantiles
        found = [child for child in psutil.Process().children(recursive=True) if child.pid not in known]
        mapped = [{Path(part.path).name for part in child.memory_maps()} for child in found]
    torch_in = [any("libtorch_cpu" in name for name in names) for names in mapped]
    trees_in = [any("lib_lightgbm" in name for name in names) for names in mapped]
    assert sum(torch_in) == 1 and sum(trees_in) == 1
    assert not any(both == (True, True) for both in zip(torch_in, trees_in, strict=True))


def test_an_ensemble_that_would_mix_libraries_is_refused(day: Day, registry: Registry, tmp_path: Path) -> None:
    write_json(tmp_path / "weights.json", {"unknown": {"lightgbm": 0.5, "dense": 0.5}})
    question = Question("ensemble/1w/v0001", "ensemble", str(tmp_path), "1w", 5, day.horizons.quantiles, {"1w": 5})
    with isolated_models() as models:
        models.show(day.features)
        assert "needs lightgbm and torch, which cannot share a process on macOS" in models.ask(question).error
    models_yaml = yaml.safe_load((registry.folder / "models.yaml").read_text())
    with pytest.raises(ValidationError, match="cannot share a process on macOS"):
        Models.model_validate(models_yaml | {"ensemble": ["ridge", "lightgbm", "dense"]})
    assert Models.model_validate(models_yaml | {"ensemble": ["ridge", "lightgbm"]}).ensemble


def test_a_reader_that_fails_over_its_reasons_still_forecasts(day: Day) -> None:
    """What is lost for reasons is not lost for the forecast."""
    folder = FolderStore(day.store).versions("lightgbm", "1w")[0].folder
    levels = day.horizons.quantiles
    question = Question("lightgbm/1w/v0001", "lightgbm", str(folder), "1w", 5, levels, {"1w": 5})
    blind = replace(question, wanted="reasons", folder=str(folder / "nothing"))
    with isolated_models() as models:
        models.show(day.features)
        sound = models.ask(question)
        assert models.ask(blind).error and not models.ask(blind).explained
        assert models.ask(replace(question, wanted="reasons")).reasons
        assert models.ask(question).quantiles == sound.quantiles != []
