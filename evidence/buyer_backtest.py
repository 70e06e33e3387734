"""``python -m evidence.buyer_backtest``: what the buying rule would have cost; writes docs/results/buyer_backtest.md.

It reads what `cbi replay` left in the warehouse of CBI_HOME, the panel's closes and the recorded contract prices.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evidence.command_line import page_command
from evidence.inputs import last_run
from evidence.machine import stamp
from evidence.page import table, write_page
from tasks.decision.evaluate import (
    AT_ONCE,
    CHOSEN_UNTIL,
    COVER,
    EVEN,
    RULE,
    History,
    bought_at_once,
    bought_evenly,
    budgets,
    choose,
    complete_months,
    covered_at_the_curve,
    followed,
    judged_months,
    measured,
    newest_known,
    paired,
)
from tasks.decision.needs import PRODUCT, PricedNeed, priced
from tasks.decision.policy import decide, market_of
from tasks.errors import NothingStored
from tasks.forecasting.contract import contract_name
from tasks.forecasting.replay import CHAMPIONS
from tasks.models.catalogue import BASELINE
from tasks.panel.curve import contract_prices, listed_contracts
from tasks.panel.rolls import front_contracts
from tasks.quantiles import column
from tasks.registry import BuyingRule, load_decision
from tasks.reporting.decision import OF_A_DAY, newest_forecast
from tasks.reporting.drawing import COLORS, dates, rule_at, specification_of, write_picture
from tasks.reporting.terminal import print_decision
from tasks.run import RunContext
from tasks.settings import PROJECT
from tasks.staging.gather import gather
from tasks.staging.stage import read_staged
from tasks.storage.files import read_parquet, write_bytes
from tasks.warehouse.open import open_warehouse

PAGE = PROJECT / "docs" / "results" / "buyer_backtest.md"
PICTURE = PROJECT / "docs" / "images" / "buyer_backtest.png"
FOLDER = PROJECT / "docs" / "examples"
EXAMPLES = ("2021-04-29", "2022-03-08", "2023-12-29")
REPLAYED = "forecasts.zl_replays_daily"
LIVED, NO_CHANGE = CHAMPIONS, "no_change"
FED = {LIVED: RULE, NO_CHANGE: f"{RULE}, fed with no_change", BASELINE: f"{RULE}, fed with the curve"}
CHANCES = (0.0, 0.35, 0.45, 0.55, 1.0)


@dataclass(frozen=True)
class Record:
    """Everything that the page shows.

    ``judged``: by feed, rows of ``judged_months``. ``rule``: the one that is followed, of registry/decision.yaml.
    ``best``: the one of the grid with the lowest loss on these forecasts.
    """

    judged: Mapping[str, pd.DataFrame]
    months: list[str]
    budget: pd.Series
    rule: BuyingRule
    best: BuyingRule
    grid: pd.DataFrame
    costs: Mapping[str, pd.Series]
    early: Mapping[str, pd.DataFrame]


def past_forecasts(run: RunContext) -> dict[str, pd.DataFrame]:
    """By feed, the weekly forecasts of the replay, in the columns of ``forecasts.zl_forecasts_daily``.

    Raises:
        NothingStored: there is no replay yet.
    """
    warehouse = open_warehouse(run.settings)
    published = warehouse.is_published()
    rows = warehouse.query(f"SELECT * FROM {REPLAYED}") if published else pd.DataFrame(columns=["replay"])
    rows = rows[rows["replay"].isin(list(FED))]
    if missing := sorted(set(FED) - set(rows["replay"])):
        raise NothingStored(f"{REPLAYED} has no forecasts of {', '.join(missing)}; run `cbi replay`")
    dates = {name: pd.to_datetime(rows[name]) for name in ("as_of", "target_date")}
    return {str(feed): part.reset_index(drop=True) for feed, part in rows.assign(**dates).groupby("replay")}


def history_of(run: RunContext) -> History:
    """Closes of the stored panel, and every recorded contract price of the staged sources.

    Raises:
        NothingStored: no source of contract prices is staged.
    """
    rule = run.rolls.rolls["ZL"]
    panel = read_parquet(run.work.panel / "panel.parquet", ["date", "zl_close", "zl_roll_free"]).set_index("date")
    staged = [part for part in (read_staged(run.zones, name) for name in rule.sources) if part is not None]
    if not staged:
        raise NothingStored(f"none of {', '.join(rule.sources)} is staged; run `make demo` or `cbi daily`")
    observations, _ = gather(staged, as_of=run.as_of)
    return History(
        panel.set_axis(["close", "roll_free"], axis=1), contract_prices(observations, rule), rule, run.horizons
    )


def record_of(history: History, forecasts: Mapping[str, pd.DataFrame], own: PricedNeed, rule: BuyingRule) -> Record:
    """The whole record, before it is written."""
    judged = {feed: judged_months(history, rows, own) for feed, rows in forecasts.items()}
    ahead, base = own.need.months_ahead, judged[LIVED]
    months = complete_months(*judged.values(), months_ahead=ahead)
    budget = budgets(base, ahead)
    best, grid = choose(base, [month for month in months if month <= CHOSEN_UNTIL], budget, own.need.aversion)
    early = {FED[feed]: followed(rows, rule).loc[months] for feed, rows in judged.items()}
    early[COVER] = covered_at_the_curve(base).loc[months]
    simple = {EVEN: bought_evenly(base)[months], AT_ONCE: bought_at_once(base, ahead).reindex(months)}
    costs = simple | {name: early[name]["cost"] for name in (COVER, *FED.values())}
    return Record(judged, months, budget, rule, best, grid, costs, early)


def periods(record: Record) -> dict[str, list[str]]:
    """The months of each part of the record."""
    seen = [month for month in record.months if month <= CHOSEN_UNTIL]
    after = [month for month in record.months if month > CHOSEN_UNTIL]
    return {
        f"{after[0]} to {after[-1]}, not seen by the choice": after,
        f"{seen[0]} to {seen[-1]}, on which thresholds were chosen": seen,
        "all": record.months,
    }


def main_table(record: Record, months: list[str], ahead: int) -> str:
    """Every way to buy over some months."""
    costs = {name: cost[months] for name, cost in record.costs.items()}
    rows = []
    for row in measured(costs, record.budget, against=EVEN, months_ahead=ahead).to_dict("records"):
        early = record.early.get(str(row["way"]))
        rows.append(
            (
                row["way"],
                f"{row['cost']:.2f}",
                "" if row["way"] == EVEN else _with_interval(row),
                f"{row['spread']:.2f}",
                f"{row['worst_quarter']:.2f}",
                f"{row['over_budget']} of {row['months']}",
                "" if early is None else f"{early.loc[months, 'early_share'].mean():.0%}",
            )
        )
    head = ("way to buy", "cents/lb", f"less {EVEN} (90% interval)", "spread of months", "worst quarter")
    return table((*head, "months over budget", "bought before the month"), rows)


def worth_table(record: Record, ahead: int) -> str:
    """What the forecast is worth: the same rule fed with it and without it."""
    rows = []
    for period, months in periods(record).items():
        own = record.costs[RULE][months]
        cells = [_with_interval(paired(own, record.costs[FED[feed]][months], ahead)) for feed in (NO_CHANGE, BASELINE)]
        rows.append((period, len(months), *cells))
    return table(("months due", "months", "less the rule fed with no_change", "less the rule fed with the curve"), rows)


def yearly_table(record: Record) -> str:
    """Cost per pound by year of the due date."""
    costs = pd.DataFrame(record.costs)
    years = pd.PeriodIndex(costs.index, freq="M").year
    rows = [(year, len(part), *(f"{value:.2f}" for value in part.mean())) for year, part in costs.groupby(years)]
    return table(("year", "months", *costs.columns), rows)


def chance_table(record: Record) -> str:
    """How often waiting was cheaper, by the chance forecast."""
    base = record.judged[LIVED]
    known = base[base["month"].isin(record.months) & base["chance"].notna() & base["due_price"].notna()]
    rows = []
    for low, high in pairwise(CHANCES):
        part = known[(known["chance"] >= low) & ((known["chance"] < high) | (high == 1.0))]
        if len(part):
            cheaper = (part["due_price"] < part["now"]).mean()
            gain = (part["now"] - part["due_price"]).mean()
            rows.append(
                (
                    f"{low:.0%} to {high:.0%}",
                    f"{len(part):,}",
                    f"{part['chance'].mean():.0%}",
                    f"{cheaper:.0%}",
                    f"{gain:+.2f}",
                )
            )
    return table(
        ("chance forecast", "decisions", "mean chance", "waiting was cheaper", "waiting saved, cents/lb"), rows
    )


def grid_table(record: Record) -> str:
    """What each pair of thresholds cost on the months of the choice."""
    shown = ("buy_below_chance", "wait_above_chance", "loss_cents_lb", "cost_cents_lb")
    rows = [
        (*(f"{row[name]:.2f}" for name in shown), f"{row['early_share']:.0%}") for row in record.grid.to_dict("records")
    ]
    return table(("buy below", "wait above", "loss, cents/lb", "cost, cents/lb", "bought before the month"), rows)


def picture(path: Path, record: Record) -> Path:
    """Cost of each way less buying evenly, averaged over the twelve months to each month, as a PNG."""
    import altair as alt

    costs = pd.DataFrame(record.costs)
    less = costs.sub(costs[EVEN], axis=0).drop(columns=EVEN).set_axis(pd.to_datetime(costs.index), axis=0)
    shown = {
        RULE: ("band", [1, 0]),
        FED[NO_CHANGE]: ("band", [2, 2]),
        COVER: ("price", [1, 0]),
        AT_ONCE: ("muted", [6, 3]),
    }
    rolled = less[list(shown)].rolling(12).mean().rename_axis("month").reset_index()
    long = rolled.melt("month", list(shown), "way", "cents_lb").dropna(subset="cents_lb")
    colors = alt.Scale(domain=list(shown), range=[COLORS[color] for color, _ in shown.values()])
    dashes = alt.Scale(domain=list(shown), range=[dash for _, dash in shown.values()])
    title = "month due; thresholds were chosen on the months left of the dashed line"
    ways = (
        alt.Chart(long)
        .mark_line()
        .encode(
            x=dates("month", long["month"], title=title),
            y=alt.Y("cents_lb:Q", title="cents per pound"),
            color=alt.Color("way:N", scale=colors, legend=alt.Legend(columns=2)),
            strokeDash=alt.StrokeDash("way:N", scale=dashes),
        )
    )
    chosen = alt.Chart(pd.DataFrame({"at": [pd.Timestamp(f"{CHOSEN_UNTIL}-31")]}))
    return write_picture(
        path,
        specification_of(
            alt.layer(rule_at(0), chosen.mark_rule(color=COLORS["muted"], strokeDash=[4, 3]).encode(x="at:T"), ways),
            width=980,
            height=380,
        ),
        f"Cost of a pound less that of {EVEN}, mean of twelve months: below zero is cheaper",
    )


def forecast_on(run: RunContext, day: str) -> pd.DataFrame:
    """The forecast of a day: published in this home, or by the models of its replay.

    Raises:
        NothingStored: the home has neither.
    """
    from flows.replay import folder_of, read_inputs
    from tasks.forecasting.apart import isolated_models
    from tasks.forecasting.replay import forecasts_between

    warehouse = open_warehouse(run.settings)
    if newest_forecast(warehouse) == day:
        return warehouse.query(OF_A_DAY.format(day=day))
    inputs = read_inputs(run)
    if not (folder_of(run, inputs) / "models").is_dir():
        raise NothingStored(f"no forecast of {day}, and no replay by this version of the code: run `cbi replay` again")
    with isolated_models() as models:
        return next(forecasts_between(inputs, folder_of(run, inputs), [pd.Timestamp(day)], models))


def write_examples(run: RunContext, history: History) -> list[Path]:
    """The whole answer on some days, as `cbi decision` prints it, and the forecasts that it read."""
    from rich.console import Console

    panel = read_parquet(run.work.panel / "panel.parquet", ["date", "zl_close", "zl_roll_free", "eur_last"])
    read, written = [], []
    for day in EXAMPLES:
        given = forecast_on(run, day)
        as_of = pd.Timestamp(given["as_of"].iloc[0])
        market = market_of(given, contracts_known(history, as_of), panel, as_of=as_of)
        decided = decide(market, load_decision(PROJECT / "registry"), run.horizons, history.rule)
        text = StringIO()
        print_decision(decided.table, as_of, Console(file=text, width=130))
        lines = "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())
        written.append(write_bytes(FOLDER / f"decision_{day}.txt", lines.encode()))
        names = [column(level) for level in run.horizons.quantiles]
        read.append(given.assign(example=day)[["example", "as_of", "horizon", "last_price", *names, "family"]])
    table = pd.concat(read, ignore_index=True)
    return [*written, write_bytes(FOLDER / "forecasts.csv", table.to_csv(index=False).encode())]


def contracts_known(history: History, as_of: pd.Timestamp) -> pd.DataFrame:
    """What a decision reads of ``forecasts.zl_contracts_daily``: each listed contract's newest price known on a day."""
    listed = pd.Series(listed_contracts(history.rule, as_of))
    prices = newest_known(history, as_of).set_index("contract")
    quote = history.prices["close"].loc[:as_of].dropna()
    front = int(front_contracts(pd.DatetimeIndex([quote.index[-1]]), history.rule).iloc[0])
    rows = [
        {
            "contract": contract_name(PRODUCT, int(c)),
            "last_price": prices.at[c, "price"],
            "price_date": prices.at[c, "seen_on"],
        }
        for c in listed
        if c in prices.index and c != front
    ]
    own = {"contract": contract_name(PRODUCT, front), "last_price": quote.iloc[-1], "price_date": quote.index[-1]}
    return pd.DataFrame([own, *rows])


