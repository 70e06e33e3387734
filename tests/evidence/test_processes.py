"""What a process of its own costs, measured by one function."""

from __future__ import annotations

import os
import sys

import pytest

from evidence.measurement import BenchError, in_turns
from evidence.processes import run


def python(code: str, **how: bool):
    return run([sys.executable, "-c", code], environment=dict(os.environ), **how)


def test_seconds_and_memory_are_those_of_the_process_alone() -> None:
    work = (
        "import time; held = bytearray(150_000_000); print('out'); [i * i for i in range(2_000_000)]; time.sleep(0.3)"
    )
    done = python(work, sampled=True)
    assert done.status == 0 and done.out == "out\n" and done.log == ""
    assert done.seconds > 0.3 and done.cpu_s > 0.05
    assert 140 < done.peak_mb < 400, "of its own, not of the process that started it"


def test_a_process_that_fails_is_one_line_with_its_last_words() -> None:
    with pytest.raises(BenchError, match=r"ended with 3; its last line: last words$"):
        python("import sys; print('first'); print('last words', file=sys.stderr); sys.exit(3)")
    assert python("raise SystemExit(2)", check=False).status == 2


def test_calls_take_turns_and_the_median_counts() -> None:
    ticks = iter([0, 1, 10, 14, 20, 29, 30, 35, 40, 42, 50, 56])  # one: 1, 9, 2; other: 4, 5, 6
    order: list[str] = []
    found = in_turns(lambda: order.append("a"), lambda: order.append("b") or 7, repeats=3, clock=lambda: next(ticks))
    assert order == ["a", "b"] * 3 and found == [(2, None), (5, 7)]
