"""A forensic inventory of one CBI_HOME: every file and warehouse table, its writer, and whether it is intact.

The audit writes nothing, locks nothing and contacts no source. Each file is in exactly one line; an unknown file
has its own line, with advice.

Advice: keep; replace (damaged or incomplete, and a command rebuilds it); quarantine (its origin is unknown: move
it away and look); delete (no longer referenced).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.errors import CbiError
from tasks.exports import file_name
from tasks.model_store.champions import AUDIT, CHAMPIONS, HISTORY, SHADOWS, current_champions, name_of, tenures
from tasks.model_store.folder import FolderStore
from tasks.model_store.open import open_store
from tasks.model_store.upkeep import FOREVER
from tasks.models.catalogue import BASELINE, ENSEMBLE, FAMILIES, JOINT_FAMILIES
from tasks.registry import load_models, load_surface
from tasks.run import RunContext
from tasks.secrets import quoted
from tasks.sources.payloads import read_sidecar, verify
from tasks.sources.sidecars import INDEXES
from tasks.storage.files import TEMPORARY, Identity, read_json
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones
from tasks.training.plan import plan_bake_off
from tasks.warehouse.checksum import checksum
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.tables import tables
from tasks.warehouse.views import views

KEEP, REPLACE, QUARANTINE, DELETE = "keep", "replace", "quarantine", "delete"
ADVICE = (QUARANTINE, REPLACE, DELETE, KEEP)
DATES = ("date", "observation_date", "as_of", "trained_as_of", "published_at", "start_date")
OWN_FOLDERS = {
    "prefect": "prefect",
    "logs": "every flow",
    "recorded": "--origin recorded",
    INDEXES: "every ingest",
    "locks": "every flow",
    ".locks": "every flow",
    "support": "cbi support",
    "search": "cbi search",
    "finbert": "daily",
    "models-cache": "daily",
    "runs": "every flow",
    "backup": "daily",
    "services": "make up",
    "peers": "make bench-peers",
    "purchases": "cbi purchases",
    "pauses": "cbi sources",
    "site": "cbi site",
}
"""Folders whose files belong to another program: one line per folder."""


@dataclass(frozen=True)
class Item:
    """One line. Unknown values are None."""

    zone: str
    name: str
    owner: str
    rows: int | None = None
    columns: int | None = None
    first_date: str | None = None
    last_date: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    state: str = "ok"
    advice: str = KEEP


def take_inventory(run: RunContext) -> pd.DataFrame:
    """One row per file, model version, fit and warehouse table, those with advice first."""
    home, items = run.zones, []
    zones: dict[str, Callable[[RunContext, Zones], Iterator[Item]]] = {
        "raw": _raw,
        "staging": partial(_staged, "staging"),
        "quarantine": partial(_staged, "quarantine"),
        **{name: partial(_identified, name) for name in ("collection", "panel", "features", "labels")},
        "exports": _exports,
        "warehouse": _warehouse_files,
        "models": _models,
        "fits": _fits,
        "reports": _reports,
    }
    for entry in sorted(home.home.iterdir()) if home.home.is_dir() else []:
        if entry.name in zones:
            items += list(zones[entry.name](run, home))
        elif entry.name == "replays":
            for replay in sorted(entry.iterdir()):
                for name in ("collection", "panel", "features", "labels", "exports", "reports"):
                    if (replay / name).is_dir():
                        items += list(zones[name](run, Zones(replay)))
        elif entry.name in OWN_FOLDERS:
            sizes = [size for path in _files(entry) if (size := _size(path)) is not None]
            items.append(Item(entry.name, entry.name, OWN_FOLDERS[entry.name], rows=len(sizes), bytes=sum(sizes)))
        else:
            items += [_stranger(entry.name, path, home) for path in ([entry] if entry.is_file() else _files(entry))]
    items += list(_warehouse_tables(run))
    frame = pd.DataFrame([asdict(item) for item in items], columns=list(Item.__dataclass_fields__))
    order = frame["advice"].map(ADVICE.index)
    frame = frame.assign(order=order).sort_values(["order", "zone", "name"], kind="stable").drop(columns="order")
    return frame.reset_index(drop=True).astype({"rows": "Int64", "columns": "Int64", "bytes": "Int64"})


def summarise(inventory: pd.DataFrame) -> pd.DataFrame:
    """One row per zone: items, bytes, and the number of each advice."""
    counts = pd.crosstab(inventory["zone"], inventory["advice"]).reindex(columns=list(ADVICE), fill_value=0)
    totals = inventory.groupby("zone").agg(items=("name", "size"), megabytes=("bytes", lambda size: size.sum() / 1e6))
    return totals.assign(megabytes=totals["megabytes"].astype("float64").round(1)).join(counts).reset_index()


def _files(folder: Path) -> list[Path]:
    """Every file in ``folder`` and below it; a folder that a parallel run deletes has none."""
    found = (Path(at, name) for at, folders, names in os.walk(folder) for name in (*folders, *names))
    return sorted(path for path in found if path.is_file() or path.is_symlink())


def _size(path: Path) -> int | None:
    """Bytes; None if the file was deleted since it was listed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _known(path: Path) -> dict[str, Any]:
    """Size; for a table also rows, columns, and first and last date of its first date column."""
    if not path.is_file():
        return {}
    try:
        facts: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    except FileNotFoundError:  # deleted since it was listed
        return {}
    return facts | (_table(path) if path.suffix == ".parquet" else {})


