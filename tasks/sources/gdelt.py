"""News articles found by GDELT's DOC 2.0 search: title, domain, link and `seendate`, without the text.

A payload is one topic's articles of some whole UTC days, the `articles[]` of all answers together. One query returns at
most 250 articles: a full day is split. An error is plain text with status 200. One story has many addresses, so an
article is identified by its normalised title. Articles appear in batches of 15 minutes, named by their start.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasks import clock
from tasks.errors import NothingNew, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals
from tasks.sources.texts import DOCUMENT, counted, entries, lenient_json, normalised

COLUMNS = ("url", "title", "seendate", "domain")
FULL = 250
GIVE_UP_AFTER = 2  # days in a row that cannot be read
BATCH = pd.Timedelta(minutes=15)
SECOND = pd.Timedelta(seconds=1)
STAMP = "%Y%m%d%H%M%S"
SEEN_DATE = re.compile(r"^(\d{4})(\d\d)(\d\d)T\d{6}Z$")


class Unreadable(SourceUnavailable):
    """The answer for some days arrived but cannot be used; other days may still work."""


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The articles of a topic, day by day: only days that are over, and at most ``days_at_once``.

    A day whose answer cannot be read is requested once more, then recorded as refused in the payload. Days after the
    last one that arrived are left to the next run.
    """
    over = clock.now().tz_localize(None).normalize() - pd.Timedelta(days=1)
    last = min(pd.Timestamp(window.end), over, pd.Timestamp(window.start) + pd.Timedelta(days=spec.days_at_once - 1))
    days: dict[pd.Timestamp, list[dict[str, Any]]] = {}
    lost: dict[pd.Timestamp, str] = {}
    down: SourceUnavailable | None = None
    in_a_row = 0
    for day in pd.date_range(window.start, last):
        for _ in range(2):
            try:
                days[day] = _articles(series, day, day + pd.Timedelta(days=1) - SECOND, spec, http)
                lost.pop(day, None)
                break
            except Unreadable as error:
                lost[day] = str(error)
            except SourceUnavailable as error:
                down = error
                break
        in_a_row = 0 if day in days else in_a_row + 1
        if down or in_a_row >= GIVE_UP_AFTER:
            break
    newest = max((day for day, found in days.items() if found), default=None)
    if newest is not None:
        refused = [{"day": f"{day:%Y-%m-%d}", "why": why} for day, why in lost.items() if day < newest]
        document = {"articles": [article for found in days.values() for article in found]}
        content = json.dumps(document | ({"refused": refused} if refused else {})).encode()
        yield Fetched(series=series, extension="json", content=content, url=spec.endpoint)
    behind = [why for day, why in lost.items() if newest is None or day > newest]
    if down:
        raise down
    if behind:
        raise SourceUnavailable(behind[-1])
    if newest is None:
        raise NothingNew(f"{http.source}: {series}: no article from {window.start} to {last:%Y-%m-%d}")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Distinct titles per day, for the days of the payload that have any, and the days that could not be read."""
    rows, refused = _documents(payload)
    return with_refusals(counted(rows, next(iter(spec.fields))), [*refused, *_lost_days(payload)])


def documents(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """The articles as served, each with the instant at which its batch was published."""
    return _documents(payload)[0]


def _documents(payload: Payload) -> tuple[pd.DataFrame, list[dict[str, object]]]:
    """The articles, and the refusals of entries that are not articles."""
    found, refused = entries(payload, "articles", COLUMNS)
    rows, stamps = [], []
    for number, served in found:
        stamp = served["seendate"] or ""
        title = normalised(served["title"] or "")
        identity = hashlib.sha256(title.encode()).hexdigest()[:16] if title else None
        day = "-".join(named.groups()) if (named := SEEN_DATE.match(stamp)) else stamp
        rows.append([payload.series, identity, day, served["title"], None, served["url"], served["domain"], number])
        stamps.append(stamp)
    released = (
        pd.to_datetime(pd.Series(stamps, dtype="str"), format="%Y%m%dT%H%M%SZ", errors="coerce", utc=True) + BATCH
    )
    table = pd.DataFrame(rows, columns=DOCUMENT).assign(released_at=released.astype("datetime64[us, UTC]"))
    return table, refused


def _lost_days(payload: Payload) -> list[dict[str, object]]:
    """The days that the fetch of this payload could not read, as recorded in it."""
    noted = lenient_json(payload.path.read_bytes()).get("refused", [])
    return [refusal(payload.series, one["why"], observation_date=one["day"], whole=True) for one in noted]


def _articles(
    series: str, first: pd.Timestamp, last: pd.Timestamp, spec: SourceSpec, http: Http
) -> list[dict[str, Any]]:
    """The articles between two instants, both inclusive; a full answer is split into two halves."""
    params: dict[str, str | int] = {
        "query": spec.series[series].query,
        "mode": "artlist",
        "format": "json",
        "maxrecords": FULL,
        "startdatetime": f"{first:{STAMP}}",
        "enddatetime": f"{last:{STAMP}}",
    }
    body = http.get(spec.endpoint, params)
    try:
        answer = lenient_json(body)
        found = answer.get("articles", [])  # an empty object: no article
        good = isinstance(found, list) and (answer == {} or "articles" in answer)
        # a malformed entry is refused alone if others are articles
        good = good and (not found or any(isinstance(article, dict) for article in found))
        why = ""
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        good, why = False, f" ({error})" if isinstance(error, ValueError) else ""
    if not good:
        raise Unreadable(
            f"{http.source}: {series}: {first:%Y-%m-%d}: expected the articles, got '{http.quote(body)}'"
            f"{http.quote(why)}"
        )
    if len(found) < FULL:
        return list(found)
    if last - first < BATCH:
        raise Unreadable(f"{http.source}: {series}: {FULL} articles from {first} to {last}, more are not available")
    middle = first + ((last - first) // 2).floor("s")
    earlier = _articles(series, first, middle, spec, http)
    return earlier + _articles(series, middle + SECOND, last, spec, http)
