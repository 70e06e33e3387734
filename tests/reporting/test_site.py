"""The site shows what the warehouse holds, says what is missing or doubtful, and obeys no text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tasks.reporting.site import build as build_module
from tasks.reporting.site.build import PAGE_LIMIT_BYTES, PAGES, build_or_say_why, build_site
from tasks.reporting.site.frames import sentences_shown
from tasks.reporting.site.pages import today
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.reporting.site_home import (
    AS_OF,
    NOW,
    STAMP,
    Numbers,
    frames,
    numbers_of,
    publish_home,
    surface,
    wrong_numbers,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DuckDbWarehouse]:
    home = tmp_path_factory.mktemp("site") / "home"
    warehouse = publish_home(home)
    built = build_site(warehouse, Zones(home), now=NOW)
    assert built.problems == []
    return built.folder, warehouse


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_page_is_there_and_small(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, _ = site
    assert {path.name for path in folder.glob("*.html")} == {page.file for page in PAGES}
    assert all(path.stat().st_size <= PAGE_LIMIT_BYTES for path in folder.glob("*.html"))


def test_every_number_is_the_warehouses(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, warehouse = site
    total, wrong = wrong_numbers(folder, warehouse)
    assert wrong == []
    assert total > 300
    for page in PAGES:
        assert page.name == "alerts" or numbers_of(folder / page.file), page.name


def test_no_number_stands_in_a_table_without_its_source(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, _ = site
    for page in folder.glob("*.html"):
        for cell in re.findall(r'<td class="n">(.*?)</td>', page.read_text(), flags=re.DOTALL):
            outside = re.sub(r"<data .*?</data>", "", cell)
            assert not re.search(r"\d", re.sub(r"<[^>]*>", "", outside)), cell


def test_every_chart_has_data_unit_source_day_and_a_label(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, warehouse = site
    names = set()
    for page in folder.glob("*.html"):
        text = page.read_text()
        for figure in re.findall(r"<figure.*?</figure>", text, flags=re.DOTALL):
            name = re.search(r'id="chart-([\w]+)"', figure).group(1)
            names.add(name)
            assert "As of " in figure and "Source: <code>" in figure and 'aria-label="Chart. ' in figure
            assert "<path" in figure, f"{name} draws nothing"
            assert (folder / "data" / f"{name}.csv").exists() and (folder / "charts" / f"{name}.js").exists()
            assert not re.search(r"#0[1-7]0[1-7]0[1-7]", figure), f"{name}: a color that no scheme replaces"
    assert {"fan", "outcomes_12m", "coverage_by_year", "reliability", "curve", "cot", "wasde", "weather"} <= names
    stored = pd.read_csv(folder / "data" / "cot.csv")
    shown = warehouse.query("SELECT * FROM api.vw_positioning")
    assert stored["commercial_net"].tolist() == shown["commercial_net"].tolist()


def test_a_hostile_text_is_text(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, _ = site
    for page in folder.glob("*.html"):
        text, parser = page.read_text(), Numbers()
        parser.feed(text)
        assert "img" not in parser.tags
        assert "<script>" not in text and "javascript:" not in text
    assert "&lt;script&gt;window.pwned" in (folder / "news.html").read_text()
    assert "&lt;script&gt;window.pwned" in (folder / "index.html").read_text()


def test_no_address_outside_is_asked(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, _ = site
    for page in folder.glob("*.html"):
        loaded = re.findall(r'(?:src|<link[^>]*href)="([^"]*)"', page.read_text())
        assert set(loaded) <= {"site.js", "stale.js", "site.css", "data:,"}, page.name
    assert "url(" not in (folder / "site.css").read_text()


def test_the_same_warehouse_gives_the_same_bytes(site: tuple[Path, DuckDbWarehouse], tmp_path: Path) -> None:
    folder, warehouse = site
    before = files_of(folder)
    build_site(warehouse, Zones(folder.parent), now=NOW)
    assert files_of(folder) == before
    later = build_site(warehouse, Zones(tmp_path), now=NOW + pd.Timedelta(days=1))
    changed = {name for name, content in files_of(later.folder).items() if content != before[name]}
    assert changed == {page.file for page in PAGES}


def test_the_page_knows_when_it_is_stale(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, _ = site
    text = (folder / "index.html").read_text()
    # the forecast of Friday 2024-01-05 is stale 12 hours after 18:00 Chicago of Monday
    assert 'data-stale-at="2024-01-09T12:00:00+00:00"' in text and 'data-session="2024-01-05"' in text
    assert re.search(r'id="stale"[^>]* hidden', text)
    # read before what follows is drawn: what a person reads does not move down
    assert re.search(r'id="stale".*?</div>\n<script src="stale.js"></script>', text)


def test_a_sound_forecast_has_no_banner(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, _ = site
    text = (folder / "index.html").read_text()
    assert 'data-state="degraded"' not in text and 'data-state="unconfirmed"' not in text


@pytest.mark.parametrize(
    "reason, state",
    [
        ("the model is damaged", "degraded"),
        ("the close of yahoo ZL=F is unconfirmed: the bar repeats", "unconfirmed"),
    ],
)
def test_a_doubtful_forecast_says_so_on_every_page(tmp_path: Path, reason: str, state: str) -> None:
    warehouse = publish_home(tmp_path / "home", degraded=reason)
    built = build_site(warehouse, Zones(tmp_path / "home"), now=NOW)
    for page in PAGES:
        text = (built.folder / page.file).read_text()
        assert f'data-state="{state}"' in text and reason in text
        assert text.count('data-state="degraded"') + text.count('data-state="unconfirmed"') == 1


def test_before_the_first_publish_pages_say_what_to_run(tmp_path: Path) -> None:
    built = build_site(DuckDbWarehouse(Zones(tmp_path)), Zones(tmp_path), now=NOW)
    assert built.problems == []
    assert "No forecast is published yet" in (built.folder / "index.html").read_text()
    assert "cbi replay" in (built.folder / "track.html").read_text()
    assert not any(numbers_of(path) for path in built.folder.glob("*.html"))


def test_what_is_not_measured_is_called_so(tmp_path: Path) -> None:
    warehouse = publish_home(tmp_path / "home", forecast=False)
    built = build_site(warehouse, Zones(tmp_path / "home"), now=NOW)
    assert built.problems == []
    assert "not measured" in (built.folder / "track.html").read_text()


def test_one_broken_page_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = publish_home(tmp_path / "home")

    def broken(frames: object) -> None:
        raise ValueError("a column of two names")

    monkeypatch.setattr(today, "content", broken)
    built = build_site(warehouse, Zones(tmp_path / "home"), now=NOW)
    assert built.problems == ["index.html: ValueError: a column of two names"]
    assert "This page could not be built" in (built.folder / "index.html").read_text()
    assert numbers_of(built.folder / "curve.html")


def test_a_failure_is_words_and_the_site_of_before_stays(
    site: tuple[Path, DuckDbWarehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, warehouse = site
    before = files_of(folder)

    def no_space(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build_module, "write_pages", no_space)
    assert "the one of before stays" in build_or_say_why(warehouse, Zones(folder.parent), now=NOW)
    assert files_of(folder) == before
    assert not list(folder.parent.glob(".site-*"))


def test_a_kill_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    warehouse = publish_home(tmp_path / "home")
    folder = build_site(warehouse, Zones(tmp_path / "home"), now=NOW).folder
    before = files_of(folder)
    folder.rename(folder.with_name(".site-before"))
    (tmp_path / "home" / ".site-halfway").mkdir()
    build_site(warehouse, Zones(tmp_path / "home"), now=NOW)
    assert files_of(folder) == before
    assert [path.name for path in (tmp_path / "home").glob(".site*")] == []


def test_every_number_of_a_real_run_is_the_warehouses(copied_home: Path) -> None:
    warehouse = DuckDbWarehouse(Zones(copied_home))
    folder = copied_home / "site"  # built by the daily run itself
    total, wrong = wrong_numbers(folder, warehouse)
    assert wrong == [] and total > 1000
    assert all(path.stat().st_size <= PAGE_LIMIT_BYTES for path in folder.glob("*.html"))


SURFACE = "forecasts.zl_surface_daily"


def page_of(tmp_path: Path, name: str, **given: object) -> str:
    """One page of a site of the small warehouse, built without the others."""
    warehouse = publish_home(tmp_path / "home", **given)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "PAGES", tuple(page for page in PAGES if page.file == name))
        built = build_site(warehouse, Zones(tmp_path / "home"), now=NOW)
    assert built.problems == []
    total, wrong = wrong_numbers(built.folder, warehouse)
    assert total > 30 and wrong == []
    return (built.folder / name).read_text(encoding="utf-8")


def states_of(text: str) -> set[str]:
    return set(re.findall(r'data-state="([\w-]+)"', text))


def test_the_sliders_have_the_published_answers(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, warehouse = site
    text = (folder / "what_if.html").read_text(encoding="utf-8")
    embedded = re.search(r'<script type="application/json" id="surface">(.*?)</script>', text, flags=re.DOTALL)
    shown = json.loads(embedded.group(1))
    stored = warehouse.query(f"SELECT * FROM {SURFACE} WHERE surface IS NOT NULL")
    assert set(shown) == set(stored["horizon"]) == {"1w", "1m", "3m", "6m"}
    for horizon, part in stored.groupby("horizon"):
        points = {
            ", ".join(f"{name} {move:+g}" for name, move in point) or "today": p
            for point, p in shown[horizon]["points"]
        }
        for row in part.to_dict("records"):
            if "dollar" in row["point"]:
                assert row["point"] not in points  # no slider of what no forecast reacts to
            elif pd.isna(row["p50"]):
                assert points[row["point"]] is None
            else:
                assert points[row["point"]] == [row["p10"], row["p50"], row["p90"]]
    assert set(re.findall(r'data-input="(\w+)"', text)) == {"palm", "vix"}


def test_what_the_surface_lacks_is_said(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, _ = site
    text = (folder / "what_if.html").read_text(encoding="utf-8")
    assert states_of(text) >= {"no-answer", "unmoved", "still", "no-input", "older", "not-checked"}
    assert "<b>12 months: no answer.</b> no forecast without beans" in text
    assert "<b>1 week</b> does not react to any of these inputs" in text
    assert "brl_last and dexbzus have no value in 21 sessions" in text
    assert "random points the largest error is" not in text, "an error that nobody measured"


def test_the_largest_error_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    row = {
        "as_of": AS_OF, "horizon": "1m", "surface": "s1m", "points": 200, "largest_median_error_cents_lb": 0.0123,
        "largest_band_error_cents_lb": 0.0456, "created_at": STAMP,
    }  # fmt: skip
    other = row | {"horizon": "3m", "surface": "of other points", "largest_median_error_cents_lb": 9.0}
    text = page_of(tmp_path, "what_if.html", zl_surface_checks=pd.DataFrame([row, other]))
    assert re.search(r"1 month: at <data [^>]*>200</data> random points", text)
    assert ">0.012</data>" in text and ">0.046</data>" in text and ">9.000</data>" not in text
    assert "not-checked" not in states_of(text)


def test_a_day_on_which_nothing_reacts_has_no_dead_slider(tmp_path: Path) -> None:
    rows = pd.DataFrame([row for row in surface() if row["horizon"] == "1w"])
    text = page_of(tmp_path, "what_if.html", zl_surface_daily=rows)
    assert "no-reaction" in states_of(text) and "Served: ridge/1w/v0002." in text
    assert 'type="range"' not in text and 'id="surface"' not in text


def test_a_day_without_a_surface_says_so(tmp_path: Path) -> None:
    text = page_of(tmp_path, "what_if.html", without=(SURFACE,))
    assert "no-surface" in states_of(text) and 'type="range"' not in text


def test_a_chance_that_is_not_shown_is_no_missing_view(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, _ = site
    text = (folder / "index.html").read_text(encoding="utf-8")
    cells = re.findall(r'<span class="missing">(no view|not shown)</span>', text)
    assert cells == ["no view", "not shown"]
    assert "Why no chance of a higher price is shown for 3 months</summary>" in text
    assert re.search(r'data-state="not-shown">3 months: its chances &lt;script', text)


def test_before_the_first_outcome_the_record_says_what_is_due_when_and_what_a_test_gave(tmp_path: Path) -> None:
    text = page_of(tmp_path, "track.html", without=("performance.forecast_outcomes",))
    assert "no-outcomes" in states_of(text) and 'id="measured"' in text
    due = re.findall(r"<tr data-first-due>.*?</tr>", text, flags=re.DOTALL)
    assert len(due) == 5 and ">1 week</th>" in due[0] and ">2024-01-12</td>" in due[0] and ">12 months</th>" in due[4]
    assert "Error saved, year by year" not in text, "a heading with nothing under it"


def test_a_horizon_with_a_published_outcome_is_not_waiting_for_its_first(tmp_path: Path) -> None:
    outcomes = frames()["performance.forecast_outcomes"]
    week = outcomes[outcomes["horizon"] == "1w"].assign(origin="recorded", replay="", published_late=False)
    text = page_of(tmp_path, "track.html", forecast_outcomes=pd.concat([outcomes, week.head(1)], ignore_index=True))
    due = re.findall(r"<tr data-first-due><th[^>]*>(.*?)</th>", text)
    assert due == ["1 month", "3 months", "6 months", "12 months"]
    assert "this is no record of live forecasts" in text, "recorded data, computed later"
    assert "few-outcomes" in states_of(text) and 'id="chart-outcomes_1w"' not in text, "a line of one point"


@pytest.mark.parametrize("word", ["loss saved", "past origins", "Lived skill", "pinball skill", "MAPE", ", p <data"])
def test_a_buyer_reads_no_word_of_the_builders(site: tuple[Path, DuckDbWarehouse], word: str) -> None:
    folder, _ = site
    for name in ("index.html", "track.html", "why.html", "what_if.html", "curve.html"):
        assert word not in (folder / name).read_text(encoding="utf-8"), name


def test_recorded_data_is_not_answered_with_a_live_run(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, _ = site
    banner = re.search(r'<div id="stale".*?</div>', (folder / "index.html").read_text(encoding="utf-8"), re.DOTALL)[0]
    assert "go live" in banner and "cbi daily" not in banner


def test_skill_by_year_keeps_published_forecasts_and_replays_apart_and_purchases_are_shown_by_month(
    site: tuple[Path, DuckDbWarehouse], tmp_path: Path
) -> None:
    folder, _ = site
    text = (folder / "track.html").read_text(encoding="utf-8")
    assert re.findall(r'data-years="([\w ]+)"', text) == ["champions"] and "no-published" in states_of(text)
    assert "no-purchase" not in states_of(text) and ">not settled</span>" in text
    assert "saved against buying evenly" in text and "saved against following the signal" in text
    outcomes = frames()["performance.forecast_outcomes"]
    published = outcomes.assign(origin="live", replay="", published_late=False).head(2)
    both = pd.concat([outcomes, published], ignore_index=True)
    text = page_of(tmp_path, "track.html", forecast_outcomes=both, without=("forecasts.zl_purchases_daily",))
    assert re.findall(r'data-years="([\w ]+)"', text) == ["live", "champions"]
    assert "no-published" not in states_of(text) and "<b>Published</b>, from live data" in text
    assert "no-purchase" in states_of(text) and "cbi purchases add 2024-01-05 300000 49.85 2024-02" in text


def test_the_curve_of_earlier_times_is_shown_or_said_to_be_unknown(site: tuple[Path, DuckDbWarehouse]) -> None:
    folder, warehouse = site
    text = (folder / "curve.html").read_text(encoding="utf-8")
    stored = warehouse.query("SELECT * FROM api.vw_curve_snapshots")
    assert list(stored["months_before"].unique()) == [0, 1, 12]
    year = stored[stored["months_before"] == 12]
    assert list(year["contract"]) == ["ZLH23", "ZLK23"] and list(year["price_cents_lb"]) == [66.4, 65.6]
    assert "The curve three months before is not known" in text
    assert "a month before it rose, a year before it fell" in text


def test_the_sentence_of_a_forecast_that_is_not_shown_is_left_out() -> None:
    day = pd.Timestamp("2023-12-29")
    forecasts = pd.DataFrame(
        {"as_of": [day, day], "horizon": ["1w", "1m"], "model_version": ["har/1w/v0001", "har/1m/v0001"]}
    )
    written = forecasts.assign(model_version=["curve/1w/v0001", "har/1m/v0001"], centre_sentence=["stood in", "shown"])
    earlier = written.assign(as_of=day - pd.Timedelta(days=1), centre_sentence="of the day before")
    frames = {"api.vw_latest_forecast": forecasts, "api.vw_explanations": pd.concat([written, earlier])}
    assert sentences_shown(frames)["centre_sentence"].tolist() == ["shown"]
