"""``python -m flows.bundle push|pull``: training files through the bucket of CBI_MODELS, by hash."""

from __future__ import annotations

import argparse
import sys

from tasks.errors import CbiError
from tasks.settings import load_settings


def main() -> int:
    """Command line. Ends with one clear line, and 1 when nothing could be done."""
    from tasks.bundles import bucket_of, pull, push
    from tasks.zones import Zones

    parser = argparse.ArgumentParser(prog="python -m flows.bundle", description=__doc__)
    parser.add_argument("way", choices=("push", "pull"), help="push: this machine's files; pull: the newest pushed")
    given = parser.parse_args()
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
