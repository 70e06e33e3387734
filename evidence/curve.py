"""``python -m evidence.curve``: what the curve is worth on the recorded archive; writes docs/results/curve.md.

The same families around the curve and around the price, the bands of single contracts, and what the roll-free close
changes in the features.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from evidence.command_line import command, exit_status
from evidence.inputs import Inputs
from evidence.machine import stamp
from evidence.page import frame_table, table, write_page
from tasks.evaluation.calibration import calibrate
from tasks.evaluation.comparison import evaluate
from tasks.exports import training_table
from tasks.features.build import build_features
from tasks.features.roll_free import ROLL_FREE
from tasks.forecasting.by_contract import ContractHistory, contract_bands, contract_history, contract_moves
from tasks.forecasting.forecast import problem_of
from tasks.labels import build_labels
from tasks.models.catalogue import SCALE
from tasks.models.forecaster import forecaster, without_curve_moves
from tasks.registry import load_models, load_quality_gates, load_regime_calendar, load_surface
from tasks.settings import PROJECT
from tasks.training.worker import out_of_fold

PAGE = PROJECT / "docs" / "results" / "curve.md"
FAMILIES = ("har", "har_seasonal", "ridge")
PERIODS = {"2010 to 2018": (2010, 2018), "2019 to 2023": (2019, 2023)}
FIRST_YEAR, LAST_YEAR, ORIGIN_STEP = 2010, 2023, 5


def around_curve_and_price(inputs: Inputs, features: pd.DataFrame) -> str:
    """Skill of each family around the curve over the same one around the price, by horizon and period."""
    run = inputs.run
    labels, regimes = build_labels(inputs.panel, run.horizons), load_regime_calendar(run.settings.registry)
    models = load_models(run.settings.registry, run.features)
    surface = load_surface(run.settings.registry, run.features)
    cost = load_quality_gates(run.settings.registry).trading_cost.round_trip_cents_lb
    plan, levels = run.horizons.walk_forward, tuple(run.horizons.quantiles)
    rows = []
    for name, horizon in run.horizons.horizons.items():
        whole = training_table(features, labels, regimes, horizon=name, columns=run.features.production())

        def measured(family: str, columns: list[str], name: str = name, whole: pd.DataFrame = whole) -> pd.DataFrame:
            oof = out_of_fold(forecaster(family), problem_of(name, run.horizons), whole, columns, plan)
            sessions = run.horizons.horizons[name].sessions
            return calibrate(oof, levels, horizon=sessions, step=plan.origin_step_sessions)[0]

        for family in ("curve", *FAMILIES):
            columns = models.columns(family, run.features, surface)
            around = measured(family, columns)
            price = measured("no_change" if family == "curve" else family, without_curve_moves(columns))
            cells: list[object] = [name, f"{family}, no_change" if family == "curve" else family]
            for first, last in PERIODS.values():
                within = around["date"].dt.year.between(first, last) & around["scored"]
                found = evaluate(
                    around[within],
                    price[price["scored"]],
                    levels,
                    sessions=horizon.sessions,
                    step=plan.origin_step_sessions,
                    round_trip_cost_cents_lb=cost,
                )
                cells += [
                    f"{found['pinball_log_return']:.5f}",
                    f"{found['skill_pct']:+.2f} ({found['skill_pct_low']:+.2f} to {found['skill_pct_high']:+.2f})",
                ]
            rows.append(cells)
    heads = [text for period in PERIODS for text in (f"pinball, {period}", f"gain %, {period}")]
    return table(["horizon", "family around the curve, and around the price", *heads], rows)


def contract_outcomes(inputs: Inputs, features: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Each weekly origin of each contract: its bands on the day before it goes off, and its price then."""
    run, rule = inputs.run, inputs.run.rolls.rolls["ZL"]
    quote = inputs.panel.set_index("date")["zl_close"]
    history = contract_history(inputs.observations, quote, rule, as_of=run.as_of)
    volatility = (features.set_index("date")[SCALE] / 100 / np.sqrt(252)).reindex(history.prices.index)
    levels = tuple(run.horizons.quantiles)
    years = pd.DatetimeIndex(history.prices.index).year.to_numpy()
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        past = ContractHistory(history.days, history.prices[years < year], history.last_rows)
        moves = contract_moves(past, volatility, levels)
        if moves is None:
            continue
        for row in np.flatnonzero(years == year)[::ORIGIN_STEP]:
            for contract, price in history.prices.iloc[row].dropna().items():
                end = history.last_rows[int(str(contract))] - 1
                if end <= row or end >= len(history.prices) or np.isnan(volatility.iloc[row]):
                    continue
                outcome = history.prices[contract].iloc[end]
                if np.isnan(outcome):
                    continue
                bands, up = contract_bands(
                    history, moves, int(str(contract)), int(row), end, float(price), float(volatility.iloc[row])
                )
                days = (history.days[end] - history.days[row]).days
                yield {
                    "contract": contract,
                    "months": min(int(days / 30.4375), 6),
                    "outcome": outcome / price - 1,
                    **{f"{level:.2f}": band for level, band in zip(levels, bands / price - 1, strict=True)},
                    "up": up,
                }


