"""The brief as a PDF page (Typst), as HTML and text for mail, and as Markdown for Prefect's page."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd

from tasks.reporting.brief import Brief
from tasks.reporting.drawing import as_picture, fan
from tasks.reporting.terminal import in_markdown
from tasks.storage.files import write_bytes

HEADS = ("", "due", "cents/lb", "80% band", "why")
FONT = "Libertinus Serif"
"""Comes with Typst, so that the page is the same on every machine."""
MOST_LINES = 9
"""Of one list; the others are counted."""
SIZES_PT = (9.5, 9.0, 8.5, 8.0, 7.5, 7.0, 6.5)
"""The largest with which the brief fits one page is used."""
MONO = "font-family:Menlo,Consolas,monospace;white-space:pre;font-size:12px;line-height:1.5"
TEMPLATE = Path(__file__).with_name("brief.typ")


def sections(brief: Brief) -> dict[str, list[str]]:
    """The lists of the brief by their titles, in order."""
    lists = {
        "Decision": brief.decision,
        "Drivers": brief.drivers,
        "Since the session before, cents/lb": brief.changes,
        "Needs attention": brief.warnings,
        "Due soon": brief.due,
    }
    return {title: _shortened(lines) for title, lines in lists.items()}


def _shortened(lines: list[str]) -> list[str]:
    rest = len(lines) - MOST_LINES + 1
    return lines if rest <= 1 else [*lines[: MOST_LINES - 1], f"and {rest} more"]


def fan_svg(brief: Brief) -> str:
    """The last year of prices and the bands of the forecast, as SVG in the font of the page."""
    import vl_convert

    past = brief.prices[brief.prices["date"] > brief.forecasts["as_of"].iloc[0] - pd.DateOffset(years=1)].dropna()
    past = past.rename(columns={"zl_close": "close_cents_lb"})
    chart = fan(past, brief.forecasts, pd.DataFrame(), width=640, height=190)
    return str(vl_convert.vegalite_to_svg(as_picture(chart, font=FONT)))


def write_pdf(brief: Brief, path: Path) -> Path:
    """One page as a PDF with its fonts embedded; the same brief gives the same bytes."""
    import typst

    data = {
        "title": brief.title,
        "contract": brief.contract,
        "heads": HEADS,
        "rows": brief.rows,
        "sections": list(sections(brief).items()),
        "footer": brief.footer,
        "chart": fan_svg(brief),
        "font": FONT,
        "date": [int(part) for part in brief.as_of.split("-")],
    }

    def compiled(size_pt: float, form: Literal["pdf", "svg"]) -> Any:
        words = json.dumps({**data, "size_pt": size_pt}, ensure_ascii=False)
        return cast(Any, typst).compile(
            TEMPLATE.read_bytes(),
            sys_inputs={"data": words},
            ignore_system_fonts=True,
            format=form,
        )

    # one page is bytes, several are a list
    size_pt = next((size for size in SIZES_PT if isinstance(compiled(size, "svg"), bytes)), SIZES_PT[-1])
    write_bytes(path, compiled(size_pt, "pdf"))
    return path


def html(brief: Brief) -> str:
    """The brief for a mail: a table and lists with their styles inline, no picture and nothing from outside."""
    # one line per row, not cells: the text part that a mailer makes of it then has one line per row too
    rows = "".join(f'<div style="{MONO}">{escape(line)}</div>' for line in table_lines(brief))
    lists = "".join(
        f'<h3 style="margin:14px 0 4px;font-size:14px">{escape(title)}</h3><ul style="margin:0;padding-left:18px">'
        + "".join(f"<li>{escape(line)}</li>" for line in lines)
        + "</ul>"
        for title, lines in sections(brief).items()
    )
    return (
        '<div style="font-family:Arial,Helvetica,sans-serif;font-size:13px;color:#222;max-width:760px">'
        f'<h2 style="margin:0 0 4px;font-size:18px">{escape(brief.title)}</h2><p style="margin:0 0 10px">'
        f"{escape(brief.contract)}</p>{rows}"
        f'{lists}<p style="color:#666;font-size:11px">{escape(brief.footer)}</p></div>'
    )


def table_lines(brief: Brief) -> list[str]:
    """The table of the horizons, aligned."""
    widths = [max(len(row[column]) for row in (HEADS, *brief.rows)) for column in range(len(HEADS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (HEADS, *brief.rows)
    ]


def text(brief: Brief) -> str:
    """The brief as plain text."""
    lines = [brief.title, brief.contract, "", *table_lines(brief)]
    for title, listed in sections(brief).items():
        lines += ["", title, *(f"- {line}" for line in listed)]
    return "\n".join([*lines, "", brief.footer, ""])


def markdown(brief: Brief) -> str:
    """The brief as Markdown."""
    rows = "\n".join("| " + " | ".join(map(in_markdown, row)) + " |" for row in brief.rows)
    parts = [f"# {in_markdown(brief.title)}", in_markdown(brief.contract)]
    parts.append("| " + " | ".join(HEADS) + f" |\n|{' --- |' * len(HEADS)}\n{rows}")
    for title, lines in sections(brief).items():
        parts += [f"## {title}", "\n".join(f"- {in_markdown(line)}" for line in lines)]
    return "\n\n".join([*parts, in_markdown(brief.footer)])
