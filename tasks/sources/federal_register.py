"""Federal Register documents: title, abstract, date and link, newest first.

One payload is one mixed feed (`results[]`) of all queries. A document belongs to every topic with a registered term in
its title or abstract, and to `other` without any (the search also covers the full text). So a topic means the same in
recorded and live feeds. One query returns at most 2,000 results, so it is split by date. Document numbers were reused
before 2016: the date is part of a document's identifier.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pandas as pd

from tasks.errors import NothingNew, SourceDown, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.texts import DOCUMENT, counted, entries, topics_of

COLUMNS = ("document_number", "title", "abstract", "publication_date", "html_url")
PAGE, CAP = 1000, 2000
PUBLISHER = "Federal Register"


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """Every document of the window that any topic's query finds, each once, as one page of the API's answer."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    lost: SourceUnavailable | None = None
    for query in sorted({entry.query for entry in spec.series.values() if entry.query}):
        try:
            for result in _results(query, window.start, window.end, spec, http):
                found[_identity(result)] = result
        except SourceUnavailable as error:  # the documents of the other queries are kept
            lost = error
            if isinstance(error, SourceDown):
                break
    if lost and not found:
        raise lost
    if not found:
        raise NothingNew(f"{http.source}: {series}: no document between {window.start} and {window.end}")
    page = {"count": len(found), "total_pages": 1, "results": [found[key] for key in sorted(found, reverse=True)]}
    yield Fetched(series=series, extension="json", content=json.dumps(page).encode(), url=spec.endpoint)
    if lost:
        raise lost


def _identity(result: dict[str, Any]) -> tuple[str, str]:
    return str(result.get("publication_date")), str(result.get("document_number"))


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Documents per topic and publication day, for the days of the payload that have any."""
    rows, refused = _documents(payload, spec)
    return with_refusals(counted(rows, next(iter(spec.fields))), refused)


def documents(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """The documents as served, one row per topic."""
    return _documents(payload, spec)[0]


def _documents(payload: Payload, spec: SourceSpec) -> tuple[pd.DataFrame, list[dict[str, object]]]:
    """The documents, and the refusals of entries that are not documents."""
    found, refused = entries(payload, "results", COLUMNS)
    rows = []
    for number, served in found:
        day, name = served["publication_date"], served["document_number"]
        for topic in topics_of(f"{served['title'] or ''}\n{served['abstract'] or ''}", spec):
            identity = f"{day}/{name}" if name else None
            rows.append(
                [topic, identity, day, served["title"], served["abstract"], served["html_url"], PUBLISHER, number]
            )
    return pd.DataFrame(rows, columns=DOCUMENT), refused


def _results(query: str, first: date, last: date, spec: SourceSpec, http: Http) -> list[dict[str, Any]]:
    """Every result of one query; above the cap the query is split into two halves by date."""
    found: list[dict[str, Any]] = []
    page = 1
    while True:
        total, pages, results = _page(query, first, last, page, spec, http)
        if total > CAP:
            if first == last:
                raise SourceUnavailable(
                    f"{http.source}: {total} documents on {first} for {query}, at most {CAP} are served"
                )
            middle = first + (last - first) // 2
            later = _results(query, middle + timedelta(days=1), last, spec, http)
            return later + _results(query, first, middle, spec, http)
        found += results
        if page >= pages:
            break
        page += 1
    distinct = len({_identity(result) for result in found})  # a document may move to the next page during the requests
    if distinct < total:
        raise SourceUnavailable(
            f"{http.source}: {distinct} of {total} documents from {first} to {last} for {query}; request it again"
        )
    return found


def _page(
    query: str, first: date, last: date, page: int, spec: SourceSpec, http: Http
) -> tuple[int, int, list[dict[str, Any]]]:
    params: dict[str, str | int | list[str]] = {
        "conditions[term]": query,
        "conditions[publication_date][gte]": str(first),
        "conditions[publication_date][lte]": str(last),
        "fields[]": list(COLUMNS),
        "per_page": PAGE,
        "page": page,
        "order": "newest",
    }
    body = http.get(spec.endpoint, params)
    try:
        answer = json.loads(body)
        total, results = int(answer["count"]), answer.get("results", [])  # no documents, no `results`
        pages = int(answer.get("total_pages", 1))
        good = (total == 0 or "results" in answer) and all(isinstance(one, dict) for one in results)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise SourceUnavailable(f"{http.source}: expected the documents, got '{http.quote(body)}'")
    return total, pages, results
