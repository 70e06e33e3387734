"""Transfer of training files through Cloud Storage: each stored once, named by its hash, and a manifest of them all.

``PREFIX/exports/<sha256>.parquet`` and ``PREFIX/exports/manifests/<as_of>-<sha256>.json`` are created once and never
altered; ``PREFIX/exports/latest.json`` points to the manifest of the newest session. A machine fetches only the files
it lacks, the manifest last. After a kill halfway, training refuses the files until the rest has arrived.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import ManifestMismatch, SettingsError
from tasks.exports import check_exports
from tasks.settings import Settings
from tasks.storage.bucket import TRIES, Bucket
from tasks.storage.files import json_bytes, read_json, stays_inside, sweep_temporary, write_bytes
from tasks.storage.hashes import sha256_of
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones

LATEST = "exports/latest.json"


@dataclass(frozen=True)
class BundleTransfer:
    """The result of a push or a pull. ``moved`` files went over the network, ``present`` were there before."""

    as_of: str
    manifest: str
    moved: int
    present: int
    bytes_moved: int


def bucket_of(settings: Settings) -> Bucket:
    """The bucket that bundles travel through: that of the model store.

    Raises:
        SettingsError: the model store is a folder.
    """
    if settings.models == "folder":
        raise SettingsError("bundles travel through a bucket: set CBI_MODELS=gs://BUCKET/PREFIX")
    return Bucket(settings.models, settings)


def push(zones: Zones, bucket: Bucket) -> BundleTransfer:
    """Upload this machine's training files. Pushing them again changes nothing.

    Raises:
        ManifestMismatch: the files here do not match their manifest. CloudError: with what to do.
    """
    with exclusive(zones, "panel"):
        manifest = check_exports(zones.exports)
        content = json_bytes(manifest)
        digests = {name: str(entry["sha256"]) for name, entry in _files(manifest).items()}
        there = bucket.names("exports/*.parquet")
        missing = {digest: name for name, digest in digests.items() if f"exports/{digest}.parquet" not in there}
        for digest, name in sorted(missing.items()):
            _create(bucket, f"exports/{digest}.parquet", zones.exports / name)
        as_of = str(manifest["as_of"])
        name = f"exports/manifests/{as_of}-{hashlib.sha256(content).hexdigest()}.json"
        with tempfile.TemporaryDirectory(prefix="cbi-bundle-") as folder:
            _create(bucket, name, write_bytes(Path(folder) / "manifest.json", content))
        _point(bucket, as_of, name)
        moved = sum((zones.exports / missing[digest]).stat().st_size for digest in missing)
        return BundleTransfer(as_of, name, len(missing), len(digests) - len(missing), moved)


def _create(bucket: Bucket, name: str, file: Path) -> None:
    if not bucket.create(name, file):
        raise ManifestMismatch(
            f"{bucket.uri}/{name} does not match the hash in its name. Delete it, push again, and check who may "
            "write to the bucket"
        )


def _point(bucket: Bucket, as_of: str, manifest: str) -> None:
    """Point ``latest.json`` to this manifest, unless it names one of a later session."""
    content = json_bytes({"as_of": as_of, "manifest": manifest})
    for _ in range(TRIES):
        pointer = bucket.read(LATEST)
        if pointer.content == content or (pointer.content and json.loads(pointer.content)["as_of"] > as_of):
            return
        if bucket.switch(LATEST, content, replacing=pointer):
            return
    raise ManifestMismatch(f"{bucket.uri}/{LATEST} is being changed by others; push again")


def pull(zones: Zones, bucket: Bucket) -> BundleTransfer:
    """Fetch the training files of the newest pushed session: those that differ, each checked, the manifest last.

    Raises:
        ManifestMismatch: nothing was pushed yet, or the files here are of a later session.
        ModelStoreError: an object does not match its name; the file here stays as it is.
        CloudError: with what to do.
    """
    pointer = bucket.read(LATEST)
    if not pointer.content:
        raise ManifestMismatch(f"{bucket.uri}/exports has no bundle; run `cbi bundle push` on a machine that has one")
    latest = json.loads(pointer.content)
    folder = zones.exports
    with exclusive(zones, "panel"):
        before = read_json(folder / "manifest.json") or {}
        if before.get("as_of", "") > latest["as_of"]:
            raise ManifestMismatch(
                f"{folder} is of {before['as_of']}, later than {latest['as_of']} in {bucket.uri}. Push it "
                "(`cbi bundle push`), or delete the folder to go back to the older one"
            )
        folder.mkdir(parents=True, exist_ok=True)
        sweep_temporary(folder)
        digest = str(latest["manifest"]).rsplit("-", 1)[1].removesuffix(".json")
        with tempfile.TemporaryDirectory(prefix="cbi-bundle-") as aside:
            content = bucket.download(latest["manifest"], digest, Path(aside) / "manifest.json").read_bytes()
        manifest = json.loads(content)
        files = _files(manifest)
        differing = [name for name, entry in files.items() if _digest(folder / name) != entry["sha256"]]
        for name in differing:
            digest = files[name]["sha256"]
            bucket.download(f"exports/{digest}.parquet", digest, folder / name)
        for name in sorted({*before.get("files", {})} - {*files}):
            (folder / name).unlink(missing_ok=True)
        if before != manifest:
            write_bytes(folder / "manifest.json", content)
        check_exports(folder)
        moved = sum((folder / name).stat().st_size for name in differing)
        return BundleTransfer(manifest["as_of"], latest["manifest"], len(differing), len(files) - len(differing), moved)


def _files(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    for name in manifest["files"]:
        if "/" in name or not stays_inside(name):
            raise ManifestMismatch(f"the manifest names {name!r}, which is not a file of the folder")
    return dict(manifest["files"])


def _digest(path: Path) -> str:
    return sha256_of(path) if path.exists() else ""