def _table(path: Path) -> dict[str, Any]:
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as table:
            names = table.schema_arrow.names
            facts: dict[str, Any] = {"rows": table.metadata.num_rows, "columns": len(names)}
            if day := next((name for name in DATES if name in names), None):
                ends = compute.min_max(table.read(columns=[day]).column(0)).as_py()
                facts |= _span(ends["min"], ends["max"])
            return facts
    except Exception as error:  # pyarrow raises any error on a damaged file
        return {"state": f"not a whole parquet file ({type(error).__name__})", "advice": REPLACE}


def _span(first: Any, last: Any) -> dict[str, Any]:
    day = [None if pd.isna(at) else f"{pd.Timestamp(at):%Y-%m-%d}" for at in (first, last)]
    return {"first_date": day[0], "last_date": day[1]}


def _item(zone: str, path: Path, home: Zones, owner: str, **given: Any) -> Item:
    """One file's line. ``given`` overrides what the file itself shows, but damage overrides both."""
    known = _known(path)
    return Item(zone, path.relative_to(home.home).as_posix(), owner, **{**given, **known})


def _stranger(zone: str, path: Path, home: Zones, why: str = "unregistered: no flow writes this") -> Item:
    if path.name.startswith(TEMPORARY):
        why = "left by a killed writer; the next run of its owner removes it"
        return _item(zone, path, home, "a killed run", state=why, advice=KEEP)
    known = {name: value for name, value in _known(path).items() if name not in ("state", "advice")}
    return Item(zone, path.relative_to(home.home).as_posix(), "nobody", **known, state=why, advice=QUARANTINE)


def _raw(run: RunContext, home: Zones) -> Iterator[Item]:
    claimed: set[Path] = set()
    for path in _files(home.raw):
        parts = path.relative_to(home.raw).parts
        source, spec = parts[0], run.sources.sources.get(parts[0])
        owner = f"ingest-{source}"
        if spec is None:
            yield _stranger("raw", path, home, f"unregistered: {source} is no source of registry/data_sources.yaml")
            claimed.add(path)
        elif path.name.endswith(".sidecar.json"):
            claimed.add(path)
            yield _payload(path, home, owner, claimed, registered={*spec.fetched, *spec.replayed, *spec.series})
        elif ".downloads" in parts or re.fullmatch(r"backfilled-.*\.json", path.name):
            claimed.add(path)
            yield _item("raw", path, home, "backfill" if path.name.startswith("backfilled-") else owner)
    for path in _files(home.raw):
        if path not in claimed:
            yield _stranger("raw", path, home, "orphaned: no sidecar says where it came from; nothing reads it")


def _payload(path: Path, home: Zones, owner: str, claimed: set[Path], *, registered: set[str]) -> Item:
    """A sidecar and its payload (which may be in an archive), in one line."""
    name, fix = path.relative_to(home.home).as_posix(), f"delete it and run `cbi ingest {owner[7:]}`"
    try:
        payload = read_sidecar(path)
        claimed.add(payload.path)
        facts: dict[str, Any] = {"bytes": payload.bytes, "sha256": payload.sha256}
        facts |= _span(payload.fetched_at, payload.fetched_at)
        verify(payload)
    except FileNotFoundError:
        return Item("raw", name, owner, **facts, state=f"its payload is gone: {fix}", advice=REPLACE)
    except (CbiError, KeyError, TypeError, ValueError) as error:
        return Item("raw", name, owner, state=quoted(str(error)), advice=REPLACE)
    if not any(fnmatchcase(payload.series, name) for name in registered):
        why = f"unregistered: the registry has no series or feed {payload.series}"
        return Item("raw", name, owner, **facts, state=why, advice=QUARANTINE)
    return Item("raw", name, owner, **facts)