def measure() -> None:
    """Follow every way to buy through the record, and write the page, its picture and the examples."""
    before, run = stamp("make buyer-backtest"), last_run()
    registry = load_decision(PROJECT / "registry")
    name, need = next(iter(registry.needs.items()))
    own = priced(name, need, np.nan)
    assert isinstance(own, PricedNeed), own  # the shipped need is in cents/lb
    history, forecasts = history_of(run), past_forecasts(run)
    record, ahead = record_of(history, forecasts, own, registry.rule), need.months_ahead
    write_examples(run, history)
    lowest = (
        "the lowest loss of the grid"
        if record.best == record.rule
        else (
            "not the lowest loss of the grid, which on these forecasts is that of "
            f"{record.best.buy_below_chance:.2f} and {record.best.wait_above_chance:.2f}"
        )
    )
    unfilled = {way: rows["unfilled"].sum() for way, rows in record.early.items()}
    never = int((record.early[COVER]["early_share"] == 0).sum())
    picture(PICTURE, record)
    sections = [
        text
        for period, months in periods(record).items()
        for text in (f"## Months due {period}", main_table(record, months, ahead))
    ]
    write_page(
        PAGE,
        "What following the buying rule would have cost",
        before,
        f"A buyer needs the same pounds every month and decides once a month about the next {ahead} months, with the "
        "rule of [decision 29](../decisions/0029-buying-rule.md) and the costs of the example need (storage "
        f"{need.storage_per_month} cents/lb a month, financing {need.financing_pct_year:g}% a year, aversion "
        f"{need.aversion:g}). Costs are without the basis, which is the same for all. Forecasts are those of "
        "`cbi replay`: made by models trained each quarter on what was known by then, and chosen by the promotion rule "
        "as it stands. A purchase is priced after its decision: oil to store at the next close, a contract at "
        "its first recorded price after it. Each way is followed from the first, second, third and fourth week of the "
        "month; costs are their mean. Intervals are of blocks of neighboring months, as long as a window or longer.",
        f"The rule is that of registry/decision.yaml: buy below {record.rule.buy_below_chance:.2f}, wait above "
        f"{record.rule.wait_above_chance:.2f}. It was chosen on months due to {CHOSEN_UNTIL} and has {lowest}.",
        "![cost of each way to buy less buying evenly](../images/buyer_backtest.png)",
        "## What the forecast is worth to a buyer",
        "The same rule and thresholds, once with the forecast that would have been served, once with no change, once "
        "with the curve alone. Cents/lb, paired by month, with a 90% interval; below zero the forecast saved money.",
        worth_table(record, ahead),
        *sections,
        "## By year of the month due, cents/lb",
        yearly_table(record),
        "## How often waiting was cheaper",
        "Every decision about every month. If the chances had skill, the two columns would rise together.",
        chance_table(record),
        "## What was not bought because no price is recorded",
        table(
            ("way to buy", "decisions without a price, mean of the four weeks"),
            [(way, f"{count:.0f}") for way, count in unfilled.items()],
        ),
        f"Of {len(record.months)} months, {never} were never covered by {COVER}: no price of their contract is "
        "recorded early enough, and they were bought when due.",
        "## The choice of the thresholds",
        "Loss is the mean cost, with the part above the budget counted once more (aversion 1). A budget is the mean "
        "close of the year before the first decision, and 5%. (0, 0) is buying evenly. The two thresholds lie at least "
        "0.10 apart, so that a small change of the forecast never turns all into nothing; that was decided with "
        "knowledge of the whole record.",
        grid_table(record),
    )


def _with_interval(found: Mapping[Any, Any]) -> str:
    return f"{found['difference']:+z.2f} ({found['low']:+z.2f} to {found['high']:+z.2f})"


if __name__ == "__main__":
    sys.exit(page_command("evidence.buyer_backtest", __doc__, measure, PAGE))
