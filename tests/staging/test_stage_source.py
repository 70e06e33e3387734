"""Staging as a zone: made once, made again when it must be, whole after any kill."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import ManifestMismatch
from tasks.registry import SourceSpec
from tasks.settings import PROJECT
from tasks.sources.ingest import ingest_source
from tasks.staging.stage import known_by, read_staged, stage_source
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones

AS_OF = pd.Timestamp("2023-12-29")


@pytest.fixture
def fred(registry, archive, zones) -> SourceSpec:
    """Three recorded series, landed."""
    spec = registry.sources.source("fred")
    spec = spec.model_copy(update={"series": {name: spec.series[name] for name in ("DFF", "UMCSENT", "DGS10")}})
    ingest_source(zones, "fred", spec, origin=archive, as_of=AS_OF.date(), progress=lambda *step: None)
    return spec


def hashes(zones: Zones) -> dict[str, str]:
    folders = (zones.staging, zones.quarantine)
    return {str(p.relative_to(zones.home)): sha256_of(p) for f in folders for p in sorted(f.rglob("*")) if p.is_file()}


def test_staging_twice_changes_nothing_and_says_so(fred, zones):
    first = stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    before = hashes(zones)
    stamps = {path: path.stat().st_mtime_ns for path in zones.staging.rglob("*")}
    again = stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    assert first.changed and not again.changed
    assert hashes(zones) == before and len(before) == 8
    assert {path: path.stat().st_mtime_ns for path in zones.staging.rglob("*")} == stamps, "nothing was written"
    pd.testing.assert_frame_equal(first.observations, again.observations)
    pd.testing.assert_frame_equal(first.quarantine, again.quarantine, check_categorical=False)


def test_the_same_payloads_in_another_home_give_the_same_bytes(fred, zones, archive, tmp_path):
    stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    other = Zones(tmp_path / "other")
    ingest_source(other, "fred", fred, origin=archive, as_of=AS_OF.date(), progress=lambda *step: None)
    stage_source(other, "fred", fred, as_of=AS_OF, code="1")
    assert hashes(other) == hashes(zones)


@pytest.mark.parametrize("change", ["code", "registry", "payload"])
def test_a_changed_input_is_staged_again(fred, zones, archive, change):
    stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    if change == "registry":
        fred = fred.model_copy(update={"missing_marker": False})
    if change == "payload":
        series = fred.series | {"DGS2": fred.series["DGS10"]}
        fred = fred.model_copy(update={"series": series})
        ingest_source(zones, "fred", fred, origin=archive, as_of=AS_OF.date(), progress=lambda *step: None)
    assert stage_source(zones, "fred", fred, as_of=AS_OF, code="2" if change == "code" else "1").changed


def test_an_earlier_run_reads_the_later_state_through_its_own_cut(fred, zones, tmp_path):
    later = stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    early = pd.Timestamp("2015-12-31")
    read = stage_source(zones, "fred", fred, as_of=early, code="1")
    assert not read.changed and len(read.observations) == len(later.observations), "staging never shrinks"
    assert 0 < len(known_by(read.observations, early)) < len(later.observations)


@pytest.mark.parametrize("name", ["staging/fred/observations.parquet", "quarantine/fred/cells.parquet"])
@pytest.mark.parametrize("left", [0, 1000])
def test_a_half_written_or_missing_file_is_made_again_to_the_same_bytes(fred, zones, name, left):
    stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    before, path = hashes(zones), zones.home / name
    path.write_bytes(path.read_bytes()[:left]) if left else path.unlink()
    assert stage_source(zones, "fred", fred, as_of=AS_OF, code="1").changed
    assert hashes(zones) == before


def test_a_torn_manifest_costs_a_restaging_and_no_more(fred, zones):
    stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    before = hashes(zones)
    (zones.staging / "fred" / "manifest.json").write_text('{"inputs": "ab')
    assert stage_source(zones, "fred", fred, as_of=AS_OF, code="1").changed
    assert hashes(zones) == before


def test_a_killed_writers_temporary_file_is_swept(fred, zones):
    left = zones.staging / "fred" / ".tmp-1-1-observations.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    assert not left.exists()


LOOP = """
import sys
from pathlib import Path
import pandas as pd
from tasks.registry import load_sources
from tasks.staging.stage import stage_source
from tasks.storage.zones import Zones
spec = load_sources(Path("registry")).source("fred")
spec = spec.model_copy(update={"series": {name: spec.series[name] for name in ("DFF", "UMCSENT", "DGS10")}})
n = 0
while True:
    n += 1
    stage_source(Zones(Path(sys.argv[1])), "fred", spec, as_of=pd.Timestamp("2023-12-29"), code=str(n))
    if n == 1:
        print("ready", flush=True)
"""


def test_after_kill_9_at_any_moment_the_next_run_completes_to_the_same_bytes(fred, zones):
    stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    whole = hashes(zones)
    for wait_s in (0.05, 0.11, 0.18):
        writer = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(zones.home)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None and writer.stdout.readline().strip() == "ready"
        time.sleep(wait_s)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
        assert hashes(zones) == whole
        assert not list(zones.home.rglob(".tmp-*"))


def a_bit(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def an_edited_value(path: Path, chance: random.Random) -> None:
    table = pd.read_parquet(path)
    table.loc[len(table) // 2, "value"] = 57.84
    table.to_parquet(path, index=False)


def rows_cut(path: Path, chance: random.Random) -> None:
    table = pd.read_parquet(path)
    table.head(len(table) // 2).to_parquet(path, index=False)


def emptied(path: Path, chance: random.Random) -> None:
    pd.read_parquet(path).head(0).to_parquet(path, index=False)


@pytest.mark.faults
@pytest.mark.parametrize("damage", [a_bit, an_edited_value, rows_cut, emptied], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["observations.parquet", "cells.parquet"])
def test_what_changed_of_what_was_staged_is_never_used_and_heals_from_raw(fred, zones, caplog, name, damage):
    """Of 24 flipped bits 22 were read as good; an edited price, a cut or emptied table were used in silence."""
    good = stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    before, chance = hashes(zones), random.Random(name)
    [path] = zones.home.rglob(name)
    for _ in range(3 if damage is a_bit else 1):
        damage(path, chance)
        with pytest.raises(ManifestMismatch, match="is not the file that was written"):
            read_staged(zones, "fred")
        healed = stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
        pd.testing.assert_frame_equal(healed.observations, good.observations)
        pd.testing.assert_frame_equal(healed.quarantine, good.quarantine, check_categorical=False)
        assert hashes(zones) == before
    assert "staged again" in caplog.text


@pytest.mark.faults
def test_what_changed_of_the_rows_kept_of_payloads_is_read_again(fred, zones, archive):
    stage_source(zones, "fred", fred, as_of=AS_OF, code="1")
    [rows] = (zones.staging / "fred" / "parsed").glob("rows-*.parquet")
    table = pd.read_parquet(rows)
    table.assign(value=table["value"] + 1).to_parquet(rows, index=False)
    series = fred.series | {"DGS2": fred.series["DGS10"]}
    more = fred.model_copy(update={"series": series})
    ingest_source(zones, "fred", more, origin=archive, as_of=AS_OF.date(), progress=lambda *step: None)
    found = stage_source(zones, "fred", more, as_of=AS_OF, code="1").observations
    other = Zones(zones.home.parent / "other")
    ingest_source(other, "fred", more, origin=archive, as_of=AS_OF.date(), progress=lambda *step: None)
    pd.testing.assert_frame_equal(found, stage_source(other, "fred", more, as_of=AS_OF, code="1").observations)
