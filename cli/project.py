"""``cbi project``: for developers of CBI: files generated from the registry, and checks of the checkout."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.words import examples


def application() -> typer.Typer:
    """The commands below ``cbi project``."""
    app = typer.Typer(help="For developers of CBI.", no_args_is_help=True)
    written: tuple[Callable[..., None], ...] = (
        setting,
        deployments,
        dictionary,
        watchlist,
        first_dates,
        surface,
        new_source,
    )
    checked: tuple[Callable[..., int | None], ...] = (sql_check, scheduled_sql, lock_check, dependency_audit, words)
    for one in (*written, *checked):
        app.command()(one)
    return app


@examples("project setting home", "project setting extras    # optional packages that settings need")
def setting(name: Annotated[str, typer.Argument(metavar="NAME", help="A field of Settings, or `extras`.")]) -> None:
    """Print one setting, for make and for scripts."""
    from tasks.command_line import nearest
    from tasks.settings import Settings, load_settings

    names = (*Settings.model_fields, "extras")
    if name not in names:
        raise typer.BadParameter(f"`{name}`; known: {', '.join(names)}.{nearest(name, names)}")
    settings = load_settings()
    value = settings.extras() if name == "extras" else getattr(settings, name)
    print(" ".join(value) if isinstance(value, tuple) else value)


@examples("project deployments", "project deployments --check")
def deployments(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if the file differs from the registry.")
    ] = False,
) -> None:
    """Write prefect.yaml, the schedule of the flows, from the registry."""
    from tasks.errors import RegistryError
    from tasks.operations.deployments import PREFECT_YAML, prefect_yaml
    from tasks.registry import load_sources
    from tasks.settings import PROJECT, load_settings
    from tasks.storage.files import write_bytes

    path, wanted = PROJECT / PREFECT_YAML, prefect_yaml(load_sources(load_settings().registry))
    if not check:
        write_bytes(path, wanted.encode())
    elif not path.exists() or path.read_text(encoding="utf-8") != wanted:
        raise RegistryError(f"{PREFECT_YAML} differs from the registry; run `make deployments`, commit it")


@examples("project dictionary")
def dictionary() -> None:
    """Write docs/data_dictionary.md from the registry."""
    from tasks.registry import load_derived, load_features, load_sources
    from tasks.reporting.data_dictionary import PATH, render
    from tasks.settings import PROJECT
    from tasks.storage.files import write_bytes

    registry = PROJECT / "registry"
    sources = load_sources(registry)
    write_bytes(PATH, render(sources, load_derived(registry, sources), load_features(registry, sources)).encode())
    print(PATH.relative_to(PROJECT))


@examples("project watchlist")
def watchlist() -> None:
    """Write docs/watchlist.md, the state of every series to be watched, from the registry."""
    from tasks.registry import load_derived, load_sources
    from tasks.registry.watchlist import load_watchlist
    from tasks.reporting.watchlist import PATH, render
    from tasks.settings import PROJECT
    from tasks.storage.files import write_bytes

    registry = PROJECT / "registry"
    sources = load_sources(registry)
    derived = load_derived(registry, sources)
    write_bytes(PATH, render(load_watchlist(registry, sources, derived), sources, derived).encode())
    print(PATH.relative_to(PROJECT))


@examples("project first-dates")
def first_dates(
    features: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A features.parquet. Default: that of the last run.")
    ] = None,
) -> None:
    """Write each feature's first date, as measured, into registry/feature_registry.yaml."""
    import pandas as pd

    from tasks.errors import NothingStored
    from tasks.features.coverage import first_dates as measured
    from tasks.features.first_dates import with_first_dates
    from tasks.settings import load_settings
    from tasks.storage.files import write_bytes
    from tasks.storage.zones import Zones

    settings = load_settings()
    path = settings.registry / "feature_registry.yaml"
    before = path.read_text(encoding="utf-8")
    measured_in = features or Zones(settings.home).features / "features.parquet"
    if not measured_in.is_file():
        raise NothingStored(f"{measured_in} does not exist; run `make demo` first, or name a features.parquet")
    table = pd.read_parquet(measured_in)
    after = with_first_dates(before, measured(table))
    write_bytes(path, after.encode())
    changed = sum(old != new for old, new in zip(before.splitlines(), after.splitlines(), strict=True))
    print(f"{path}: {changed} entries changed")


