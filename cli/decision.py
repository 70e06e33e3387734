"""``cbi decision`` and ``cbi purchases``: what to buy when, and what was bought."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.words import AsJson, AsOf, beginning, examples, names_in
from flows.ending import Ending, end_on_signal

if TYPE_CHECKING:
    import pandas as pd

    from tasks.decision.ledger import Ledger, Purchase
    from tasks.run import RunContext

NeedName = Annotated[
    str | None,
    typer.Option(
        "--need",
        metavar="NEED",
        help="A need of registry/decision.yaml. Default: the only one.",
        autocompletion=lambda incomplete: beginning(names_in("decision.yaml", "needs"), incomplete),
    ),
]
Unit = Annotated[str, typer.Option(metavar="UNIT", help="cents/lb, USD/short ton or USD/tonne.")]


@examples(
    "decision                      # of the newest published forecast",
    "decision --as-of 2023-12-29   # of that session's",
    "decision --json               # for a program",
)
def decision(as_of: AsOf = None, as_json: AsJson = False) -> int:
    """Buy, wait or ladder: the cost of buying now against waiting, for each need of registry/decision.yaml.

    It reads the published forecast, your needs and your purchases as they are now, and changes nothing.
    Exits with 1 when a need has no decision.
    """
    end_on_signal(Ending(lambda: "Nothing was changed."))
    from rich.console import Console

    from tasks.reporting.decision import as_json as in_json
    from tasks.reporting.decision import newest_forecast, published_decision
    from tasks.reporting.terminal import print_decision
    from tasks.run import open_run
    from tasks.settings import load_settings
    from tasks.warehouse.open import open_warehouse

    settings = load_settings()
    warehouse = open_warehouse(settings)
    run = open_run(settings, origin="live", as_of=as_of or newest_forecast(warehouse))
    decided = published_decision(run, warehouse)
    if as_json:
        print(in_json(decided))
    else:
        print_decision(decided.table, run.as_of, Console(width=max(130, Console().width)))
    for problem in decided.problems:
        print(problem, file=sys.stderr)
    return int(bool(decided.problems))


def purchases() -> typer.Typer:
    """``cbi purchases``: the buyer's ledger."""
    app = typer.Typer(help="Your purchases: cover, open exposure, and what they cost.", no_args_is_help=True)
    app.command()(add)
    app.command()(edit)
    app.command()(remove)
    app.command("import")(import_csv)
    app.command("list")(list_purchases)
    return app


@examples(
    "purchases add 2024-01-05 300000 49.85 2024-02",
    "purchases add 2024-01-05 600000 1099 '2024-02;2024-03' --unit USD/tonne",
)
def add(
    date: Annotated[str, typer.Argument(metavar="DATE", help="When the price was fixed, YYYY-MM-DD.")],
    pounds: Annotated[str, typer.Argument(metavar="POUNDS")],
    price: Annotated[str, typer.Argument(metavar="PRICE", help="All-in, delivered.")],
    months: Annotated[str, typer.Argument(metavar="MONTHS", help="2024-02, or several: '2024-02;2024-03'.")],
    need: NeedName = None,
    unit: Unit = "cents/lb",
) -> None:
    """Add a purchase: pounds at a price, for one or more months, the same weight for each."""
    from tasks.decision.ledger import purchase

    run, name = _opened(need)
    new = purchase(
        need=name, date=date, pounds=pounds, price=price, months=months, unit=unit, needs=[name], today=_today()
    )
    print(_shown(_ledger(run).add(new)))


@examples("purchases edit 3 --price 48.90", "purchases edit 3 --months '2024-03;2024-04'")
def edit(
    number: Annotated[int, typer.Argument(metavar="ID", help="As `cbi purchases list` shows it.")],
    date: Annotated[str | None, typer.Option(metavar="DATE")] = None,
    pounds: Annotated[str | None, typer.Option(metavar="POUNDS")] = None,
    price: Annotated[str | None, typer.Option(metavar="PRICE")] = None,
    months: Annotated[str | None, typer.Option(metavar="MONTHS")] = None,
    unit: Unit = "cents/lb",
) -> None:
    """Change a purchase. Its earlier version stays in the file."""
    from tasks.decision.ledger import purchase

    run, _ = _opened(None, any_need=True)
    ledger = _ledger(run)
    old = ledger.get(number)
    new = purchase(
        need=old.need,
        date=date or old.date,
        pounds=pounds or old.pounds,
        price=price or old.price_cents_lb,
        months=months or ";".join(old.months),
        unit=unit if price else "cents/lb",
        needs=[old.need],
        today=_today(),
    )
    changed = {name: getattr(new, name) for name in ("date", "pounds", "price_cents_lb", "months")}
    print(_shown(ledger.edit(number, changed)))


@examples("purchases remove 3")
def remove(number: Annotated[int, typer.Argument(metavar="ID", help="As `cbi purchases list` shows it.")]) -> None:
    """Remove a purchase. Its lines stay in the file and no longer count."""
    run, _ = _opened(None, any_need=True)
    print(f"removed: {_shown(_ledger(run).remove(number))}")


@examples("purchases import purchases.csv", "purchases import purchases.csv --need plant-b")
def import_csv(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV: date,pounds,price,months; optional: need,unit.")],
    need: NeedName = None,
) -> None:
    """Add the rows of a CSV file: all, or none if a row is bad. Rows imported before are skipped."""
    from tasks.decision.purchase_file import import_file
    from tasks.registry import load_decision

    run, _ = _opened(None, any_need=True)
    known = load_decision(run.settings.registry).needs
    done = import_file(_ledger(run), file, needs=known, need=need, today=_today())
    print(f"{len(done.added)} of {done.rows} rows added; {done.rows - len(done.added)} were imported before")


@examples("purchases list", "purchases list --json    # for a program")
def list_purchases(need: NeedName = None, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """List purchases, cover and open exposure by month, and the cost of settled months against other ways to buy."""
    from tasks.reporting.purchases import account_of, as_plain, print_account

    run, name = _opened(need, as_of=as_of)
    account = account_of(run, name)
    if as_json:
        print(json.dumps(as_plain(account), indent=1, ensure_ascii=False))
    else:
        print_account(account)


def _opened(need: str | None, *, any_need: bool = False, as_of: str | None = None) -> tuple[RunContext, str]:
    """The run, and the name of the need that is meant."""
    end_on_signal(Ending(lambda: "A purchase is written whole or not at all; `cbi purchases list` shows which."))
    from tasks.errors import PurchaseError
    from tasks.registry import load_decision
    from tasks.reporting.decision import newest_forecast
    from tasks.run import open_run
    from tasks.settings import load_settings
    from tasks.warehouse.open import open_warehouse

    settings = load_settings()
    run = open_run(settings, origin="live", as_of=as_of or newest_forecast(open_warehouse(settings)))
    known = list(load_decision(settings.registry).needs)
    if not any_need and need not in known and (need or len(known) != 1):
        raise PurchaseError(f"--need: name one of {', '.join(known)} (registry/decision.yaml)")
    return run, need or known[0]


def _ledger(run: RunContext) -> Ledger:
    from tasks.decision.ledger import Ledger

    return Ledger(run.zones)


def _today() -> pd.Timestamp:
    from tasks import clock
    from tasks.calendar import CHICAGO

    return clock.now().tz_convert(CHICAGO).tz_localize(None).normalize()


def _shown(one: Purchase) -> str:
    return (
        f"purchase {one.id} (version {one.version}): {one.need}, {one.date}, {one.pounds:,.0f} lb at "
        f"{one.price_cents_lb:.2f} cents/lb for {', '.join(one.months)}"
    )
