"""``cbi services``: Prefect's server and worker, in the background or as services of the system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.words import AsOf, Origin, examples

Host = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Where the UI listens; beyond this machine only with a password.")
]
Port = Annotated[int, typer.Option(metavar="PORT", help="Used if it is free; else another.")]
System = Annotated[Literal["mac", "linux"], typer.Argument(help="mac: launchd agents; linux: systemd units.")]
Volume = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Mount point that CBI_HOME needs. Default: the one it is on.")
]
Folder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write the files there, and load nothing into the system.")
]


def application() -> typer.Typer:
    """The commands below ``cbi services``."""
    app = typer.Typer(help="Prefect's server, worker and schedules.", no_args_is_help=True)
    for one in (up, down, status, trigger, ui, worker, install, uninstall):
        app.command()(one)
    app.command(hidden=True)(keep)
    return app


@examples("services up", "services up --port 4300")
def up(host: Host = "127.0.0.1", port: Port = 4200) -> None:
    """Start server, work pool, deployments, automations and worker in the background."""
    from flows import services

    services.up(host, port)


@examples("services down")
def down() -> None:
    """End what `cbi services up` started."""
    from flows import services

    services.down()


@examples("services status")
def status() -> int:
    """Show what is running, and the next run of every deployment."""
    from flows import services

    return services.status()


@examples(
    "services trigger daily/daily --origin recorded",
    "services trigger ingest/fred --again",
)
def trigger(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as daily/daily or ingest/fred.")] = "daily/daily",
    origin: Origin = None,
    as_of: AsOf = None,
    again: Annotated[bool, typer.Option("--again", help="Run it even if it is done already.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for it.")] = 3600,
) -> int:
    """Run a deployment on the worker, and wait for it."""
    from flows import services

    given = {"origin": origin and services.resolved_origin(origin), "as_of": as_of, "again": again or None}
    return services.trigger(name, {key: value for key, value in given.items() if value is not None}, timeout)


@examples("services ui")
def ui(port: Port = 4200) -> int:
    """Show Prefect's server and UI in this terminal, until Ctrl-C."""
    from flows import services

    return services.ui(port)


@examples("services worker")
def worker() -> int:
    """Run one more worker in this terminal, until Ctrl-C."""
    from flows import services

    return services.worker()


@examples("services install mac --volume /Volumes/Data", "services install linux --port 4200")
def install(
    system: System,
    host: Host = "127.0.0.1",
    port: Port = 4200,
    volume: Volume = None,
    folder: Folder = None,
) -> None:
    """Have the system keep server and worker running, from login on. A second run changes only what differs."""
    from flows import services
    from tasks.operations.install import advise
    from tasks.operations.install import install as install_units

    install_units(system, folder, host, port, volume)
    if folder is None:
        services.up(host, port)  # pool, deployments and automations; running services are left alone
        advise(system)


@examples("services uninstall mac")
def uninstall(system: System, folder: Folder = None) -> None:
    """End the services and delete their files. CBI_HOME stays."""
    from tasks.operations.install import remove

    remove(system, folder)


@examples("services keep server --port 4200", "services keep worker --volume /Volumes/Data")
def keep(
    name: Annotated[Literal["server", "worker"], typer.Argument(help="The service.")],
    host: Host = "127.0.0.1",
    port: Port = 4200,
    volume: Volume = None,
    wait: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for the volume.")] = 300,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="The file for this command's own output.")] = None,
) -> int:
    """The command that launchd and systemd run: it starts or adopts the service, and runs until that ends."""
    from flows import launcher

    return launcher.keep(name, host, port, volume, wait, log)
