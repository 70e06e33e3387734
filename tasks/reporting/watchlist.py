"""``cbi project watchlist``: docs/watchlist.md, generated from the registry only."""

from __future__ import annotations

from tasks.registry import DataSources, DerivedSeries
from tasks.registry.watchlist import Watched, Watchlist, series_of
from tasks.settings import PROJECT

PATH = PROJECT / "docs" / "watchlist.md"
STATES = {
    "had live": "the archive has real payloads of it, in the shape that its live address serves",
    "had recorded": "the archive, or a dated table of `registry/`, has it; no live address in that shape is proven",
    "built and untried": "registered, with an adapter to the documented format and tests over loopback; no real answer "
    "was seen yet",
    "missing": "not had; the reason says why",
}


def render(watchlist: Watchlist, sources: DataSources, derived: DerivedSeries) -> str:
    """The table as Markdown, one chapter per group, after the counts by state."""
    entries = [entry for group in watchlist.groups.values() for entry in group.values()]
    parts = [
        "# Watchlist",
        "Every series that the project's sources ask to watch, and where it stands. Generated from "
        "`registry/watchlist.yaml` by `make docs`; a test fails when it is out of date, when a series asked for has no "
        "state, or when a state is not what registry and archive show.",
        "\n".join(
            ["| state | series | meaning |", "|---|---|---|"]
            + [f"| {state} | {sum(one.state == state for one in entries)} | {what} |" for state, what in STATES.items()]
        ),
        "`cbi sources show SOURCE` says for each source what it feeds, its key, and its newest value.",
    ]
    for group, members in watchlist.groups.items():
        rows = ["| series | state | from | keys | what is not had, and why |", "|---|---|---|---|---|"]
        for what, entry in members.items():
            rows.append(_row(what, entry, sources, derived))
        parts += [f"## {group}", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _row(what: str, entry: Watched, sources: DataSources, derived: DerivedSeries) -> str:
    named = [pair for name in entry.sources for pair in series_of(name, sources, derived)]
    used = [sources.source(source) for source in dict.fromkeys(source for source, _ in named)]
    keys = dict.fromkeys(key for spec in used for key in spec.secrets)
    lacks = [derived.missing[name] for name in entry.missing]
    lacks += [f"live: {spec.disabled}" for spec in used if spec.disabled]
    lacks += [
        f"complete until {min(table.complete_until for table in spec.tables.values())}" for spec in used if spec.tables
    ]
    cells = [
        what,
        entry.state,
        ", ".join(f"`{name}`" for name in entry.sources) or "none",
        ", ".join(f"`{key}`" for key in keys) or "none",
        "; ".join(lacks) or "nothing",
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
