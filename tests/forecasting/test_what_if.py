"""`cbi what-if`: words to moves, moves to forecasts, and a clear error for a wrong word."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli.app import main
from tasks.errors import WrongWord
from tasks.forecasting.what_if import moves_of, with_moves
from tasks.registry.scenarios import Scenarios, load_scenarios
from tasks.storage.files import write_parquet
from tests.conftest import Registry
from tests.forecasting.market import Market


@pytest.fixture(scope="module")
def spec(registry: Registry) -> Scenarios:
    return load_scenarios(registry.folder)


def test_a_move_is_a_share_an_amount_or_a_value(panel: pd.DataFrame, spec: Scenarios) -> None:
    palm, vix, credit = moves_of(["palm=+10%", "vix=40", "credit=-0.5"], panel, spec)
    was, now = panel.iloc[-1], with_moves(panel, [palm, vix, credit]).iloc[-1]
    for name in ("cpo_last", "dalian_palm_cny_t", "dalian_palm_cents_lb"):
        assert now[name] == pytest.approx(1.1 * was[name])
    assert now["vix_last"] == 40 and now["hy_oas_pct"] == pytest.approx(was["hy_oas_pct"] - 0.5)
    assert now["zl_last"] == was["zl_last"]
    assert str(vix) == f"VIX {was['vix_last']:.4g} to 40 index ({100 * (40 / was['vix_last'] - 1):+.1f}%)"
    pd.testing.assert_frame_equal(with_moves(panel, [palm]).iloc[:-1], panel.iloc[:-1])


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("plam=+10%", "there is no input `plam`. Did you mean palm?"),
        ("zl_lst=+1%", "Did you mean zl_last?"),
        ("palm", "'palm': write palm=+10% (percent), =-0.5 (by that much) or =40 (its value)"),
        ("palm=ten", "write palm=+10%"),
        ("palm=1e9", "write palm=+10%"),
        ("palm=-100%", "0 is not a price"),
        ("silver", "write silver=+10%"),
    ],
)
def test_a_wrong_word_is_a_clear_error(word: str, told: str, panel: pd.DataFrame, spec: Scenarios) -> None:
    with pytest.raises(WrongWord) as raised:
        moves_of([word], panel, spec)
    assert told in str(raised.value)


def test_a_name_twice_and_an_input_without_a_value_are_refused(panel: pd.DataFrame, spec: Scenarios) -> None:
    with pytest.raises(WrongWord, match="palm is given twice"):
        moves_of(["palm=+1%", "palm=+2%"], panel, spec)
    with pytest.raises(WrongWord, match="brl_last have no value in 21 sessions"):
        moves_of(["brl_last=+1%"], panel, spec)
    (real,) = moves_of(["brl=-8%"], panel, spec)
    assert real.before == panel["dexbzus"].iloc[-1], "FRED's rate stands for Yahoo's, which ended"
    gone = panel.copy()
    gone.loc[gone.index[-3:], "cpo_last"] = np.nan
    (palm,) = moves_of(["palm=+10%"], gone, spec)
    assert palm.before == panel["cpo_last"].iloc[-4] and "there is none since" in str(palm)


def test_every_name_of_the_help_has_columns_of_the_panel(panel: pd.DataFrame, spec: Scenarios) -> None:
    for name, entry in spec.names.items():
        assert set(entry.columns) | set(entry.shows) <= set(panel.columns), name
    for scenario in spec.scenarios.values():
        assert {*scenario.also, scenario.alike.column} <= set(panel.columns)
    assert {*spec.markets.log, *spec.markets.points, *spec.with_zl} <= set(panel.columns)


def test_the_command_asks_the_champion_again_and_changes_nothing(
    market: Market,
    panel: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CBI_HOME", str(tmp_path))
    assert main(["what-if", "vix=40"]) == 1
    assert "there is no panel in" in capsys.readouterr().err
    market.served_by("ridge", tmp_path / "models")
    write_parquet(tmp_path / "panel" / "panel.parquet", panel)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file())
    assert main(["what-if", "vix=40", "zl=-5%", "--horizon", "1m", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (row,) = told["horizons"]
    assert told["as_of"] == "2023-12-29" and told["fires"] == ["vix_override_flag"] and told["features_changed"] > 20
    assert row["model_version"] == "ridge/1m/v0001" and row["centre_change_cents_lb"] < 0
    assert row["scenario_price"] == pytest.approx(0.95 * row["last_price"])
    assert row["scenario_width_cents_lb"] / row["scenario_price"] > row["width_cents_lb"] / row["last_price"]
    assert main(["what-if", "vxi=40", "--horizon", "1m"]) == 2
    assert "Did you mean vix?" in " ".join(capsys.readouterr().err.split())
    assert main(["what-if", "vix=40", "--horizon", "1y"]) == 2
    after = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file())
    assert [path for path, _ in after] == [path for path, _ in before] and after == before
