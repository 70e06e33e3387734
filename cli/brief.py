"""``cbi brief``: one page for the morning meeting."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.words import AsOf, examples
from flows.ending import Ending, end_on_signal


@examples(
    "brief                      # of the newest published forecast",
    "brief --mail               # and send it by the routes of CBI_NOTIFY",
    "brief --as-of 2023-12-29   # of that session",
)
def brief(
    as_of: AsOf = None,
    mail: Annotated[bool, typer.Option("--mail", help="Send it by the routes of CBI_NOTIFY.")] = False,
) -> int:
    """Write the brief of a published session as one PDF page and as HTML, and print it as text.

    It changes no forecast. Exits with 1 when it should be sent and a route did not accept it.
    """
    end_on_signal(Ending(lambda: "No forecast was changed."))
    from tasks.reporting.brief_files import send, write
    from tasks.reporting.brief_pages import text
    from tasks.reporting.decision import newest_forecast
    from tasks.run import open_run
    from tasks.settings import load_settings
    from tasks.warehouse.open import open_warehouse

    settings = load_settings()
    warehouse = open_warehouse(settings)
    run = open_run(settings, origin="live", as_of=as_of or newest_forecast(warehouse))
    files = write(run, warehouse)
    print(text(files.brief))
    print(f"PDF: {files.pdf}\nHTML: {files.html}")
    if not mail:
        return 0
    delivery = send(files)
    print(delivery.line())
    return int(not delivery.complete)
