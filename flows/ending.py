"""Ctrl-C and SIGTERM of a command: one line on the state of the results, and no process of the run is left behind.

The process ends at once, inside the signal's handler: unwinding would wait for every thread that waits for a source
or a fit. Files are written atomically, so that this end is no worse than a power cut, and the same
command continues.
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
LANDED_STAYS = "Landed payloads stay; the same command continues where this one stopped."
FITS_STAY = "Finished fits are kept; the same command continues where this one stopped."
SIGNALS = (signal.SIGINT, signal.SIGTERM)
ASKED_WITHIN_S = 5.0
SERVER_ENDS_WITHIN_S = 5.0
APPLICATION = "prefect.server.api.server:create_app"
"""A part of a Prefect server's command line."""


@dataclass(frozen=True)
class Ending:
    """The text of the last line, and an action before it (to tell a server that the run ended). Either may fail."""

    stands: Callable[[], str]
    before: Callable[[], None] | None = None


_ending: Ending | None = None


def end_on_signal(ending: Ending | None) -> None:
    """From now on SIGINT and SIGTERM end this process with one line. None: leave the signals as they are."""
    global _ending
    _ending = ending
    arm()


def arm() -> None:
    """Install our signal handlers again, if they were in use: Prefect replaces that of SIGTERM when a flow starts.

    An ignored signal stays ignored: a shell makes background commands ignore Ctrl-C.
    """
    if _ending is not None and threading.current_thread() is threading.main_thread():
        for one in SIGNALS:
            if signal.getsignal(one) is not signal.SIG_IGN:
                signal.signal(one, _end)


@contextmanager
def ends_on_signal(stands: Callable[[], str], before: Callable[[], None] | None = None) -> Iterator[None]:
    """The same for a part of a process; the previous state is restored at the end."""
    with signals_restored():
        end_on_signal(Ending(stands, before))
        yield


@contextmanager
def signals_restored() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM after the block."""
    was: Any = _ending, [(one, signal.getsignal(one)) for one in SIGNALS]
    try:
        yield
    finally:
        end_on_signal(was[0])
        for one, handler in was[1]:
            signal.signal(one, handler)


def _end(number: int, frame: FrameType | None) -> None:
    for one in SIGNALS:
        signal.signal(one, lambda *_: os._exit(128 + number))  # second signal: exit without a message
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    words = [f"Ended by {name}."]
    # in a thread, so that an unresponsive server or warehouse cannot block the end
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
    """Silence the output of threads and children: from here on it is about their own end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def end_children() -> None:
    """End every process that this one started: servers are terminated and close their database, fits are killed."""
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
