"""``cbi what-if``: the forecast with some of today's inputs moved."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.words import AsJson, beginning, examples, names_in


@examples(
    "what-if palm=+10% brl=-8% --horizon 3m    # palm oil dearer, reais per dollar fewer",
    "what-if vix=40 crude=-15%                 # the VIX at 40, crude cheaper",
    "what-if credit=+2                         # the high-yield spread two points wider",
)
def what_if(
    moves: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=MOVE...",
            help="A move in percent (+10%), by an amount (-0.5) or to a value (40). Names: "
            f"{', '.join(names_in('scenarios.yaml', 'names'))}; or a column of the panel. Currencies are per dollar.",
            autocompletion=lambda incomplete: beginning(names_in("scenarios.yaml", "names"), incomplete),
        ),
    ],
    horizon: Annotated[str | None, typer.Option(metavar="H", help="1w, 1m, 3m, 6m or 12m. Default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute the served models' forecasts again with some of the newest session's inputs moved. It changes nothing."""
    from tasks.errors import WrongWord
    from tasks.reporting.what_if import asked, shown
    from tasks.settings import load_settings

    try:
        answer = asked(load_settings(), moves, horizon)
    except WrongWord as error:
        raise typer.BadParameter(str(error)) from None
    print(shown(answer, as_json=as_json))
