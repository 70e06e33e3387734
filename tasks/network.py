"""Whether this machine has a network at all: checked once and shared, so that no source retries without one."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address

import httpx

from tasks.secrets import quoted

log = logging.getLogger(__name__)
PROBES = ("fred.stlouisfed.org", "query2.finance.yahoo.com", "www.cftc.gov")  # hosts that the product uses anyway
PROBE_S = 4.0
BELIEVED_S = 60.0  # how long a result is valid: an outage, or an answer of any host
NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}


class Unreachable(httpx.ConnectError):
    """A host was not found or not reached by a client other than httpx."""


def is_unreachable(error: BaseException | None) -> bool:
    """Whether a request failed because its host was not found or not reached. A host that refuses was reached."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        visited.add(id(error))
        if isinstance(error, Unreachable | httpx.ConnectTimeout | socket.gaierror):
            return True
        if isinstance(error, OSError) and error.errno in NO_ROUTE:
            return True
        error = error.__cause__ or error.__context__
    return False


def is_loopback(address: str) -> bool:
    """Whether a URL is of this machine itself, so that no network is needed."""
    try:
        host = httpx.URL(address).host
        return host == "localhost" or ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False


class NetworkState:
    """The last known state of the network. Safe to use from several threads."""

    def __init__(self, probes: tuple[str, ...] = PROBES, *, probe_s: float = PROBE_S) -> None:
        self.probes, self.probe_s = probes, probe_s
        self._lock = threading.Lock()
        self._reached_at = self._down_until = -BELIEVED_S
        self._why = ""

    def reached(self) -> None:
        """Record that a host outside this machine answered."""
        self._reached_at, self._down_until = time.monotonic(), -BELIEVED_S

    def is_down(self) -> str:
        """Why no request can succeed; empty if the network is not known to be down."""
        return self._why if time.monotonic() < self._down_until else ""

    def unreached(self, error: BaseException) -> bool:
        """Whether the whole network is down, called when a host was not reached; other hosts are tried to find out."""
        with self._lock:
            if self.is_down():
                return True
            if time.monotonic() - self._reached_at < BELIEVED_S or self._a_probe_answers():
                return False
            self._why = (
                f"no network: no host can be reached from this machine ({quoted(str(error), most=120)}). "
                "Stored data is kept; connect the machine and run this again"
            )
            self._down_until = time.monotonic() + BELIEVED_S
            log.warning("%s", self._why)
            return True

    def _a_probe_answers(self) -> bool:
        found = any_accepts([(host, 443) for host in self.probes], within_s=self.probe_s)
        if found:
            self._reached_at = time.monotonic()
        return found


def any_accepts(places: Sequence[tuple[str, int]], *, within_s: float = PROBE_S) -> bool:
    """Whether any host accepts a connection at its port. All are tried in parallel; nothing is sent."""
    found, left = threading.Event(), threading.Semaphore(0)

    def knock(place: tuple[str, int]) -> None:
        with suppress(OSError):
            socket.create_connection(place, timeout=within_s).close()
            found.set()
        left.release()

    for place in places:  # daemon threads: a name server that never answers must not keep the process alive
        threading.Thread(target=knock, args=(place,), daemon=True).start()
    ends_at = time.monotonic() + within_s
    for _ in places:
        if not left.acquire(timeout=max(0.0, ends_at - time.monotonic())) or found.is_set():
            break
    return found.is_set()


NETWORK = NetworkState()
