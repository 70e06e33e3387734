"""``python -m tasks.features.first_dates``: write each feature's first date, as measured, into the feature registry.

For features that are new or begin on another day because the archive has more history. Run it on features of the
recorded archive (`make demo` leaves them; a new entry needs some date to run at all), and read the diff: a feature that
begins earlier than before without new data has seen the future or was filled.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import pandas as pd

from tasks.features.coverage import first_dates
from tasks.settings import load_settings
from tasks.storage.files import write_bytes
from tasks.storage.zones import Zones

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


def main() -> int:
    """Rewrite the file."""
    settings = load_settings()
    parser = argparse.ArgumentParser(prog="python -m tasks.features.first_dates", description=__doc__)
    held = Zones(settings.home).features / "features.parquet"
    parser.add_argument("features", nargs="?", type=Path, default=held, help="(default: those of the last run)")
    given = parser.parse_args()
    path = settings.registry / "feature_registry.yaml"
    before = path.read_text(encoding="utf-8")
    after = with_first_dates(before, first_dates(pd.read_parquet(given.features)))
    write_bytes(path, after.encode())
    changed = sum(old != new for old, new in zip(before.splitlines(), after.splitlines(), strict=True))
    print(f"{path}: {changed} entries changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
