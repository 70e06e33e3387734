"""Ctrl-C and SIGTERM of a command: one line that says what stands, and no process of the run is left behind.

The process ends at once, from inside the signal's handler: to unwind it would wait for every thread that asks a source
or waits for a fit. What is written is written atomically, so this end is no worse than a power cut, and the same
command goes on where it was.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from types import FrameType
from typing import Any

import psutil

from tasks.secrets import redact

NOTHING_PUBLISHED = "Nothing was published; earlier forecasts stay as they were."
LANDED_STAYS = "What was landed by then stays; the same command goes on where this one stopped."
FITS_STAY = "Fits done by then are kept; the same command goes on where this one stopped."
SIGNALS = (signal.SIGINT, signal.SIGTERM)
ASKED_WITHIN_S = 5.0
SERVER_ENDS_WITHIN_S = 5.0
APPLICATION = "prefect.server.api.server:create_app"
"""What a Prefect server has in its command line."""


@dataclass(frozen=True)
class Ending:
    """What the last line says stands, and what is done before: a server learns that the run ended. Either may fail."""

    stands: Callable[[], str]
    before: Callable[[], None] | None = None


_ending: Ending | None = None


def end_when_asked(ending: Ending | None) -> None:
    """From now on SIGINT and SIGTERM end this process with one line; with None they stay as they are."""
    global _ending
    _ending = ending
    arm()


def arm() -> None:
    """Take the signals back where this process asked for them: Prefect takes SIGTERM for itself when a flow begins.

    A signal that is ignored stays so: a shell has a command in the background ignore Ctrl-C.
    """
    if _ending is not None and threading.current_thread() is threading.main_thread():
        for one in SIGNALS:
            if signal.getsignal(one) is not signal.SIG_IGN:
                signal.signal(one, _end)


@contextmanager
def ends_when_asked(stands: Callable[[], str], before: Callable[[], None] | None = None) -> Iterator[None]:
    """The same for a part of a process, then as it was before."""
    with signals_restored():
        end_when_asked(Ending(stands, before))
        yield


@contextmanager
def signals_restored() -> Iterator[None]:
    """What SIGINT and SIGTERM do after the block is what they did before it."""
    was: Any = _ending, [(one, signal.getsignal(one)) for one in SIGNALS]
    try:
        yield
    finally:
        end_when_asked(was[0])
        for one, handler in was[1]:
            signal.signal(one, handler)


def _end(number: int, frame: FrameType | None) -> None:
    for one in SIGNALS:
        signal.signal(one, lambda *_: os._exit(128 + number))  # asked twice: without another word
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    words = [f"Ended by {name}."]
    # in a thread: a server or warehouse that does not answer keeps nobody waiting
    asking = threading.Thread(target=copy_context().run, args=(_ask, words), daemon=True)
    asking.start()
    asking.join(ASKED_WITHIN_S)
    shown = "\x1b[?25h\r\x1b[K" if sys.stderr.isatty() else ""  # a progress bar has hidden the cursor
    with suppress(OSError):
        os.write(2, f"{shown}{redact(' '.join(words))}\n".encode())
        _silence()
    end_children()
    os._exit(128 + number)


def _ask(words: list[str]) -> None:
    if _ending is None:
        return
    with suppress(Exception):
        words.append(_ending.stands())
    with suppress(Exception):
        if _ending.before:
            _ending.before()


def _silence() -> None:
    """What threads and children say from here on is of their own end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def end_children() -> None:
    """End every process that this one started: servers are asked first and close their database, fits are killed."""
    servers = [child for child in psutil.Process().children(recursive=True) if _is_server(child)]
    for server in servers:
        with suppress(psutil.Error):
            server.terminate()
    psutil.wait_procs(servers, timeout=SERVER_ENDS_WITHIN_S)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()


def _is_server(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return APPLICATION in process.cmdline()
    return False
