"""``python -m cli``: the same as ``cbi``, for make and for services, which call Python by its path."""

import sys

from cli.app import main

if __name__ == "__main__":
    sys.exit(main())
