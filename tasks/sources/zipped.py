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

PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


@contextmanager
def open_zip(payload: Payload, *, max_bytes: int) -> Iterator[zipfile.ZipFile]:
    """The zip, whose members declare ``max_bytes`` together at most; beyond what a member declares nothing is read.

    Raises:
        SchemaDrift: no zip, a damaged one (met here or while it is read), or one that ``require_bounded`` refuses.
    """
    try:
        with zipfile.ZipFile(payload.path) as archive:
            require_bounded(archive, payload.name, max_bytes=max_bytes)
            yield archive
    except DAMAGE as error:
        raise SchemaDrift(f"{payload.name}: not a whole zip ({error})") from None


def require_bounded(archive: zipfile.ZipFile, name: str, *, max_bytes: int) -> None:
    """Refuse what could grow in memory beyond what it declares, before any member is read.

    bzip2 and LZMA members are decoded whole before their length is compared: 2,403 bytes of bzip2 grew to 3.2 GB.

    Raises:
        SchemaDrift: a member is neither stored nor deflated, or all together declare more than ``max_bytes``.
    """
    if odd := [member for member in archive.infolist() if member.compress_type not in PLAIN]:
        raise SchemaDrift(f"{name}: its member {odd[0].filename!r} is neither stored nor deflated; it is not read")
    size = sum(member.file_size for member in archive.infolist())
    if size > max_bytes:
        raise SchemaDrift(f"{name}: would unpack to {size} bytes, more than the {max_bytes} allowed")


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
            f"{url}: not the zip asked for but '{quoted(head)}'; it may have moved (registry: endpoint)"
        )
    return file
