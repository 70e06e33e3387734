"""Whether any source could be asked at all: one look at the network before a run waits for each of them."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from tasks.registry import DataSources
from tasks.zones import Zones

DEFAULT_PORTS = {"http": 80, "https": 443}


def is_reachable(sources: DataSources, *, within_s: float = 4.0) -> bool:
    """Whether some source's host accepts a connection. All are tried side by side; nothing is asked of them."""
    parts = [urlsplit(spec.endpoint) for spec in sources.sources.values() if not spec.tables]
    places = sorted(
        {(part.hostname, part.port or DEFAULT_PORTS.get(part.scheme, 443)) for part in parts if part.hostname}
    )
    if not places:
        return False
    pool = ThreadPoolExecutor(max_workers=len(places))
    try:
        found = [pool.submit(_accepts, host, port, within_s) for host, port in places]
        return any(one.result() for one in found)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _accepts(host: str, port: int, within_s: float) -> bool:
    try:
        with socket.create_connection((host, port), timeout=within_s):
            return True
    except OSError:
        return False


def has_live_data(zones: Zones, sources: DataSources) -> bool:
    """Whether anything was ever fetched into this home. Recorded payloads and the registry's tables do not count."""
    return any(
        not path.name.startswith("recorded-")
        for source, spec in sources.sources.items()
        if not spec.tables
        for path in (zones.raw / source).glob("*/*.sidecar.json")
    )
