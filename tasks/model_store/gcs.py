"""Models in Cloud Storage: PREFIX/``<family>/<horizon>/v0001/…``, ``champions.json`` and ``history.jsonl``.

Objects of a version are created once (if_generation_match=0), ``metadata.json`` last: it is complete or absent,
and of two writers of a number one takes the next. Champions are changed only if unchanged since they were read.

Files that were read are cached under CBI_HOME/models-cache, by hash. A run without network continues with the
last known champions, and reports it. Writes never fall back to the cache.
"""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from tasks.errors import CloudUnreachable, ModelStoreError
from tasks.model_store.champions import (
    AUDIT,
    CHAMPIONS,
    HISTORY,
    SHADOWS,
    Decide,
    Entry,
    champion_by,
    current_champions,
    entry_of,
    of_lines,
    to_lines,
    verified,
    with_promotions,
)
from tasks.model_store.folder import describe
from tasks.model_store.protocol import Version, altered_file, require_inside
from tasks.model_store.shadows import of_json
from tasks.storage.bucket import TRIES, Bucket
from tasks.storage.files import TEMPORARY, json_bytes, move_folder_into, read_json, stays_inside, write_json
from tasks.storage.hashes import fingerprint, sha256_of
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones

logger = logging.getLogger(__name__)

METADATA, METRICS = "metadata.json", "metrics.json"
Answer = TypeVar("Answer")
AT_ONCE = 8  # parallel small downloads


