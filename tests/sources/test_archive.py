"""The recorded archive: packed, unpacked, damaged, without a source, and made from a live run."""

from __future__ import annotations

import csv
import io
import lzma
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import ManifestMismatch, OriginError
from tasks.settings import PROJECT
from tasks.sources.archive import DESCRIBED, pack, record, silently, unpack
from tasks.sources.ingest import ingest_source
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Fetched, land, landed
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones

RECORDED = PROJECT / "recorded"
SMALL = ("bls", "dce", "usda_nass")


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Three small sources of the repository's archive, packed as they are there."""
    folder = tmp_path / "packed"
    folder.mkdir()
    for source in SMALL:
        shutil.copy(RECORDED / f"{source}.tar.xz", folder)
    shutil.copy(RECORDED / "MANIFEST.csv", folder)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_repository_holds_every_payload_that_its_manifest_lists_and_where_it_was_found():
    with (RECORDED / "MANIFEST.csv").open(newline="", encoding="utf-8") as handle:
        listed = list(csv.DictReader(handle))
    with (RECORDED / "PROVENANCE.csv").open(newline="", encoding="utf-8") as handle:
        found = {row["file"] for row in csv.DictReader(handle)}
    assert {row["file"] for row in listed} == found
    assert all(row["terms"] and row["endpoint"] for row in listed)
    sizes = {path.name.removesuffix(".tar.xz"): path.stat().st_size for path in RECORDED.glob("*.tar.xz")}
    assert sizes.keys() == {row["source"] for row in listed}
    assert sum(sizes.values()) < 30e6


def test_unpacked_once_and_left_alone_after_that(packed: Path, zones: Zones):
    archive = unpack(packed, zones, silently)
    assert archive.folder == zones.recorded and "yahoo" in archive.missing
    before = {path: path.stat().st_mtime_ns for path in archive.folder.rglob("*")}
    unpack(packed, zones, silently)
    assert {path: path.stat().st_mtime_ns for path in archive.folder.rglob("*")} == before


def test_a_copy_that_was_changed_or_cut_short_is_made_anew(packed: Path, zones: Zones):
    folder = unpack(packed, zones, silently).folder
    whole = contents(folder)
    altered, gone, added = folder / "bls/timeseries/2026-07-15.json", next(folder.glob("dce/*/*")), folder / "bls/x"
    altered.write_bytes(altered.read_bytes().replace(b"2023", b"2022"))
    gone.unlink()
    added.mkdir()
    (added / "2024-01-01.csv").write_text("not ours")
    (folder / ".tmp-bls").mkdir()  # what a killed run leaves
    assert contents(unpack(packed, zones, silently).folder) == whole


def test_a_source_whose_file_is_deleted_is_missing_and_nothing_else(packed: Path, zones: Zones):
    unpack(packed, zones, silently)
    (packed / "dce.tar.xz").unlink()
    archive = unpack(packed, zones, silently)
    assert "dce" in archive.missing and not (archive.folder / "dce").exists()
    assert (archive.folder / "bls").is_dir()


def test_a_packed_file_that_the_manifest_does_not_describe_is_refused(packed: Path, zones: Zones):
    unpack(packed, zones, silently)
    shutil.copy(packed / "bls.tar.xz", packed / "unheard_of.tar.xz")
    with pytest.raises(ManifestMismatch, match=r"MANIFEST.csv lists no payload of unheard_of"):
        unpack(packed, zones, silently)
    (packed / "unheard_of.tar.xz").unlink()
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress((packed / "bls.tar.xz").read_bytes()))) as tar:
        names = tar.getnames()
    stranger = tarfile.TarInfo("bls/../../escaped.csv")
    with tarfile.open(packed / "bls.tar.xz", "w:xz") as tar:
        tar.addfile(stranger)
    with pytest.raises(ManifestMismatch, match="does not list its member"):
        unpack(packed, zones, silently)
    assert names and not (zones.home.parent / "escaped.csv").exists()
    assert (zones.recorded / "bls" / "timeseries").is_dir(), "the sound copy stays"


