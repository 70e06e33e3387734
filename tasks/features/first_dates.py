"""``cbi project first-dates``: write each feature's measured first date into the feature registry.

Use it for new features, or if the archive has more history. Run it on features of the recorded archive (from
`make demo`; a new entry needs some date to run at all), and read the diff: a feature that begins earlier without new
data uses the future or was filled.
"""

from __future__ import annotations

import re

import pandas as pd

ENTRY = re.compile(r"^    (?P<name>\w+): \{(?P<rest>.*?)(?:, first_date: [\d-]+)?\}$")


def with_first_dates(text: str, begins: pd.Series) -> str:
    """The registry's text with ``first_date`` as the last key of each entry; without any value an entry is kept."""
    lines = []
    for line in text.splitlines():
        entry = ENTRY.match(line)
        day = begins.get(entry["name"]) if entry else None
        if entry and pd.notna(day):
            line = f"    {entry['name']}: {{{entry['rest']}, first_date: {day:%Y-%m-%d}}}"
        lines.append(line)
    return "\n".join(lines) + "\n"
