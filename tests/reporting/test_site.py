"""The site shows what the warehouse holds, says what is missing or doubtful, and obeys no text."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tasks.reporting.site import build as build_module
from tasks.reporting.site.build import PAGE_LIMIT_BYTES, PAGES, build_or_say_why, build_site
from tasks.reporting.site.pages import today
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.reporting.site_home import NOW, Numbers, numbers_of, publish_home, wrong_numbers


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
        assert set(loaded) <= {"site.js", "site.css", "data:,"}, page.name
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
