"""``python -m flows.deployments``: write prefect.yaml from the registry; ``--check``: is it current?"""

from __future__ import annotations

import sys

from tasks.command_line import command
from tasks.errors import CbiError, RegistryError
from tasks.settings import PROJECT, load_settings


def main() -> int:
    """Command line. ``--check`` ends with 1 when the file is not what the registry says."""
    parser = command(
        "flows.deployments",
        __doc__,
        "",
        "--check    # write nothing; ends with 1 where the file is not what the registry says",
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args()
    from tasks.operations.deployments import PREFECT_YAML, prefect_yaml
    from tasks.registry import load_sources
    from tasks.storage.files import write_bytes

    path = PROJECT / PREFECT_YAML
    try:
        wanted = prefect_yaml(load_sources(load_settings().registry))
        if given.check:
            if not path.exists() or path.read_text(encoding="utf-8") != wanted:
                raise RegistryError(f"{PREFECT_YAML} is not what the registry says; run `make deployments`, commit it")
        else:
            write_bytes(path, wanted.encode())
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
