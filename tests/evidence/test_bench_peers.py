"""What crosses to the peers' environment and back, and the tables made of it. No peer is installed or run here."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from evidence.measurement import BenchError
from evidence.peers.exchange import CLOSE, Contest, has_run, read_costs, read_forecasts, write_answer, write_contest
from evidence.peers.report import PAIRS, accuracy, beside, every_cost, render
from evidence.peers.run import OptimizerSteps, Task, cpu_seconds
from tasks.models.catalogue import SCALE
from tasks.quantiles import column
from tasks.registry import load_horizons
from tasks.settings import PROJECT

HORIZONS = load_horizons(PROJECT / "registry")
LEVELS = tuple(HORIZONS.quantiles)


@pytest.fixture(scope="module")
def contest() -> Contest:
    dates = pd.bdate_range("2009-01-01", "2012-12-31")
    close = 40 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, len(dates))))
    tables = {}
    for name in ("1w", "1m"):
        ahead = HORIZONS.horizons[name].sessions
        price = pd.Series(close).shift(-ahead)
        tables[name] = pd.DataFrame(
            {
                "date": dates,
                CLOSE: close,
                SCALE: 16.0,
                "vix": np.arange(len(dates), dtype="float64"),
                "target_log_return": np.log(price / close),
                "target_date": pd.Series(dates).shift(-ahead),
                "target_price": price,
            }
        )
    return Contest(tables, HORIZONS, (2010, 2011), ("vix", SCALE), ())


def forecasts(contest: Contest, *, wide: float) -> dict[str, pd.DataFrame]:
    made = {}
    for name, sessions in contest.sessions.items():
        rows = [row for fold in contest.folds() for row in fold["origins"][name]]
        spread = wide * 0.01 * np.sqrt(sessions) * np.array([-1.645, -1.282, -0.674, 0, 0.674, 1.282, 1.645])
        made[name] = pd.DataFrame(np.tile(spread, (len(rows), 1)), columns=[column(p) for p in LEVELS]).assign(row=rows)
    return made


def test_a_peer_reads_what_was_written_and_its_forecasts_come_back(contest, tmp_path):
    write_contest(tmp_path, contest, {"net": {"window": 252}})
    task = Task(tmp_path)
    assert task.sessions == {"1w": 5, "1m": 21}
    assert task.plan["net"] == {"window": 252}
    table = contest.tables["1w"]
    np.testing.assert_allclose(np.exp(task.log_close), table[CLOSE])
    np.testing.assert_allclose(task.table()["target_1m"], contest.tables["1m"]["target_log_return"])
    np.testing.assert_allclose(task.table()["scale"], 0.16 / np.sqrt(252))
    for fold in task.plan["folds"]:
        for name, sessions in task.sessions.items():
            assert max(fold["train"][name]) + sessions < fold["first_row"]  # purged
            assert {pd.Timestamp(table["date"][row]).year for row in fold["origins"][name]} == {fold["year"]}
    parts = []
    for name, own in forecasts(contest, wide=1.0).items():
        quantiles = own[task.names].to_numpy()[:, ::-1]  # in any order: they are sorted before they are handed back
        parts.append(task.frame(name, own["row"].tolist(), quantiles))
    pd.concat(parts).to_parquet(tmp_path / "forecasts.A peer.parquet")
    found = read_forecasts(tmp_path, "A peer", contest)
    for name, own in found.items():
        rows = own["row"]
        np.testing.assert_array_equal(
            own["target_log_return"], contest.tables[name].loc[rows, "target_log_return"].to_numpy()
        )
        np.testing.assert_allclose(own["last_price"], table.loc[rows, CLOSE].to_numpy())
        assert (own["p05"] < own["p95"]).all()
        np.testing.assert_allclose(own["direction_probability"], 0.5)


@pytest.mark.parametrize("wrong", ["missing", "twice", "not finite"])
def test_an_answer_that_is_not_whole_is_refused(contest, tmp_path, wrong):
    answer = forecasts(contest, wide=1.0)
    first = answer["1w"]
    if wrong == "missing":
        answer["1w"] = first.iloc[1:]
    elif wrong == "twice":
        answer["1w"] = pd.concat([first, first.iloc[[0]]])
    else:
        answer["1w"] = first.assign(p50=first["p50"].where(first.index > 0))
    write_answer(tmp_path, "ours", answer, LEVELS, {"package": "CBI", "folds": []})
    with pytest.raises(BenchError, match="ours, 1w"):
        read_forecasts(tmp_path, "ours", contest)


def test_the_tables_rank_by_pinball_and_put_ours_over_the_peer(contest, tmp_path):
    costs = {"lightgbm": (1.0, 3.0), "mlforecast LightGBM": (4.0, 4.0)}
    for name, wide in (("no_change", 1.0), ("lightgbm", 1.2), ("mlforecast LightGBM", 6.0)):
        folds = [{"year": 2010 + i, "wall_s": 9.0, "cpu_s": s} for i, s in enumerate(costs.get(name, ()))]
        write_answer(tmp_path, name, forecasts(contest, wide=wide), LEVELS, {"package": "some 1.0", "folds": folds})
    assert json.loads((tmp_path / "costs.lightgbm.json").read_text())["folds"][1]["cpu_s"] == 3.0
    names = ["mlforecast LightGBM", "lightgbm", "no_change"]
    held = {name: read_forecasts(tmp_path, name, contest) for name in names}
    ranked = accuracy(held, LEVELS, sessions=contest.sessions).frame
    assert ranked["forecaster"].tolist()[2] == ranked["forecaster"].tolist()[5] == "mlforecast LightGBM"
    assert ranked.loc[ranked["forecaster"] == "no_change", "skill over no change"].tolist() == ["+0.0%", "+0.0%"]
    assert ranked.loc[2, "80% band covered"] == "100%"
    measured = {name: read_costs(tmp_path, name) for name in names}
    (line,) = beside("Side by side", PAIRS, measured, held).frame.to_dict("records")
    assert line["ratio"] == "0.50"
    assert line["ours loses less"] == "2 of 2"
    assert float(line["skill, ours"][:-1]) > float(line["skill, peer"][:-1])
    with pytest.raises(BenchError, match="no seconds of tcn"):
        read_costs(tmp_path, "tcn")


def test_steps_and_parameters_are_counted_and_a_peer_that_is_only_timed_has_no_seconds_a_fold(contest, tmp_path):
    import torch

    counted, before = OptimizerSteps(), cpu_seconds()
    layer = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for _ in range(5):
        layer(torch.ones(1, 3)).sum().backward()
        optimiser.step()
    assert counted.taken() == {"steps": 5, "parameters": 8}
    assert counted.taken()["steps"] == 0
    assert cpu_seconds() > before
    for name, steps in (("no_change", 1), ("tft", 100), ("neuralforecast TFT", 4)):
        folds = [{"year": 2010, "wall_s": 60.0, "cpu_s": 40.0, "steps": steps, "parameters": 8}]
        write_answer(tmp_path, name, forecasts(contest, wide=1.0), LEVELS, {"package": "some 1.0", "folds": folds})
    held = {name: read_forecasts(tmp_path, name, contest) for name in ("no_change", "tft")}
    measured = {name: read_costs(tmp_path, name) for name in ("tft", "neuralforecast TFT")}
    (line,) = beside("Side by side", PAIRS, measured, held).frame.to_dict("records")
    assert (line["CPU s a step, ours"], line["CPU s a step, peer"]) == ("0.400", "10.000")
    assert (line["ratio"], line["CPU s a fold, peer"], line["ours loses less"]) == ("", "", "")
    missing = [name for name in ("tft", "dense") if not has_run(tmp_path, name)]
    page = render("the stamp", [every_cost(measured)], packages=[], took_s=1.0, missing=missing)
    assert "- Not run yet: dense\n" in page
    assert page.startswith("# Peers from outside\n\nthe stamp\n\n- Packages: ")
