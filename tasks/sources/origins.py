"""Origins: folders of recorded payloads, ``<source>/<series>/<fetched_on>.<ext>``, read in place and never trusted.

Anything there that is not a payload (a FIFO, a device, a folder, a link to outside, a file that MANIFEST.csv does not
list) is skipped and reported with its reason; the other payloads are still used.
"""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import pandas as pd

from tasks.errors import OriginError
from tasks.sources.payloads import RAW_NAME, Payload, read_sidecar
from tasks.storage.files import read_json, write_json
from tasks.storage.hashes import sha256_of
from tasks.storage.regular import NotAFile, open_file
from tasks.storage.zones import Zones

RECORDED_ON = re.compile(r"^\d{4}-\d\d-\d\d(T\d{6}\.\d{6}Z)?$")
"""The name of a recorded payload: the day of its fetch, or the instant as in raw/."""
LISTED = ("file", "sha256", "endpoint")  # columns of MANIFEST.csv that are read


@dataclass(frozen=True)
class Recorded:
    """The payloads of one series in an origin.

    ``lost``: why payloads there cannot be used. ``ignored``: other files there that are not payloads. Each text names
    the file and what to do.
    """

    payloads: list[Payload]
    lost: list[str]
    ignored: list[str]


def land_recorded(zones: Zones, origin: Path, source: str, series: str, *, folder: str = "") -> Recorded:
    """Land a sidecar for every recorded payload of a series; the files are read in place.

    ``folder`` is the source's name in the origin, if it differs from ours.

    Raises:
        OriginError: the folder is not laid out like a raw zone.
    """
    manifest = (_manifest(origin) or {}).get(f"{folder or source}/{series}", {})
    payloads = []
    there = _recorded(origin, source, series, folder=folder)
    for recorded in there.payloads:
        path = recorded.path
        listed = manifest.get(path.name)
        sidecar = {
            "source": source,
            "series": series,
            "file": _relative_in_home(zones, path.resolve(), zones.raw / source / series),
            "url": listed["endpoint"] if listed else "",
            "fetched_at": recorded.fetched_at.isoformat(),
            "day_known_only": recorded.day_known_only,
            "sha256": recorded.sha256,
            "bytes": recorded.bytes,
        }
        sidecar_path = (
            zones.raw / source / series / f"recorded-{path.stem}-{recorded.sha256[:8]}{path.suffix}.sidecar.json"
        )
        if read_json(sidecar_path) != sidecar:
            write_json(sidecar_path, sidecar)
        payloads.append(read_sidecar(sidecar_path))
    return replace(there, payloads=payloads)


def _relative_in_home(zones: Zones, path: Path, folder: Path) -> str:
    """The path of a file in a sidecar: relative to ``folder`` within the home, which may be moved; else absolute."""
    return os.path.relpath(path, folder) if path.is_relative_to(zones.home) else str(path)


def recorded_files(origin: Path, source: str, series: str, *, folder: str = "") -> list[Payload]:
    """The payloads of one series in a folder of recorded data: ``<source>/<series>/<fetched_on>.<ext>``.

    A name without a real date, or a file that cannot be read, is left out.

    Raises:
        OriginError: there is no such folder.
    """
    return _recorded(origin, source, series, folder=folder).payloads


def _recorded(origin: Path, source: str, series: str, *, folder: str) -> Recorded:
    """The readable payloads that match MANIFEST.csv, if there is one, and why others cannot be used."""
    if not origin.is_dir():
        raise OriginError(f"origin {origin} is not a folder; use `--origin recorded` or `--origin live`")
    manifest = _manifest(origin)
    listed = None if manifest is None else manifest.get(f"{folder or source}/{series}", {})
    place, found = origin / (folder or source) / series, Recorded([], [], [])
    try:
        names = sorted(os.listdir(place))  # noqa: PTH208 glob hides that a folder cannot be read
    except FileNotFoundError:
        return found
    except OSError as error:
        found.lost.append(f"{place}: not a readable folder ({error.strerror}); restore it")
        return found
    for name in names:
        path = place / name
        if not RECORDED_ON.match(path.stem):
            continue
        missed = found.lost if listed is None or name in listed else found.ignored
        try:
            fetched_at = _fetched_at(path.stem)
            if not path.resolve(strict=True).is_relative_to(origin.resolve()):
                found.ignored.append(f"{path}: a link that leads out of {origin}; put the file in its place")
                continue
            digest, size = sha256_of(path), path.stat().st_size
        except ValueError:
            missed.append(f"{path}: not a date; rename the file to the day of its fetch")
        except (NotAFile, IsADirectoryError) as error:
            found.ignored.append(f"{path}: not a readable file ({error.strerror}); remove it")
        except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
            why = error.strerror if isinstance(error, OSError) else "a link that leads to itself"
            missed.append(f"{path}: not a readable file ({why}); remove it or restore the file")
        else:
            if listed is not None and name not in listed:
                found.ignored.append(f"{path}: MANIFEST.csv does not list it; list it there, or remove it")
            elif listed is not None and listed[name]["sha256"] != digest:
                found.lost.append(
                    f"{path}: sha256 {digest[:12]} is not the {listed[name]['sha256'][:12]} of MANIFEST.csv; "
                    "restore the file"
                )
            else:
                found.payloads.append(Payload(source, series, path, digest, size, "", fetched_at, "T" not in path.stem))
    used = {payload.path.name for payload in found.payloads}
    reported = {line.partition(": ")[0] for line in found.lost}
    found.lost.extend(
        f"{place / name}: MANIFEST.csv lists it, but it is missing; restore the file"
        for name in sorted(set(listed or ()) - used)
        if str(place / name) not in reported
    )
    return found


def _fetched_at(name: str) -> pd.Timestamp:
    if "T" not in name:
        return pd.Timestamp(name, tz="UTC")
    return pd.Timestamp(datetime.strptime(name, RAW_NAME).replace(tzinfo=UTC))


@lru_cache(maxsize=4)
def _manifest(origin: Path) -> dict[str, dict[str, dict[str, str]]] | None:
    """The rows of an origin's MANIFEST.csv by folder and file name; None if it has no manifest."""
    path = origin / "MANIFEST.csv"
    try:
        with open_file(path) as handle:
            text = io.StringIO(handle.read().decode("utf-8"), newline="")
        rows = [{name: str(row[name]) for name in LISTED} for row in csv.DictReader(text)]
    except FileNotFoundError:
        return None
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise OriginError(
            f"{path} is not a list of files with the columns {', '.join(LISTED)} ({type(error).__name__}: {error}); "
            "restore it, or remove it to read the folder without checksums"
        ) from None
    listed: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        folder, _, name = row["file"].rpartition("/")
        listed.setdefault(folder, {})[name] = row
    return listed
