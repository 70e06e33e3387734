"""What was parsed before is not parsed again, and staging is the same to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pandas as pd
import pytest

from tasks.sources import payloads
from tasks.sources.payloads import adapter
from tasks.staging.stage import stage_source
from tasks.storage.zones import Zones
from tests.conftest import AS_OF, Registry, StagedArchive


@pytest.fixture
def parsed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[object]]:
    """An entry for each time that a source's adapter parses a payload from now on."""

    def of(source: str) -> list[object]:
        seen: list[object] = []
        module = adapter(registry.sources.source(source))
        for name in ("parse", "documents"):
            if honest := getattr(module, name, None):
                monkeypatch.setattr(module, name, lambda payload, spec, f=honest: seen.append(f) or f(payload, spec))
        return seen

    return of


def land(staged: StagedArchive, zones: Zones, source: str, part: slice) -> int:
    """Bring some of the archive's payloads of a source into another home; how many. Their files stay where they lie."""
    sidecars = sorted((staged.zones.raw / source).glob("*/*.sidecar.json"))[part]
    for sidecar in sidecars:
        folder = zones.raw / source / sidecar.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(sidecar, folder)
    return len(sidecars)


@pytest.mark.parametrize("source", [pytest.param("fred", marks=pytest.mark.more), "usda_nass"])
def test_a_new_payload_costs_its_own_parsing_and_the_result_is_that_of_parsing_all(
    staged: StagedArchive, registry: Registry, zones: Zones, parsed: Callable[[str], list[object]], source: str
) -> None:
    spec, seen = registry.sources.source(source), parsed(source)
    half = land(staged, zones, source, slice(None, None, 2))
    stage_source(zones, source, spec, as_of=AS_OF, code="tests")
    assert len(seen) == half
    rest = land(staged, zones, source, slice(1, None, 2))
    whole = stage_source(zones, source, spec, as_of=AS_OF, code="tests")
    assert rest and len(seen) == half + rest, "what was parsed before was parsed again"
    wanted = staged.by_source[source]
    pd.testing.assert_frame_equal(whole.observations, wanted.observations)
    pd.testing.assert_frame_equal(whole.quarantine, wanted.quarantine)


@pytest.mark.parametrize("source", ["usda_nass", "federal_register"])
def test_other_code_or_damage_parses_all_again(
    staged: StagedArchive, registry: Registry, zones: Zones, parsed: Callable[[str], list[object]], source: str
) -> None:
    spec, seen = registry.sources.source(source), parsed(source)
    land(staged, zones, source, slice(None))

    def stage(code: str) -> int:
        before = len(seen)
        again = stage_source(zones, source, spec, as_of=AS_OF + pd.Timedelta(days=len(seen)), code=code)
        pd.testing.assert_frame_equal(again.observations, staged.by_source[source].observations)
        if again.documents is not None:
            pd.testing.assert_frame_equal(again.documents, staged.by_source[source].documents)
        return len(seen) - before

    whole = stage("tests")
    assert whole and stage("tests") == 0, "another session, the same payloads"
    assert stage("other code") == whole
    for path in (zones.staging / source).glob("parsed*/*.parquet"):
        path.write_bytes(path.read_bytes()[:100])
    assert stage("other code") == whole
    assert stage("other code") == 0, "what was damaged is whole again"


def test_a_backup_that_links_a_payload_while_it_is_read_does_not_lose_it(registry, zones, monkeypatch) -> None:
    """A hard link, or a change of mode, moves the change time; the content is what was landed."""
    spec, now = registry.sources.source("fred"), pd.Timestamp("2023-12-30T01:00", tz="UTC")
    content = b"observation_date,DFF\n2023-12-27,5.33\n2023-12-28,5.33\n"
    payloads.land(zones, "fred", payloads.Fetched("DFF", "csv", content, "u"), spec, fetched_at=now)
    honest = adapter(spec).parse

    def linked_meanwhile(payload, spec):
        payload.path.with_name("backup").hardlink_to(payload.path)
        return honest(payload, spec)

    monkeypatch.setattr(adapter(spec), "parse", linked_meanwhile)
    staged = stage_source(zones, "fred", spec, as_of=pd.Timestamp("2023-12-29"), code="tests")
    assert staged.observations["value"].tolist() == [5.33, 5.33]
