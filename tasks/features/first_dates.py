"""``cbi project first-dates``: write each feature's first date, as measured, into the feature registry.

For features that are new or begin on another day because the archive has more history. Run it on features of the
recorded archive (`make demo` leaves them; a new entry needs some date to run at all), and read the diff: a feature that
begins earlier than before without new data has seen the future or was filled.
"""

from __future__ import annotations

import re

import pandas as pd

ENTRY = re.compile(r"^    (?P<name>\w+): \{(?P<rest>.*?)(?:, first_date: [\d-]+)?\}$")


def with_first_dates(text: str, begins: pd.Series) -> str:
    """The registry's text with ``first_date`` as the last key of each entry; one without any value keeps its own."""
    lines = []
    for line in text.splitlines():
        entry = ENTRY.match(line)
        day = begins.get(entry["name"]) if entry else None
        if entry and pd.notna(day):
            line = f"    {entry['name']}: {{{entry['rest']}, first_date: {day:%Y-%m-%d}}}"
        lines.append(line)
    return "\n".join(lines) + "\n"
