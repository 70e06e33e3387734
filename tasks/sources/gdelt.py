"""News articles found by GDELT's DOC 2.0 search: title, domain, link and when they were seen; no text of their own.

A payload is one topic's articles of some whole UTC days, `articles[]` of all answers together. 250 articles come of
one query: a day that is full is split. An error is plain text with status 200. The same story stands under many
addresses: an article is its normalised title. Articles appear in batches of 15 minutes, named by their start.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasks import clock
from tasks.errors import SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window
from tasks.sources.texts import DOCUMENT, counted, entries, normalised

COLUMNS = ("url", "title", "seendate", "domain")
FULL = 250
BATCH = pd.Timedelta(minutes=15)
SECOND = pd.Timedelta(seconds=1)
STAMP = "%Y%m%d%H%M%S"
SEEN = re.compile(r"^(\d{4})(\d\d)(\d\d)T\d{6}Z$")


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The articles of a topic, day by day; only days that are over, and no more of them than a run may take."""
    over = clock.now().tz_localize(None).normalize() - pd.Timedelta(days=1)
    last = min(pd.Timestamp(window.end), over, pd.Timestamp(window.start) + pd.Timedelta(days=spec.days_at_once - 1))
    articles: list[dict[str, Any]] = []
    for day in pd.date_range(window.start, last):
        articles += _articles(series, day, day + pd.Timedelta(days=1) - SECOND, spec, http)
    if not articles:
        raise SourceUnavailable(f"{http.source}: {series}: no article from {window.start} to {last:%Y-%m-%d}")
    content = json.dumps({"articles": articles}).encode()
    yield Fetched(series=series, extension="json", content=content, url=spec.endpoint)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Different titles a day, for the days of the payload that have any."""
    return counted(documents(payload, spec), next(iter(spec.fields)))


def documents(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """The articles as served, each with the instant from which its batch could be read."""
    rows, seen = [], []
    for number, served in enumerate(entries(payload, "articles", COLUMNS), start=1):
        stamp = served["seendate"] or ""
        title = normalised(served["title"] or "")
        identity = hashlib.sha256(title.encode()).hexdigest()[:16] if title else None
        day = "-".join(named.groups()) if (named := SEEN.match(stamp)) else stamp
        rows.append([payload.series, identity, day, served["title"], None, served["url"], served["domain"], number])
        seen.append(stamp)
    released = pd.to_datetime(pd.Series(seen, dtype="str"), format="%Y%m%dT%H%M%SZ", errors="coerce", utc=True) + BATCH
    return pd.DataFrame(rows, columns=DOCUMENT).assign(released_at=released.astype("datetime64[us, UTC]"))


def _articles(
    series: str, first: pd.Timestamp, last: pd.Timestamp, spec: SourceSpec, http: Http
) -> list[dict[str, Any]]:
    """The articles seen between two instants, both inclusive; of a full answer, those of its halves."""
    asked: dict[str, str | int] = {
        "query": spec.series[series].query,
        "mode": "artlist",
        "format": "json",
        "maxrecords": FULL,
        "startdatetime": f"{first:{STAMP}}",
        "enddatetime": f"{last:{STAMP}}",
    }
    body = http.get(spec.endpoint, asked)
    try:
        answer = json.loads(body, strict=False)
        found = answer.get("articles", [])  # an empty object: no article
        good = all(isinstance(article, dict) for article in found) and (answer == {} or "articles" in answer)
    except (ValueError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise SourceUnavailable(f"{http.source}: {series}: not the articles asked for but {body[:120]!r}")
    if len(found) < FULL:
        return list(found)
    if last - first < BATCH:
        raise SourceUnavailable(f"{http.source}: {series}: {FULL} articles from {first} to {last}, more cannot be had")
    middle = first + ((last - first) // 2).floor("s")
    earlier = _articles(series, first, middle, spec, http)
    return earlier + _articles(series, middle + SECOND, last, spec, http)