STAGED = {
    "staging": ("observations.parquet", "documents.parquet", "manifest.json"),
    "quarantine": ("cells.parquet",),
}
PARSED = ("parsed", "parsed_documents")


def _staged(zone: str, run: RunContext, home: Zones) -> Iterator[Item]:
    """Zones with one folder per source."""
    folder = home.home / zone
    digests: dict[Path, dict[str, str]] = {}
    for path in _files(folder):
        source = path.relative_to(folder).parts[0]
        beside = home.staging / source if path.parent == folder / source else path.parent
        manifest = beside / "manifest.json"
        if manifest not in digests:
            digests[manifest] = _digests(manifest)
        if source not in run.sources.sources:
            yield _stranger(zone, path, home, f"unregistered: {source} is no source of registry/data_sources.yaml")
        elif zone == "staging" and path.parent.name in PARSED and path.parent.parent == folder / source:
            yield _as_written(_item(zone, path, home, f"ingest-{source}"), digests[manifest].get(path.name))
        elif path.name not in STAGED[zone] or len(path.relative_to(folder).parts) != 2:
            yield _stranger(zone, path, home)
        else:
            yield _as_written(_item(zone, path, home, f"ingest-{source}"), digests[manifest].get(path.name))


def _digests(manifest: Path) -> dict[str, str]:
    """The digests of a source's files when written; empty if there are none."""
    manifest_content = read_json(manifest)
    files = manifest_content.get("files") if isinstance(manifest_content, dict) else None
    return files if isinstance(files, dict) else {}


def _as_written(item: Item, digest: str | None) -> Item:
    if digest is None or item.sha256 == digest:
        return item
    return replace(item, state="not the file that was written; the next daily run builds it again", advice=REPLACE)


def _identified(zone: str, run: RunContext, home: Zones) -> Iterator[Item]:
    """Zones whose table has a manifest beside it."""
    for path in _files(home.home / zone):
        if path.name == f"{zone}.parquet":
            recorded = (read_json(path.with_name(path.name + ".manifest.json")) or {}).get("sha256")
            known = _known(path)
            if Identity.of(path) is None or recorded != known.get("sha256"):
                known |= {"state": "not the file its manifest describes", "advice": REPLACE}
            yield Item(zone, path.relative_to(home.home).as_posix(), "daily", **known)
        elif path.name in (f"{zone}.parquet.manifest.json", "asked.json"):
            yield _item(zone, path, home, "daily")
        else:
            yield _stranger(zone, path, home)


def _exports(run: RunContext, home: Zones) -> Iterator[Item]:
    listed = (read_json(home.exports / "manifest.json") or {}).get("files", {})
    for path in _files(home.exports):
        known = _known(path)
        if path.name == "manifest.json":
            yield _item("exports", path, home, "daily")
        elif path.name not in listed:
            yield _stranger("exports", path, home, "orphaned: manifest.json does not list it")
        else:
            if known.get("sha256") != listed[path.name]["sha256"]:
                known |= {"state": "not the file manifest.json describes", "advice": REPLACE}
            yield Item("exports", path.relative_to(home.home).as_posix(), "daily", **known)
    for name in sorted(set(listed) - {path.name for path in _files(home.exports)}):
        yield Item("exports", f"exports/{name}", "daily", state="listed in manifest.json and gone", advice=REPLACE)


