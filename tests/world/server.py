"""A world to run in: one loopback server that answers as every live source does, as of a simulated instant.

Nothing published later than ``World.now`` is served. The product reaches it through a copy of the registry whose
addresses point here; its clock is set by ``CBI_NOW``. Trouble is declared beforehand: an outage, a slow day, a 429, a
header that changes.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import yaml

from tasks.registry import DataSources
from tests.world.dialects import DIALECTS, query_of
from tests.world.published import Published


@dataclass(frozen=True)
class Asked:
    """One request, without the source's own first part of the path."""

    source: str
    path: str
    query: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Trouble:
    """What goes wrong at a source from one day to another, both inclusive.

    ``kind``: ``outage`` (503), ``slow`` (each answer takes ``seconds``), ``limit`` (every third request is a 429),
    ``header`` (the first line, or the first name, of the answer is another one).
    """

    source: str
    first: str
    last: str
    kind: str
    seconds: float = 0.5


@dataclass
class World:
    """What is so at the simulated instant ``now``."""

    published: Published
    sources: DataSources
    now: pd.Timestamp
    troubles: tuple[Trouble, ...] = ()
    early: tuple[str, str] | None = None
    """A source and series that the world publishes a day early: the mistake it must notice in itself."""
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    unrouted: list[str] = field(default_factory=list)
    _counted: threading.Lock = field(default_factory=threading.Lock)

    @property
    def archive(self) -> Path:
        """The folder of recorded payloads."""
        return self.published.archive

    def at(self, source: str, series: str) -> pd.DataFrame:
        """Of one series what is published now."""
        ahead = pd.Timedelta(days=4 if self.early == (source, series) else 0)  # over a weekend
        return self.published.at(source, series, self.now + ahead)

    def names_of_reports(self, folder: str, path: Path) -> set[str]:
        """Under which names USDA has a recorded WASDE file."""
        day = pd.Timestamp(path.stem)
        if folder == "wasde-xls":
            return {f"wasde{day:%m%y}.xls"}
        return {f"oce-wasde-report-data-{'2010-04-to-2015-12' if day.year <= 2015 else '2016-01-to-2020-12'}.zip"}

    def answer(self, asked: Asked) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        trouble = next((one for one in self.troubles if one.source == asked.source and self._is(one)), None)
        with self._counted:
            count = sum(n for (source, _), n in self.requests.items() if source == asked.source)
        if trouble and trouble.kind == "outage":
            return 503, b"<html>Service Unavailable</html>", {}
        if trouble and trouble.kind == "limit" and count % 3 == 0:
            return 429, b"Too Many Requests", {"Retry-After": "0"}
        if trouble and trouble.kind == "slow":
            time.sleep(trouble.seconds)
        dialect = DIALECTS.get(asked.source)
        if dialect is None:
            self.unrouted.append(f"{asked.source} {asked.path}")
            return 501, b"no route", {}
        status, body = dialect(asked, self)
        if trouble and trouble.kind == "header":
            body = body.replace(b"observation_date", b"day", 1)
        return status, body, {}

    def _is(self, trouble: Trouble) -> bool:
        return trouble.first <= f"{self.now.tz_convert('America/Chicago'):%Y-%m-%d}" <= trouble.last


@contextmanager
def served(world: World) -> Iterator[str]:
    """Run the world on a free loopback port; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            _, source, *rest = unquote(parts.path).split("/", 2)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(source, f"/{rest[0] if rest else ''}", query_of(parts.query), body)
            try:
                status, content, headers = world.answer(asked)
            except Exception as error:  # an answer that the world cannot make is the world's fault, and fails it
                world.unrouted.append(f"{source} {self.path}: {type(error).__name__}: {error}")
                status, content, headers = 500, b"the world is broken", {}
            with world._counted:
                world.requests[source, status] += 1
            with suppress(ConnectionError):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def point_at(url: str, registry: Path, now: pd.Timestamp, *, fast: bool = True, only: tuple[str, ...] = ()) -> None:
    """Rewrite a copied registry: every address becomes ``url``/<source>/<its own path>.

    Args:
        fast: no rate limit, so that a day takes what the product takes.
        only: the sources that stay enabled; all when empty.
    """
    path = registry / "data_sources.yaml"
    content = yaml.safe_load(path.read_text())
    for name, spec in content["sources"].items():
        for key in ("endpoint", "keyed_endpoint"):
            if str(spec.get(key, "")).startswith("http"):
                spec[key] = f"{url}/{name}{urlsplit(spec[key]).path.rstrip('/')}"
        if fast:
            spec["rate_limit_per_minute"], spec["burst"] = 60_000, 1000
        if only and name not in only and not spec.get("tables"):
            spec["disabled"] = "not asked in this world"
        if pd.Timestamp(spec["first_date"], tz="UTC") > now:
            spec["disabled"] = f"it begins on {spec['first_date']}, after this world"
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
