"""Whole files or none, one writer at a time, and nothing left behind by a killed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import ManifestMismatch
from tasks.settings import PROJECT
from tasks.storage.files import (
    Identity,
    read_json,
    read_parquet,
    sweep_temporary,
    write_atomically,
    write_bytes,
    write_identified,
    write_json,
    write_parquet,
)
from tasks.storage.hashes import fingerprint, sha256_of

FRAME = pd.DataFrame({"date": pd.to_datetime(["2023-12-28", "2023-12-29"]), "close": [48.1, 48.2]})


def test_a_writer_that_fails_leaves_the_old_file_and_no_temporary(tmp_path):
    target = write_bytes(tmp_path / "file", b"old")

    def fails(temporary: Path) -> None:
        temporary.write_bytes(b"half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, fails)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def child(code: str) -> subprocess.Popen[str]:
    started = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline().strip() == "ready"
    return started


def test_a_reader_sees_the_old_file_or_the_new_one_while_a_killed_writer_loops(tmp_path):
    target = tmp_path / "file"
    code = (
        "from pathlib import Path; from tasks.storage.files import write_bytes\n"
        f"n, target = 0, Path({str(target)!r})\n"
        "while True:\n"
        "    n += 1; write_bytes(target, bytes([n % 256]) * 200_000)\n"
        "    if n == 1: print('ready', flush=True)\n"
    )
    writer = child(code)
    seen = set()
    try:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < 0.5 or (len(seen) < 2 and passed < 120):
            content = target.read_bytes()
            assert len(content) == 200_000 and len(set(content)) == 1
            seen.add(content[0])
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
    assert len(seen) > 1, "the writer did write meanwhile"
    content = target.read_bytes()
    assert len(content) == 200_000 and len(set(content)) == 1


def test_sweeping_removes_temporaries_in_every_folder_below_and_nothing_else(tmp_path):
    kept = [write_bytes(tmp_path / "a" / "file.parquet", b"x"), write_bytes(tmp_path / "b.tmp-1", b"x")]
    for left in (tmp_path / ".tmp-1-2-x.parquet", tmp_path / "a" / ".tmp-9-9-y.json"):
        left.write_bytes(b"half")
    sweep_temporary(tmp_path)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)
    sweep_temporary(tmp_path / "nowhere")


def test_equal_values_are_equal_files(tmp_path):
    one = write_json(tmp_path / "1.json", {"b": 1, "a": [1, 2]})
    other = write_json(tmp_path / "2.json", {"a": [1, 2], "b": 1})
    assert one.read_bytes() == other.read_bytes()
    assert sha256_of(write_parquet(tmp_path / "1", FRAME)) == sha256_of(write_parquet(tmp_path / "2", FRAME.copy()))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00"])
def test_unreadable_json_counts_as_none(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    assert read_json(tmp_path / "x.json") is None
    assert read_json(tmp_path / "missing.json") is None


def test_unreadable_parquet_is_named_with_what_to_do(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", FRAME)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ManifestMismatch, match=r"x\.parquet is not readable .* delete it and run"):
        read_parquet(path)


def test_an_identity_holds_only_for_the_whole_file_it_was_written_with(tmp_path):
    path = tmp_path / "x.parquet"
    assert Identity.of(path) is None
    made = write_identified(path, FRAME, inputs="abc")
    assert Identity.of(path) == made == Identity(inputs="abc", rows=2)
    assert json.loads((tmp_path / "x.parquet.manifest.json").read_text())["sha256"] == sha256_of(path)
    whole = path.read_bytes()
    path.write_bytes(bytes(len(whole)))
    assert Identity.of(path) is None, "as long as it was"
    path.write_bytes(whole[:-1])
    assert Identity.of(path) is None
    path.unlink()
    assert Identity.of(path) is None
