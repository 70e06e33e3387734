"""``python -m flows.bundle push|pull``: training files through the bucket of CBI_MODELS, by hash."""

from __future__ import annotations

import sys

from tasks.command_line import command
from tasks.errors import CbiError
from tasks.settings import load_settings


def main() -> int:
    """Command line. Ends with one clear line, and 1 when nothing could be done."""
    parser = command(
        "flows.bundle",
        __doc__,
        "push    # this machine's training files into the bucket of CBI_MODELS",
        "pull    # the newest pushed",
    )
    parser.add_argument("way", choices=("push", "pull"), help="push: this machine's files; pull: the newest pushed")
    given = parser.parse_args()
    from tasks.bundles import bucket_of, pull, push
    from tasks.storage.zones import Zones

    try:
        settings = load_settings()
        bucket, zones = bucket_of(settings), Zones(settings.home)
        done = push(zones, bucket) if given.way == "push" else pull(zones, bucket)
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(
        f"{given.way} of {done.as_of}: {done.moved} files moved ({done.bytes_moved / 1e6:.1f} MB), {done.held} held "
        f"before; {bucket.uri}/{done.manifest}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
