"""``cbi site``: the pages that a buyer opens each morning."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.words import examples


@examples(
    "site",
    "site --open              # serve it on this machine and open a browser",
    "site --check-surface     # measure how far the sliders of What if are from the models",
)
def site(
    show: Annotated[bool, typer.Option("--open", help="Serve it on a free port of this machine and open it.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Serve it without opening a browser, until Ctrl-C.")] = False,
    check_surface: Annotated[
        bool,
        typer.Option(
            "--check-surface", help="First compare the sliders with the models at 200 random points (a minute)."
        ),
    ] = False,
) -> int:
    """Build the site from the published warehouse, into CBI_HOME/site."""
    from tasks import clock
    from tasks.forecasting.explain import attempt
    from tasks.reporting.purchases import publish_newest_accounts
    from tasks.reporting.site.build import build_site
    from tasks.reporting.site.serve import serve_site
    from tasks.settings import load_settings
    from tasks.storage.zones import Zones
    from tasks.warehouse.open import open_warehouse

    settings = load_settings()
    if check_surface:
        from tasks.reporting.surface_check import check_surface as measured

        for row in measured(settings).to_dict("records"):
            median, band = row["largest_median_error_cents_lb"], row["largest_band_error_cents_lb"]
            print(
                f"{row['horizon']}: at {row['points']} random points the sliders miss the median by at most "
                f"{median:.3f} cents/lb, an end of the 80% band by {band:.3f}"
            )
    problems = list(attempt("account of purchases", lambda: publish_newest_accounts(settings), None)[1])
    built = build_site(open_warehouse(settings), Zones(settings.home), now=clock.now().floor("s"))
    print(f"{len(built.pages)} pages in {built.folder}; open {built.folder / 'index.html'}")
    problems += built.problems
    for problem in problems:
        print(problem, file=sys.stderr)
    if show or serve:
        serve_site(built.folder, opened=show)
    return int(bool(problems))
