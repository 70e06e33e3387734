"""What lies in a folder of recorded payloads and is none costs itself, with its reason; nothing else, and no hang."""

from __future__ import annotations

import csv
import os
import shutil
import socket
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from tasks.alerts.of_run import raise_alerts
from tasks.errors import ManifestMismatch, OriginError
from tasks.registry import SourceSpec
from tasks.sources.archive import silently, unpack
from tasks.sources.ingest import Ingested, ingest_source
from tasks.sources.origins import recorded_files
from tasks.storage.files import read_json
from tasks.storage.hashes import sha256_of
from tasks.storage.regular import NotAFile, open_file
from tasks.storage.zones import Zones

SERIES = ("DFF", "DGS10")
ODD = "2024-02-02.csv"

pytestmark = pytest.mark.timeout(60)  # what hangs here waits for ever


@pytest.fixture
def fred(registry) -> SourceSpec:
    whole = registry.sources.source("fred")
    return whole.model_copy(update={"series": {name: whole.series[name] for name in SERIES}})


@pytest.fixture
def folder(archive: Path, tmp_path: Path) -> Path:
    """Two series of FRED as an origin, without a manifest."""
    for series in SERIES:
        shutil.copytree(archive / "fred" / series, tmp_path / "origin" / "fred" / series)
    return tmp_path / "origin"