class GcsStore:
    """Versions in a bucket, with a cache on this machine. Many writers may write at a time, on any machine."""

    def __init__(self, bucket: Bucket, zones: Zones) -> None:
        self._bucket, self._zones = bucket, zones
        self._cache = zones.models_cache
        # the last answers are per store; files are not: their names are their hashes
        self._known_path = self._cache / f"known-{fingerprint(bucket.uri)}.json"
        self._outage: CloudUnreachable | None = None

    @property
    def place(self) -> str:
        """gs://BUCKET/PREFIX."""
        return self._bucket.uri

    def require_writable(self) -> None:
        """Check that the bucket answers, before hours of training."""
        self._bucket.check()

    def versions(self, family: str, horizon: str) -> list[Version]:
        """All complete versions, oldest first."""
        return self._listed(family, horizon)

    def of_horizon(self, horizon: str) -> list[Version]:
        """All complete versions of every family at a horizon."""
        return self._listed("*", horizon)

    def find(self, family: str, horizon: str, identity: str) -> Version | None:
        """The version of exactly these inputs, if there is one."""
        return next((v for v in self.versions(family, horizon) if v.metadata["identity"] == identity), None)

    def add(self, files: Path, metadata: Mapping[str, Any], metrics: Mapping[str, Any]) -> Version:
        """Store the model files in ``files`` as the next version; for a known identity, return the stored version.

                A number that another writer has begun, or left incomplete when it was killed, is skipped. What this
                writer left
        incomplete is completed: the same objects are found in their place.
        """
        family, horizon = str(metadata["family"]), str(metadata["horizon"])
        first = 0
        with tempfile.TemporaryDirectory(prefix="cbi-version-") as temporary:
            filled = Path(temporary) / "version"
            shutil.copytree(files, filled)
            describe(filled, metadata, metrics)
            names = sorted(path.relative_to(filled).as_posix() for path in filled.rglob("*") if path.is_file())
            names = [*(name for name in names if name != METADATA), METADATA]
            for _ in range(TRIES):
                self._bucket.check()  # during an outage the cached list must not be trusted
                self._outage = None
                stored = self.versions(family, horizon)
                if found := next((v for v in stored if v.metadata["identity"] == metadata["identity"]), None):
                    return found
                first = max([first, *(int(version.number[1:]) for version in stored)]) + 1
                place = f"{family}/{horizon}/v{first:04d}"
                if all(self._bucket.create(f"{place}/{name}", filled / name) for name in names):
                    return self._described(f"{place}/{METADATA}", sha256_of(filled / METADATA))
        raise ModelStoreError(
            f"{self.place}/{family}/{horizon}: {TRIES} consecutive numbers are taken by others; run again"
        )

    def promote(self, *versions: Version, run: str) -> None:
        """Add each version to the history as a training's champion. A repetition changes nothing."""
        self.append(lambda history: [entry_of(version, run=run) for version in versions])

    def append(self, decide: Decide) -> list[Entry]:
        """Add what ``decide`` returns to the history, and return the history before.

        Invariants: no promotion of another is lost. Champions are read before the history and changed after it, each
        only if unchanged since it was read: the second writer reads again and decides by the same rule.
        """
        sent = b""
        before: list[Entry] = []
        for waited in range(TRIES):
            champions, noted = self._bucket.read(CHAMPIONS), self._bucket.read(HISTORY)
            history = of_lines(noted.content, f"{self.place}/{HISTORY}")
            # our entry may be in the history although another followed, or although the answer was lost
            is_noted = bool(sent) and noted.content.startswith(sent)
            before = before if is_noted else history
            after = history if is_noted else with_promotions(history, decide(history))
            sent = sent if is_noted else to_lines(after)
            table = json_bytes(current_champions(after))
            if (after == history or self._bucket.switch(HISTORY, to_lines(after), replacing=noted)) and (
                table == champions.content or self._bucket.switch(CHAMPIONS, table, replacing=champions)
            ):
                self._remember(HISTORY, to_lines(after).decode())
                return before
            time.sleep(random.uniform(0, 0.1 * 2 ** min(waited, 5)))  # noqa: S311 - not for security
        raise ModelStoreError(f"{self.place}: the champions are being changed by others; run `cbi train`")

    def history(self) -> list[Entry]:
        """Every promotion, oldest first."""
        return of_lines(self._pointer(HISTORY), f"{self.place}/{HISTORY}")

    def champion(self, horizon: str, as_of: pd.Timestamp) -> Version | None:
        """The newest champion trained by ``as_of``: a model trained on later data must not forecast that day."""
        entry = champion_by(self.history(), horizon, as_of)
        if entry is None:
            return None
        found = next((v for v in self.versions(entry["family"], horizon) if v.number == entry["version"]), None)
        if found is None:
            raise ModelStoreError(
                f"{self.place}/{entry['family']}/{horizon}/{entry['version']} was promoted but is gone; run `cbi train`"
            )
        return verified(found, entry, f"{self.place}/{entry['family']}/{horizon}/{entry['version']}")

    def audit(self) -> Mapping[str, Any] | None:
        """The last leakage audit, or None if there is none or it is unreadable."""
        import json

        try:
            stored = json.loads(self._pointer(AUDIT) or "null")
        except json.JSONDecodeError:
            return None
        return stored if isinstance(stored, dict) else None

    def keep_audit(self, audit: Mapping[str, Any]) -> str:
        """Store an audit in place of the one before; returns its location."""
        content = json_bytes(dict(audit))
        for _ in range(TRIES):
            pointer = self._bucket.read(AUDIT)
            if pointer.content == content or self._bucket.switch(AUDIT, content, replacing=pointer):
                return f"{self.place}/{AUDIT}"
        raise ModelStoreError(f"{self.place}/{AUDIT} is being written by others; run again")

    def shadows(self) -> list[dict[str, Any]]:
        """The challengers that forecast unserved, in the order in which they were put."""
        return of_json(self._pointer(SHADOWS).encode(), f"{self.place}/{SHADOWS}")

    def change_shadows(self, decide: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Replace the shadows by what ``decide`` returns for them; of two writers the second decides again."""
        for _ in range(TRIES):
            pointer = self._bucket.read(SHADOWS)
            before = of_json(pointer.content, f"{self.place}/{SHADOWS}")
            after = decide(before)
            if after == before or self._bucket.switch(SHADOWS, json_bytes(after), replacing=pointer):
                self._remember(SHADOWS, json_bytes(after).decode())
                return
        raise ModelStoreError(f"{self.place}/{SHADOWS} is being written by others; run again")

    def sizes(self, version: Version) -> dict[str, int]:
        """Bytes of each object of a version, in the bucket."""
        return {name.removeprefix(f"{version.name}/"): size for name, size in self._bucket.sizes(version.name).items()}

    def altered(self, version: Version) -> list[str]:
        """The objects of a version that are missing, or not those that were stored. It downloads each of them."""
        files = dict(version.metadata["files"])
        require_inside(files, f"{self.place}/{version.name}")
        found = []
        with tempfile.TemporaryDirectory(prefix="cbi-verify-") as temporary:
            for number, (name, digest) in enumerate(files.items()):
                try:
                    self._bucket.download(f"{version.name}/{name}", digest, Path(temporary) / str(number))
                except ModelStoreError:
                    found.append(name)
        return found

    def delete(self, version: Version) -> None:
        """Delete a version: ``metadata.json`` first, without which it does not exist for readers."""
        names = [f"{version.name}/{name}" for name in (METADATA, *version.metadata["files"])]
        require_inside(version.metadata["files"], f"{self.place}/{version.name}")
        self._bucket.delete(names)

    def notices(self) -> tuple[str, ...]:
        """A notice if answers are from this machine's cache: why, how old, which champions."""
        if self._outage is None:
            return ()
        known = self._known()
        read_at = pd.Timestamp(known["read_at"])
        days = (pd.Timestamp.now(tz="UTC") - read_at) / pd.Timedelta(days=1)
        serving = [
            f"{horizon} {entry['family']}/{entry['version']} of {entry['trained_as_of']}"
            for horizon, entry in current_champions(of_lines(known["pointers"].get(HISTORY, ""), "")).items()
        ]
        return (
            f"models come from the copy of {read_at:%Y-%m-%d %H:%M} UTC, {days:.1f} days old. Champions then: "
            f"{', '.join(serving) or 'none'}. {self._outage}",
        )

    # The cache: pointers as last read, and names of versions with the hash of their metadata.

    def _answer(self, ask: Callable[[], Answer], remembered: Callable[[dict[str, Any]], Answer]) -> Answer:
        """The bucket's answer, or, once it does not answer, the cached one."""
        if self._outage is None:
            try:
                return ask()
            except CloudUnreachable as outage:
                if self._known()["read_at"] is None:
                    raise CloudUnreachable(f"{outage}. No copy of the models is on this machine either") from outage
                self._outage = outage
                logger.warning("%s", *self.notices())
        return remembered(self._known())

    def _known(self) -> dict[str, Any]:
        return read_json(self._known_path) or {"read_at": None, "pointers": {}, "versions": {}}

    def _pointer(self, name: str) -> str:
        def ask() -> str:
            content = self._bucket.read(name).content.decode()
            self._remember(name, content)
            return content

        return self._answer(ask, lambda known: str(known["pointers"].get(name, "")))

    def _remember(self, name: str, content: str) -> None:
        with exclusive(self._zones, "models-cache"):
            known = self._known()
            read_at = f"{pd.Timestamp.now(tz='UTC').floor('s')}" if name == HISTORY else known["read_at"]
            pointers = {**known["pointers"], name: content}
            write_json(self._known_path, {**known, "read_at": read_at, "pointers": pointers})

    def _listed(self, family: str, horizon: str) -> list[Version]:
        pattern = f"{family}/{horizon}/v*/{METADATA}"

        def ask() -> list[Version]:
            names = self._bucket.names(pattern)
            versions = self._describe_all(names)
            with exclusive(self._zones, "models-cache"):
                known = self._known()
                others = {name: digest for name, digest in known["versions"].items() if not fnmatch(name, pattern)}
                if {**others, **names} != known["versions"]:
                    write_json(self._known_path, {**known, "versions": {**others, **names}})
            return versions

        def remembered(known: dict[str, Any]) -> list[Version]:
            return self._describe_all({n: digest for n, digest in known["versions"].items() if fnmatch(n, pattern)})

        return self._answer(ask, remembered)

    def _describe_all(self, names: Mapping[str, str]) -> list[Version]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(self._described, names, names.values()))
        return sorted(found, key=lambda version: (version.family, int(version.number[1:])))

    def _described(self, name: str, digest: str) -> Version:
        place = name.removesuffix(f"/{METADATA}")
        metadata = read_json(self._cached_file(name, digest))
        metrics = read_json(self._cached_file(f"{place}/{METRICS}", metadata["files"][METRICS]))
        return Version(place.rsplit("/", 1)[1], metadata, metrics, lambda: self._fetched(place, digest, metadata))

    def _cached_file(self, name: str, digest: str) -> Path:
        """A small file, from the cache if it is there."""
        if not stays_inside(digest):  # it comes from the bucket and becomes a file name here
            raise ModelStoreError(
                f"{self.place}/{name}: {digest!r} is not a SHA-256. Restore its earlier generation and that of its "
                "metadata.json, and check who may write to the bucket"
            )
        path = self._cache / "described" / f"{digest}.json"
        if path.exists() and sha256_of(path) == digest:
            return path
        return self._bucket.download(name, digest, path)

    def _fetched(self, place: str, digest: str, metadata: Mapping[str, Any]) -> Path:
        """A version's files on this machine, in a folder named by the hash of its metadata, which names all others."""
        require_inside(metadata["files"], f"{self.place}/{place}")
        folder = self._cache / "versions" / digest
        if altered_file(folder, metadata["files"]) is None:
            return folder
        with exclusive(self._zones, "models-cache-files", wait_s=600):
            if altered_file(folder, metadata["files"]) is None:
                return folder
            temporary = folder.parent / f"{TEMPORARY}{digest}"
            shutil.rmtree(temporary, ignore_errors=True)
            for name, file_digest in dict(metadata["files"]).items():
                self._bucket.download(f"{place}/{name}", file_digest, temporary / name)
            shutil.rmtree(folder, ignore_errors=True)
            move_folder_into(temporary, folder)
        return folder
