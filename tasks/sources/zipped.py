"""Payloads that are zips, such as workbooks: opened if complete, else refused; never unpacked beyond a limit."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import openpyxl

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.secrets import quoted
from tasks.sources.payloads import Payload

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook

PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


@contextmanager
def open_zip(payload: Payload, *, max_bytes: int) -> Iterator[zipfile.ZipFile]:
    """The zip, if its members declare at most ``max_bytes`` in total; never more is read than a member declares.

    Raises:
        SchemaDrift: not a zip, a damaged one (found here or during reading), or one that ``require_bounded`` refuses.
    """
    try:
        with zipfile.ZipFile(payload.path) as archive:
            require_bounded(archive, payload.name, max_bytes=max_bytes)
            yield archive
    except DAMAGE as error:
        raise SchemaDrift(f"{payload.name}: not a whole zip ({error})") from None


def require_bounded(archive: zipfile.ZipFile, name: str, *, max_bytes: int) -> None:
    """Refuse a zip that could need more memory than it declares, before any member is read.

    bzip2 and LZMA members are decoded completely before their length is checked: 2,403 bytes of bzip2 grew to 3.2 GB.

    Raises:
        SchemaDrift: a member is neither stored nor deflated, or the members declare more than ``max_bytes`` in total.
    """
    if odd := [member for member in archive.infolist() if member.compress_type not in PLAIN]:
        raise SchemaDrift(f"{name}: its member {odd[0].filename!r} is neither stored nor deflated; it is not read")
    size = sum(member.file_size for member in archive.infolist())
    if size > max_bytes:
        raise SchemaDrift(f"{name}: would unpack to {size} bytes, more than the {max_bytes} allowed")


@contextmanager
def open_workbook(payload: Payload, *, max_bytes: int) -> Iterator[Workbook]:
    """An Excel workbook, its cells as values. An error while it is read is one of the file.

    Raises:
        SchemaDrift: it is no workbook, or it could need more memory than ``max_bytes``.
    """
    content = payload.path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            require_bounded(packed, payload.name, max_bytes=max_bytes)
        yield openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except SchemaDrift:
        raise
    except Exception as error:  # openpyxl raises any error on a damaged file
        raise SchemaDrift(f"{payload.name}: not a workbook ({type(error).__name__}: {error})") from None


def only_csv(payload: Payload, *, max_bytes: int) -> bytes:
    """The one CSV in a zip.

    Raises:
        SchemaDrift: as ``open_zip``, or there is no CSV, or more than one.
    """
    with open_zip(payload, max_bytes=max_bytes) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".csv")]
        if len(names) != 1:
            raise SchemaDrift(f"{payload.name}: {len(names)} CSV files in the zip, expected one")
        return archive.read(names[0])


def require_zip(file: Path, url: str) -> Path:
    """Check that a downloaded file is a zip.

    Raises:
        SourceUnavailable: it is something else, such as a page that says that the file has moved.
    """
    if not zipfile.is_zipfile(file):
        with file.open("rb") as handle:
            head = handle.read(2**16)
        file.unlink()
        raise SourceUnavailable(
            f"{url}: expected the zip, got '{quoted(head)}'; it may have moved (registry: endpoint)"
        )
    return file
