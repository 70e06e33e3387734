"""Cloud Storage: objects are created once and never altered; pointers are replaced if unchanged since they were read.

Every object carries its SHA-256; transfers are checked by crc32c on the way and by SHA-256 on arrival. Google's client
repeats requests that are safe to repeat: each write here names the generation that it replaces.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import CloudError, CloudUnreachable, ModelStoreError, SettingsError
from tasks.gcp import credentials, explained, one_line
from tasks.settings import Settings
from tasks.storage.files import write_atomically
from tasks.storage.hashes import sha256_of

if TYPE_CHECKING:
    from google.cloud.storage import Blob
    from google.cloud.storage import Bucket as GoogleBucket

EMULATOR = "STORAGE_EMULATOR_HOST"
CHUNK_BYTES = 8 * 2**20  # a larger file is uploaded in resumable chunks of this size
TIMEOUT_S = (5.0, 60.0)  # to connect; between two bytes
PATIENCE_S = 30.0  # a request is repeated for at most so long
TRIES = 12  # for a pointer that others change at the same time

_URI = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<prefix>[\w.=-]+(?:/[\w.=-]+)*))?/?")


@dataclass(frozen=True)
class PointerContent:
    """A pointer's content when it was read. Generation 0 and no content: there was none."""

    content: bytes
    generation: int


