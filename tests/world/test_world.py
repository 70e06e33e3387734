"""The world itself, then a few live days in it: what it serves, what it notices, what a live home comes to know."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.http import Limits
from tasks.registry import load_sources
from tasks.settings import PROJECT
from tasks.sources.ingest import Ingested, ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source
from tasks.storage.zones import Zones
from tests.conftest import Registry
from tests.world.days import differences, environment, instant_of, newest, open_at, served_too_early
from tests.world.dialects import DIALECTS
from tests.world.published import Published, published
from tests.world.server import Trouble, World, point_at, served

SESSION = pd.Timestamp("2023-09-05")
FEW = ("fred", "cftc", "noaa")
QUICK = Limits(attempts=3, first_wait_s=0, longest_wait_s=0)


@pytest.fixture(scope="module")
def said(once: Any, archive: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Published:
    zones = Zones(tmp_path_factory.mktemp("said") / "home")
    return once("world", lambda: published(zones, archive, registry.sources, FEW))


@pytest.fixture
def live(said: Published, registry: Registry, tmp_path: Path) -> Callable[..., Any]:
    """A world, and a function that lands and stages a source of it as of an instant, as the daily run does."""

    @contextmanager
    def at(**given: Any) -> Iterator[tuple[World, Callable[..., Ingested], Any]]:
        world = World(said, registry.sources, instant_of(SESSION), **given)
        folder = tmp_path / "registry"
        shutil.copytree(PROJECT / "registry", folder)
        with served(world) as url:
            point_at(url, folder, world.now)
            sources, zones = load_sources(folder), Zones(tmp_path / "home")

            def day(source: str, session: pd.Timestamp, *, series: tuple[str, ...] = ()) -> Ingested:
                world.now = instant_of(session)
                spec = sources.source(source)
                with environment(CBI_NOW=world.now.isoformat()):
                    came = ingest_source(
                        zones,
                        source,
                        spec,
                        origin="live",
                        as_of=session.date(),
                        progress=lambda *step: None,
                        limits=QUICK,
                        series=series,
                    )
                    day.staged = stage_source(zones, source, spec, as_of=session, code="world")  # type: ignore[attr-defined]
                return came

            yield world, day, open_at(zones.home, folder)

    return at


def test_every_source_that_has_an_address_has_a_route(registry: Registry) -> None:
    asked = {
        name
        for name, spec in registry.sources.sources.items()
        if spec.endpoint.startswith("http") and not spec.disabled
    }
    assert asked <= set(DIALECTS)


def test_a_source_without_a_route_fails_the_world(live: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(DIALECTS, "noaa")
    with live() as (world, day, _):
        assert day("noaa", SESSION).status == "failed"
        assert world.unrouted


def test_live_days_know_what_the_recorded_origin_knows(
    live: Callable[..., Any], said: Published, archive: Path
) -> None:
    with live() as (world, day, run):
        for session in pd.to_datetime(["2023-09-05", "2023-09-06", "2023-09-08", "2023-09-12"]):
            assert day("fred", session, series=("DGS10", "DCOILWTICO")).status == "ok"
            known = newest([day.staged], session).query("series == 'DGS10'")
            was = said.at("fred", "DGS10", pd.Timestamp(f"{session:%Y-%m-%d} 18:00", tz="America/Chicago"))["value"]
            was = was[was.index >= known["observation_date"].min()]
            assert known.set_index("observation_date")["value"].to_dict() == was.to_dict()
        assert not served_too_early(run, said, since=instant_of(SESSION)) and not world.unrouted
        assert [payload.asked_from.year for payload in landed(run.zones, "fred", "DGS10")] == [1990, 2022, 2022, 2022]


def test_a_value_published_a_day_early_is_noticed(live: Callable[..., Any], said: Published) -> None:
    with live(early=("fred", "DGS10")) as (_, day, run):
        day("fred", SESSION, series=("DGS10",))
        (found,) = served_too_early(run, said, since=instant_of(SESSION))
        assert "DGS10 of 2023-09-0" in found


@pytest.mark.parametrize("kind", ["outage", "limit", "header"])
def test_trouble_passes_and_nothing_is_lost(kind: str, live: Callable[..., Any], said: Published) -> None:
    trouble = Trouble("fred", "2023-09-06", "2023-09-07", kind)
    with live(troubles=(trouble,)) as (_, day, _):
        days = pd.to_datetime(["2023-09-05", "2023-09-06", "2023-09-07", "2023-09-08"])
        statuses = [day("fred", session, series=("DGS10",)).status for session in days]
        assert statuses == ["ok", *(["ok"] * 2 if kind == "limit" else ["failed"] * 2), "ok"]
        known = newest([day.staged], days[-1])
        was = said.at("fred", "DGS10", pd.Timestamp("2023-09-08 18:00", tz="America/Chicago"))["value"]
        assert known.set_index("observation_date")["value"].iloc[-10:].tolist() == was.iloc[-10:].tolist()


def test_a_source_that_was_never_recorded_ends_as_one_that_has_nothing(live: Callable[..., Any]) -> None:
    with live() as (world, day, run):
        assert day("carb_lcfs", SESSION).status == "failed"
        assert landed(run.zones, "carb_lcfs") == [] and not world.unrouted


def test_what_differs_is_said() -> None:
    row = {
        "source": "s",
        "series": "x",
        "observation_date": SESSION,
        "field": "value",
        "available_at": SESSION,
        "vintage": 1,
    }
    one, other = pd.DataFrame([row | {"value": 1.0}]), pd.DataFrame([row | {"value": 2.0}])
    assert differences(one, other)["kind"].tolist() == ["value"]
    assert differences(one, other.iloc[:0])["kind"].tolist() == ["early"]
    assert differences(one.iloc[:0], other)["kind"].tolist() == ["missing"]
    assert differences(one, one).empty
