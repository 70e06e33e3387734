"""The decisions of a run, and the commands: what a buyer meets, and that a failure is an alert and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli.app import main
from tasks.alerts.of_run import raise_alerts
from tasks.decision.day import decide_or_say_why
from tasks.decision.ledger import Ledger, ledger_path
from tasks.errors import CbiError
from tasks.run import code_version, open_run
from tasks.settings import PROJECT, Settings, load_settings
from tasks.storage.files import write_parquet
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.tables import tables
from tests.decision.published import forecasts_of

DAY = "2023-12-29"
NAMES = ["date", "zl_close", "zl_roll_free", "eur_last"]


@pytest.fixture
def registry_copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT / "registry", tmp_path / "registry"))


@pytest.fixture
def home(zones: Zones, panel: pd.DataFrame, registry_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Zones:
    """A home with the published forecast and the panel of a day, and no contract prices."""
    write_parquet(zones.panel / "panel.parquet", panel[NAMES])
    columns = tables()["forecasts.zl_forecasts_daily"].columns
    rows = (
        forecasts_of(DAY)
        .reindex(columns=list(columns))
        .assign(model_version="v1", degraded=False, is_baseline=True, created_at=pd.Timestamp("2024-01-02", tz="UTC"))
    )
    rows = rows.assign(**{name: rows[name].astype("object") for name in rows if rows[name].isna().all()})
    DuckDbWarehouse(zones).publish({"forecasts.zl_forecasts_daily": rows}, as_of=DAY, staging=zones.staging)
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    monkeypatch.setenv("CBI_REGISTRY", str(registry_copy))
    return zones


def run_of(home: Zones):
    return open_run(load_settings(), origin="live", as_of=DAY)


def test_the_command_answers_and_what_is_bought_is_no_longer_open(home, capsys):
    assert main(["decision"]) == 0
    answer = capsys.readouterr().out
    start = "Decision for example (example need: edit registry/decision.yaml): "
    assert answer.splitlines()[0] == f"{start}WAIT. Buy nothing now; 3,600,000 lb are open."
    assert "As of 2023-12-29, 18:00 Chicago." in answer and "Protection is a model price" in answer
    assert main(["purchases", "add", "2023-12-28", "600000", "49.5", "2024-02"]) == 0
    assert "purchase 1 (version 1): example, 2023-12-28, 600,000 lb at 49.50 cents/lb" in capsys.readouterr().out
    assert main(["decision", "--json"]) == 0
    months = {row["month"]: row for row in json.loads(capsys.readouterr().out)["needs"][0]["months"]}
    assert months["2024-02"]["open_pounds"] == 0 and months["2024-03"]["open_pounds"] == 600_000


def test_the_ledger_from_the_command_line(home, tmp_path, capsys):
    file = tmp_path / "bought.csv"
    file.write_text("date,pounds,price,months\n2023-10-05,300000,55,2023-11\n")
    words = (
        ["purchases", "add", "2023-10-06", "1100", "1200", "2023-12", "--unit", "USD/short ton"],
        ["purchases", "import", str(file)],
        ["purchases", "edit", "1", "--pounds", "100000"],
        ["purchases", "add", "2023-10-06", "5", "50", "2024-01"],
        ["purchases", "remove", "3"],
    )
    assert [main(list(line)) for line in words] == [0] * 5
    capsys.readouterr()
    assert main(["purchases", "list", "--json"]) == 0
    account = json.loads(capsys.readouterr().out)
    assert [(one["id"], one["pounds"], one["price_cents_lb"]) for one in account["purchases"]] == [
        (1, 100_000, 60.0),
        (2, 300_000, 55.0),
    ]
    settled = {row["month"]: row for row in account["settled"]}
    assert set(settled) == {"2023-11", "2023-12"} and settled["2023-11"]["signal_usd"] is None
    assert main(["purchases", "list"]) == 0
    assert "example need: edit registry/decision.yaml" in capsys.readouterr().out
    file.write_text("date,pounds,price,months\n2023-10-05,300000,55,november\n")
    assert main(["purchases", "import", str(file)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert "nothing was imported" in errors[0] and errors[1] == (
        "line 2: 'november' is not a month; write it as 2026-02"
    )
    assert main(["purchases", "add", "2023-10-06", "5", "50", "2024-01", "--need", "plant"]) == 1
    assert "name one of example" in capsys.readouterr().err


def test_of_an_earlier_session_later_purchases_do_not_count(home, capsys):
    assert main(["purchases", "add", "2023-12-29", "600000", "49.5", "2024-02"]) == 0
    earlier = forecasts_of(DAY).assign(as_of=pd.Timestamp("2023-12-28"))
    run = open_run(load_settings(), origin="live", as_of="2023-12-28")
    panel = pd.read_parquet(home.panel / "panel.parquet")
    rows = decide_or_say_why(run, earlier, pd.DataFrame(), panel).table.set_index("month")
    assert rows.at["2024-02", "open_pounds"] == 600_000
    now = decide_or_say_why(run_of(home), forecasts_of(DAY), pd.DataFrame(), panel).table.set_index("month")
    assert now.at["2024-02", "open_pounds"] == 0


@pytest.mark.parametrize("broken", ["registry", "ledger", "closes", "code"])
def test_whatever_fails_is_a_reason_and_an_alert_and_stops_nothing(broken, home, registry_copy, monkeypatch):
    panel = pd.read_parquet(home.panel / "panel.parquet")
    if broken == "registry":
        (registry_copy / "decision.yaml").write_text("rule: [")
    elif broken == "ledger":
        Ledger(home).path.parent.mkdir()
        ledger_path(home).write_text("{")
    elif broken == "closes":
        panel = panel.assign(zl_close=np.nan)
    else:
        monkeypatch.setattr("tasks.decision.day.decide", lambda *given, **more: 1 / 0)
    found = decide_or_say_why(run_of(home), forecasts_of(DAY), pd.DataFrame(), panel)
    assert found.table.empty and len(found.problems) == 1
    assert found.problems[0].startswith("there are no decisions of this day: ")
    nothing = pd.DataFrame({"source": [], "age_days": [], "stale_limit_days": [], "observations": [], "series": []})
    alerts = raise_alerts([], nothing, pd.DataFrame({"degraded": pd.Series(dtype="bool")}), decision=found.problems)
    assert alerts[["kind", "subject", "level"]].to_numpy().tolist() == [
        ["decision", "registry/decision.yaml", "warning"]
    ]


def test_the_rows_are_those_that_the_warehouse_declares_and_the_view_shows_them(home):
    panel = pd.read_parquet(home.panel / "panel.parquet")
    rows = decide_or_say_why(run_of(home), forecasts_of(DAY), pd.DataFrame(), panel).table.assign(
        origin="recorded", data_snapshot="s", code_version="c", created_at=pd.Timestamp("2024-01-02", tz="UTC")
    )
    warehouse = DuckDbWarehouse(home)

    def publish(frame: pd.DataFrame) -> int:
        done = warehouse.publish({"forecasts.zl_decisions_daily": frame}, as_of=DAY, staging=home.staging, session=DAY)
        return sum(done.changed.values())

    assert (publish(rows), publish(rows)) == (7, 0)
    shown = warehouse.query("SELECT * FROM api.vw_decision")
    assert shown["month"].tolist() == ["all", *(f"2024-{m:02d}" for m in range(1, 7))]
    assert set(shown["note"]) == {"example need: edit registry/decision.yaml"}
    assert shown["now_price"].iloc[1] == pytest.approx(rows["now_cents_lb"].iloc[0])
    publish(rows[rows["month"] != "2024-06"])
    assert len(warehouse.query("SELECT * FROM api.vw_decision")) == 6, "a month that is no longer planned goes"


def test_another_need_does_not_change_the_version_of_a_forecast(registry_copy):
    settings = Settings(registry=registry_copy)
    before = code_version(settings)
    needs = registry_copy / "decision.yaml"
    needs.write_text(needs.read_text().replace("example: true", "example: false"))
    assert code_version(settings) == before
    limits = registry_copy / "quality_gates.yaml"
    limits.write_text(limits.read_text() + "# changed\n")
    assert code_version(settings) != before


def test_without_a_published_forecast_the_command_says_what_to_run(zones, monkeypatch, capsys):
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    assert main(["decision", "--as-of", "2023-12-29"]) == 1
    assert "no forecast of 2023-12-29 is published; run `cbi daily --as-of 2023-12-29`" in capsys.readouterr().err
    assert issubclass(CbiError, Exception)


@pytest.mark.slow
@pytest.mark.xdist_group("daily")
def test_a_daily_run_publishes_decisions_and_ends_with_one_line(first_run, capsys, monkeypatch):
    from rich.console import Console

    from tasks.reporting.terminal import print_result

    rows = first_run.summary.decisions
    assert len(rows) == 7 and not (first_run.summary.alerts["kind"] == "decision").any()
    stored = DuckDbWarehouse(Zones(first_run.home)).query("SELECT month, pounds_now FROM api.vw_decision")
    assert len(stored) == 7 and stored["pounds_now"].notna().all()
    print_result(first_run.summary, Console(width=200))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Decision for example")]
    assert len(lines) == 1 and lines[0].endswith("`cbi decision` shows why.")
