"""A small real model for the store: the baseline, fitted to ZL's recorded closes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.model_store.folder import FolderStore
from tasks.model_store.gcs import GcsStore
from tasks.model_store.open import open_store
from tasks.model_store.protocol import ModelStore, Version
from tasks.models.catalogue import SCALE
from tasks.models.forecaster import Problem, forecaster
from tasks.storage.bucket import Bucket
from tasks.storage.files import json_bytes, write_json
from tasks.storage.zones import Zones
from tests.cloud.conftest import settings_of

LEVELS = (0.05, 0.5, 0.95)
PROBLEM = Problem("1w", 5, LEVELS)


@dataclass(frozen=True)
class Fitted:
    files: Path
    features: pd.DataFrame
    forecast: np.ndarray


def fit_baseline(archive: Path, files: Path) -> Fitted:
    """The model's file, one in a subfolder as the ensemble has them, and what the model says of the last row."""
    bars = pd.read_csv(next((archive / "yahoo" / "ZL=F").glob("*.csv")))
    close = pd.Series(pd.to_numeric(bars.filter(regex="(?i)^close$").iloc[:, 0], errors="coerce")).dropna()[-800:]
    moves = np.log(close).diff()
    features = pd.DataFrame({SCALE: 100 * moves.ewm(alpha=0.06).std() * 252**0.5})
    target = np.log(close.shift(-5) / close)
    known = features[SCALE].notna() & target.notna()
    model = forecaster("no_change")(PROBLEM)  # type: ignore[call-arg]
    model.fit(features[known].reset_index(drop=True), target[known].reset_index(drop=True))
    model.save(files)
    write_json(files / "members" / "har" / "calibration.json", {"levels": list(LEVELS)})
    return Fitted(files, features[-1:], model.predict_quantiles(features[-1:]))


def metadata(
    identity: str, *, family: str = "no_change", horizon: str = "1w", day: str = "2020-01-02"
) -> dict[str, Any]:
    return {
        "family": family,
        "horizon": horizon,
        "horizons": {"1w": 5, "1m": 21},
        "identity": identity,
        "run": "r",
        "trained_as_of": day,
        "columns": [SCALE],
    }


@dataclass(frozen=True)
class Place:
    """A store as machines see it: each call of ``store`` is another process, on the machine named."""

    uri: str
    home: Path

    def store(self, machine: str = "a") -> ModelStore:
        return open_store(settings_of(self.home / (machine if self.in_bucket else "only"), self.uri))

    @property
    def in_bucket(self) -> bool:
        return self.uri != "folder"

    def impatient(self, machine: str = "a", *, patience_s: float = 0.6) -> GcsStore:
        """A store in the bucket that soon gives up."""
        settings = settings_of(self.home / machine, self.uri)
        return GcsStore(Bucket(self.uri, settings, patience_s=patience_s), Zones(settings.home))

    def pointer(self, name: str) -> bytes:
        """champions.json or history.jsonl as it lies there."""
        if self.in_bucket:
            return Bucket(self.uri, settings_of(self.home)).read(name).content
        store = self.store()
        assert isinstance(store, FolderStore)
        return (store.folder / name).read_bytes()

    def forge(self, version: Version, files: Mapping[str, str]) -> None:
        """Let a version's metadata name other files, as a stranger who may write to the store would."""
        told = json_bytes({**version.metadata, "files": files})
        store = self.store()
        if isinstance(store, FolderStore):
            (store.folder / version.name / "metadata.json").write_bytes(told)
            return
        from google.cloud.storage import Client

        bucket, prefix = self.uri.removeprefix("gs://").split("/", 1)
        blob = Client(project=None).bucket(bucket).blob(f"{prefix}/{version.name}/metadata.json")
        blob.metadata = {"sha256": hashlib.sha256(told).hexdigest()}
        blob.upload_from_string(told)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(versions: list[Version]) -> list[str]:
    return [version.name for version in versions]


CHILD = """
import json, sys
from pathlib import Path
from tests.cloud.models import Place, metadata
uri, home, files, work = sys.argv[1:]
place, told = Place(uri, Path(home)), json.loads(work)
store = place.store(told["machine"])
for one in told["work"]:
    version = store.add(Path(files), metadata(**one["metadata"]), {"loss": 1.0})
    print(version.name, flush=True)
    for _ in range(one.get("promoted", 0)):
        store.promote(version, run=told["machine"])
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(["."])}


Watch = Callable[[str], None]
