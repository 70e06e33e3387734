"""``cbi replay``: past forecasts as they would have been made."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.words import examples
from flows.ending import Ending, end_on_signal


@examples(
    "replay                                     # 2010 to the newest session, one per week",
    "replay --from 2020-01-01 --to 2021-12-31   # two years",
)
def replay(
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="The first day.")] = "2010-01-01",
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="The last day. Default: the newest session.")
    ] = None,
) -> None:
    """Forecast every week of the past, with models trained each quarter on what was known.

    It reads the training files of the last daily run. Its results are in forecasts.zl_replays_daily, apart from what
    was published: what the promotion rule would have served (`champions`), and the baselines alone.
    """
    import pandas as pd

    from flows.replay import ENDS_HERE, open_replay, run_replay

    end_on_signal(Ending(lambda: ENDS_HERE))
    run = open_replay()
    rows = run_replay(run, pd.Timestamp(first), pd.Timestamp(last) if last else None)
    served = rows.loc[rows["replay"] == "champions"]
    print(f"{rows['as_of'].nunique()} sessions, {rows['as_of'].min():%Y-%m-%d} to {rows['as_of'].max():%Y-%m-%d}")
    for horizon, part in served.groupby("horizon", sort=False):
        shares = part["family"].value_counts(normalize=True)
        print(f"  {horizon}: {', '.join(f'{family} served {share:.0%}' for family, share in shares.items())}")
