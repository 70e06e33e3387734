"""The brief as files under reports/, and on its way to a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.alerts.routes import NOTIFY, Delivery, addresses, deliver
from tasks.errors import SettingsError
from tasks.reporting.brief import Brief, read_brief
from tasks.reporting.brief_pages import html, text, write_pdf
from tasks.run import RunContext
from tasks.storage.files import write_bytes
from tasks.warehouse.protocol import Warehouse


@dataclass(frozen=True)
class BriefFiles:
    """A brief and its files."""

    brief: Brief
    pdf: Path
    html: Path


def write(run: RunContext, warehouse: Warehouse) -> BriefFiles:
    """Write ``reports/brief_<session>.pdf`` and ``.html``.

    Raises:
        NothingStored: no forecast of the session is published.
    """
    brief = read_brief(run, warehouse)
    stem = run.work.reports / f"brief_{brief.as_of}"
    page = stem.with_suffix(".html")
    write_bytes(page, f'<!doctype html><meta charset="utf-8"><title>CBI {brief.as_of}</title>{html(brief)}'.encode())
    return BriefFiles(brief, write_pdf(brief, stem.with_suffix(".pdf")), page)


def send(files: BriefFiles) -> Delivery:
    """Send the brief by every configured route: HTML with a text part and the PDF by mail, else as text.

    Raises:
        SettingsError: no route is configured.
    """
    routes = addresses()
    if not routes:
        raise SettingsError(f"{NOTIFY} is not set, so nobody can be notified; see docs/running.md")
    subject = f"{files.brief.title}, {files.brief.as_of}"
    return deliver(subject, text(files.brief), html=html(files.brief), attach=(str(files.pdf),), to=routes)
