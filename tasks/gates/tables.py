"""The input tables of each gate: only this module decides what a suite checks.

Figures are computed here, in columns that a person can read; the suite has the limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.errors import ManifestMismatch
from tasks.exports import KEYS, SURFACES, file_name
from tasks.gates.parity import feature_parity, no_metrics
from tasks.gates.suites import suite_path
from tasks.registry import DataSources, FeatureRegistry, Horizons
from tasks.secrets import quoted
from tasks.sources.ingest import Ingested
from tasks.sources.payloads import landed
from tasks.staging.summary import newest_values, summarise_fields
from tasks.storage.files import read_json, read_parquet
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones

Tables = dict[str, pd.DataFrame]
QUERIED = ("ok", "partial", "failed")
# Share of a source's newest dates (63 per series, all series together) that may be refused before it is reported.
REFUSED_LIMIT = {"P0": 0.05, "P1": 0.10}
TELLING = 126  # values, half a year: a monthly value repeats for weeks, and two new counts may both be 0


def collection_tables(
    zones: Zones, sources: DataSources, ingested_sources: Sequence[Ingested], *, as_of: pd.Timestamp
) -> Tables:
    """POST_COLLECTION: one row per source."""
    return {"collection": summarise_collection(zones, sources, ingested_sources, as_of=as_of)}


def summarise_collection(
    zones: Zones, sources: DataSources, ingested_sources: Sequence[Ingested], *, as_of: pd.Timestamp
) -> pd.DataFrame:
    """The result of each source. ``payload_age_days``: from its newest fetch to ``as_of``, 0 if the fetch is later.

    ``asked``: the source was requested; ``failed``: it was, and none of its series arrived.
    """
    rows = []
    for ingested in ingested_sources:
        spec = sources.source(ingested.source)
        lost = {*ingested.failures, *ingested.not_recorded}
        critical = [name for name, entry in spec.series.items() if entry.critical]
        fetched = [payload.fetched_at for payload in landed(zones, ingested.source)]
        newest = max(fetched).tz_localize(None).normalize() if fetched else None
        rows.append(
            {
                "source": ingested.source,
                "priority": spec.priority,
                "status": ingested.status,
                "asked": ingested.status in QUERIED,
                "failed": ingested.status == "failed",
                "payloads": ingested.payloads,
                "new_payloads": ingested.new_payloads,
                "failures": len(ingested.failures),
                "not_recorded": len(ingested.not_recorded),
                "critical_missing": sum(name in lost or ingested.source in ingested.failures for name in critical),
                "empty": ingested.status in ("ok", "partial") and ingested.payloads == 0,
                "newest_payload": newest,
                "payload_age_days": max(0, (as_of - newest).days) if newest is not None else None,
                "stale_limit_days": spec.stale_limit_days,
                "message": quoted(ingested.message),
            }
        )
    frame = pd.DataFrame(rows)
    return frame.astype({"newest_payload": "datetime64[us]", "payload_age_days": "float64"})


def staging_tables(
    observations: pd.DataFrame,
    quarantine: pd.DataFrame,
    series: pd.DataFrame,
    sources: DataSources,
    *,
    as_of: pd.Timestamp,
    expectations: Path,
) -> Tables:
    """POST_STAGING: all cells, all series and their fields, all sources, and each source with a suite of its own."""
    guarded = {
        name: newest_values(observations, name, spec)
        for name, spec in sources.sources.items()
        if suite_path("POST_STAGING", name, expectations).exists()
    }
    return {
        "observations": observations.astype({"vintage": "int64"}),  # Great Expectations checks int32 cell by cell
        "series_summary": series,
        "field_summary": summarise_fields(sources, observations, quarantine, as_of=as_of),
        "source_summary": summarise_refused(series),
        **guarded,
    }


def summarise_refused(series: pd.DataFrame) -> pd.DataFrame:
    """One row per source: the refused share of its newest dates, and the limit for it."""
    counts = ["recent_dates", "recent_refused"]
    totals = series.groupby(["source", "priority"], sort=False, as_index=False)[counts].sum()
    share = (totals["recent_refused"] / totals["recent_dates"].where(totals["recent_dates"] > 0)).astype("float64")
    return totals.assign(refused_share=share, max_refused_share=totals["priority"].map(REFUSED_LIMIT))


def feature_tables(
    features: pd.DataFrame,
    panel: pd.DataFrame,
    starts: pd.DataFrame,
    registry: FeatureRegistry,
) -> Tables:
    """POST_FEATURES: the features, their order beside the registry's, when each begins, the crush beside its prices.

    ``starts``: one row per feature, from tasks.features.coverage.
    """
    prices = ["date", "zl_last", "zm_last", "zs_last"]
    return {
        "features": features,
        "feature_columns": beside([name for name in features.columns if name != "date"], list(registry.features)),
        "feature_starts": starts,
        "board_crush": panel[prices].merge(
            features[["date", "board_crush_usd_bu", "oil_share"]], on="date", how="outer"
        ),
    }


def beside(columns: Sequence[str], served: Sequence[str]) -> pd.DataFrame:
    """One row per position: the actual ``column`` and the ``served`` one; "none" if there is none."""
    places = range(max(len(columns), len(served)))
    return pd.DataFrame(
        {
            "place": list(places),
            "column": [columns[n] if n < len(columns) else "none" for n in places],
            "served": [served[n] if n < len(served) else "none" for n in places],
        }
    )


def assembly_tables(panel: pd.DataFrame, panel_summary: pd.DataFrame, labels: pd.DataFrame) -> Tables:
    """POST_ASSEMBLY: the panel, one summary row per panel column, and the labels."""
    return {"panel": panel, "panel_summary": panel_summary, "labels": labels}


def training_tables(
    folder: Path,
    registry: FeatureRegistry,
    horizons: Horizons,
    *,
    served: pd.DataFrame | None,
    realised: pd.DataFrame | None = None,
) -> Tables:
    """PRE_TRAINING: the training files on disk, beside their manifest, the registry and what is served.

    Args:
        served: the feature table that forecasts of the session are served from; None on a machine that only trains,
            on files of a bundle. realised: rows of
            ``tasks.gates.parity.metric_parity``; default: none, as before the first outcome.

    ``exports``: one row per expected or existing file. ``training_columns``: one row per feature of each file.
    ``training_rows``: one row per session of each file, without the features; ``last_price`` is computed from the
    target.
    """
    manifest = read_json(folder / "manifest.json") or {}
    as_of = pd.Timestamp(manifest["as_of"]) if "as_of" in manifest else pd.NaT
    listed: dict[str, dict[str, object]] = manifest.get("files", {})
    due = {file_name(surface, name): (surface, name) for surface in SURFACES for name in horizons.horizons}
    there = {path.name for path in folder.glob("*") if path.name != "manifest.json"} if folder.is_dir() else set()
    files, columns, rows = [], [], []
    same = []  # file by file: all ten at once would be a gigabyte
    for name in dict.fromkeys([*due, *sorted(listed), *sorted(there)]):
        surface, horizon = due.get(name, ("", ""))
        table = _readable(folder / name)
        entry = listed.get(name, {})
        files.append(
            {
                "file": name,
                "expected": name in due,
                "listed": name in listed,
                "found": name in there,
                "readable": table is not None,
                "sha256": sha256_of(folder / name) if name in there else "",
                "manifest_sha256": entry.get("sha256", ""),
                "rows": -1 if table is None else len(table),
                "manifest_rows": entry.get("rows"),
                "sessions": len(sessions(last=as_of)) if pd.notna(as_of) else 0,
                "columns": -1 if table is None else table.shape[1],
                "manifest_columns": entry.get("columns"),
                "targets": -1 if table is None else _targets(table),
                "manifest_targets": entry.get("targets"),
                "last_date": pd.NaT if table is None else table.get("date", pd.Series(dtype="datetime64[us]")).max(),
                "as_of": as_of,
            }
        )
        if table is None or name not in due:
            continue
        listed_features = registry.production() if surface == "prod" else list(registry.features)
        columns.append(_columns_of(table, listed_features).assign(file=name))
        if served is not None:
            same.append(feature_parity(served, {name: table}, KEYS))
        keys = table.reindex(columns=list(KEYS))
        rows.append(
            keys.assign(
                surface=surface,
                horizon=horizon,
                sessions_ahead=horizons.horizons[horizon].sessions,
                reachable=keys["target_log_return"].notna(),
                last_price=keys["target_price"] / np.exp(keys["target_log_return"]),
            )
        )
    counts = dict.fromkeys(("manifest_rows", "manifest_columns", "manifest_targets"), "float64")
    return {
        "exports": pd.DataFrame(files).astype(counts | {"last_date": "datetime64[us]", "as_of": "datetime64[us]"}),
        "training_columns": pd.concat(columns, ignore_index=True) if columns else _columns_of(pd.DataFrame(), ["none"]),
        "training_rows": pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["date"]),
        "feature_parity": pd.concat(same, ignore_index=True) if same else feature_parity(pd.DataFrame(), {}, KEYS),
        "metric_parity": no_metrics() if realised is None else realised,
    }


def _readable(path: Path) -> pd.DataFrame | None:
    try:
        return read_parquet(path)
    except ManifestMismatch:
        return None


def _targets(table: pd.DataFrame) -> int:
    return int(table["target_log_return"].notna().sum()) if "target_log_return" in table else 0


def _numbers(table: pd.DataFrame, names: list[str]) -> np.ndarray:
    """The columns as rows of float64; a value that is not a number is missing."""
    frame = table[names]
    if not all(kind == np.float64 for kind in frame.dtypes):
        frame = frame.apply(pd.to_numeric, errors="coerce").astype("float64")
    return np.ascontiguousarray(frame.to_numpy(dtype="float64").T)


def _columns_of(table: pd.DataFrame, served: list[str]) -> pd.DataFrame:
    """Each feature of a training file beside the one that is served at its position.

    ``known``: the number of its values. ``constant``: all of them are equal. ``same_as``: an earlier feature with the
    same values on the same rows, or "". Features with fewer than ``TELLING`` values are not tested.
    """
    names = [name for name in table.columns if name not in KEYS]
    first: dict[bytes, str] = {}
    facts: dict[str, dict[str, object]] = {}
    for name, values in zip(names, _numbers(table, names), strict=True):
        unknown = np.isnan(values)
        known = values[~unknown]
        same = (
            first.setdefault(np.where(unknown, np.nan, values + 0.0).tobytes(), name) if len(known) >= TELLING else name
        )
        facts[name] = {
            "known": len(known),
            "constant": bool(len(known) >= TELLING and (known == known[0]).all()),
            "same_as": "" if same == name else same,
        }
    frame = beside(names, served)
    for fact, none in {"known": 0, "constant": False, "same_as": ""}.items():
        frame[fact] = pd.Series([facts.get(name, {}).get(fact, none) for name in frame["column"]])
    return frame