def _warehouse_files(run: RunContext, home: Zones) -> Iterator[Item]:
    current = home.warehouse / "published" / "CURRENT"
    named = current.read_text(encoding="utf-8", errors="replace").strip() if current.is_file() else ""
    for path in _files(home.warehouse):
        place = path.relative_to(home.warehouse).as_posix()
        if place.startswith("published/") and path.suffix == ".duckdb":
            yield _item("warehouse", path, home, "daily", state="ok" if path.name == named else "an earlier snapshot")
        elif place == "cbi.duckdb.older":
            yield _item("warehouse", path, home, "daily", state="an older working file, set aside")
        elif place in ("cbi.duckdb", "cbi.duckdb.wal", "published/CURRENT") or place.startswith("billed/"):
            facts: dict[str, Any] = {}
            if place == "cbi.duckdb" and not _is_database(path):
                facts = {"state": "no DuckDB file; the next daily run says what to do", "advice": REPLACE}
            yield _item("warehouse", path, home, "daily", **facts)
        else:
            yield _stranger("warehouse", path, home)
    if named and not (home.warehouse / "published" / named).is_file():
        gone = f"warehouse/published/{named}"
        yield Item("warehouse", gone, "daily", state="CURRENT names it and it is gone", advice=REPLACE)


def _is_database(path: Path) -> bool:
    """Whether a file begins like a DuckDB file. It is not opened: an open file would block the next publish."""
    with path.open("rb") as handle:
        return handle.read(12)[8:] == b"DUCK"


def _warehouse_tables(run: RunContext) -> Iterator[Item]:
    """Published tables and views. Rows are read, dated and hashed if that is free: not on BigQuery."""
    known_views = {view.name for view in views()} | {"staging.observations", "staging.quarantine"}
    try:
        warehouse = open_warehouse(run.settings)
        counts = warehouse.row_counts() if warehouse.is_published() else {}
    except CbiError as error:
        yield Item(
            "warehouse tables", run.settings.warehouse, "daily", state=quoted(str(error), most=300), advice=REPLACE
        )
        return
    for name, rows in counts.items():
        owner = "training" if name == "performance.leaderboard" else "daily"
        if name in known_views:
            yield Item("warehouse tables", name, f"view ({owner})", rows=rows)
        elif name not in tables():
            why = "unregistered: tasks/warehouse/schema has no such table"
            yield Item("warehouse tables", name, "nobody", rows=rows, state=why, advice=QUARANTINE)
        elif run.settings.warehouse != "duckdb":
            yield Item("warehouse tables", name, owner, rows=rows, columns=len(tables()[name].columns) or None)
        else:
            try:
                read = warehouse.read(name)
            except CbiError as error:
                yield Item(
                    "warehouse tables", name, owner, rows=rows, state=quoted(str(error), most=300), advice=REPLACE
                )
                continue
            frame, digest = read.to_pandas(), checksum(read, tables()[name].key)
            days = frame[tables()[name].ordered_by] if tables()[name].ordered_by in DATES else pd.Series(dtype="object")
            span = _span(days.min(), days.max()) if len(days.dropna()) else {}
            yield Item(
                "warehouse tables", name, owner, rows=len(frame), columns=len(frame.columns), sha256=digest, **span
            )


def _models(run: RunContext, home: Zones) -> Iterator[Item]:
    store = FolderStore(home.models)  # the files here; those on Cloud Storage are not listed
    try:
        history = store.history()
    except CbiError as error:
        yield Item("models", "models/history.jsonl", "training", state=quoted(str(error), most=300), advice=REPLACE)
        history = []
    champions = {
        tuple(name_of(entry).split("/"))
        for horizon in {entry["horizon"] for entry in history}
        for entry in tenures(history, horizon, FOREVER)  # what no run would serve, `cbi models prune` may delete
    }
    inside: set[Path] = set()
    families = {*FAMILIES, *JOINT_FAMILIES, ENSEMBLE, BASELINE}
    for folder in sorted(home.models.glob("*/*/v[0-9]*")):
        inside.update(_files(folder))
        family, horizon, version = folder.relative_to(home.models).parts
        yield _version(folder, home, families, champion=(family, horizon, version) in champions)
        champions.discard((family, horizon, version))
    for lost in sorted(champions):
        why = "was promoted and is gone: run `cbi train`"
        yield Item("models", "models/" + "/".join((lost[0], lost[1], lost[2])), "training", state=why, advice=REPLACE)
    for path in _files(home.models):
        if path in inside:
            continue
        own = {CHAMPIONS: "training", HISTORY: "training", AUDIT: "make proofs", SHADOWS: "cbi models shadow"}
        if path.parent == home.models and path.name in own:
            facts: dict[str, Any] = {}
            if path.name == CHAMPIONS and history and read_json(path) != current_champions(history):
                facts = {"state": f"not what {HISTORY} says; the next training writes it again", "advice": REPLACE}
            yield _item("models", path, home, own[path.name], **facts)
        elif any(part.startswith(TEMPORARY) for part in path.parts):
            yield _item("models", path, home, "training", state="left by a killed writer")
        else:
            yield _stranger("models", path, home)


