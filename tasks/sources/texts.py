"""What sources of documents share: the shape of a document, its topics, and the count of documents a day."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pandas as pd

from tasks.errors import SchemaDrift
from tasks.registry import SourceSpec
from tasks.sources.payloads import Payload

DOCUMENT = ["series", "document_id", "published", "title", "abstract", "url", "publisher", "row"]
OTHER = "other"  # the topic of a document in which no topic's terms stand, where the source has it


def normalised(text: str) -> str:
    """``text`` without case, accents of compatibility forms, punctuation and double spaces."""
    kept = (sign if sign.isalnum() else " " for sign in unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(kept).split())


def topics_of(text: str, spec: SourceSpec) -> list[str]:
    """The registered topics of which a term stands in ``text`` as whole words (a plural counts), else `other`."""
    plain = f" {normalised(text)} "
    found = [
        topic
        for topic, entry in spec.series.items()
        if any(re.search(f" {re.escape(normalised(term))}(e?s)? ", plain) for term in entry.terms)
    ]
    return found or ([OTHER] if OTHER in spec.series else [])


def entries(payload: Payload, key: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """The array ``key`` of a JSON payload; every entry has ``columns``, each a text or nothing.

    Raises:
        SchemaDrift: naming the column and the entry.
    """
    try:
        served = json.loads(payload.path.read_bytes(), strict=False)
    except (ValueError, RecursionError) as error:
        raise SchemaDrift(f"{payload.name}: not JSON ({error})") from None
    found = served.get(key) if isinstance(served, dict) else None
    if not isinstance(found, list):
        raise SchemaDrift(f"{payload.name}: no array `{key}`; not the answer asked for, or the source changed it")
    for number, entry in enumerate(found, start=1):
        missing = [name for name in columns if not isinstance(entry, dict) or name not in entry]
        if missing:
            raise SchemaDrift(f"{payload.name}: no {missing} in entry {number} of `{key}`; the source renamed it")
        odd = [name for name in columns if not isinstance(entry[name], str | None)]
        if odd:
            raise SchemaDrift(f"{payload.name}: {odd} in entry {number} of `{key}` is no text")
    # half a surrogate pair, which JSON can spell, is no text that a file can hold
    return [
        {name: entry[name] and entry[name].encode(errors="replace").decode() for name in columns} for entry in found
    ]


def counted(documents: pd.DataFrame, field: str) -> pd.DataFrame:
    """Distinct documents of each topic and day, for the days that have any. A title is what makes a document."""
    titled = documents[documents["title"].fillna("").str.strip() != ""].drop_duplicates(["series", "document_id"])
    days = titled.assign(observation_date=titled["published"].fillna("").astype(str))
    counts = days.groupby(["series", "observation_date"], sort=False).agg(row=("row", "min"), documents=("row", "size"))
    return counts.rename(columns={"documents": field}).reset_index()
