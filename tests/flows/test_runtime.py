"""What a process of a run leaves behind in memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tasks.operations.services import ALLOCATORS
from tasks.settings import PROJECT

FREED_UNDER_A_PIN = """
import numpy as np, psutil, pyarrow  # which a run has loaded long before
from flows.runtime import give_back_memory
held = lambda: psutil.Process().memory_info().rss / 2**20
before = held()
blocks = [np.ones(100) for _ in range(200_000)]
pin = np.ones(100)  # above them all: the C library gives nothing back by itself
blocks.append(blocks)  # one that holds itself, as a run's frames do after an error
del blocks
freed = held()
give_back_memory()
print(f"{freed - before:.0f} {held() - before:.0f}")
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left to themselves")
def test_memory_that_was_freed_goes_back_to_the_system() -> None:
    asked = [sys.executable, "-c", FREED_UNDER_A_PIN]
    environment = {**os.environ, **ALLOCATORS}
    told = subprocess.run(asked, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True).stdout
    freed_mb, given_back_mb = map(int, told.split())
    assert freed_mb > 100, "nothing was kept, so nothing is tested"
    assert given_back_mb < 20
