"""The words of the commands whose modules import Prefect, which takes seconds: they are read before that.

Such a module begins with `if __name__ == "__main__": begin(…)`, between its imports of this and of Prefect.
"""

from __future__ import annotations

import argparse
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows.ending import Ending, end_when_asked
from tasks.command_line import command

NOTHING_PUBLISHED = "Nothing was published; earlier forecasts stay as they were."
LANDED_STAYS = "What was landed by then stays; the same command goes on where this one stopped."
FITS_STAY = "Fits done by then are kept; the same command goes on where this one stopped."
ORIGIN = (
    "`live` (default), `recorded` (the repository's archive), or a folder of payloads laid out as "
    "<source>/<series>/<file>"
)
RUNNERS = ("local", "dask", "ray")
BUDGETS = ("daily", "quick", "full")
CHUNK_DAYS = 366
TRIALS = 30  # a study, where neither trials nor minutes are given
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
    _record(parser)
    return parser


def health() -> argparse.ArgumentParser:
    """Of ``python -m flows.health``."""
    parser = command(
        "flows.health",
        "Sources, forecast, gates, champions, disk and warehouse: what is well and what is not.\n"
        "Ends with 0 when all is ok (or nothing has been made yet), 1 with warnings, 2 when something fails.",
        "",
        "--json                # for monitoring",
        "--as-of 2023-12-29    # as it was to be judged then",
    )
    parser.add_argument(
        "--as-of",
        metavar="DATE",
        help="judge ages as of this date, YYYY-MM-DD (default: the last finished session; where the newest run read "
        "recorded payloads, the session of that run)",
    )
    parser.add_argument("--json", action="store_true", help="for monitoring")
    return parser


def ingest() -> argparse.ArgumentParser:
    """Of ``python -m flows.ingest``."""
    parser = command(
        "flows.ingest",
        "One source, landed and staged.\n" + _sources(),
        "fred                                       # all of its series, what is missing",
        "fred --series DGS10 DFF                    # two of them",
        "fred --start 2020-01-01 --end 2020-12-31   # exactly these dates, whatever is held",
        "mei --origin recorded                      # from the recorded archive",
        "fred --record ~/my-archive                 # keep what it served, as an archive of your own",
    )
    parser.add_argument("source", metavar="SOURCE", help="one of those above (registry/data_sources.yaml)")
    parser.add_argument("--origin", default="live", help=ORIGIN)
    parser.add_argument("--as-of", metavar="DATE", help=AS_OF)
    parser.add_argument("--series", nargs="+", help="only these (default: all of the source's)")
    parser.add_argument("--start", metavar="DATE", help="exactly these dates, YYYY-MM-DD (default: what is missing)")
    parser.add_argument("--end", metavar="DATE", help="(default: the newest session)")
    _record(parser)
    return parser


def backfill() -> argparse.ArgumentParser:
    """Of ``python -m flows.backfill``."""
    parser = command(
        "flows.backfill",
        "Dates of a source in chunks; a rerun asks only for those missing.\n" + _sources(),
        "fred --start 1990-01-01",
        "gdelt --start 2017-01-01 --end 2019-12-31 --chunk-days 31",
    )
    parser.add_argument("source", metavar="SOURCE", help="one of those above (registry/data_sources.yaml)")
    parser.add_argument("--start", required=True, metavar="DATE", help="first date, YYYY-MM-DD")
    parser.add_argument("--end", metavar="DATE", help="last date (default: the newest session)")
    parser.add_argument("--series", nargs="+", help="only these (default: all of the source's)")
    parser.add_argument("--chunk-days", type=int, default=CHUNK_DAYS, metavar="N", help="days asked for at once")
    return parser


def training() -> argparse.ArgumentParser:
    """Of ``python -m flows.training``."""
    parser = command(
        "flows.training",
        "The bake-off on the exported training files; with --search, a family's options on data before the first "
        "scored year.\n" + _words("Families with options to search", "models.yaml", "families", "search"),
        "                                # the daily budget, here",
        "--budget full --runner dask     # the whole plan, on Dask",
        "--search lightgbm --trials 30",
    )
    parser.add_argument("--budget", choices=BUDGETS, default="daily", help="how much of registry/models.yaml to run")
    parser.add_argument("--runner", choices=RUNNERS, default="local", help="where fits run")
    parser.add_argument("--search", metavar="FAMILY", help="search its options instead, on the training window only")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--trials", type=int, help=f"of --search: trials a horizon, earlier ones counted ({TRIALS})")
    effort.add_argument("--minutes", type=float, help="of --search: for all its horizons together")
    return parser


def _record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--record", type=Path, metavar="DIR", help="copy all live payloads of this home there: an archive of your own"
    )


def _sources() -> str:
    return _words("Sources", "data_sources.yaml", "sources")


def _words(what: str, file: str, part: str, having: str | None = None) -> str:
    """The entries of a part of a registry file, for a help that is read before anything else is: nothing is checked."""
    import yaml

    with suppress(OSError, yaml.YAMLError, KeyError, TypeError):
        text = (Path(__file__).resolve().parent.parent / "registry" / file).read_text(encoding="utf-8")
        entries: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))[part]  # noqa: S506
        named = sorted(name for name, entry in entries.items() if not having or having in entry)
        return textwrap.fill(f"{what}: {', '.join(named)}.", 78)
    return f"{what}: those of registry/{file}."
