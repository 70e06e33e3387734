"""``python -m flows.restore --from PLACE``: fill an empty CBI_HOME from a backup that CBI_BACKUP made.

Forecasts, their reasons, what the runs said, models and live payloads come back; the next daily run makes the rest.
"""

from __future__ import annotations

import sys

from tasks.command_line import command
from tasks.errors import CbiError
from tasks.settings import load_settings


def main() -> int:
    """Command line. Ends with one clear line, and 1 when nothing was restored."""
    parser = command(
        "flows.restore",
        __doc__,
        "--from /Volumes/Second/cbi    # into CBI_HOME, which has no history yet",
        "--from gs://BUCKET/PREFIX",
    )
    parser.add_argument("--from", dest="place", metavar="PLACE", help="(default: CBI_BACKUP)")
    given = parser.parse_args()
    from tasks.errors import SettingsError
    from tasks.operations.restore import restore

    try:
        settings = load_settings()
        place = given.place or settings.backup
        if not place or place == "none":
            raise SettingsError("restore from where? Give --from, a folder or gs://BUCKET/PREFIX")
        done = restore(settings, place)
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    for name, rows in done.rows.items():
        print(f"{name:<40} {rows:>9,} rows")
    print(
        f"{settings.home} holds the backup of {done.as_of} from {done.place}: the tables above, {done.versions} model "
        f"versions, {done.payloads} files of payloads. The next daily run goes on from it. A daily run here backs up "
        "to the same place where CBI_BACKUP names it: for a trial only, set CBI_BACKUP=none."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
