"""Payloads that are zips, workbooks among them: opened whole or refused, never unpacked beyond a limit."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.secrets import quoted
from tasks.sources.payloads import Payload

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


@contextmanager
def open_zip(payload: Payload, *, max_bytes: int) -> Iterator[zipfile.ZipFile]:
    """The zip, whose members declare ``max_bytes`` together at most; beyond what a member declares nothing is read.

    Raises:
        SchemaDrift: no zip, a damaged one (met here or while it is read), or one that would unpack to more.
    """
    try:
        with zipfile.ZipFile(payload.path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > max_bytes:
                raise SchemaDrift(f"{payload.name}: would unpack to {size} bytes, more than the {max_bytes} allowed")
            yield archive
    except DAMAGE as error:
        raise SchemaDrift(f"{payload.name}: not a whole zip ({error})") from None


def only_csv(payload: Payload, *, max_bytes: int) -> bytes:
    """The one CSV in a zip.

    Raises:
        SchemaDrift: as ``open_zip``, or there is none, or more than one.
    """
    with open_zip(payload, max_bytes=max_bytes) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".csv")]
        if len(names) != 1:
            raise SchemaDrift(f"{payload.name}: {len(names)} CSV files in the zip, expected one")
        return archive.read(names[0])


def require_zip(file: Path, url: str) -> Path:
    """A downloaded file that is a zip.

    Raises:
        SourceUnavailable: it is something else, such as a page that says that the file moved.
    """
    if not zipfile.is_zipfile(file):
        with file.open("rb") as handle:
            head = handle.read(2**16)
        file.unlink()
        raise SourceUnavailable(
            f"{url}: not the zip asked for but {quoted(head)!r}; it may have moved (registry: endpoint)"
        )
    return file
