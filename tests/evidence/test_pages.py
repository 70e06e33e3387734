"""Each page from small inputs: its tables hold the figures that were measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from evidence import cost_of_a_day, false_prices, mutants_page, proofs, time_machine_page
from evidence.mutant_worker import KILLED, NOT_REACHED, SURVIVED
from evidence.mutation import mutants_of
from evidence.time_machine import OUTAGE_DATES, OUTAGES, PAIRS_FOR, PRICE, Case, Outcome
from tasks.staging.stage import Staged, nothing_staged


def outcome(case: Case, *, stopped: str = "", degraded: dict[str, str] | None = None) -> Outcome:
    return Outcome(case, stopped, degraded or {}, {"1w": "no_change"}, ("fred: set aside",), 2)


def test_the_time_machine_counts_its_states_and_says_why(tmp_path: Path) -> None:
    day = OUTAGE_DATES[0]
    late = {"1m": "fred is old", "3m": "fred is old"}
    outcomes = [
        outcome(Case("2005-12-30")),
        *(outcome(Case(day, ("fred",), length), degraded=late) for length in OUTAGES),
        *(outcome(Case(day, (PRICE,), length), stopped="GateFailed: no price\nmore") for length in OUTAGES),
        outcome(Case(OUTAGE_DATES[-1], ("fred", "eia"), PAIRS_FOR), degraded=late),
    ]
    text = time_machine_page.write(tmp_path / "page.md", "the stamp", outcomes, minutes=2.4, workers=2).read_text()
    for line in (
        "| runs | 8 |",
        "| degraded | 4 |",
        "| stopped where ZL's own price was taken away | 3 |",
        "| stopped for another reason | 0 |",
        "| 2005-12-30 | sound | fred: set aside | 2 | nothing |",
        "| fred | degraded | degraded | degraded | 1m, 3m: fred is old |",
        f"| {PRICE} | stopped | stopped | stopped | GateFailed: no price |",
        "| fred + eia | degraded | 1m, 3m: fred is old |",
    ):
        assert line in text.splitlines(), line
    assert f"### {OUTAGE_DATES[1]}\n\nNone." in text


def test_what_each_module_noticed_and_what_was_left(tmp_path: Path) -> None:
    (tmp_path / "tasks" / "panel").mkdir(parents=True)
    code = "def later(day: int) -> bool:\n    return day > 3\n"
    (tmp_path / "tasks" / "panel" / "join.py").write_text(code)
    found = mutants_of(tmp_path, ["tasks/panel/join.py"])
    changed = [mutant.applied(code.encode()).decode().splitlines()[1].strip() for mutant in found]
    assert changed == [
        "return (None)",
        "return (day >= 3)",
        "return (day <= 3)",
        "return day > (4)",
        "return day > (2)",
    ]
    outcomes = list(zip(found, [KILLED, KILLED, KILLED, SURVIVED, NOT_REACHED], strict=True))
    path = mutants_page.write(tmp_path / "page.md", "the stamp", outcomes, possible=5, seed=18, minutes=1.0)
    text = path.read_text()
    assert "| tasks/panel | 3 | 0 | 1 | 1 | 60.0% |" in text and "| all | 3 | 0 | 1 | 1 | 60.0% |" in text
    assert "| tasks/panel/join.py:2 | later | `3` → `4` | survived |" in text
    assert "- Tried: 5, drawn with seed 18" in text


def test_the_cost_of_a_day_is_sorted_by_command_and_by_the_days_before(tmp_path: Path) -> None:
    figures = {"payloads": 1356, "seconds": 8.94, "cpu_s": 5.06, "peak_mb": 439.4, "status": 0}
    rows = [{"what": what, "days": days, **figures} for days in (1500, 30) for what in ("warm day", "audit")]
    lines = cost_of_a_day.write(tmp_path / "page.md", "the stamp", rows).read_text().splitlines()
    assert lines[-4] == "| audit | 30 | 1,356 | 8.9 | 5.1 | 439 | 0 |"
    assert [line.split(" | ")[1] for line in lines[-4:]] == ["30", "1,500", "30", "1,500"]


def staged_bars(source: str, series: str, closes: list[float], dates: list[str], refused: list[bool]) -> Staged:
    rows = pd.DataFrame(
        {"series": series, "field": "close", "observation_date": pd.to_datetime(dates), "value": closes, "vintage": 1}
    )
    kept = pd.Series(refused).eq(False)
    nothing = nothing_staged()
    return Staged(
        **{
            **vars(nothing),
            "source": source,
            "observations": rows[kept],
            "quarantine": rows[~kept].assign(rule="jump"),
        }
    )


def test_extremes_are_kept_or_refused_and_false_prices_are_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(false_prices, "EXTREMES", (("yahoo", "ZL=F", "2022-04-28"), ("yahoo", "ZL=F", "2022-04-27")))
    monkeypatch.setattr(false_prices, "MOVES_OF", ("ZL=F",))
    dates = ["2022-04-26", "2022-04-27", "2022-04-28"]
    parts = [staged_bars("yahoo", "ZL=F", [80.0, 160.0, 84.0], dates, [False, True, False])]
    planted = [("a close", "confirmation", "47.84", "it lies\noutside | of its day")]
    text = false_prices.write(tmp_path / "page.md", "the stamp", planted, [("2014-07-15", "why")], parts).read_text()
    assert "| a close | confirmation | 47.84 | it lies outside \\| of its day |" in text
    assert "that come out unconfirmed: 1\n" in text and "| 2014-07-15 | why |" in text
    assert "| ZL=F | 2022-04-28 | kept: 84.00 |" in text and "| ZL=F | 2022-04-27 | refused |" in text
    assert "| ZL=F | 2 | 1 | 2022-04-27 | 100.0% |" in text


@pytest.mark.parametrize(
    ("changed", "shown"), [([], "None."), ([{"stage": "panel", "column": "vix"}], "| panel | vix |")]
)
def test_the_proofs_page_has_each_model_and_what_changed(changed: list[dict[str, str]], shown: str) -> None:
    found = pd.DataFrame(
        {"horizon": "1w", "family": "echo", "skill_pct": [-2.0, -1.0], "direction_hit_rate": 0.5, "origins": 700}
    )
    text = proofs._page("the stamp", {"Outcome": "both hold"}, found, pd.DataFrame(changed))
    assert "- Outcome: both hold" in text and shown in text
    assert "| 1w | echo | -1.50% | -2.00% | -1.00% | 50.0% | 700 |" in text