@pytest.mark.parametrize("cut", [0, 100, -200])
def test_a_damaged_packed_file_is_named_with_the_remedy(packed: Path, zones: Zones, cut: int):
    path = packed / "usda_nass.tar.xz"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ManifestMismatch, match=r"usda_nass\.tar\.xz.*git checkout"):
        unpack(packed, zones, silently)


def test_without_a_manifest_nothing_is_trusted(packed: Path, zones: Zones):
    (packed / "MANIFEST.csv").unlink()
    with pytest.raises(ManifestMismatch, match="without a readable manifest"):
        unpack(packed, zones, silently)


def test_a_folder_without_payloads_is_no_archive(tmp_path: Path, zones: Zones):
    with pytest.raises(OriginError, match="CBI_ARCHIVE"):
        unpack(tmp_path / "mistyped", zones, silently)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OriginError, match="neither packed sources"):
        unpack(tmp_path / "empty", zones, silently)


def test_packing_again_gives_the_same_bytes_and_keeps_the_other_sources(packed: Path, zones: Zones, tmp_path: Path):
    folder, again = unpack(packed, zones, silently).folder, tmp_path / "again"
    pack(folder, again, {}, silently)
    assert {name: sha256_of(again / name) for name in ("bls.tar.xz", "dce.tar.xz", "usda_nass.tar.xz")} == {
        name: sha256_of(packed / name) for name in ("bls.tar.xz", "dce.tar.xz", "usda_nass.tar.xz")
    }
    first = {path: path.stat().st_mtime_ns for path in again.glob("*.tar.xz")}
    pack(folder, again, {}, silently)
    assert {path: path.stat().st_mtime_ns for path in again.glob("*.tar.xz")} == first
    only = tmp_path / "only"
    shutil.copytree(folder / "bls", only / "bls")
    rows = [line for line in (folder / "MANIFEST.csv").read_text().splitlines() if line.startswith(("source,", "bls,"))]
    (only / "MANIFEST.csv").write_text("\n".join(rows) + "\n")
    pack(only, again, {}, silently)
    assert {row.split(",")[0] for row in (again / "MANIFEST.csv").read_text().splitlines()[1:]} == set(SMALL)


def test_a_file_that_is_not_listed_is_not_packed(packed: Path, zones: Zones, tmp_path: Path):
    folder = unpack(packed, zones, silently).folder
    (folder / "bls" / "timeseries" / "2026-07-16.json").write_text("{}")
    with pytest.raises(ManifestMismatch, match=r"2026-07-16\.json is not listed"):
        pack(folder, tmp_path / "again", {}, silently)


def test_live_payloads_are_recorded_with_their_instant_and_serve_as_an_origin(registry, zones: Zones, tmp_path: Path):
    spec = registry.sources.source("fred")
    csv_of = "observation_date,DGS10\n2023-12-26,3.89\n2023-12-27,{}\n"
    for minute, value in ((1, "3.79"), (2, "3.80")):  # two fetches of one day: neither hides the other
        fetched = Fetched("DGS10", "csv", csv_of.format(value).encode(), "https://example.org/graph?id=DGS10")
        land(zones, "fred", fetched, spec, fetched_at=pd.Timestamp(f"2023-12-28 15:0{minute}", tz="UTC"))
    folder = tmp_path / "mine"
    assert record(zones, registry.sources, folder) == 2
    assert record(zones, registry.sources, folder) == 0
    live = landed(zones, "fred")
    found = recorded_files(folder, "fred", "DGS10")
    assert [(p.fetched_at, p.sha256, p.day_known_only) for p in found] == [
        (p.fetched_at, p.sha256, False) for p in live
    ]
    assert (folder / "MANIFEST.csv").read_text().splitlines()[0] == ",".join(DESCRIBED)
    elsewhere = Zones(tmp_path / "elsewhere")
    done = ingest_source(
        elsewhere,
        "fred",
        spec,
        origin=folder,
        as_of=pd.Timestamp("2023-12-29").date(),
        progress=silently,
        series=["DGS10"],
    )
    assert (done.status, done.payloads) == ("ok", 2)
    pack(folder, tmp_path / "packed-mine", {}, silently)
    assert contents(unpack(tmp_path / "packed-mine", elsewhere, silently).folder / "fred") == contents(folder / "fred")
