"""The protocol of a model store: immutable versions, champions, and the last leakage audit.

A version is complete or absent. Its identity is a hash of its inputs, so that a rerun finds it and does not store
another. Callers import only this module and tasks/model_store/open.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from tasks.errors import ModelStoreError
from tasks.model_store.champions import Decide, Entry
from tasks.models.forecaster import FittedModel, Problem
from tasks.models.loading import load_model
from tasks.storage.files import stays_inside
from tasks.storage.hashes import sha256_of


@dataclass(frozen=True)
class Version:
    """One model version of a store. ``number`` is its name within family and horizon: v0001."""

    number: str
    metadata: Mapping[str, Any]
    metrics: Mapping[str, Any]
    fetch: Callable[[], Path] = field(compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """Its files on this machine, fetched first if necessary. Read only.

        Raises:
            ModelStoreError: a file is gone or altered. CloudUnreachable: they are not here, and the store does not
            answer.
        """
        return self.fetch()

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
        """Its name in forecasts: family/horizon/version."""
        return f"{self.family}/{self.horizon}/{self.number}"

    @property
    def trained_as_of(self) -> pd.Timestamp:
        """It was trained only on data known by 18:00 Chicago of this date."""
        return pd.Timestamp(str(self.metadata["trained_as_of"]))

    def load(self, problem: Problem) -> FittedModel:
        """The fitted model from checked files, in this process. (The daily forecast loads models in another process.)

        Raises:
            ModelStoreError: a file is missing or altered.
        """
        return load_model(self.family, self.checked_folder(), problem, dict(self.metadata["horizons"]))

    def checked_folder(self) -> Path:
        """Its files on this machine, checked against the hashes taken when it was stored.

        Raises:
            ModelStoreError: a file is missing or altered.
        """
        folder = self.folder
        if altered := altered_file(folder, self.metadata["files"]):
            raise ModelStoreError(f"{altered} is not the file that was stored; delete {folder} and run `cbi train`")
        return folder


def altered_file(folder: Path, files: Mapping[str, str]) -> Path | None:
    """The first file that is missing or does not have the SHA-256 that ``files`` name for it.

    Raises:
        ModelStoreError: a name leads out of the folder.
    """
    found = next(_altered(folder, files), None)
    return None if found is None else folder / found


def altered_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """All such files, by name.

    Raises:
        ModelStoreError: a name leads out of the folder.
    """
    return list(_altered(folder, files))


def _altered(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    require_inside(files, str(folder))
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != digest:  # reading a pipe or device would never end
            yield name


def require_inside(names: Iterable[str], version: str) -> None:
    """Check that no file name leads out of the version's folder: anyone with write access to the store chooses names.

    Raises:
        ModelStoreError: a name does.
    """
    for name in names:
        if not stays_inside(name):
            raise ModelStoreError(
                f"{version}/metadata.json names a file {name!r}, which would be outside the version's folder; "
                "nothing was read or written there. Restore that object or file from its earlier generation or a "
                "backup, and check who may write to the store"
            )


class ModelStore(Protocol):
    """Versions, champions and the last audit. Reads may come from a cache on this machine, writes never go there."""

    @property
    def place(self) -> str:
        """Its location, for messages: a folder or gs://…"""

    def require_writable(self) -> None:
        """Raise if nothing could be stored now. Called before hours of training.

        Raises:
            CloudError: with what to do.
        """

    def versions(self, family: str, horizon: str) -> list[Version]:
        """All complete versions, oldest first."""

    def of_horizon(self, horizon: str) -> list[Version]:
        """All complete versions of every family at a horizon."""

    def find(self, family: str, horizon: str, identity: str) -> Version | None:
        """The version of exactly these inputs, if there is one."""

    def add(self, files: Path, metadata: Mapping[str, Any], metrics: Mapping[str, Any]) -> Version:
        """Store the model files in ``files`` as the next version; for a known identity, return the stored version.

        Raises:
            CloudError: with what to do; nothing was stored in part.
        """

    def promote(self, *versions: Version, run: str) -> None:
        """Add each version to the history as a training's champion. A repetition changes nothing."""

    def append(self, decide: Decide) -> list[Entry]:
        """Add what ``decide`` returns to the history, and return the history before.

        Invariants: the history only grows, and all entries of a call are added or none. ``decide`` sees the history to
        which they are added: if another process changes it meanwhile, it is called again.
        """

    def history(self) -> list[Entry]:
        """Every promotion, oldest first."""

    def champion(self, horizon: str, as_of: pd.Timestamp) -> Version | None:
        """The newest champion trained by ``as_of``: a model trained on later data must not forecast that day.

        Raises:
            ModelStoreError: the promoted version is gone.
        """

    def audit(self) -> Mapping[str, Any] | None:
        """The last leakage audit, or None if there is none or it is unreadable."""

    def shadows(self) -> list[dict[str, Any]]:
        """The challengers that forecast unserved (tasks/model_store/shadows.py), in the order in which they were put.

        Raises:
            ModelStoreError: the file is unreadable.
        """

    def change_shadows(self, decide: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Replace the shadows by what ``decide`` returns for them, as ``append`` does the history."""

    def sizes(self, version: Version) -> dict[str, int]:
        """Bytes of each file of a version, where it is stored."""

    def altered(self, version: Version) -> list[str]:
        """The files of a version that are missing, or not those that were stored. Reads every byte where it is stored.

        Raises:
            ModelStoreError: a file name leads out of the version's folder.
        """

    def delete(self, version: Version) -> None:
        """Delete a version. It is complete or absent at any time; deleting it again changes nothing."""

    def keep_audit(self, audit: Mapping[str, Any]) -> str:
        """Store an audit in place of the one before; returns its location."""

    def notices(self) -> tuple[str, ...]:
        """Notices on the answers so far: that they are from a cached copy, and how old it is."""
