"""``cbi models``: the versions of the model store, which of them serves and why, and a person's choice of another."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.words import AsJson, AsOf, beginning, examples, names_in
from flows.ending import Ending, end_on_signal

if TYPE_CHECKING:
    import pandas as pd

    from tasks.model_store.administration import Judge, Promotion
    from tasks.model_store.protocol import ModelStore
    from tasks.run import RunContext

UNCHANGED = "Nothing was changed, or all of it: the history of promotions is switched as a whole."
Name = Annotated[str, typer.Argument(metavar="VERSION", help="FAMILY/HORIZON/vNNNN, as `cbi models list` shows it.")]
Horizon = Annotated[
    str,
    typer.Argument(
        metavar="HORIZON",
        help=f"One of: {', '.join(names_in('horizons.yaml', 'horizons'))}.",
        autocompletion=lambda incomplete: beginning(names_in("horizons.yaml", "horizons"), incomplete),
    ),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded with the promotion.")]


def application() -> typer.Typer:
    """The commands below ``cbi models``."""
    app = typer.Typer(help="List, compare, promote and roll back models; prune and verify them.", no_args_is_help=True)
    for one in (list_, show, compare, promote, roll_back, shadow, prune, verify):
        app.command(one.__name__.strip("_").replace("_", "-"))(one)
    return app


@examples("models list", "models list --horizon 3m --as-of 2023-12-29", "models list --json")
def list_(
    horizon: Annotated[str | None, typer.Option(metavar="HORIZON", help="Only this one.")] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """List the versions by horizon, the champion first, with their figures and why each one serves or does not."""
    from tasks.model_store.administration import list_versions, today
    from tasks.reporting.model_tables import versions_for_people

    run, store, judge = _opened(as_of)
    day = run.as_of if as_of else today()
    if horizon is not None and horizon not in run.horizons.horizons:
        raise typer.BadParameter(f"no horizon {horizon!r}; known: {', '.join(run.horizons.horizons)}")
    table = list_versions(store, judge, day, horizon=horizon)
    _show(store, f"{store.place}, as of {day:%Y-%m-%d}", table, as_json, versions_for_people)


@examples("models show ridge/3m/v0001", "models show ridge/3m/v0001 --json")
def show(version: Name, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Show everything about one version: inputs, figures, files, promotions, and its record unserved."""
    from tasks.forecasting.shadow import shadow_record
    from tasks.model_store.administration import show_version, today
    from tasks.reporting.model_tables import facts_for_people
    from tasks.warehouse.open import open_warehouse
    from tasks.warehouse.past import past_outcomes, unserved_forecasts

    run, store, judge = _opened(as_of)
    facts = show_version(store, version, judge, run.as_of if as_of else today())
    warehouse = open_warehouse(run.settings)
    rows = unserved_forecasts(warehouse, version=version)
    record = shadow_record(rows, past_outcomes(warehouse, run.origin_kind), tuple(run.horizons.quantiles))
    facts["record"] = record.assign(waiting=len(rows) - record["origins"]).to_dict("records")
    facts["unserved_forecasts"] = len(rows)
    if as_json:
        print(json.dumps(_plain(facts), indent=1, default=str))
        return
    _show(store, f"{version} in {store.place}", facts_for_people(facts), as_json)


@examples("models compare ridge/3m/v0001 curve/3m/v0001")
def compare(first: Name, second: Name, as_json: AsJson = False) -> None:
    """Compare two versions of a horizon: their figures as measured, and their losses on the same origins."""
    from tasks.model_store.administration import compare_versions

    run, store, _ = _opened()
    table = compare_versions(store, first, second, run.horizons)
    _show(store, f"{first} and {second}", table, as_json)


