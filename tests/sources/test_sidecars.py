"""Sidecars are read once: what is new, altered or gone is noticed, with the index, without it, or a damaged one."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tasks.sources import payloads, sidecars
from tasks.sources.payloads import landed, last_fetched
from tasks.sources.sidecars import index_path, write_index
from tasks.storage.zones import Zones


def put(zones: Zones, number: int, **changed: object) -> Path:
    at = pd.Timestamp("2023-01-02", tz="UTC") + pd.Timedelta(days=number)
    path = zones.raw / "fred" / "DFF" / f"{at:%Y-%m-%dT%H%M%S.%fZ}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{number}")
    said = {
        "source": "fred",
        "series": "DFF",
        "file": path.name,
        "url": "u",
        "fetched_at": at.isoformat(),
        "day_known_only": False,
        "sha256": f"{number:064d}",
        "bytes": 1,
        "newest": "2023-01-01",
        "asked_from": None,
    }
    sidecar = path.with_name(f"{path.name}.sidecar.json")
    sidecar.write_text(json.dumps(said | changed))
    return sidecar


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The sidecars that were opened from now on."""
    seen: list[Path] = []
    honest = payloads.read_sidecar
    monkeypatch.setattr(payloads, "read_sidecar", lambda path: seen.append(path) or honest(path))
    return seen


def forget() -> None:
    """As a new process does."""
    sidecars._remembered.clear()


def test_a_new_process_reads_only_what_the_index_does_not_have(zones: Zones, read: list[Path]) -> None:
    for number in range(5):
        put(zones, number)
    before = landed(zones, "fred")
    write_index(zones.raw / "fred")
    forget()
    read.clear()
    assert landed(zones, "fred") == before and landed(zones, "fred", "DFF") == before and not read
    new, altered, gone = put(zones, 9), put(zones, 1, url="another"), put(zones, 2)
    gone.unlink()
    forget()
    found = landed(zones, "fred")
    assert sorted(set(read)) == sorted([new, altered])
    assert [payload.url for payload in found] == ["u", "another", "u", "u", "u"]
    assert found[-1].fetched_at == last_fetched(zones, "fred")


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more", None])
def test_an_index_that_is_damaged_or_gone_costs_reading_the_sidecars(zones: Zones, damage: bytes | None) -> None:
    for number in range(5):
        put(zones, number)
    before = landed(zones, "fred")
    write_index(zones.raw / "fred")
    forget()
    index = index_path(zones.raw / "fred")
    index.unlink() if damage is None else index.write_bytes(damage)
    assert landed(zones, "fred") == before


def test_a_broken_sidecar_is_told_each_time(zones: Zones) -> None:
    put(zones, 1)
    put(zones, 2).write_text("not JSON")
    for _ in range(2):
        found, broken = payloads.described(zones, "fred")
        assert len(found) == 1 and len(broken) == 1
