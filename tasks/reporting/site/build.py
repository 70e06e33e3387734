"""Builds the site: views of the published warehouse in, a folder of static pages out.

Nothing here computes a figure of its own: a page shows what a view gives, so DuckDB and BigQuery give the same pages.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.calendar import as_of_instant, sessions
from tasks.errors import CbiError
from tasks.reporting.drawing import COLORS
from tasks.reporting.query import without_formulas
from tasks.reporting.site.charts import Chart, svg
from tasks.reporting.site.figures import Row, first_row
from tasks.reporting.site.frames import Content, Frames, read_frames
from tasks.reporting.site.pages import alerts, curve, data, markets, news, today, track, what_if, why
from tasks.reporting.site.words import NOT_MEASURED, group_title, horizon_title
from tasks.secrets import quoted
from tasks.storage.files import make_durable, storage_errors_explained
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones
from tasks.warehouse.protocol import Warehouse

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
FORECAST = "api.vw_latest_forecast"
PAGE_LIMIT_BYTES = 1_000_000
RUN_HOURS = 12
"""How long after a session's 18:00 in Chicago its forecast may take to be here; then the one before is stale."""


@dataclass(frozen=True)
class Page:
    """One page: the name of its file and template, its title, its module, and whether it needs a forecast."""

    name: str
    title: str
    module: ModuleType
    needs_forecast: bool = False

    @property
    def file(self) -> str:
        """The first page is the folder's index."""
        return "index.html" if self.name == "today" else f"{self.name}.html"


PAGES = (
    Page("today", "Today", today, needs_forecast=True),
    Page("track", "Track record", track),
    Page("why", "Why", why, needs_forecast=True),
    Page("what_if", "What if", what_if, needs_forecast=True),
    Page("curve", "Curve", curve),
    Page("markets", "Markets", markets),
    Page("news", "Legislation and news", news),
    Page("data", "Data", data),
    Page("alerts", "Alerts", alerts),
)


@dataclass(frozen=True)
class Site:
    """What a build wrote: the folder, its pages in bytes, and which pages could not be built."""

    folder: Path
    pages: dict[str, int]
    problems: list[str] = field(default_factory=list)


