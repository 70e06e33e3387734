"""The last screen of a daily run: short, the gravest alerts first, no sign on nought."""

from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from tasks.reporting.screen import attention_lines, largest, print_screen, short_reason, summary_line
from tasks.storage.zones import Zones
from tasks.units import signed
from tasks.warehouse.duckdb import DuckDbWarehouse

pytestmark = pytest.mark.xdist_group("daily")


@pytest.mark.parametrize(
    ("value", "text"), [(1.204, "+1.20"), (-0.05, "-0.05"), (-0.004, "0.00"), (0.004, "0.00"), (0.0, "0.00")]
)
def test_what_rounds_to_nought_has_no_sign(value: float, text: str) -> None:
    assert signed(value) == text


def test_a_reason_is_shown_without_the_figures_beside_it() -> None:
    assert short_reason("1 month: 48.18, up 0.34 from today's 47.84: the curve +0.34") == "up 0.34: the curve +0.34"
    degraded = "1 month: 48.18, unchanged from today's 48.18: nothing moves it (degraded: no file, as /a/b: gone)"
    assert short_reason(degraded) == "unchanged: nothing moves it (degraded)"
    assert short_reason("no sentence of this kind") == "no sentence of this kind"


def test_drivers_are_the_largest_of_served_models_and_noughts_are_left_out() -> None:
    rows = [
        ("3m", "x", "curve", 0.6, 0.0, True),
        ("12m", "x", "curve", 1.1, 0.0, True),
        ("1m", "y", "palm", -2.0, 0.0, True),
        ("1m", "z", "weather", 0.001, 0.0, True),
        ("1m", "q", "energy", 9.0, 0.0, False),
        ("1m", "base", "curve", 0.0, 8.0, True),
        ("1m", "v", "technical", float("nan"), 3.0, True),
    ]
    table = pd.DataFrame(rows, columns=["horizon", "feature", "group", "shap_cents_lb", "width_cents_lb", "served"])
    assert largest(table, "shap_cents_lb") == [("palm", "1m", -2.0), ("curve", "12m", 1.1)]
    assert largest(table, "width_cents_lb") == [("technical", "1m", 3.0)]


def test_the_gravest_alert_comes_first_sources_share_a_line_and_the_rest_is_counted() -> None:
    rows = [("stale", f"source{n}", "warning", "old") for n in range(30)]
    rows += [("degraded", f"{n}m", "warning", "no model") for n in range(8)]
    rows += [("roll", "ZL", "info", "soon"), ("price", "ZL=F", "critical", "unconfirmed")]
    lines = attention_lines(pd.DataFrame(rows, columns=["kind", "subject", "level", "message"]))
    assert lines[0] == "price ZL=F: unconfirmed" and lines[-2].startswith(
        "old values in some series, 30 sources: source0, source1"
    )
    assert len(lines) == 6 and lines[-1] == "and 6 more: `cbi alerts list`"
    assert attention_lines(pd.DataFrame(columns=["kind", "subject", "level", "message"])) == []


@pytest.mark.slow
def test_a_run_ends_with_one_screen_of_eighty_columns(first_run) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    print_screen(replace(first_run.summary, alert_note="Nobody is notified."), console)
    lines = console.export_text().splitlines()
    assert len(lines) <= 34, "one screen"
    text = "\n".join(lines)
    for row in first_run.summary.forecasts.to_dict("records"):
        assert f"{row['p10']:.2f} to {row['p90']:.2f}" in text and f"{row['target_date']:%Y-%m-%d}" in text
    for words in ("52.09 cents/lb", "Decision for example", "Drivers: ", "Nobody is notified.", "`cbi decision`"):
        assert words in text
    line = summary_line(first_run.summary)
    assert "\n" not in line and "ZL 52.09" in line and "12m " in line


@pytest.mark.slow
def test_the_narrow_view_of_the_forecast_fits_a_terminal(first_run, monkeypatch, capsys) -> None:
    from cli.app import main

    monkeypatch.setenv("CBI_HOME", str(first_run.home))
    assert main(["query", "SELECT * FROM api.vw_latest_forecast_short"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 5 and max(map(len, lines)) <= 80
    rows = DuckDbWarehouse(Zones(first_run.home)).query("SELECT * FROM api.vw_latest_forecast_short")
    assert list(rows["horizon"]) == ["1w", "1m", "3m", "6m", "12m"] and rows["sound"].notna().all()
