"""What a model store promises, the same on a folder and on Cloud Storage (the emulator): one suite, both stores."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.errors import ModelStoreError, SettingsError
from tasks.model_store.champions import CHAMPIONS, HISTORY
from tasks.model_store.folder import FolderStore
from tasks.model_store.open import open_store
from tasks.storage.hashes import sha256_of
from tests.cloud.conftest import settings_of
from tests.cloud.models import PROBLEM, Fitted, Place, contents, fit_baseline, metadata, names


@pytest.fixture(scope="module")
def fitted(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit_baseline(archive, tmp_path_factory.mktemp("fitted"))


@pytest.fixture(params=["folder", "gcs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    uri = "folder" if request.param == "folder" else request.getfixturevalue("models_uri")
    return Place(uri, tmp_path / "machines")


def test_a_version_comes_back_as_it_was_stored_on_any_machine(place: Place, fitted: Fitted) -> None:
    store = place.store()
    assert store.versions("no_change", "1w") == [] and store.of_horizon("1w") == []
    store.require_writable()
    added = store.add(fitted.files, metadata("a"), {"pinball_log_return": 0.0123, "nothing": None})
    for machine in "ab":
        [held] = place.store(machine).versions("no_change", "1w")
        assert held == added and held.name == "no_change/1w/v0001"
        assert held.metrics == {"pinball_log_return": 0.0123, "nothing": None}
        assert {name: held.metadata[name] for name in metadata("a")} == metadata("a")
        stored = contents(held.folder)
        assert {name: stored[name] for name in contents(fitted.files)} == contents(fitted.files)
        assert set(held.metadata["files"]) == {*contents(fitted.files), "metrics.json"}
        assert all(held.metadata["files"][name] == sha256_of(held.folder / name) for name in held.metadata["files"])
        np.testing.assert_array_equal(held.load(PROBLEM).predict_quantiles(fitted.features), fitted.forecast)
    assert store.notices() == ()


def test_the_files_of_a_version_outlast_a_power_cut(
    place: Place, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = [], os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    folder = place.store().add(fitted.files, metadata("a"), {}).folder
    assert {path.stat().st_ino for path in (folder, *folder.rglob("*"))} <= set(synced)
    assert synced[-1] == folder.parent.stat().st_ino, "its name, once it has it"


def test_one_version_an_identity_and_numbers_in_order(place: Place, fitted: Fitted) -> None:
    store = place.store()
    first = store.add(fitted.files, metadata("a"), {})
    assert place.store("b").add(fitted.files, metadata("a"), {"other": 1}) == first
    for identity in "bcdefghijk":
        store.add(fitted.files, metadata(identity), {})
    rival = store.add(fitted.files, metadata("a", family="ridge"), {})
    elsewhere = store.add(fitted.files, metadata("a", horizon="1m"), {})
    for held in (store, place.store("b")):
        assert names(held.versions("no_change", "1w")) == [f"no_change/1w/v{n:04d}" for n in range(1, 12)]
        assert names(held.of_horizon("1w"))[-1] == rival.name and len(held.of_horizon("1w")) == 12
        assert held.of_horizon("1m") == [elsewhere]
        assert held.find("no_change", "1w", "c").number == "v0003"  # type: ignore[union-attr]
        assert held.find("no_change", "1w", "z") is None


def test_the_champion_is_the_newest_trained_by_the_day_and_promoting_again_changes_nothing(
    place: Place, fitted: Fitted
) -> None:
    store = place.store()
    old = store.add(fitted.files, metadata("a", day="2020-01-02"), {})
    new = store.add(fitted.files, metadata("b", day="2021-01-04"), {})
    month = store.add(fitted.files, metadata("c", horizon="1m", day="2020-01-02"), {})
    assert store.champion("1w", pd.Timestamp("2022-01-03")) is None
    store.promote(new, month, run="r")
    store.promote(old, run="r")
    pointers = place.pointer(CHAMPIONS), place.pointer(HISTORY)
    for version in (new, old, month):
        place.store("b").promote(version, run="r")
    assert (place.pointer(CHAMPIONS), place.pointer(HISTORY)) == pointers
    champions = json.loads(pointers[0])
    assert {horizon: entry["version"] for horizon, entry in champions.items()} == {"1w": "v0002", "1m": "v0001"}
    assert [line["version"] for line in store.history()] == ["v0002", "v0001", "v0001"]
    for held in (store, place.store("b")):
        found = {day: held.champion("1w", pd.Timestamp(day)) for day in ("2019-06-03", "2020-06-01", "2022-01-03")}
        assert found == {"2019-06-03": None, "2020-06-01": old, "2022-01-03": new}


def test_of_two_champions_of_one_day_the_later_promotion_serves(place: Place, fitted: Fitted) -> None:
    store = place.store()
    first, second = (store.add(fitted.files, metadata(identity), {}) for identity in "ab")
    for version in (first, second, first):
        store.promote(version, run="r")
        assert place.store("b").champion("1w", pd.Timestamp("2020-01-02")) == version
        assert json.loads(place.pointer(CHAMPIONS))["1w"]["version"] == version.number
    assert len(store.history()) == 3


def test_an_altered_file_is_never_served(place: Place, fitted: Fitted) -> None:
    version = place.store().add(fitted.files, metadata("a"), {})
    (version.folder / "model.json").write_text('{"tampered": 1}')
    if not place.in_bucket:
        with pytest.raises(ModelStoreError, match=r"model\.json is not the file that was stored"):
            version.load(PROBLEM)
    else:  # the copy on this machine is fetched again
        np.testing.assert_array_equal(version.load(PROBLEM).predict_quantiles(fitted.features), fitted.forecast)


@pytest.mark.parametrize("name", ["../../planted", "/planted", "members/../../planted", "..\\planted", ""])
def test_a_file_name_that_leads_out_of_a_version_is_refused(place: Place, fitted: Fitted, name: str) -> None:
    """Whoever may write to the store says which files a version has; not where on this machine they are written."""
    version = place.store().add(fitted.files, metadata("a"), {})
    path = str(place.home / "planted") if name == "/planted" else name
    if not place.in_bucket and name:  # there and of the hash named: only where it lies is against it
        (version.folder / path).write_bytes(b"{}")
    place.forge(version, {path: hashlib.sha256(b"{}").hexdigest(), **version.metadata["files"]})
    [forged] = place.store("b").versions("no_change", "1w")
    before = sorted(place.home.rglob("*"))
    told = rf"no_change/1w/v0001/metadata.json names a file {re.escape(repr(path))}, .* outside .* check who may write"
    with pytest.raises(ModelStoreError, match=told):
        forged.load(PROBLEM)
    assert sorted(place.home.rglob("*")) == before


def test_a_hash_that_leads_out_of_the_cache_is_refused(models_uri: str, fitted: Fitted, tmp_path: Path) -> None:
    place = Place(models_uri, tmp_path / "machines")
    version = place.store().add(fitted.files, metadata("a"), {})
    place.forge(version, {**version.metadata["files"], "metrics.json": "../../made/planted"})
    with pytest.raises(
        ModelStoreError, match=r"v0001/metrics.json: '../../made/planted' is not a SHA-256.* who may write"
    ):
        place.store("b").versions("no_change", "1w")
    assert not list(place.home.rglob("made"))


def test_a_champion_that_is_gone_is_named(place: Place, fitted: Fitted) -> None:
    place.store().add(fitted.files, metadata("a"), {})
    other = Place(f"{place.uri}-other" if place.in_bucket else place.uri, place.home / "other").store()
    for identity in "bc":
        ghost = other.add(fitted.files, metadata(identity), {})
    place.store().promote(ghost, run="r")
    with pytest.raises(ModelStoreError, match=r"no_change/1w/v0002 was promoted but is gone"):
        place.store().champion("1w", pd.Timestamp("2022-01-03"))


def test_a_version_that_is_not_the_one_that_was_promoted_is_no_champion(place: Place, fitted: Fitted) -> None:
    """With `trained_as_of: 2030` it was served, and so was a folder with fresh hashes of other files."""
    store = place.store()
    store.promote(store.add(fitted.files, metadata("a"), {}), run="r")
    version = store.champion("1w", pd.Timestamp("2022-01-03"))
    assert version is not None
    place.forge(version, {**version.metadata["files"], "extra.json": "0" * 64})
    with pytest.raises(ModelStoreError, match="is not the version that was promoted: its metadata is"):
        place.store("b").champion("1w", pd.Timestamp("2022-01-03"))


def test_folders_that_were_exchanged_serve_nobody(fitted: Fitted, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "models")
    for horizon in ("1w", "12m"):
        store.promote(store.add(fitted.files, metadata("a") | {"horizon": horizon}, {}), run="r")
    week, year = (tmp_path / "models" / "no_change" / horizon for horizon in ("1w", "12m"))
    week.rename(tmp_path / "between")
    year.rename(week)
    (tmp_path / "between").rename(year)
    for horizon in ("1w", "12m"):
        assert store.versions("no_change", horizon) == []
        with pytest.raises(ModelStoreError, match="or another version's folder is there"):
            store.champion(horizon, pd.Timestamp("2022-01-03"))


@pytest.mark.parametrize("line", ["null", "[]", "{}", '{"horizon": "1w"}', '"text"', "1"])
def test_a_history_line_that_is_none_is_named(fitted: Fitted, tmp_path: Path, line: str) -> None:
    store = FolderStore(tmp_path / "models")
    store.promote(store.add(fitted.files, metadata("a"), {}), run="r")
    history = tmp_path / "models" / "history.jsonl"
    history.write_text(history.read_text() + line + "\n")
    with pytest.raises(ModelStoreError, match=r"history.jsonl, line 2 is not readable; restore"):
        store.champion("1w", pd.Timestamp("2022-01-03"))


def test_the_same_identity_again_never_gives_back_what_was_altered(fitted: Fitted, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "models")
    first = store.add(fitted.files, metadata("a"), {})
    assert store.add(fitted.files, metadata("a"), {}).number == first.number
    next(path for path in first.folder.iterdir() if path.name != "metadata.json").write_bytes(b"{}")
    assert store.add(fitted.files, metadata("a"), {}).number == "v0002"


def test_the_last_audit_is_kept_for_every_machine(place: Place) -> None:
    assert place.store().audit() is None
    for passed in (False, True, True):
        place.store().keep_audit({"passed": passed, "findings": ["a"]})
    assert place.store("b").audit() == {"passed": True, "findings": ["a"]}


@pytest.mark.parametrize("uri", ["s3://bucket/x", "gs://", "gs://b", "gs://UPPER/x", "gs://bucket/a*b", "Folder"])
def test_a_place_that_is_none_is_refused_with_the_setting(uri: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CBI_MODELS=folder, or gs://BUCKET/PREFIX"):
        open_store(settings_of(tmp_path, uri))