def build_site(warehouse: Warehouse, zones: Zones, *, now: pd.Timestamp) -> Site:
    """Build every page into ``CBI_HOME/site``, which is replaced as a whole.

    A page that cannot be built says so in its place; the others are not touched by it. The same warehouse at the same
    ``now`` gives the same bytes.

    Raises:
        CbiError: the warehouse cannot be read, or the folder cannot be written; the site of before stays.
    """
    frames = read_frames(warehouse, (FORECAST, *(view for page in PAGES for view in page.module.VIEWS)))
    target = zones.home / "site"
    with exclusive(zones, "site"), storage_errors_explained(zones.home):
        zones.home.mkdir(parents=True, exist_ok=True)
        _restore(target)
        folder = Path(tempfile.mkdtemp(prefix=".site-", dir=zones.home))
        try:
            problems = list(write_pages(frames, folder, now=now, library=target / "vega.js"))
            folder.chmod(0o755)
            sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.html"))}
            problems += [
                f"{name} has {size:,} bytes, more than {PAGE_LIMIT_BYTES:,}"
                for name, size in sizes.items()
                if size > PAGE_LIMIT_BYTES
            ]
            _swap(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Site(target, sizes, problems)


def write_pages(frames: Frames, folder: Path, *, now: pd.Timestamp, library: Path | None = None) -> Iterator[str]:
    """Write the pages, charts, CSV files and scripts of the site; yields what could not be built.

    Args:
        library: the chart library of the site before, used again if it is there.
    """
    for name in ("charts", "data"):
        (folder / name).mkdir()
    environment = _environment()
    shared = _shared(frames, now)
    for page in PAGES:
        values, problem = _content(page, frames, folder)
        if problem:
            yield f"{page.file}: {problem}"
        template = "missing" if problem or values is None else page.name
        html = environment.get_template(f"{template}.html.jinja").render(
            **shared, **(values or {}), page=page, problem=problem
        )
        (folder / page.file).write_text(html, encoding="utf-8")
    tokens = json.dumps({color: name for name, color in COLORS.items()}, sort_keys=True)
    script = (HERE / "static" / "site.js").read_text(encoding="utf-8")
    (folder / "site.js").write_text(f"window.CBI_COLORS = {tokens};\n{script}", encoding="utf-8")
    for name in ("site.css", "stale.js"):
        shutil.copy(HERE / "static" / name, folder / name)
    (folder / "vega.js").write_text(_library(library), encoding="utf-8")


def _content(page: Page, frames: Frames, folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """The values of a page's template with its charts drawn; None before the first forecast; a problem in words."""
    if page.needs_forecast and frames[FORECAST].empty:
        return None, None
    build: Callable[[Frames], Content] = page.module.content
    try:
        content = build(frames)
        drawn = {chart.name: _drawn(chart, folder) for chart in content.charts}
    except Exception as error:  # one page never takes the others with it
        return None, str(error) if isinstance(error, CbiError) else f"{type(error).__name__}: {error}"
    return {**content.values, "charts": drawn}, None


def _drawn(chart: Chart, folder: Path) -> dict[str, Any]:
    """The chart as its template shows it; its data and interactive form are written beside the page."""
    without_formulas(chart.data).to_csv(folder / "data" / f"{chart.name}.csv", index=False)
    specification = json.dumps(chart.specification, default=str, sort_keys=True)
    script = f"CBI.chart({json.dumps(chart.name)}, {specification});\n"
    (folder / "charts" / f"{chart.name}.js").write_text(script, encoding="utf-8")
    return {"chart": chart, "svg": Markup(svg(chart))}  # noqa: S704 drawn here; its texts are escaped by vl-convert


def _shared(frames: Frames, now: pd.Timestamp) -> dict[str, Any]:
    """What every page shows: the session, when it is stale, and whether its forecast is degraded."""
    session = first_row(FORECAST, frames[FORECAST], "horizon")
    stale_at = None
    if session is not None:
        coming = sessions(first=session["as_of"])
        later = coming[coming > session["as_of"]]
        stale_at = as_of_instant(later[0]) + pd.Timedelta(hours=RUN_HOURS)
    reasons = _reasons(frames[FORECAST])
    return {
        "pages": PAGES,
        "session": session,
        "built_at": now,
        "stale_at": stale_at,
        "degraded": [reason for reason in reasons if "unconfirmed" not in reason],
        "unconfirmed": [reason for reason in reasons if "unconfirmed" in reason],
    }


def _reasons(forecasts: pd.DataFrame) -> list[str]:
    """Why forecasts are degraded, each reason once with its horizons."""
    found: dict[str, list[str]] = {}
    for row in forecasts.to_dict("records"):
        if row["degraded"] is True or row["degraded"] == True:  # noqa: E712 numpy's own True
            reason = row["degraded_reason"] if isinstance(row["degraded_reason"], str) else "no reason is stored"
            found.setdefault(reason, []).append(horizon_title(row["horizon"]))
    return [f"{', '.join(horizons)}: {reason}" for reason, horizons in found.items()]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names: Mapping[str, object] = {
        "horizon_title": horizon_title,
        "group_title": group_title,
        "NOT_MEASURED": NOT_MEASURED,
        "Row": Row,
    }
    environment.globals.update(names)
    return environment


def _library(stored: Path | None) -> str:
    """Vega, Vega-Lite and vega-embed in one file, from vl-convert; the one of the site before where it is the same."""
    from importlib.metadata import version

    stamp = f"/* vega, vega-lite and vega-embed as bundled by vl-convert-python {version('vl-convert-python')} */\n"
    with suppress(OSError, UnicodeDecodeError):
        if stored is not None and (text := stored.read_text(encoding="utf-8")).startswith(f"{stamp}(() =>"):
            return text
    import vl_convert

    # the bundle is written as a module, which a browser does not load from a disk; as a function it is a plain script
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return f'{stamp}(() => {{"use strict";\n{bundle}\n}})();\n'


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}-before")


def _restore(target: Path) -> None:
    """After a kill between the two renames of a swap: the site of before stands again."""
    if (before := _previous(target)).exists() and not target.exists():
        before.rename(target)
    for left in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(left, ignore_errors=True)


def _swap(folder: Path, target: Path) -> None:
    make_durable(folder)
    if target.exists():
        target.rename(_previous(target))
    folder.rename(target)
    shutil.rmtree(_previous(target), ignore_errors=True)


def build_or_say_why(warehouse: Warehouse, zones: Zones, *, now: pd.Timestamp) -> str:
    """Build the site, for the daily run: why it or a page of it is missing, or empty. Nothing is raised.

    The forecast is published already, and the site of before stays in place.
    """
    try:
        problems = build_site(warehouse, zones, now=now).problems
    except Exception as error:  # whatever it is, it must not stop or alter a published forecast
        text = quoted(f"{error}" if isinstance(error, CbiError) else f"{type(error).__name__}: {error}")
        log.warning("the site was not built: %s", text)
        return f"the site was not built, and the one of before stays: {text}"
    return f"the site lacks pages: {quoted('; '.join(problems))}" if problems else ""