@examples("project surface")
def surface() -> None:
    """Choose the production surface on the last run's training files: writes registry/production_surface.yaml."""
    import pandas as pd
    from rich.console import Console

    from tasks.registry import load_features, load_horizons, load_sources
    from tasks.reporting.surface_chart import surface_figure
    from tasks.settings import load_settings
    from tasks.storage.zones import Zones
    from tasks.training.feature_selection import read_tables, select_surface, write_surface

    settings = load_settings()
    zones, horizons = Zones(settings.home), load_horizons(settings.registry)
    registry = load_features(settings.registry, load_sources(settings.registry))
    tables = read_tables(zones.exports, registry, horizons)
    with Console(stderr=True).status("fitting") as status:
        chosen, evidence = select_surface(tables, registry, horizons, lambda fit: status.update(f"fitted {fit}"))
    figure = surface_figure(zones.reports / "production_surface.png", chosen, evidence, registry)
    path = write_surface(settings.registry / "production_surface.yaml", chosen)
    print(pd.DataFrame({name: count.model_dump() for name, count in chosen.categories.items()}).T.to_string())
    print(f"{len(chosen.features)} features, version {chosen.version}, read to {chosen.last_date_read}")
    print(f"surface: {path}\nfigure: {figure}")


@examples("project new-source my_source")
def new_source(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and _.")],
) -> None:
    """Write the skeleton of a source: registry entry, adapter, test."""
    from tasks.operations.new_source import write_skeleton
    from tasks.settings import PROJECT

    for path in write_skeleton(name, PROJECT):
        print(f"written: {path.relative_to(PROJECT)}")
    print(f"Fill in the entry `{name}` at the end of registry/data_sources.yaml; see docs/add_a_source.md.")


@examples("project sql-check")
def sql_check() -> int:
    """Parse every SQL statement in both dialects and run it over empty tables.

    With CBI_WAREHOUSE=bigquery://… the bytes that BigQuery would read and their price are shown for each.
    """
    from tasks.errors import CbiError
    from tasks.settings import load_settings
    from tasks.warehouse.sql_check import check, dry_run, show

    try:
        settings = load_settings()
        asks = settings.warehouse != "duckdb"
        outcomes = check(settings.registry, dry_run(settings) if asks else None)
    except CbiError as error:
        print(error, file=sys.stderr)
        return 2
    return show(outcomes, with_bytes=asks)


@examples("project scheduled-sql")
def scheduled_sql() -> None:
    """Write deploy/gcp/scheduled, the scripts of BigQuery's scheduled refresh of the SQL features."""
    from tasks.settings import PROJECT
    from tasks.warehouse.scheduled import write_scripts

    for path in write_scripts():
        print(f"written: {path.relative_to(PROJECT)}")


@examples("project lock-check")
def lock_check() -> int:
    """Prove that constraints.txt resolves to wheels for each Python, on macOS arm64 and Linux x86-64."""
    from tasks.operations.lock_check import check

    return check()


@examples("project dependency-audit")
def dependency_audit() -> int:
    """Compare the pinned packages with known vulnerabilities; says so if no service can be reached."""
    from tasks.operations.dependency_audit import audit

    return audit()


@examples("project words")
def words() -> int:
    """Find words that read like a translation (docs/words.yaml) in the pages and in what the program shows."""
    from tasks.operations.words import find_words, read_words
    from tasks.settings import PROJECT

    found = find_words(PROJECT, read_words(PROJECT / "docs" / "words.yaml"))
    for one in found:
        print(one, file=sys.stderr)
    print(f"words: {len(found)} to change" if found else "words: none to change")
    return int(bool(found))