def _version(folder: Path, home: Zones, families: set[str], *, champion: bool) -> Item:
    """One model version: its files compared with their stored hashes, and no additional file."""
    name, files = folder.relative_to(home.home).as_posix(), _files(folder)
    metadata = read_json(folder / "metadata.json")
    if metadata is None or "files" not in metadata:
        why = "half-written or altered: no readable metadata.json; delete it and run `cbi train`"
        return Item("models", name, "training", state=why, advice=REPLACE)
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    listed = dict(metadata["files"])
    altered = sorted(file for file, digest in listed.items() if hashes.get(file) != digest)
    extra = sorted(set(hashes) - set(listed) - {"metadata.json", "metrics.json"})
    facts: dict[str, Any] = {
        "bytes": sum(path.stat().st_size for path in files),
        "columns": len(metadata.get("columns") or []) or None,
        "sha256": hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest(),
    }
    if (folder / "oof.parquet").is_file():
        facts |= {key: value for key, value in _table(folder / "oof.parquet").items() if key in ("rows", "first_date")}
    facts |= {"last_date": metadata.get("trained_as_of")}
    if altered:
        facts |= {"state": f"not the files that were stored: {', '.join(altered)}", "advice": REPLACE}
    elif extra:
        facts |= {"state": f"orphaned files in it: {', '.join(extra)}", "advice": QUARANTINE}
    elif metadata.get("family") not in families:
        facts |= {"state": f"unregistered family {metadata.get('family')}", "advice": QUARANTINE}
    else:
        facts |= {"state": "champion" if champion else "ok"}
    return Item("models", name, "training", **facts)


def named_fits(run: RunContext) -> set[str]:
    """The fits of a plan of any budget on the current training files, or of any champion."""
    store, named = open_store(run.settings), set()
    champions = {tuple(entry[key] for key in ("family", "horizon", "version")) for entry in store.history()}
    for family, horizon in sorted({(family, horizon) for family, horizon, _ in champions}):
        for version in store.versions(family, horizon):
            if (family, horizon, version.number) in champions:
                for fits in dict(version.metadata.get("fits") or {}).values():
                    named.update(fits.values())
    manifest = read_json(run.zones.exports / "manifest.json")
    if manifest:
        models = load_models(run.settings.registry, run.features)
        for budget in models.budgets:
            plan = plan_bake_off(
                run.zones.exports,
                run.horizons,
                models,
                run.features,
                load_surface(run.settings.registry, run.features),
                budget=budget,
                data_snapshots={h: manifest["files"][file_name("prod", h)]["sha256"] for h in run.horizons.horizons},
            )
            named.update(fit.identity for fit in plan.fits)
    return named


def _fits(run: RunContext, home: Zones) -> Iterator[Item]:
    try:
        named: Iterable[str] | None = named_fits(run)
        unsure = ""
    except (CbiError, KeyError) as error:
        named, unsure = None, quoted(f"whether it is still in use is unknown: {error}")
    for folder in sorted(home.fits.iterdir()):
        if folder.is_file():
            yield _stranger("fits", folder, home)
            continue
        files, done = _files(folder), read_json(folder / "done.json")
        facts: dict[str, Any] = {"bytes": sum(path.stat().st_size for path in files)}
        tables_of = [_table(path) for path in files if path.suffix == ".parquet"]
        facts |= {"rows": sum(table.get("rows", 0) for table in tables_of) or None}
        if named is not None and folder.name not in named:
            what = f"{done['family']} {'+'.join(done['horizons'])} {done['year'] or 'final'}" if done else "unfinished"
            facts |= {"state": f"{what}: no plan and no champion uses it any more", "advice": DELETE}
        elif done is None:
            facts |= {"state": "unfinished: the next training continues it"}
        elif unsure:
            facts |= {"state": unsure}
        yield Item("fits", folder.relative_to(home.home).as_posix(), "training", **facts)


def _reports(run: RunContext, home: Zones) -> Iterator[Item]:
    for path in _files(home.reports):
        known = path.suffix in (".png", ".html", ".zip", ".csv")
        yield _item("reports", path, home, "every flow") if known else _stranger("reports", path, home)
