"""Versioned models in a folder: ``<family>/<horizon>/v0001/``, with ``champions.json`` and ``history.jsonl``.

A version is complete or absent: it is filled under a temporary name and renamed. Its identity is what it was made
from, so that a rerun finds it instead of making another.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks.errors import ModelStoreError
from tasks.models.forecaster import Problem, Served, load_model
from tasks.zones import TEMPORARY, read_json, sha256_of, write_bytes, write_json


@dataclass(frozen=True)
class Version:
    """One model version of the store."""

    folder: Path
    metadata: Mapping[str, object]
    metrics: Mapping[str, object]

    @property
    def family(self) -> str:
        """Its model family."""
        return str(self.metadata["family"])

    @property
    def horizon(self) -> str:
        """Its horizon."""
        return str(self.metadata["horizon"])

    @property
    def name(self) -> str:
        """How forecasts name it: family/horizon/version."""
        return f"{self.family}/{self.horizon}/{self.folder.name}"

    @property
    def trained_as_of(self) -> pd.Timestamp:
        """Nothing known later than 18:00 Chicago of this date went into it."""
        return pd.Timestamp(str(self.metadata["trained_as_of"]))

    def load(self, problem: Problem) -> Served:
        """The fitted model, its files checked against the hashes taken when it was stored.

        Raises:
            ModelStoreError: a file is missing or is not the one stored.
        """
        for name, digest in dict(self.metadata["files"]).items():  # type: ignore[call-overload]
            path = self.folder / name
            if not path.exists() or sha256_of(path) != digest:
                raise ModelStoreError(
                    f"{path} is not the file that was stored; delete {self.folder} and run `python -m flows.training`"
                )
        return load_model(self.family, self.folder, problem, dict(self.metadata["horizons"]))  # type: ignore[call-overload]


class ModelStore:
    """A folder of versions. One writer at a time: callers hold the lock ``models``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self, family: str, horizon: str) -> list[Version]:
        """All complete versions, oldest first."""
        found = []
        for path in sorted((self.folder / family / horizon).glob("v[0-9]*")):
            metadata, metrics = read_json(path / "metadata.json"), read_json(path / "metrics.json")
            if metadata is not None and metrics is not None:
                found.append(Version(path, metadata, metrics))
        return found

    def of_horizon(self, horizon: str) -> list[Version]:
        """All complete versions of every family at a horizon."""
        families = sorted(path.parent.name for path in self.folder.glob(f"*/{horizon}") if path.is_dir())
        return [version for family in families for version in self.versions(family, horizon)]

    def find(self, family: str, horizon: str, identity: str) -> Version | None:
        """The version made from exactly these inputs, if there is one."""
        return next((v for v in self.versions(family, horizon) if v.metadata["identity"] == identity), None)

    def add(self, files: Path, metadata: dict[str, object], metrics: dict[str, object]) -> Version:
        """Store the model files in ``files`` as the next version; the same identity again gives the version held."""
        family, horizon = str(metadata["family"]), str(metadata["horizon"])
        held = self.find(family, horizon, str(metadata["identity"]))
        if held:
            return held
        parent = self.folder / family / horizon
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f"{TEMPORARY}*"):
            shutil.rmtree(left)
        numbers = [int(path.name[1:]) for path in parent.glob("v[0-9]*")]
        target = parent / f"v{max(numbers, default=0) + 1:04d}"
        temporary = parent / f"{TEMPORARY}{target.name}"
        shutil.copytree(files, temporary)
        held_files = sorted(path for path in temporary.rglob("*") if path.is_file())
        hashes = {path.relative_to(temporary).as_posix(): sha256_of(path) for path in held_files}
        write_json(temporary / "metrics.json", metrics)
        write_json(temporary / "metadata.json", {**metadata, "files": hashes})
        temporary.rename(target)
        return next(v for v in self.versions(family, horizon) if v.folder == target)

    def promote(self, version: Version, *, run: str) -> None:
        """Make a version champion of its horizon, and note it in the history. Repeating it changes nothing."""
        entry = {
            "horizon": version.horizon,
            "family": version.family,
            "version": version.folder.name,
            "trained_as_of": f"{version.trained_as_of:%Y-%m-%d}",
            "run": run,
        }
        history = self.history()
        contest = [line for line in history if self._same_contest(line, entry)]
        if not contest or contest[-1] != entry:
            lines = "".join(json.dumps(line, sort_keys=True) + "\n" for line in [*history, entry])
            write_bytes(self.folder / "history.jsonl", lines.encode())
        champions = read_json(self.folder / "champions.json") or {}
        held = champions.get(version.horizon)
        if not held or (held != entry and held["trained_as_of"] <= entry["trained_as_of"]):
            write_json(self.folder / "champions.json", {**champions, version.horizon: entry})

    @staticmethod
    def _same_contest(left: dict[str, str], right: dict[str, str]) -> bool:
        return all(left[key] == right[key] for key in ("horizon", "trained_as_of"))

    def history(self) -> list[dict[str, str]]:
        """Every promotion, oldest first."""
        path = self.folder / "history.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def champion(self, horizon: str, as_of: pd.Timestamp) -> Version | None:
        """The newest champion that was trained by ``as_of``: a model that has seen later data must not forecast it."""
        newest_first = sorted(reversed(self.history()), key=lambda line: line["trained_as_of"], reverse=True)
        for entry in newest_first:
            if entry["horizon"] != horizon or pd.Timestamp(entry["trained_as_of"]) > as_of:
                continue
            path = self.folder / entry["family"] / horizon / entry["version"]
            found = next((v for v in self.versions(entry["family"], horizon) if v.folder == path), None)
            if found is None:
                raise ModelStoreError(f"{path} was promoted but is gone; run `python -m flows.training`")
            return found
        return None
