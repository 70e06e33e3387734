"""``cbi train``, ``search``, ``bundle`` and ``device-check``: training of models. (models.py: the model store.)"""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from cli.words import beginning, examples, names_in
from flows.ending import FITS_STAY, Ending, end_on_signal


@examples(
    "train                                # the daily budget, on this machine",
    "train --budget full --runner dask    # the whole plan, on Dask",
)
def train(
    budget: Annotated[
        Literal["daily", "quick", "full"], typer.Option(help="How much of registry/models.yaml to run.")
    ] = "daily",
    runner: Annotated[Literal["local", "dask", "ray"], typer.Option(help="Where fits run.")] = "local",
) -> None:
    """Run the bake-off on the training files of the last daily run: fit, calibrate, measure, promote."""
    end_on_signal(Ending(lambda: FITS_STAY))
    from rich.console import Console

    from flows.training import run_training
    from tasks.reporting.terminal import board_tables

    board, gate, figure = run_training(budget, runner)
    for warned in gate.failed("warn"):
        print(f"{gate.gate}: {warned}", file=sys.stderr)
    for table in board_tables(board):
        Console(width=max(150, Console().width)).print(table)
    for message in board.loc[(board["refusal"] != "") & (board["skill_pct"] > 0), "refusal"]:
        print(message)
    if figure.exists():
        print(f"Leaderboard: {figure}")


@examples("search lightgbm --trials 30", "search ridge --minutes 20")
def search(
    family: Annotated[
        str,
        typer.Argument(
            metavar="FAMILY",
            help=f"One of: {', '.join(names_in('models.yaml', 'families', 'search'))}.",
            autocompletion=lambda incomplete: beginning(names_in("models.yaml", "families", "search"), incomplete),
        ),
    ],
    trials: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Trials per horizon, earlier ones counted. Default: 30.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Instead of --trials: minutes for all horizons together.")
    ] = None,
) -> None:
    """Search a family's options on the sessions before the first scored year. It changes nothing."""
    end_on_signal(Ending(lambda: FITS_STAY))
    if trials is not None and minutes is not None:
        raise typer.BadParameter("give --trials or --minutes, not both")
    from rich.console import Console

    from flows.training import search_options
    from tasks.reporting.terminal import search_table
    from tasks.settings import load_settings
    from tasks.training.search import SearchBudget

    budget = SearchBudget(30 if trials is None and minutes is None else trials, minutes)
    found = search_options(load_settings(), family, budget)
    Console(width=max(150, Console().width)).print(search_table(found))
    print(
        f"Nothing was changed. Options that also lose less on 2010-2018, which the search never saw, may be written to "
        f"registry/models.yaml under {family}.options, with the evidence beside them (docs/decisions/0011)."
    )


@examples(
    "bundle push    # this machine's training files into the bucket of CBI_MODELS",
    "bundle pull    # the newest bundle, onto a machine that trains",
)
def bundle(
    way: Annotated[Literal["push", "pull"], typer.Argument(help="push: this machine's files; pull: the newest.")],
) -> None:
    """Move training files between machines through the bucket of CBI_MODELS; only files that differ are transferred."""
    from tasks.bundles import bucket_of, pull, push
    from tasks.settings import load_settings
    from tasks.storage.zones import Zones

    settings = load_settings()
    bucket, zones = bucket_of(settings), Zones(settings.home)
    done = push(zones, bucket) if way == "push" else pull(zones, bucket)
    print(
        f"{way} of {done.as_of}: {done.moved} files moved ({done.bytes_moved / 1e6:.1f} MB), {done.present} there "
        f"before; {bucket.uri}/{done.manifest}"
    )


@examples("device-check", "device-check --device mps")
def device_check(
    device: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="mps, cuda or cpu. Default: CBI_DEVICE, or the best."),
    ] = None,
) -> int:
    """Compare every neural family on a device with the CPU, one forward and one backward pass.

    Exits with 1 when a family differs, 2 when there is no such device.
    """
    from tasks.errors import CbiError
    from tasks.models.neural.device import choose_device
    from tasks.models.neural.device_check import check_devices, show
    from tasks.settings import load_settings

    try:
        chosen = choose_device(device or load_settings().device)
    except CbiError as error:
        print(error, file=sys.stderr)
        return 2
    checked = check_devices(chosen)
    show(chosen, checked)
    return 0 if all(row.passed for row in checked) else 1
