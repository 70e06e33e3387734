"""Limits of one HTTP transfer: a deadline for all of it, and a memory bound that no encoding can exceed."""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from tasks.secrets import quoted

ACCEPTED = "gzip"  # requested; `identity` is always accepted
GZIP = {"gzip", "x-gzip"}
PIECE = 2**18  # the most bytes that are decoded at once


class TooLong(httpx.TransportError):
    """The whole answer took longer than the total limit."""


class Encoded(httpx.DecodingError):
    """The answer has an encoding that is not supported."""


class Deadline(httpcore.NetworkBackend):
    """The network backend of one client: every wait ends by the deadline of the thread's transfer.

    httpx only bounds each read, so a server that sends one header byte per second never times out. Here connecting,
    TLS, headers, bodies and redirects share one deadline. Exception: the operating system looks names up, with its own
    limit (resolv.conf), and cannot be interrupted.
    """

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()
        self._of_thread = threading.local()

    @property
    def ends_at(self) -> float:
        """When the transfer of this thread ends, on the monotonic clock; infinite if there is none."""
        return float(getattr(self._of_thread, "ends_at", math.inf))

    @contextmanager
    def until(self, ends_at: float, limit_s: float) -> Iterator[None]:
        """Nothing inside lasts beyond ``ends_at`` or an earlier outer deadline; messages name ``limit_s``."""
        before = self.ends_at, getattr(self._of_thread, "limit_s", math.inf)
        self._of_thread.ends_at, self._of_thread.limit_s = min(before, (ends_at, limit_s))
        try:
            yield
        finally:
            self._of_thread.ends_at, self._of_thread.limit_s = before

    def left_s(self, timeout_s: float | None = None) -> float:
        """The seconds that a wait may take: what is left of the transfer, and at most ``timeout_s``.

        Raises:
            TooLong: no time is left.
        """
        left_s = self.ends_at - time.monotonic()
        if left_s <= 0:
            raise TooLong(f"no whole answer within the {self._of_thread.limit_s:g} s that one request has")
        return min(left_s, math.inf if timeout_s is None else timeout_s)

    @contextmanager
    def wait(self, timeout_s: float | None) -> Iterator[float | None]:
        """The limit of one wait; a wait that the deadline cuts short raises ``TooLong``."""
        left_s = self.left_s(timeout_s)
        try:
            yield None if left_s == math.inf else left_s
        except httpcore.TimeoutException:
            self.left_s()
            raise

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address of ``host`` that accepts one; each has ``timeout``."""
        self.left_s()
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        failed: Exception = httpcore.ConnectError(f"{host} has no address")
        for place in dict.fromkeys(str(address[0]) for *_, address in found):
            try:
                with self.wait(timeout) as limit_s:
                    return Stream(self, self._inner.connect_tcp(place, port, limit_s, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    def sleep(self, seconds: float) -> None:
        """Wait before a connection is tried again."""
        time.sleep(self.left_s(seconds))


class Stream(httpcore.NetworkStream):
    """A connection whose reads and writes end by the deadline."""

    def __init__(self, deadline: Deadline, inner: httpcore.NetworkStream) -> None:
        self._deadline, self._inner = deadline, inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The bytes received so far, at most ``max_bytes``."""
        with self._deadline.wait(timeout) as limit_s:
            return self._inner.read(max_bytes, limit_s)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of ``buffer``."""
        for start in range(0, len(buffer), PIECE):
            with self._deadline.wait(timeout) as limit_s:
                self._inner.write(buffer[start : start + PIECE], limit_s)

    def close(self) -> None:
        """End the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The connection in TLS; the whole handshake is one wait."""
        with self._deadline.wait(timeout) as limit_s:
            return Stream(self._deadline, self._inner.start_tls(ssl_context, server_hostname, limit_s))

    def get_extra_info(self, info: str) -> Any:
        """What httpcore checks of a connection, such as whether it can still be used."""
        return self._inner.get_extra_info(info)


def put_under(client: httpx.Client, deadline: Deadline) -> None:
    """Make every connection of ``client``, with or without a proxy, through ``deadline``.

    httpx has no public way that keeps the environment's proxies; tests/test_http.py checks that this one works.
    """
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            transport._pool._network_backend = deadline


def decoded(response: httpx.Response) -> Iterator[bytes]:
    """The decoded body of an answer, in pieces of at most ``PIECE`` bytes, or as received.

    httpx decodes everything at once, and several encodings in turn: 1,311 bytes became 700 MB. Here an answer is plain
    or gzip, once, and nothing is decoded before the caller reads it.

    Raises:
        Encoded: it has another encoding, or more than one. httpx.DecodingError: it is not gzip.
        httpx.RemoteProtocolError: the gzip ends early.
    """
    encoding = ", ".join(response.headers.get_list("content-encoding")).strip().lower()
    if encoding in ("", "identity"):
        yield from response.iter_raw()
    elif encoding in GZIP:
        yield from _gunzipped(response)
    else:
        raise Encoded(
            f"the answer is encoded as '{quoted(encoding)}'; only {ACCEPTED}, once, or no encoding is supported"
        )


def _gunzipped(response: httpx.Response) -> Iterator[bytes]:
    """The members of a gzip, in order; zeros may follow the last."""
    member, begun = _member(), False
    for raw in response.iter_raw():
        pending = True
        while raw or pending:
            if member.eof:
                raw, member = raw.lstrip(b"\0"), _member()
                if not raw:
                    begun = False
                    break
            try:
                piece, begun = member.decompress(raw, PIECE), True
            except zlib.error as error:
                raise httpx.DecodingError(f"the answer is not a complete gzip ({error})") from None
            if piece:
                yield piece
            pending = len(piece) == PIECE  # there may be more that needs no further input
            raw = member.unused_data if member.eof else member.unconsumed_tail
    if begun and not member.eof:
        raise httpx.RemoteProtocolError("the answer ends before its gzip does")


def _member() -> Any:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
