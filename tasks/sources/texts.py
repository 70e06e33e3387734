"""Shared by sources of documents: the columns of a document, its topics, and document counts per day."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pandas as pd

from tasks.errors import SchemaDrift
from tasks.registry import SourceSpec
from tasks.secrets import quoted, redact
from tasks.sources.payloads import Payload, refusal

DOCUMENT = ["series", "document_id", "published", "title", "abstract", "url", "publisher", "row"]
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[\"\\/bfnrt])|\\")  # a valid escape, or a lone backslash
OTHER = "other"  # the topic of documents without any topic's terms, if the source has it


def normalised(text: str) -> str:
    """``text`` in NFKC form and lower case, without punctuation and double spaces."""
    kept = (sign if sign.isalnum() else " " for sign in unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(kept).split())


def topics_of(text: str, spec: SourceSpec) -> list[str]:
    """The registered topics with a term in ``text`` as whole words (plurals count), else `other`."""
    plain = f" {normalised(text)} "
    found = [
        topic
        for topic, entry in spec.series.items()
        if any(re.search(f" {re.escape(normalised(term))}(e?s)? ", plain) for term in entry.terms)
    ]
    return found or ([OTHER] if OTHER in spec.series else [])


def entries(
    payload: Payload, key: str, columns: tuple[str, ...]
) -> tuple[list[tuple[int, dict[str, Any]]], list[dict[str, object]]]:
    """The entries of the array ``key`` of a JSON payload, each with its number, and the refusals of malformed ones.

    An entry has ``columns``, each a text or null. A malformed entry is refused alone; if all are malformed, the source
    has changed its shape.

    Raises:
        SchemaDrift: names what is wrong with the first entry, or with the document.
    """
    try:
        served = lenient_json(payload.path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SchemaDrift(f"{payload.name}: not JSON ({error})") from None
    found = served.get(key) if isinstance(served, dict) else None
    if not isinstance(found, list):
        raise SchemaDrift(f"{payload.name}: no array `{key}`; another answer, or the source changed it")
    good, refused = [], []
    for number, entry in enumerate(found, start=1):
        if why := _odd(entry, columns):
            refused.append(refusal(payload.series, f"{payload.name}: entry {number} of `{key}`: {why}", row=number))
        else:
            # JSON can contain half a surrogate pair, which no file can store
            text = {name: entry[name] and entry[name].encode(errors="replace").decode() for name in columns}
            good.append((number, text))
    if refused and not good:
        raise SchemaDrift(str(refused[0]["refused"]))
    return good, refused


def _odd(entry: object, columns: tuple[str, ...]) -> str:
    """What is wrong with an entry; empty if nothing is."""
    missing = [name for name in columns if not isinstance(entry, dict) or name not in entry]
    if missing or not isinstance(entry, dict):
        return f"no {missing} in it; the source renamed it"
    odd = [name for name in columns if not isinstance(entry[name], str | None)]
    return f"{odd} is not text" if odd else ""


def lenient_json(content: bytes) -> Any:
    """Parse JSON, but accept invalid backslash escapes and control characters as they are.

    Raises:
        ValueError: it is not JSON; the message says what is wrong and at which byte.
    """
    text = content.decode("utf-8-sig", errors="replace")  # a bad byte loses one character
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        if "escape" not in error.msg:
            raise ValueError(describe_json_error(error)) from None
    try:
        return json.loads(ESCAPE.sub(lambda found: found.group() if found[1] else r"\\", text), strict=False)
    except json.JSONDecodeError as error:
        raise ValueError(describe_json_error(error)) from None


def describe_json_error(error: json.JSONDecodeError) -> str:
    """What is wrong with a JSON text, at which byte, and the text there."""
    at = len(error.doc[: error.pos].encode(errors="replace"))
    # redact a window much wider than a key before cutting
    before, after = redact(error.doc[max(0, error.pos - 5000) : error.pos]), error.doc[error.pos : error.pos + 5000]
    near = before[-20:] + quoted(after, most=20)
    return f"{error.msg[:1].lower()}{error.msg[1:].replace(chr(92), '')} at byte {at}, near {near!r}"


def counted(documents: pd.DataFrame, field: str) -> pd.DataFrame:
    """Distinct documents of each topic and day, for the days that have any. Entries without a title do not count."""
    titled = documents[documents["title"].fillna("").str.strip() != ""].drop_duplicates(["series", "document_id"])
    days = titled.assign(observation_date=titled["published"].fillna("").astype(str))
    counts = days.groupby(["series", "observation_date"], sort=False).agg(row=("row", "min"), documents=("row", "size"))
    return counts.rename(columns={"documents": field}).reset_index()
