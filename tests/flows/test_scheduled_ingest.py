"""A scheduled ingest is green only where what it asked for arrived, and only then its day is written down as done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.registry import load_sources
from tasks.settings import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daily")]


def scheduled(home: Path, monkeypatch: pytest.MonkeyPatch, source: str, origin: str):
    from flows.scheduled import ingest

    monkeypatch.setenv("CBI_HOME", str(home))
    as_of = None if origin == "live" else "2023-12-29"
    return ingest(source, origin=origin, as_of=as_of, return_state=True)


def recorded(origin: Path, series: str, content: str) -> None:
    path = origin / "fred" / series / "2023-12-28.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_a_source_that_is_disabled_is_not_green_and_not_done(prefect_server, tmp_path, monkeypatch):
    for key in load_sources(PROJECT / "registry").sources["eia"].secrets:
        monkeypatch.delenv(key, raising=False)
    state = scheduled(tmp_path, monkeypatch, "eia", "live")
    assert (state.name, state.is_completed(), state.is_cancelled()) == ("Disabled", False, True)
    assert "eia: disabled: needs EIA_API_KEY" in (state.message or "")
    assert not (tmp_path / "runs").exists()


def test_a_source_of_which_a_part_cannot_be_read_is_not_green_and_its_day_stays_to_be_done(
    prefect_server, tmp_path, monkeypatch
):
    home, origin = tmp_path / "home", tmp_path / "origin"
    recorded(origin, "DGS10", "observation_date,DGS10_NEW\n2023-12-20,4.1\n")
    recorded(origin, "DGS2", "observation_date,DGS2\n2023-12-20,4.1\n")
    state = scheduled(home, monkeypatch, "fred", str(origin))
    assert (state.name, state.is_failed()) == ("Partial", True)
    assert "expected observation_date and DGS10" in (state.message or "")
    assert not (home / "runs").exists()
    recorded(origin, "DGS10", "observation_date,DGS10\n2023-12-20,4.1\n")
    state = scheduled(home, monkeypatch, "fred", str(origin))
    assert state.name == "Completed" and list((home / "runs").rglob("*.json"))
    assert scheduled(home, monkeypatch, "fred", str(origin)).name == "Skipped"


def test_a_source_that_is_paused_is_not_green_not_done_and_says_why(prefect_server, tmp_path, monkeypatch):
    from tasks.sources.pauses import pause
    from tasks.storage.zones import Zones

    pause(Zones(tmp_path), "fred", "a trial")
    state = scheduled(tmp_path, monkeypatch, "fred", "live")
    assert (state.name, state.is_completed(), state.is_cancelled()) == ("Paused", False, True)
    assert "fred: paused since" in (state.message or "") and "a trial" in (state.message or "")
    assert not (tmp_path / "runs").exists()