class Bucket:
    """The objects under one gs://BUCKET/PREFIX. Google is not contacted before the first use.

    Every method raises CloudUnreachable if Google does not answer, and CloudError with what to do for the rest: bucket
    missing, a role missing, credentials expired, quota.
    """

    def __init__(
        self, uri: str, settings: Settings, *, patience_s: float = PATIENCE_S, setting: str = "CBI_MODELS"
    ) -> None:
        match = _URI.fullmatch(uri)
        if match is None:
            what, other = ("models", "folder") if setting == "CBI_MODELS" else ("a backup", "/A/FOLDER")
            raise SettingsError(
                f"{uri!r} is no place for {what}: write {setting}={other}, or gs://BUCKET/PREFIX with letters, digits "
                "and . _ = - in its names"
            )
        self._name, self._prefix = match["bucket"], f"{match['prefix']}/" if match["prefix"] else ""
        self._settings, self._patience_s = settings, patience_s
        self.uri = f"gs://{self._name}/{self._prefix}".rstrip("/")

    def check(self) -> None:
        """List the objects, as a check that the bucket exists and is readable."""
        with self._errors_explained("list"):
            next(iter(self._bucket.list_blobs(prefix=self._prefix, max_results=1, **self._asking())), None)

    def names(self, pattern: str) -> dict[str, str]:
        """Names under the prefix that match (``*`` stops at a slash), each with its SHA-256, in order."""
        with self._errors_explained("list"):
            blobs = list(
                self._bucket.list_blobs(prefix=self._prefix, match_glob=self._prefix + pattern, **self._asking())
            )
        return {blob.name.removeprefix(self._prefix): self._digest(blob) for blob in blobs}

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every object under ``folder``, by its name under the prefix."""
        with self._errors_explained("list"):
            blobs = list(self._bucket.list_blobs(prefix=f"{self._prefix}{folder}/", **self._asking()))
        return {blob.name.removeprefix(self._prefix): int(blob.size or 0) for blob in blobs}

    def read(self, name: str) -> PointerContent:
        """A pointer and its generation, consistent with each other."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        self._there  # noqa: B018 - otherwise a missing bucket looks like a missing object
        for _ in range(TRIES):
            with self._errors_explained(f"read {name}"):
                blob = self._bucket.get_blob(self._prefix + name, **self._asking())
                if blob is None:
                    return PointerContent(b"", 0)
                generation = self._generation(blob)  # before the download, which may reset it
                try:
                    content = blob.download_as_bytes(
                        if_generation_match=generation, checksum="crc32c", **self._asking()
                    )
                except (NotFound, PreconditionFailed):
                    continue  # replaced between the two requests
                return PointerContent(content, generation)
        raise CloudUnreachable(f"{self.uri}/{name} changes faster than it can be read; run again")

    def switch(self, name: str, content: bytes, *, replacing: PointerContent) -> bool:
        """Replace a pointer that was read. False: another writer has replaced it since; read again."""
        from google.api_core.exceptions import PreconditionFailed

        if replacing.generation is None:  # the write would be unconditional
            raise CloudError(f"{self.uri}/{name}: its generation is unknown, so that it cannot be replaced safely")
        blob = self._blob(name, hashlib.sha256(content).hexdigest())
        with self._errors_explained(f"write {name}"):
            try:
                blob.upload_from_string(
                    content,
                    content_type="application/json",
                    if_generation_match=replacing.generation,
                    checksum="crc32c",
                    **self._asking(),
                )
            except PreconditionFailed:
                return False
        return True

    def create(self, name: str, file: Path) -> bool:
        """Create an object. False: another object of that name exists, and it is not this file.

        An upload that was cut, or repeated because its answer was lost, ends as if it had succeeded once.
        """
        from google.api_core.exceptions import PreconditionFailed

        blob = self._blob(name, sha256_of(file))
        with self._errors_explained(f"write {name}"):
            try:
                blob.upload_from_filename(str(file), if_generation_match=0, checksum="crc32c", **self._asking())
            except PreconditionFailed:
                return self._is_there(name, file)
        return True

    def _is_there(self, name: str, file: Path) -> bool:
        import google_crc32c

        found = self._bucket.get_blob(self._prefix + name, **self._asking())
        if found is None or found.size != file.stat().st_size:
            return False
        with file.open("rb") as handle:
            total = google_crc32c.Checksum()
            for _ in total.consume(handle, CHUNK_BYTES):
                pass
        same_bytes = found.crc32c == base64.b64encode(total.digest()).decode()
        return bool(same_bytes and self._digest(found) == sha256_of(file))

    def download(self, name: str, digest: str, target: Path) -> Path:
        """Fetch an object to ``target``, atomically, after a check that it is the one stored.

        Raises:
            ModelStoreError: it is gone or altered.
        """
        from google.api_core.exceptions import NotFound
        from google.cloud.storage.exceptions import DataCorruption

        def write(temporary: Path) -> None:
            with self._errors_explained(f"read {name}"):
                try:
                    blob = self._bucket.blob(self._prefix + name)
                    blob.download_to_filename(str(temporary), checksum="crc32c", **self._asking())
                except NotFound:
                    raise ModelStoreError(
                        f"{self.uri}/{name} is gone. Restore it (`gcloud storage ls --soft-deleted {self.uri}/{name}`)"
                    ) from None
                except DataCorruption:
                    raise ModelStoreError(
                        f"{self.uri}/{name} arrived damaged twice; run again, and check the network"
                    ) from None
            if sha256_of(temporary) != digest:
                raise ModelStoreError(
                    f"{self.uri}/{name} is not the object that was stored (SHA-256). It was overwritten: "
                    "restore its earlier generation, and check who may write to the bucket"
                )

        self._there  # noqa: B018 - otherwise a missing bucket looks like a missing object
        return write_atomically(target, write)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; missing ones are ignored."""
        from google.api_core.exceptions import NotFound

        for name in names:
            with self._errors_explained(f"delete {name}"), suppress(NotFound):
                self._bucket.blob(self._prefix + name).delete(**self._asking())

    @cached_property
    def _there(self) -> bool:
        self.check()
        return True

    @cached_property
    def _bucket(self) -> GoogleBucket:
        from google.cloud.storage import Client

        return Client(project=None, credentials=credentials(self._settings, emulator=EMULATOR)).bucket(self._name)

    def _blob(self, name: str, digest: str) -> Blob:
        blob = self._bucket.blob(self._prefix + name, chunk_size=CHUNK_BYTES)
        blob.metadata = {"sha256": digest}
        return blob

    def _asking(self) -> dict[str, Any]:
        from google.cloud.storage.retry import DEFAULT_RETRY

        retry = DEFAULT_RETRY.with_delay(initial=0.2, maximum=8.0, multiplier=2.0).with_timeout(self._patience_s)
        return {"retry": retry, "timeout": TIMEOUT_S}

    def _digest(self, blob: Blob) -> str:
        digest = (blob.metadata or {}).get("sha256")
        if not digest:
            raise ModelStoreError(
                f"gs://{self._name}/{blob.name} has no SHA-256: this program did not write it; delete or move it"
            )
        return str(digest)

    def _generation(self, blob: Blob) -> int:
        if blob.generation is None:
            raise CloudError(f"gs://{self._name}/{blob.name}: the server names no generation; it cannot be replaced")
        return int(blob.generation)

    @contextmanager
    def _errors_explained(self, what: str) -> Iterator[None]:
        """Convert errors of Google's client to ours."""
        import requests
        from google.api_core.exceptions import GoogleAPIError, RetryError, ServerError, TooManyRequests
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            yield
        except (GoogleAPIError, GoogleAuthError, requests.RequestException, ConnectionError, TimeoutError) as raised:
            error: Exception = raised
            if isinstance(error, RetryError) and isinstance(error.cause, Exception):
                error = error.cause
            outages = (ServerError, TooManyRequests, TransportError, requests.RequestException, ConnectionError)
            if isinstance(error, (*outages, TimeoutError, RetryError)):
                raise CloudUnreachable(
                    f"{self.uri} ({what}): no answer within {self._patience_s:g} s: {one_line(error)}. Check the "
                    "network and https://status.cloud.google.com, and run again; nothing was left half done"
                ) from raised
            raise explained(error, f"{self.uri} ({what})") from raised