@examples(
    "models promote ridge/1m/v0001 --reason 'fewer misses since the new crush'",
    "models promote har/3m/v0002 --force --reason 'the champion reads a source that ended'",
)
def promote(
    version: Name,
    reason: Reason = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote it even if the rule refuses; needs --reason.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version champion of its horizon, if its files are unaltered, and the rule and the pre-flight allow it."""
    from tasks import clock
    from tasks.model_store.administration import promote as promote_version
    from tasks.reporting.preflight import objections
    from tasks.settings import load_settings

    if force and not reason.strip():
        raise typer.BadParameter("--force needs --reason TEXT: it is recorded beside the promotion")
    against = objections(load_settings())
    with _changing() as (run, store, judge):
        judge = replace(judge, objections=against)
        done = promote_version(store, version, judge, at=clock.now(), reason=reason.strip(), force=force)
    _report(run, done, as_json)


@examples("models roll-back 3m", "models roll-back 3m --reason 'its bands missed five weeks in a row'")
def roll_back(horizon: Horizon, reason: Reason = "", as_json: AsJson = False) -> None:
    """Return a horizon to its previous champion. The history keeps both."""
    from tasks import clock
    from tasks.model_store.administration import roll_back as roll_back_to

    with _changing() as (run, store, judge):
        done = roll_back_to(store, horizon, judge, at=clock.now(), reason=reason.strip())
    _report(run, done, as_json)


@examples("models shadow har/1m/v0001 --sessions 60", "models shadow har/1m/v0001 --sessions 0    # ends it")
def shadow(
    version: Name,
    sessions: Annotated[int, typer.Option(min=0, max=2520, metavar="N", help="For how many sessions; 0 ends it.")] = 60,
) -> None:
    """Let a version forecast every session beside the champion, unserved; `cbi models show` has its record."""
    from tasks import clock
    from tasks.model_store.administration import put_in_shadow
    from tasks.model_store.shadows import days_of

    with _changing() as (_, store, judge):
        done = put_in_shadow(store, version, judge, at=clock.now(), count=sessions)
    days = "" if done is None else f" from the session of {days_of(done)[0]:%Y-%m-%d} on, {sessions} sessions"
    print(f"{version} is not in shadow any more." if done is None else f"{version} forecasts unserved{days}.")


@examples("models prune", "models prune --last 10 --yes    # delete them")
def prune(
    last: Annotated[int, typer.Option(min=1, metavar="N", help="Keep what the last N promotions name.")] = 20,
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without it nothing is deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the versions that are no longer in use, and with --yes delete them.

    Champions, what replays need, rivals of a champion, shadows and the newest of each family stay.
    """
    from tasks.model_store.upkeep import plan_prune
    from tasks.model_store.upkeep import prune as prune_store

    with _changing() as (run, store, _):
        plan = (prune_store if yes else plan_prune)(store, run.horizons, last=last)
    going = plan["keep"] == ""
    title = f"{store.place}: {int(going.sum())} of {len(plan)} versions {'deleted' if yes else 'can be deleted'}"
    _show(store, title, plan, as_json)
    if not as_json and going.any():
        print(f"{plan.loc[going, 'bytes'].sum() / 1e6:.1f} MB{'' if yes else '; `--yes` deletes them'}")


@examples("models verify", "models verify --json")
def verify(as_json: AsJson = False) -> int:
    """Hash every file of every version again. Exits with 1 if one is altered or gone, and names it."""
    from tasks.model_store.upkeep import verify as verify_store

    run, store, _ = _opened()
    table = verify_store(store, run.horizons)
    wrong = table[table["state"] != "ok"]
    _show(store, f"{store.place}: {len(table) - len(wrong)} of {len(table)} versions are as stored", table, as_json)
    return 1 if len(wrong) else 0


def _opened(as_of: str | None = None) -> tuple[RunContext, ModelStore, Judge]:
    end_on_signal(Ending(lambda: UNCHANGED))
    from tasks.model_store.administration import Judge
    from tasks.model_store.open import open_store
    from tasks.registry import load_models, load_quality_gates
    from tasks.run import open_run
    from tasks.settings import load_settings

    run = open_run(load_settings(), origin="live", as_of=as_of)
    budgets = load_models(run.settings.registry, run.features).budgets
    judge = Judge(
        rule=load_quality_gates(run.settings.registry).promotion,
        code_version=run.code_version,
        horizons=run.horizons,
        partial_budgets=[name for name, budget in budgets.items() if budget.last_test_years],
    )
    return run, open_store(run.settings), judge


@contextmanager
def _changing() -> Iterator[tuple[RunContext, ModelStore, Judge]]:
    """The store under the lock of its writers on this machine; a training holds it while it promotes."""
    from tasks.storage.locks import exclusive

    run, store, judge = _opened()
    with exclusive(run.zones, "models", wait_s=600):
        yield run, store, judge


def _report(run: RunContext, done: Promotion, as_json: bool) -> None:
    from tasks.model_store.champions import counts_from, name_of
    from tasks.reporting.model_tables import shorter
    from tasks.run import newest_session

    if as_json:
        print(json.dumps({**done.entry, "before": done.before, "objections": list(done.objections)}, indent=1))
        return
    first = counts_from(done.entry)
    print(f"{name_of(done.entry)} serves {done.entry['horizon']} from sessions of {first:%Y-%m-%d} on.")
    print(f"Before: {done.before or 'none'}. Sessions before that date, replays too, keep the champion that they had.")
    for objection in done.objections:
        print(f"Overruled: {shorter(objection, name_of(done.entry))}")
    newest = newest_session(run.zones)
    if newest is not None and newest < first:
        print(f"The newest session of this home is {newest:%Y-%m-%d}: another run of it changes nothing.")


def _show(store: ModelStore, title: str, table: pd.DataFrame, as_json: bool, for_people: Any = None) -> None:
    from rich.console import Console

    from tasks.reporting.model_tables import cells
    from tasks.reporting.terminal import print_table

    if as_json:
        print(json.dumps(_plain(table.to_dict("records")), indent=1, default=str))
    else:
        shown = table if for_people is None else for_people(table)
        print(title)
        print_table(Console(width=max(160, Console().width)), "", cells(shown))
    for notice in store.notices():
        print(notice, file=sys.stderr)


def _plain(value: Any) -> Any:
    """A value for JSON: missing figures are null."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if value != value else value
