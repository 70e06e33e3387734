"""Ten training files and their manifest, each as written or named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tasks.errors import ManifestMismatch
from tasks.exports import check_exports, training_table, write_exports
from tasks.registry import load_regime_calendar
from tasks.settings import PROJECT
from tasks.storage.files import write_table
from tasks.storage.hashes import sha256_of

HORIZONS = ("1w", "1m", "3m", "6m", "12m")
NAMES = {f"zl_training_{surface}_allhistory_{h}.parquet" for surface in ("prod", "full") for h in HORIZONS}
EXTRA = ["target_log_return", "target_price", "target_date", "training_weight", "regime"]


@pytest.fixture(scope="module")
def export(features, labels, registry):
    def run(folder: Path, inputs: str = "1") -> dict:
        return write_exports(
            folder,
            features,
            labels,
            registry.regimes,
            registry=registry.features,
            horizons=registry.horizons,
            as_of=pd.Timestamp("2023-12-29"),
            inputs=inputs,
        )

    return run


@pytest.fixture(scope="module")
def exported(export, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    export(folder)
    return folder


@pytest.fixture
def copy(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "exports"))


def test_there_are_ten_files_and_the_manifest_and_nothing_else(exported):
    assert {path.name for path in exported.iterdir()} == NAMES | {"manifest.json"}
    manifest = check_exports(exported)
    assert set(manifest["files"]) == NAMES
    assert manifest["as_of"] == "2023-12-29"
    assert manifest["snapshot_time"] == "2023-12-30T00:00:00+00:00", "18:00 Chicago"
    assert {entry["query"].split(",")[0] for entry in manifest["files"].values()} == {
        "features of surface prod",
        "features of surface full",
    }


@pytest.mark.parametrize("horizon", HORIZONS)
def test_the_full_file_has_every_feature_and_prod_none_that_is_revised(exported, registry, features, labels, horizon):
    entries = registry.features.features
    full = pd.read_parquet(exported / f"zl_training_full_allhistory_{horizon}.parquet")
    prod = pd.read_parquet(exported / f"zl_training_prod_allhistory_{horizon}.parquet")
    assert list(full.columns) == ["date", *entries, *EXTRA]
    assert list(prod.columns) == ["date", *registry.features.production(), *EXTRA]
    assert not [name for name in prod if name in entries and entries[name].point_in_time == "revised"]
    pd.testing.assert_frame_equal(full[features.columns], features, check_exact=True)
    wanted = labels[labels["horizon"] == horizon].reset_index(drop=True)["target_log_return"]
    pd.testing.assert_series_equal(full["target_log_return"], wanted, check_exact=True)


def test_regime_and_weight_are_those_of_the_dated_calendar(exported, registry):
    table = pd.read_parquet(exported / "zl_training_prod_allhistory_1w.parquet").set_index("date")
    for entry in registry.regimes.itertuples():
        inside = table.loc[entry.start : entry.end]
        assert (inside["regime"] == entry.regime).all() and (inside["training_weight"] == entry.training_weight).all()
    assert table["regime"].notna().mean() > 0.9


def test_the_same_inputs_write_nothing_and_others_write_the_same_bytes(export, copy):
    before = {path.name: (path.stat().st_mtime_ns, sha256_of(path)) for path in copy.iterdir()}
    export(copy)
    assert {path.name: (path.stat().st_mtime_ns, sha256_of(path)) for path in copy.iterdir()} == before
    export(copy, inputs="2")
    assert {name: sha256_of(copy / name) for name in NAMES} == {name: before[name][1] for name in NAMES}
    tamper(copy, "altered")
    export(copy, inputs="2")
    assert {name: sha256_of(copy / name) for name in NAMES} == {name: before[name][1] for name in NAMES}, "not healed"


VICTIM = "zl_training_prod_allhistory_3m.parquet"


def tamper(folder: Path, how: str) -> str:
    if how == "altered":
        content = bytearray((folder / VICTIM).read_bytes())
        content[1000] ^= 1
        (folder / VICTIM).write_bytes(content)
        return VICTIM
    if how == "missing":
        (folder / VICTIM).unlink()
        return VICTIM
    extra = {"extra": "zl_training_prod_allhistory_2w.parquet", "extra csv": "notes.csv"}[how]
    (folder / extra).write_bytes(b"x")
    return extra


@pytest.mark.parametrize("how", ["altered", "missing", "extra", "extra csv"])
def test_an_altered_missing_or_extra_file_is_named(copy, how):
    name = tamper(copy, how)
    with pytest.raises(ManifestMismatch, match=name):
        check_exports(copy)


def test_an_export_without_a_manifest_is_none(copy):
    (copy / "manifest.json").unlink()
    with pytest.raises(ManifestMismatch, match="manifest"):
        check_exports(copy)
    (copy / "manifest.json").write_text('{"files": {')
    with pytest.raises(ManifestMismatch, match="manifest"):
        check_exports(copy)


def test_a_kill_between_two_files_leaves_no_mixture_behind_the_earlier_manifest(export, copy, monkeypatch):
    written: list[Path] = []

    def killed(path: Path, table: pa.Table) -> Path:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(write_table(path, table))
        return path

    monkeypatch.setattr("tasks.exports.write_table", killed)
    with pytest.raises(KeyboardInterrupt):
        export(copy, inputs="2")
    monkeypatch.undo()
    half = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    with pytest.raises(ManifestMismatch, match="manifest"):
        check_exports(copy)
    export(copy)
    check_exports(copy)
    assert all((copy / name).stat().st_mtime_ns > half[name] for name in NAMES), "three were of other inputs"


def test_the_last_regime_goes_on_until_the_next_is_written_down():
    """The calendar ends on 2029-01-20; a session after it still has a weight, and training is not refused for ever."""
    days = pd.to_datetime(["2024-06-03", "2029-01-19", "2029-01-22", "2031-06-02"]).astype("datetime64[us]")
    features = pd.DataFrame({"date": days, "a": 1.0})
    targets = dict.fromkeys(["target_log_return", "target_price"], 1.0)
    labels = pd.DataFrame({"date": days, "horizon": "1w", "target_date": days} | targets)
    regimes = load_regime_calendar(PROJECT / "registry")
    table = training_table(features, labels, regimes, horizon="1w", columns=["a"])
    assert list(table["regime"]) == ["trump_anticipation", *["trump_second_term"] * 3]
    assert table["training_weight"].notna().all()
