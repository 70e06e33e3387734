"""Models in Cloud Storage: PREFIX/``<family>/<horizon>/v0001/…``, ``champions.json`` and ``history.jsonl``.

Objects of a version are made once (if_generation_match=0), ``metadata.json`` last: a version is complete or absent,
and of two writers of a number one takes the next. Champions are switched only if nobody did since they were read.

What was read is kept under CBI_HOME/models-cache, by hash, so that a run without the network goes on with the
champions last known, and says so. Writes never fall back.
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
    entry_of,
    of_lines,
    proven,
    standing,
    standing_by,
    to_lines,
    with_promotions,
)
from tasks.model_store.folder import describe
from tasks.model_store.protocol import Version, altered_file, require_inside
from tasks.storage.bucket import TRIES, Bucket
from tasks.storage.files import TEMPORARY, json_bytes, move_folder_into, read_json, stays_inside, write_json
from tasks.storage.hashes import fingerprint, sha256_of
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones

logger = logging.getLogger(__name__)

METADATA, METRICS = "metadata.json", "metrics.json"
Answer = TypeVar("Answer")
AT_ONCE = 8  # small downloads side by side


class GcsStore:
    """Versions in a bucket, through a cache on this machine. Many writers at a time, on any machine."""

    def __init__(self, bucket: Bucket, zones: Zones) -> None:
        self._bucket, self._zones = bucket, zones
        self._cache = zones.models_cache
        # what a store last said depends on which store it is; files do not: their names are their hashes
        self._known_path = self._cache / f"known-{fingerprint(bucket.uri)}.json"
        self._outage: CloudUnreachable | None = None

    @property
    def place(self) -> str:
        """gs://BUCKET/PREFIX."""
        return self._bucket.uri

    def require_writable(self) -> None:
        """Ask whether the bucket answers, before hours of training."""
        self._bucket.check()

    def versions(self, family: str, horizon: str) -> list[Version]:
        """All complete versions, oldest first."""
        return self._listed(family, horizon)

    def of_horizon(self, horizon: str) -> list[Version]:
        """All complete versions of every family at a horizon."""
        return self._listed("*", horizon)

    def find(self, family: str, horizon: str, identity: str) -> Version | None:
        """The version made from exactly these inputs, if there is one."""
        return next((v for v in self.versions(family, horizon) if v.metadata["identity"] == identity), None)

    def add(self, files: Path, metadata: Mapping[str, Any], metrics: Mapping[str, Any]) -> Version:
        """Store the model files in ``files`` as the next version; the same identity again gives the version held.

        A number that another writer has begun, or left half done when it was killed, is passed over. What this writer
        left half done is completed: the same objects are found in their place.
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
                self._bucket.check()  # an outage now is no reason to believe a copy of the list
                self._outage = None
                held = self.versions(family, horizon)
                if found := next((v for v in held if v.metadata["identity"] == metadata["identity"]), None):
                    return found
                first = max([first, *(int(version.number[1:]) for version in held)]) + 1
                place = f"{family}/{horizon}/v{first:04d}"
                if all(self._bucket.create(f"{place}/{name}", filled / name) for name in names):
                    return self._described(f"{place}/{METADATA}", sha256_of(filled / METADATA))
        raise ModelStoreError(
            f"{self.place}/{family}/{horizon}: {TRIES} numbers in a row are taken by others; run again"
        )

    def promote(self, *versions: Version, run: str) -> None:
        """Make each version champion of its horizon, and note it in the history. Repeating it changes nothing.

        Invariants: no promotion of another is lost. Champions are read before the history and switched after it, each
        only if it is what was read: whoever comes second reads again and decides by the same rule.
        """
        entries, sent = [entry_of(version, run=run) for version in versions], b""
        for waited in range(TRIES):
            champions, noted = self._bucket.read(CHAMPIONS), self._bucket.read(HISTORY)
            history = of_lines(noted.content, f"{self.place}/{HISTORY}")
            # what was sent may have been noted although somebody else came next, or its answer was lost
            is_noted = bool(sent) and noted.content.startswith(sent)
            after = history if is_noted else with_promotions(history, entries)
            sent = sent if is_noted else to_lines(after)
            table = json_bytes(standing(after))
            if (after == history or self._bucket.switch(HISTORY, to_lines(after), replacing=noted)) and (
                table == champions.content or self._bucket.switch(CHAMPIONS, table, replacing=champions)
            ):
                self._remember(HISTORY, to_lines(after).decode())
                return
            time.sleep(random.uniform(0, 0.1 * 2 ** min(waited, 5)))  # noqa: S311 - who goes first is no secret
        raise ModelStoreError(f"{self.place}: the champions are being switched by others; run `cbi train`")

    def history(self) -> list[dict[str, str]]:
        """Every promotion, oldest first."""
        return of_lines(self._pointer(HISTORY), f"{self.place}/{HISTORY}")

    def champion(self, horizon: str, as_of: pd.Timestamp) -> Version | None:
        """The newest champion that was trained by ``as_of``: a model that has seen later data must not forecast it."""
        entry = standing_by(self.history(), horizon, as_of)
        if entry is None:
            return None
        found = next((v for v in self.versions(entry["family"], horizon) if v.number == entry["version"]), None)
        if found is None:
            raise ModelStoreError(
                f"{self.place}/{entry['family']}/{horizon}/{entry['version']} was promoted but is gone; run `cbi train`"
            )
        return proven(found, entry, f"{self.place}/{entry['family']}/{horizon}/{entry['version']}")

    def audit(self) -> Mapping[str, Any] | None:
        """The last leakage audit, or None where there is none or what is there is unreadable."""
        import json

        try:
            held = json.loads(self._pointer(AUDIT) or "null")
        except json.JSONDecodeError:
            return None
        return held if isinstance(held, dict) else None

    def keep_audit(self, audit: Mapping[str, Any]) -> str:
        """Put an audit in place of the one before; returns where it lies."""
        content = json_bytes(dict(audit))
        for _ in range(TRIES):
            held = self._bucket.read(AUDIT)
            if held.content == content or self._bucket.switch(AUDIT, content, replacing=held):
                return f"{self.place}/{AUDIT}"
        raise ModelStoreError(f"{self.place}/{AUDIT} is being written by others; run again")

    def notices(self) -> tuple[str, ...]:
        """That answers came from the copy on this machine: why, how old it is, who serves."""
        if self._outage is None:
            return ()
        known = self._known()
        read_at = pd.Timestamp(known["read_at"])
        days = (pd.Timestamp.now(tz="UTC") - read_at) / pd.Timedelta(days=1)
        serving = [
            f"{horizon} {entry['family']}/{entry['version']} of {entry['trained_as_of']}"
            for horizon, entry in standing(of_lines(known["pointers"].get(HISTORY, ""), "")).items()
        ]
        return (
            f"models come from the copy of {read_at:%Y-%m-%d %H:%M} UTC, {days:.1f} days old. Champions then: "
            f"{', '.join(serving) or 'none'}. {self._outage}",
        )

    # What is known without the network: pointers as last read, and names of versions with the hash of their metadata.

    def _answer(self, ask: Callable[[], Answer], remembered: Callable[[dict[str, Any]], Answer]) -> Answer:
        """What the bucket says, or, once it does not answer, what was remembered of it."""
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
                others = {name: held for name, held in known["versions"].items() if not fnmatch(name, pattern)}
                if {**others, **names} != known["versions"]:
                    write_json(self._known_path, {**known, "versions": {**others, **names}})
            return versions

        def remembered(known: dict[str, Any]) -> list[Version]:
            return self._describe_all({n: held for n, held in known["versions"].items() if fnmatch(n, pattern)})

        return self._answer(ask, remembered)

    def _describe_all(self, names: Mapping[str, str]) -> list[Version]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(self._described, names, names.values()))
        return sorted(found, key=lambda version: (version.family, int(version.number[1:])))

    def _described(self, name: str, digest: str) -> Version:
        place = name.removesuffix(f"/{METADATA}")
        metadata = read_json(self._held(name, digest))
        metrics = read_json(self._held(f"{place}/{METRICS}", metadata["files"][METRICS]))
        return Version(place.rsplit("/", 1)[1], metadata, metrics, lambda: self._fetched(place, digest, metadata))

    def _held(self, name: str, digest: str) -> Path:
        """A small file, from this machine where it is held."""
        if not stays_inside(digest):  # it names the file here, and comes from the bucket
            raise ModelStoreError(
                f"{self.place}/{name}: {digest!r} is no SHA-256. Restore its earlier generation and that of its "
                "metadata.json, and see who may write to the bucket"
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
            for name, held in dict(metadata["files"]).items():
                self._bucket.download(f"{place}/{name}", held, temporary / name)
            shutil.rmtree(folder, ignore_errors=True)
            move_folder_into(temporary, folder)
        return folder
