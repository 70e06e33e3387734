"""Ten training files and their manifest: features and targets of every session, per surface and horizon."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pyarrow as pa

from tasks.calendar import as_of_instant
from tasks.errors import ManifestMismatch
from tasks.registry import FeatureRegistry, Horizons, load_regime_calendar
from tasks.run import RunContext
from tasks.storage.files import Identity, read_json, sweep_temporary, write_identified, write_json, write_table
from tasks.storage.hashes import fingerprint, sha256_of
from tasks.storage.locks import exclusive

SURFACES = ("prod", "full")
# The columns of a training file that are not features.
KEYS = ("date", "target_log_return", "target_price", "target_date", "training_weight", "regime")


def file_name(surface: str, horizon: str) -> str:
    """The training file of a surface and a horizon."""
    return f"zl_training_{surface}_allhistory_{horizon}.parquet"


def training_table(
    features: pd.DataFrame, labels: pd.DataFrame, regimes: pd.DataFrame, *, horizon: str, columns: list[str]
) -> pd.DataFrame:
    """Features, then target, weight and regime of one horizon; one row per session.

    ``training_weight`` and ``regime`` come from the dated calendar: they are for weights and slices, never features.
    """
    target = labels.loc[labels["horizon"] == horizon, ["date", "target_log_return", "target_price", "target_date"]]
    table = features[["date", *columns]].merge(target, on="date", how="left", validate="one_to_one")
    calendar = regimes.sort_values("start")
    dated = pd.merge_asof(
        table[["date"]],
        calendar.astype({"start": "datetime64[us]", "end": "datetime64[us]"}),
        left_on="date",
        right_on="start",
    )
    # the last regime continues until the next one is recorded
    inside = (dated["date"] <= dated["end"]) | (dated["start"] == calendar["start"].max())
    return table.assign(
        training_weight=dated["training_weight"].where(inside).astype("float64"),
        regime=dated["regime"].where(inside).astype("string"),
    )


def write_exports(
    folder: Path,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    regimes: pd.DataFrame,
    *,
    registry: FeatureRegistry,
    horizons: Horizons,
    as_of: pd.Timestamp,
    inputs: str,
) -> dict[str, object]:
    """Write the ten files and, last, ``manifest.json``. A complete export of the same inputs is left as it is.

    The old manifest is deleted first, so a killed run never leaves a manifest that describes half-replaced files.
    """
    path = folder / "manifest.json"
    stored = read_json(path)
    if (
        stored
        and stored["inputs"] == inputs
        and all(_matches(folder / name, entry) for name, entry in stored["files"].items())
    ):
        return stored
    path.unlink(missing_ok=True)
    files = {}
    for surface in SURFACES:
        columns = registry.production() if surface == "prod" else list(registry.features)
        whole = None
        for horizon in horizons.horizons:
            # features are the same for all horizons: converted to Arrow once; the targets each time
            served = columns if whole is None else []
            table = training_table(features, labels, regimes, horizon=horizon, columns=served)
            whole = pa.Table.from_pandas(table, preserve_index=False) if whole is None else _retargeted(whole, table)
            name = file_name(surface, horizon)
            target = write_table(folder / name, whole)
            files[name] = {
                "sha256": sha256_of(target),
                "rows": whole.num_rows,
                "columns": whole.num_columns,
                "query": f"features of surface {surface}, left join labels of {horizon}, weight and regime, by date",
                "targets": int(table["target_log_return"].notna().sum()),
                "first_date": f"{table['date'].iloc[0]:%Y-%m-%d}",
                "last_date": f"{table['date'].iloc[-1]:%Y-%m-%d}",
            }
    manifest: dict[str, object] = {
        "as_of": f"{as_of:%Y-%m-%d}",
        "snapshot_time": as_of_instant(as_of).isoformat(),  # everything in the files was known by then
        "inputs": inputs,
        "files": files,
    }
    write_json(path, manifest)
    return manifest


def _matches(path: Path, entry: dict[str, str]) -> bool:
    return path.is_file() and sha256_of(path) == entry["sha256"]


def _retargeted(table: pa.Table, keys: pd.DataFrame) -> pa.Table:
    """A training table with its key columns replaced by those of another horizon."""
    for name in keys.columns:
        place = table.schema.get_field_index(name)
        kind = table.schema.field(place)
        table = table.set_column(place, kind, pa.Array.from_pandas(keys[name], type=kind.type))
    return table


def check_exports(folder: Path) -> dict[str, object]:
    """Read the manifest, after checking every file against it.

    Raises:
        ManifestMismatch: names each file that is missing, altered or not listed.
    """
    manifest = read_json(folder / "manifest.json")
    if manifest is None:
        raise ManifestMismatch(f"{folder / 'manifest.json'} is missing; run `cbi daily`")
    problems = []
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.exists():
            problems.append(f"{name} is missing")
        elif sha256_of(path) != entry["sha256"]:
            problems.append(f"{name} is not the file that was exported")
    listed = {"manifest.json", *manifest["files"]}
    problems += [f"{path.name} is not listed" for path in sorted(folder.iterdir()) if path.name not in listed]
    if problems:
        raise ManifestMismatch(f"{folder}: {'; '.join(problems)}. Delete the folder and run `cbi daily`")
    return manifest


def planned_on(path: Path, digest: str) -> bytes:
    """Read a training file once and check its SHA-256, because a daily run may replace it meanwhile.

    Raises:
        ManifestMismatch: the file does not have this SHA-256, or no longer has it.
    """
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise ManifestMismatch(
            f"{path} is not the file that the training was planned on: the training files changed while it ran. "
            "The new file was not used; run `cbi train` again"
        )
    return content


def write_zone_files(run: RunContext, panel: pd.DataFrame, features: pd.DataFrame, labels: pd.DataFrame) -> str:
    """Write panel, features, labels and exports of a run. Files of the same snapshot are left as they are.

    Returns:
        the data snapshot: a hash of the panel's content, so it depends on what was known, not on when it was computed.
    """
    content = pd.util.hash_pandas_object(panel, index=False).to_numpy().tobytes().hex()
    snapshot = fingerprint(f"{run.as_of:%Y-%m-%d}", content)
    inputs = fingerprint(snapshot, run.code_version)
    work = run.work
    with exclusive(run.zones, "panel"):
        for folder, name, frame in (
            (work.panel, "panel", panel),
            (work.features, "features", features),
            (work.labels, "labels", labels),
        ):
            sweep_temporary(folder)
            path = folder / f"{name}.parquet"
            stored = Identity.of(path)
            if stored is None or stored.inputs != inputs:
                write_identified(path, frame, inputs=inputs)
        sweep_temporary(work.exports)
        write_exports(
            work.exports,
            features,
            labels,
            load_regime_calendar(run.settings.registry),
            registry=run.features,
            horizons=run.horizons,
            as_of=run.as_of,
            inputs=inputs,
        )
    return snapshot
