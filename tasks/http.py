"""The HTTP client: rate limit, time limits, size limit, retries of transient faults, no secrets in messages."""

from __future__ import annotations

import hashlib
import logging
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential_jitter,
)

from tasks.errors import NoNetwork, SourceDown, SourceUnavailable
from tasks.network import NETWORK, is_loopback, is_unreachable
from tasks.secrets import quoted, redact
from tasks.storage.files import read_json, storage_errors_explained, write_json
from tasks.transfer import ACCEPTED, Deadline, Encoded, TooLong, decoded, put_under

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)
# httpx logs every URL with its parameters, keys included, at INFO
logging.getLogger("httpx").setLevel(logging.WARNING)

TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
REFUSED_STATUS = {400, 401, 403}  # the request or its key is wrong: a retry does not help
MOST_OF_A_REFUSAL = 64 * 2**10  # bytes read of an error answer
MOST_REDIRECTS = 10


@dataclass(frozen=True)
class Limits:
    """The limits after which a source counts as unavailable.

    ``total_s`` and ``download_total_s`` cover one whole request: connecting, headers, redirects, the body, waits and
    retries.
    """

    attempts: int = 5
    connect_s: float = 10.0
    read_s: float = 30.0
    total_s: float = 180.0
    max_bytes: int = 200 * 2**20
    download_total_s: float = 900.0
    max_download_bytes: int = 2 * 2**30
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    run_s: float = 3600.0  # all requests of one client, even if each one stays within its own limits


@dataclass
class TokenBucket:
    """At most ``per_minute`` requests per minute, evenly spaced after a small burst."""

    per_minute: int
    burst: int = 5
    _tokens: float = field(init=False)
    _stamp: float = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._tokens, self._stamp = float(self.burst), time.monotonic()

    def take(self) -> None:
        """Wait until the next request is allowed."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self.burst, self._tokens + (now - self._stamp) * self.per_minute / 60)
            self._stamp = now
            self._tokens -= 1
            wait_s = -self._tokens * 60 / self.per_minute if self._tokens < 0 else 0.0
        if wait_s:
            time.sleep(wait_s)


def is_transient(error: BaseException) -> bool:
    """Whether a retry of the same request may succeed."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in TRANSIENT_STATUS
    # an invalid header or an unsupported scheme fails again on a retry
    lasting = isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol)
    return isinstance(error, httpx.TransportError) and not lasting


def retry_after_s(response: httpx.Response) -> float | None:
    """The seconds of the Retry-After header (a number or an HTTP date), or None."""
    header = response.headers.get("retry-after", "").strip()
    if header.isascii() and header.isdigit():  # isdigit accepts `²` too, which float does not
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()) if header else None
    except (TypeError, ValueError, OverflowError):
        return None


def _validator(note: Path) -> str:
    """The stored validator of an interrupted download; empty if there is none that can be used."""
    noted = read_json(note)
    validator = noted.get("validator") if isinstance(noted, dict) else None
    return validator if isinstance(validator, str) and validator.isascii() else ""


def _requested_wait_s(error: BaseException | None) -> float | None:
    return retry_after_s(error.response) if isinstance(error, httpx.HTTPStatusError) else None


@cache
def _certificates() -> ssl.SSLContext:
    """The trusted certificates. They are cached: reading them takes as long as a small request."""
    return httpx.create_ssl_context()


