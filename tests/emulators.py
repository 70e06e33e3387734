"""Google's services on loopback: emulators from an environment of their own (`make test-cloud` makes it).

The folder with their programs is in EMULATORS; without it, tests marked `cloud` are skipped and say so.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

STARTS_WITHIN_S = 60


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def program(name: str) -> Path:
    folder = os.environ.get("EMULATORS")
    if not folder:
        pytest.skip("no emulators: EMULATORS names no folder (make test-cloud)")
    return Path(folder) / name


@contextmanager
def running(command: list[str], address: str, log: Path) -> Iterator[str]:
    """The address, once something answers there; the process is ended by its pid."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                urllib.request.urlopen(address, timeout=20)
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"{command[0]} did not start: {log.read_text()[-2000:]}") from None
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def bigquery_server(folder: Path) -> Iterator[str]:
    rest, grpc = free_port(), free_port()
    command = [str(program("bqemulator")), "start", "--rest-port", str(rest), "--grpc-port", str(grpc)]
    with running([*command, "--log-level", "error"], f"http://127.0.0.1:{rest}", folder / "bigquery.log") as address:
        yield address
