"""The decisions of a run: registry, ledger and market together. Nothing here can stop a forecast."""

from __future__ import annotations

import logging

import pandas as pd

from tasks.decision.ledger import Ledger, Purchase, pounds_by_month
from tasks.decision.policy import DayDecisions, decide, market_of
from tasks.errors import CbiError
from tasks.registry import load_decision
from tasks.run import RunContext

log = logging.getLogger(__name__)


def decide_day(run: RunContext, forecasts: pd.DataFrame, contracts: pd.DataFrame, panel: pd.DataFrame) -> DayDecisions:
    """The decisions of the run's session for every need of registry/decision.yaml, with the ledger's cover.

    Args:
        forecasts, contracts: rows of ``forecasts.zl_forecasts_daily`` and ``zl_contracts_daily`` of the session. panel:
            with ``date, zl_close, zl_roll_free, eur_last``.

    Raises:
        RegistryError, PurchaseError, DecisionFailed: the message says what to fix.
    """
    registry = load_decision(run.settings.registry)
    market = market_of(forecasts, contracts, panel, as_of=run.as_of)
    return decide(market, registry, run.horizons, run.rolls.rolls["ZL"], bought=pounds_by_month(known_purchases(run)))


def known_purchases(run: RunContext) -> list[Purchase]:
    """The purchases of the ledger; for an earlier session than the newest one of the home, those by its date."""
    every = Ledger(run.zones).purchases()
    return [one for one in every if pd.Timestamp(one.date) <= run.as_of] if run.is_replay else every


def decide_or_say_why(
    run: RunContext, forecasts: pd.DataFrame, contracts: pd.DataFrame, panel: pd.DataFrame
) -> DayDecisions:
    """``decide_day``; any failure is logged and becomes a problem of the result."""
    try:
        return decide_day(run, forecasts, contracts, panel)
    except Exception as error:  # whatever it is, the forecast is published without it
        why = " ".join(f"{error}".split()) if isinstance(error, CbiError) else f"{type(error).__name__}: {error}"
        log.warning("no decisions of %s: %s", f"{run.as_of:%Y-%m-%d}", why)
        return DayDecisions(problems=(f"there are no decisions of this day: {why}",))
