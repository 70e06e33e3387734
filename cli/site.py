"""``cbi site``: the pages that a buyer opens each morning."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.words import examples


@examples("site", "site --open     # serve it on this machine and open a browser")
def site(
    show: Annotated[bool, typer.Option("--open", help="Serve it on a free port of this machine and open it.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Serve it without opening a browser, until Ctrl-C.")] = False,
) -> int:
    """Build the site from the published warehouse, into CBI_HOME/site."""
    from tasks import clock
    from tasks.reporting.site.build import build_site
    from tasks.reporting.site.serve import serve_site
    from tasks.settings import load_settings
    from tasks.storage.zones import Zones
    from tasks.warehouse.open import open_warehouse

    settings = load_settings()
    built = build_site(open_warehouse(settings), Zones(settings.home), now=clock.now().floor("s"))
    print(f"{len(built.pages)} pages in {built.folder}; open {built.folder / 'index.html'}")
    for problem in built.problems:
        print(problem, file=sys.stderr)
    if show or serve:
        serve_site(built.folder, opened=show)
    return int(bool(built.problems))
