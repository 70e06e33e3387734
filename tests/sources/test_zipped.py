"""Zips from outside: nothing in them grows beyond what it declares."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.sources.payloads import Payload
from tasks.sources.zipped import only_csv


def zip_of(path: Path, compression: int, content: bytes = b"a,b\n1,2\n") -> Payload:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("table.csv", content)
    now = pd.Timestamp("2023-12-29", tz="UTC")
    return Payload("usda_wasde", "reports", path, "", path.stat().st_size, "", now, day_known_only=True)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated_members_are_read(tmp_path: Path, compression: int) -> None:
    assert only_csv(zip_of(tmp_path / "x.zip", compression), max_bytes=100) == b"a,b\n1,2\n"


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_could_grow_beyond_what_it_declares_is_refused_unread(tmp_path: Path, compression: int) -> None:
    with pytest.raises(SchemaDrift, match=r"table\.csv' is neither stored nor deflated"):
        only_csv(zip_of(tmp_path / "x.zip", compression), max_bytes=100)


def test_members_that_declare_too_much_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaDrift, match="would unpack to 1000 bytes, more than the 100 allowed"):
        only_csv(zip_of(tmp_path / "x.zip", zipfile.ZIP_DEFLATED, b"x" * 1000), max_bytes=100)