@pytest.fixture
def listed(folder: Path, archive: Path) -> Path:
    """The same with the manifest of what is in it."""
    with (archive / "MANIFEST.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    kept = [row for row in rows if row["file"].startswith(tuple(f"fred/{series}/" for series in SERIES))]
    with (folder / "MANIFEST.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(kept)
    return folder


@pytest.fixture
def replay(fred: SourceSpec, zones: Zones) -> Callable[[Path], Ingested]:
    return lambda origin: ingest_source(
        zones, "fred", fred, origin=origin, as_of=date(2024, 2, 5), progress=lambda *step: None
    )


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def a_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero, which never ends
    except PermissionError:
        pytest.skip("only root makes a device")


def a_link_out(path: Path) -> None:
    outside = path.parents[3] / "outside.csv"
    outside.write_bytes(next(path.parent.glob("*.csv")).read_bytes())
    path.symlink_to(outside)


ODDITIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a FIFO": (os.mkfifo, "a FIFO, a device or a socket"),
    "a device": (a_device, "a FIFO, a device or a socket"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "a link that leads out of"),
    "a socket": (a_socket, "a FIFO, a device or a socket"),
    "a link out of the folder": (a_link_out, "a link that leads out of"),
    "a link to a secret": (lambda path: path.symlink_to("/etc/passwd"), "a link that leads out of"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "a link that leads to itself|symbolic links"),
    "a link to nothing": (lambda path: path.symlink_to("gone.csv"), "No such file"),
    "a folder": (Path.mkdir, "Is a directory"),
}


@pytest.mark.parametrize("kind", ODDITIES)
def test_what_is_no_file_among_the_payloads_is_refused_by_name_and_nothing_else_is_lost(
    kind: str, folder: Path, replay: Callable[[Path], Ingested]
) -> None:
    sound = replay(folder)
    make, why = ODDITIES[kind]
    make(folder / "fred" / "DFF" / ODD)
    done = replay(folder)
    assert done.payloads == sound.payloads and len(done.brought) == len(sound.brought)
    assert "DGS10" not in done.failures
    assert pd.Series([done.message]).str.contains(rf"DFF/{ODD}: .*(?:{why})").all(), done.message
    series = pd.DataFrame(columns=["source", "age_days", "stale_limit_days", "observations", "series"])
    told = raise_alerts([done], series, pd.DataFrame({"degraded": pd.Series(dtype=bool)}))
    assert ODD in "".join(told["message"])


def test_an_unreadable_file_is_refused_by_name(folder: Path, replay: Callable[[Path], Ingested], monkeypatch) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    next((folder / "fred" / "DFF").glob("*.csv")).chmod(0)
    done = replay(folder)
    assert "DGS10" not in done.failures and "Permission denied" in done.failures["DFF"]


@pytest.mark.parametrize("kind", ["a file", "a link to itself", "a link out"])
def test_something_else_in_the_place_of_a_series_costs_that_series(
    kind: str, folder: Path, replay: Callable[[Path], Ingested]
) -> None:
    place = folder / "fred" / "DFF"
    outside = folder.parent / "outside"
    place.rename(outside)
    if kind == "a file":
        place.touch()
    else:
        place.symlink_to(place.name if kind == "a link to itself" else outside)
    done = replay(folder)
    assert list(done.failures) == ["DFF"] and done.status == "partial"
    assert {payload.series for payload in done.brought} == {"DGS10"}


def test_a_payload_that_the_manifest_does_not_list_is_told_and_not_read(
    listed: Path, replay: Callable[[Path], Ingested]
) -> None:
    sound = replay(listed)
    held = next((listed / "fred" / "DFF").glob("*.csv"))
    (listed / "fred" / "DFF" / ODD).write_bytes(held.read_bytes().replace(b"\n1955", b"\n1956"))
    done = replay(listed)
    assert (done.status, done.failures, done.payloads) == ("ok", {}, sound.payloads)
    assert f"DFF/{ODD}: MANIFEST.csv does not list it" in done.message
    assert ODD not in {payload.path.name for payload in recorded_files(listed, "fred", "DFF")}, (
        "nor does it say the day"
    )


@pytest.mark.parametrize("kind", ["a FIFO", "a folder", "a link to nothing", "gone", "altered"])
def test_a_listed_payload_that_is_not_what_is_listed_costs_its_series(
    kind: str, listed: Path, replay: Callable[[Path], Ingested]
) -> None:
    held = next((listed / "fred" / "DFF").glob("*.csv"))
    if kind == "altered":
        held.write_bytes(held.read_bytes() + b"\n")
    else:
        held.unlink()
        if kind != "gone":
            ODDITIES[kind][0](held)
    done = replay(listed)
    assert list(done.failures) == ["DFF"] and held.name in done.failures["DFF"]


def test_an_empty_manifest_lists_nothing(listed: Path, replay: Callable[[Path], Ingested]) -> None:
    first_line = (listed / "MANIFEST.csv").read_text().splitlines()[0]
    (listed / "MANIFEST.csv").write_text(first_line + "\n")
    done = replay(listed)
    assert set(done.failures) == set(SERIES) and done.payloads == 0


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["a FIFO", "a folder"])
def test_a_manifest_that_is_no_file_is_refused(
    make: Callable[[Path], None], folder: Path, replay: Callable[[Path], Ingested]
) -> None:
    make(folder / "MANIFEST.csv")
    with pytest.raises(OriginError, match=r"MANIFEST\.csv is not a list of files"):
        replay(folder)


def test_an_unpacked_archive_without_its_manifest_is_refused_as_the_recorded_origin(folder: Path, zones: Zones) -> None:
    with pytest.raises(ManifestMismatch, match="without a readable manifest no payload is trusted"):
        unpack(folder, zones, silently)


def test_an_unpacked_archive_with_its_manifest_is_read_in_place(listed: Path, zones: Zones) -> None:
    assert unpack(listed, zones, silently).folder == listed


@pytest.mark.parametrize("name", ["MANIFEST.csv", "fred.tar.xz"])
def test_a_fifo_in_a_packed_archive_is_refused_and_does_not_hang(listed: Path, zones: Zones, name: str) -> None:
    shutil.rmtree(listed / "fred")
    (listed / "fred.tar.xz").touch()
    (listed / name).unlink()
    os.mkfifo(listed / name)
    with pytest.raises(ManifestMismatch, match=name):
        unpack(listed, zones, silently)


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotAFile):
        open_file(tmp_path / "fifo")
    with pytest.raises(IsADirectoryError):
        sha256_of(tmp_path)
    assert read_json(tmp_path / "fifo") is None