class Http:
    """A client for one source. Use it as a context manager."""

    def __init__(
        self,
        source: str,
        *,
        per_minute: int,
        burst: int = 5,
        secrets: tuple[str, ...] = (),
        keys: Mapping[str, str] | None = None,
        key_pages: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        downloads: Path | None = None,
    ) -> None:
        """``keys`` are the keys that are set, ``key_pages`` the page where a person gets each key.

        ``downloads`` is the folder of unfinished downloads; a download that was interrupted there is resumed. Without
        it, downloads go to a temporary folder that is deleted with the client.
        """
        self.source = source
        self._temporary = None if downloads else tempfile.TemporaryDirectory(prefix="cbi-downloads-")
        self.downloads = downloads or Path(self._temporary.name)  # type: ignore[union-attr]
        self.keys = dict(keys or {})
        self.key_pages = dict(key_pages or {})
        self.secrets = (*secrets, *self.keys.values())
        self.limits = limits or Limits()
        self._ends_at = time.monotonic() + self.limits.run_s
        self._bucket = TokenBucket(per_minute, burst)
        timeout = httpx.Timeout(self.limits.read_s, connect=self.limits.connect_s)
        self._client = httpx.Client(
            verify=_certificates(), timeout=timeout, headers={"User-Agent": "cbi/0.1", "Accept-Encoding": ACCEPTED}
        )
        self._deadline = Deadline()
        put_under(self._client, self._deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        if self._temporary:
            self._temporary.cleanup()

    def secret(self, name: str) -> str | None:
        """The key of that environment name; None if it is optional and not set."""
        return self.keys.get(name)

    def left_s(self) -> float:
        """The seconds left of the current request, for adapters that use a client of their own inside ``retrying``.

        Raises:
            TooLong: no time is left.
        """
        return self._deadline.left_s(self.limits.total_s)

    def quote(self, answer: bytes | str) -> str:
        """A server's answer, quoted for a message: without keys, at most 200 characters."""
        return quoted(answer, self.secrets)

    def get(
        self,
        url: str,
        params: Mapping[str, str | int | list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The complete body of a 2xx answer. Keys in headers never appear in messages.

        Raises:
            SourceUnavailable: after all attempts, or at once where a retry cannot help. Secrets are redacted.
        """
        return self.retrying(lambda: self._once("GET", url, params=dict(params or {}), headers=headers), shown=url)

    def post(self, url: str, body: Mapping[str, object]) -> bytes:
        """The same for a query sent as a JSON body. The query may be repeated, so it must not change anything."""
        return self.retrying(lambda: self._once("POST", url, json=dict(body)), shown=url)

    def download(self, url: str) -> Path:
        """Stream a large file to disk. An interrupted transfer is resumed if the server supports it.

        Raises:
            SourceUnavailable: as for ``get``; the part received so far is kept for the next try.
            StorageFailed: the folder of downloads cannot be written.
        """
        part = self.downloads / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.part"
        longest_s = self.limits.download_total_s
        with storage_errors_explained(self.downloads):
            self.downloads.mkdir(parents=True, exist_ok=True)
            return self.retrying(lambda: self._once_to_disk(url, part), shown=url, longest_s=longest_s)

    def retrying(self, call: Callable[[], Answer], *, shown: str, longest_s: float | None = None) -> Answer:
        """Run ``call`` with this client's rate limit, deadline and retries; ``shown`` names it in messages.

        All attempts together, waits included, take at most ``longest_s`` (default ``total_s``).

        Raises:
            SourceUnavailable: as for ``get``. SourceDown: the client's time is up, and nothing was requested. (Adapters
                that look for files treat any other error as a missing file.)
        """
        if time.monotonic() > self._ends_at:
            raise SourceDown(
                f"{self.source}: {redact(shown, self.secrets)}: not requested: the {self.limits.run_s / 60:.0f} "
                "minutes per source and run are over. What arrived is kept, and the next run goes on from it"
            )
        longest_s = self.limits.total_s if longest_s is None else longest_s
        near = is_loopback(shown)
        self._require_network(near)
        ends_at = None
        try:
            for attempt in Retrying(
                stop=stop_after_attempt(self.limits.attempts) | stop_before_delay(longest_s),
                wait=self._wait,
                retry=retry_if_exception(self._may_ask_again),
                before_sleep=self._log_retry,
                reraise=True,
            ):
                with attempt:
                    self._bucket.take()
                    ends_at = ends_at or time.monotonic() + longest_s  # a wait for our own rate limit does not count
                    with self._deadline.until(ends_at, longest_s):
                        answer = call()
                    if not near:
                        NETWORK.reached()
                    return answer
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and not near:
                NETWORK.reached()
            self._require_network(near)
            raise self._failure(error, redact(shown, self.secrets)) from None
        raise AssertionError("unreachable")

    def _require_network(self, near: bool) -> None:
        """Raise if there is no network, unless the host is this machine itself (``near``).

        Raises:
            NoNetwork: with the same message for all sources.
        """
        if not near and (why := NETWORK.is_down()):
            raise NoNetwork(why)

    def _failure(self, error: httpx.HTTPError, shown: str) -> SourceUnavailable:
        """The error of a failed request: what failed, the server's answer, and what to do."""
        problem = f"{self.source}: {shown}: {self._describe(error)}"
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
        if status in REFUSED_STATUS:
            return SourceUnavailable(f"{problem}. Stored data is kept. {self._advice(status)}")
        failure = SourceDown if is_transient(error) else SourceUnavailable
        again = self._may_ask_again(error) and not isinstance(error, TooLong)
        attempts = f" after {self.limits.attempts} attempts" if again else ""
        if (wait_s := _requested_wait_s(error) or 0.0) > self.limits.longest_wait_s:
            attempts = f"; it asks to wait {wait_s:.0f} s, longer than a run waits"
        later = f"try `cbi ingest {self.source}` later"
        return failure(f"{problem}{attempts}. Stored data is kept; {later}")

    def _advice(self, status: int | None) -> str:
        """What to do about a refusal: which key to set, and where to get it."""
        places = [
            f"{'check' if name in self.keys else 'set'} {name} (get it at {page})"
            for name, page in self.key_pages.items()
        ]
        if places:
            advice = " and ".join(places)
            return f"{advice[0].upper()}{advice[1:]}; `cbi setup` stores keys (docs/runbook.md)"
        what = "the request" if status == 400 else "this machine or its address"
        return f"The source needs no key and refuses {what}; see docs/runbook.md"

    @contextmanager
    def _answer(self, method: str, url: str, *, follow: bool, **options: Any) -> Iterator[httpx.Response]:
        """Send a request and follow redirects; no body is read here.

        Raises:
            SourceUnavailable: a redirect leads from https to another scheme. httpx.TooManyRedirects.
        """
        request = self._client.build_request(method, url, **options)
        for _ in range(MOST_REDIRECTS + 1):
            self._deadline.left_s()
            response = self._client.send(request, stream=True, follow_redirects=False)
            try:
                following = response.next_request if follow else None
                if following is None:
                    yield response
                    return
            finally:
                response.close()
            if request.url.scheme == "https" != following.url.scheme:
                raise SourceUnavailable(
                    f"{self.source}: {self.quote(url)}: it redirects from https to {self.quote(str(following.url))}, "
                    "which can be changed on the way. Stored data is kept; see docs/runbook.md"
                )
            request = following
        raise httpx.TooManyRedirects(f"more than {MOST_REDIRECTS} redirects", request=request)

    def _once(self, method: str, url: str, **options: Any) -> bytes:
        body = bytearray()
        # following a redirect would send the key in a header or body to another server
        carries = bool(options.get("headers")) or "json" in options
        with self._answer(method, url, follow=not carries, **options) as response:
            self._require_success(response)
            for piece in decoded(response):
                body += piece
                if len(body) > self.limits.max_bytes:
                    raise SourceUnavailable(
                        f"{self.source}: more than {self.limits.max_bytes} bytes from {redact(url, self.secrets)}"
                    )
                self._deadline.left_s()
        return bytes(body)

    def _require_success(self, response: httpx.Response) -> None:
        """Raise if the status is not a success, with the server's explanation.

        Raises:
            httpx.HTTPStatusError: the explanation is in the response's extension ``words``.
        """
        if response.is_success:
            return
        words, ends_at = bytearray(), time.monotonic() + self.limits.read_s
        # only the status is needed; an unreadable body is ignored
        with suppress(httpx.HTTPError), self._deadline.until(ends_at, self.limits.read_s):
            for piece in decoded(response):
                words += piece
                if len(words) > MOST_OF_A_REFUSAL:
                    break
                self._deadline.left_s()
        response.extensions["words"] = self.quote(bytes(words))
        response.raise_for_status()

    def _once_to_disk(self, url: str, part: Path) -> Path:
        """Request the missing rest of ``part``; the validator stored beside it proves that it is the same file."""
        note = part.with_suffix(".json")
        validator = _validator(note) if part.exists() else ""
        done = part.stat().st_size if validator else 0
        range_headers = {"Range": f"bytes={done}-", "If-Range": validator} if done else {}
        with self._answer(
            "GET", url, follow=True, headers={"Accept-Encoding": "identity", **range_headers}
        ) as response:
            if response.status_code == 416:  # complete already, or another file: start again
                part.unlink()
                raise TooLong("the server cannot continue the stored part; the whole file is requested again")
            self._require_success(response)
            if (encoding := response.headers.get("content-encoding", "identity")).strip().lower() != "identity":
                raise Encoded(f"the file is encoded as '{quoted(encoding)}', but `identity` was requested")
            if response.status_code != 206 or not response.headers.get("content-range", "").startswith(
                f"bytes {done}-"
            ):
                done = 0
            etag = response.headers.get("etag", "")
            strong = etag if not etag.startswith("W/") else response.headers.get("last-modified", "")
            if not done:
                part.unlink(missing_ok=True)  # a kill right here must not leave the new note with the old bytes
            write_json(note, {"validator": strong})
            with part.open("ab" if done else "wb") as file:
                for chunk in response.iter_raw():
                    file.write(chunk)
                    if file.tell() > self.limits.max_download_bytes:
                        raise SourceUnavailable(
                            f"{self.source}: more than {self.limits.max_download_bytes} bytes from "
                            f"{redact(url, self.secrets)}"
                        )
                    self._deadline.left_s()
        note.unlink()
        return part.replace(part.with_suffix(".whole"))

    def _may_ask_again(self, error: BaseException) -> bool:
        """Whether to retry: the fault is transient, and the server does not ask for a longer wait than a run allows.

        Without any network there is no retry.
        """
        if is_unreachable(error) and NETWORK.unreached(error):
            return False
        return is_transient(error) and (_requested_wait_s(error) or 0.0) <= self.limits.longest_wait_s

    def _wait(self, state: RetryCallState) -> float:
        requested_s = _requested_wait_s(state.outcome.exception() if state.outcome else None)
        if requested_s is not None:
            return requested_s
        return wait_exponential_jitter(initial=self.limits.first_wait_s, max=self.limits.longest_wait_s)(state)

    def _log_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait_s = state.next_action.sleep if state.next_action else 0.0
        log.warning(
            "%s: attempt %d: %s; again in %.1f s", self.source, state.attempt_number, self._describe(error), wait_s
        )

    def _describe(self, error: BaseException | None) -> str:
        if isinstance(error, httpx.HTTPStatusError):
            words = error.response.extensions.get("words")
            return f"HTTP {error.response.status_code}" + (f": {words}" if words else "")
        if isinstance(error, httpx.LocalProtocolError):  # its text contains the header, key included
            return "LocalProtocolError: the request cannot be sent; is there a line break in a key?"
        return redact(f"{type(error).__name__}: {error}", self.secrets)
