"""The words of the commands whose modules import Prefect, which takes seconds: they are read before that.

Such a module begins with `if __name__ == "__main__": begin(…)`, between its imports of this and of Prefect.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.ending import Ending, end_when_asked
from tasks.command_line import command

NOTHING_PUBLISHED = "Nothing was published; earlier forecasts stay as they were."
ORIGIN = (
    "`live` (default), `recorded` (the repository's archive), or a folder of payloads laid out as "
    "<source>/<series>/<file>"
)
AS_OF = "a session as YYYY-MM-DD; everything known later is left out (default: the newest session)"


def begin(parser: argparse.ArgumentParser, stands: str) -> None:
    """Answer --help and mistyped words now, and end with one line when asked from here on."""
    parser.parse_args()
    end_when_asked(Ending(lambda: stands))


def daily() -> argparse.ArgumentParser:
    """Of ``python -m flows.daily``."""
    parser = command(
        "flows.daily",
        "From payloads to a published forecast as of one session: ingest, gates, panel, features, forecast, report.",
        "                                       # the live sources, as of the newest session",
        "--origin recorded                      # the recorded archive, as of its last session",
        "--origin recorded --as-of 2019-06-28   # what was known then, nothing later",
        "--record ~/my-archive                  # keep what the sources served, as an archive of your own",
    )
    parser.add_argument("--origin", help=ORIGIN)
    parser.add_argument("--as-of", metavar="DATE", help=AS_OF)
    parser.add_argument(
        "--record", type=Path, metavar="DIR", help="copy all live payloads of this home there: an archive of your own"
    )
    return parser
