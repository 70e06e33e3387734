"""Legislation and news: what was published, its topics, and what it says of each theme."""

from __future__ import annotations

from tasks.reporting.site.figures import Row, grouped, rows_of
from tasks.reporting.site.frames import Content, Frames

VIEWS = ("api.vw_news",)
DOCUMENTS_SHOWN = 300
WEB = ("https://", "http://")


def content(frames: Frames) -> Content:
    """The newest documents, one entry each, with its themes."""
    rows = rows_of("api.vw_news", frames["api.vw_news"], "source", "document_id", "available_at", "theme")
    documents: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        key = (str(row["source"]), str(row["document_id"]), str(row["available_at"]))
        documents.setdefault(key, []).append(row)
    shown = [(themes[0], safe_link(themes[0]["url"]), themes) for themes in documents.values()]
    return Content(
        {
            "documents": shown[:DOCUMENTS_SHOWN],
            "left_out": max(0, len(shown) - DOCUMENTS_SHOWN),
            "sources": [name for name, _ in grouped(rows, "source")],
        }
    )


def safe_link(url: str | None) -> str | None:
    """A web address; None for anything that a click could run."""
    return url if isinstance(url, str) and url.lower().startswith(WEB) else None