def contract_coverage(inputs: Inputs, features: pd.DataFrame) -> str:
    """How often the price stayed within its bands, by months to the day before a contract goes off."""
    measured = pd.DataFrame(contract_outcomes(inputs, features))
    rows = []
    for months, part in [*measured.groupby("months"), ("all", measured)]:
        inside = [
            f"{part['outcome'].between(part[low], part[high]).mean():.1%}"
            for low, high in (("0.25", "0.75"), ("0.10", "0.90"), ("0.05", "0.95"))
        ]
        width = (part["0.90"] - part["0.10"]).mean()
        higher = f"{(part['outcome'] > 0).mean():.1%}"
        rows.append(
            (
                months,
                f"{len(part):,}",
                part["contract"].nunique(),
                *inside,
                f"{100 * width:.1f}%",
                higher,
                f"{part['up'].mean():.1%}",
            )
        )
    heads = ("months to the end", "origins", "contracts", "50% band covered", "80%", "90%", "width of the 80% band")
    return table([*heads, "ended higher", "chance forecast"], rows)


def feature_changes(inputs: Inputs, features: pd.DataFrame) -> str:
    """What the roll-free close changes: each feature beside the one from the quote itself."""
    registry = inputs.run.features
    quoted = build_features(inputs.panel.assign(**{ROLL_FREE: inputs.panel["zl_last"]}), registry)
    rows = []
    for name in registry.features:
        both = pd.DataFrame({"free": features[name], "quote": quoted[name]}).dropna()
        apart = (both["free"] - both["quote"]).abs()
        spread = both["quote"].std()
        if apart.max() > 0 and spread > 0:
            rows.append(
                {
                    "feature": name,
                    "correlation": f"{both['free'].corr(both['quote']):.4f}",
                    "mean change, standard deviations": f"{apart.mean() / spread:.3f}",
                    "largest": f"{apart.max() / spread:.2f}",
                }
            )
    return frame_table(pd.DataFrame(rows).sort_values("mean change, standard deviations", ascending=False))


def measure(folder: Path) -> Path:
    """Stage the recorded archive and write the page."""
    before, inputs = stamp("make curve"), Inputs(folder)
    features = build_features(inputs.panel, inputs.run.features)
    return write_page(
        PAGE,
        "What the curve is worth",
        before,
        "The center of a forecast is where the curve puts the front month on the target date "
        "([decision 25](../decisions/0025-curve.md)). Each line fits the same family twice on purged yearly folds, "
        "once with the center of the curve and once with the price, and compares both on the same origins: the pinball "
        "loss of the log return, and by how much it is lower around the curve, with a 90% interval. **The form of the "
        "center was chosen with knowledge of these years** (its persistence is fitted on the past only): the gains "
        "flatter.",
        "## Around the curve and around the price",
        around_curve_and_price(inputs, features),
        "## Bands of single contracts",
        "Weekly origins of 2010 to 2023, each year with what was fitted before it; the outcome is the contract's price "
        "on the day before its last trading day. Origins of one contract share their outcome: there are as many "
        "outcomes as contracts, not as origins.",
        contract_coverage(inputs, features),
        "## Features without the steps of the rolls",
        "Features of ZL's moves, volatility and indicators, beside the same from the quote.",
        feature_changes(inputs, features),
    )


def main() -> int:
    """Run the command line."""
    command("evidence.curve", __doc__, "").parse_args()

    def work() -> int:
        with tempfile.TemporaryDirectory(prefix="cbi-curve-") as folder:
            print(measure(Path(folder)).relative_to(PROJECT))
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
