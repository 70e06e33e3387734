"""Why the published forecasts are what they are: contributions in cents/lb by feature and group, and a sentence.

All of it is computed after the forecasts, from the same model versions, and none of it can change or stop them: what
fails is a notice with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from tasks.errors import CbiError
from tasks.forecasting.apart import IsolatedModels
from tasks.forecasting.attribution import BASE, Reasons
from tasks.forecasting.questions import Answer, Question
from tasks.model_store.protocol import Version
from tasks.models.forecaster import Problem
from tasks.registry.explanations import Explanations
from tasks.registry.features import FeatureRegistry
from tasks.secrets import quoted

MOST_UNEXPLAINED_CENTS = 0.005
"""Contributions that miss the published move by more are not shown."""
NAMED_TOPICS = 4
SHOWN_CENTS = 0.005  # a smaller contribution reads 0.00
T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """A published forecast: its problem, the model version behind it, and the title of its horizon."""

    problem: Problem
    version: Version
    title: str = ""


def question_of(
    version: Version,
    problem: Problem,
    wanted: Literal["forecast", "reasons", "history", "alternatives"] = "forecast",
    *,
    alternatives: int = 0,
) -> Question:
    """The question that asks a version, after a check that its files are unchanged.

    Args:
        alternatives: how many of the last rows are alternatives, if these are wanted.

    Raises:
        ModelStoreError: its files are changed or cannot be read.
    """
    return Question(
        name=version.name,
        family=version.family,
        folder=str(version.checked_folder()),
        horizon=problem.horizon,
        sessions=problem.sessions,
        quantiles=problem.quantiles,
        horizons={str(name): int(sessions) for name, sessions in dict(version.metadata["horizons"]).items()},
        wanted=wanted,
        alternatives=alternatives,
    )


@dataclass(frozen=True)
class Explained:
    """The reasons of one session's forecasts.

    ``drivers``: rows of ``forecasts.zl_explainers_daily``. ``sentences``: rows of ``forecasts.zl_explanations_daily``.
    ``history``: contributions in cents/lb of earlier sessions, for the beeswarm: ``horizon, date, feature,
    shap_cents_lb, feature_value``. ``reasons``: by horizon, as the models gave them. ``notices``: what failed, and why.
    """

    drivers: pd.DataFrame = field(default_factory=pd.DataFrame)
    sentences: pd.DataFrame = field(default_factory=pd.DataFrame)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    reasons: dict[str, list[Reasons]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def attempt(what: str, work: Callable[[], T], otherwise: T) -> tuple[T, tuple[str, ...]]:
    """The result of ``work``; if it fails in any way, ``otherwise`` and a notice that says why."""
    try:
        return work(), ()
    except CbiError as error:
        return otherwise, (f"no {what}: {error}",)
    except Exception as error:  # the forecasts are computed: nothing that explains them may stop the run
        return otherwise, (f"no {what}: {quoted(f'{type(error).__name__}: {error}', most=300)}",)


def explain_day(
    forecasts: pd.DataFrame,
    served: Sequence[Served],
    features: pd.DataFrame,
    models: IsolatedModels,
    *,
    registry: FeatureRegistry,
    words: Explanations,
) -> Explained:
    """The reasons of every published forecast. ``models`` must be shown ``features``."""
    drivers, sentences, histories, reasons = [], [], [], {}
    notices: tuple[str, ...] = ()
    rows = {row["horizon"]: row for _, row in forecasts.iterrows()}
    for one in served:
        horizon = one.problem.horizon

        def work(one: Served = one, row: pd.Series = rows[horizon]) -> None:
            answer = answered(models, question_of(one.version, one.problem, "history"))
            own = answer.reasons[-1]
            table = driver_rows(row, own, features.iloc[-1], registry, words)
            reasons[row["horizon"]] = answer.reasons
            drivers.append(table)
            sentences.append(sentence_row(row, table, one.title or row["horizon"], words))
            histories.append(_history(row, answer, features))

        notices += attempt(f"drivers at {horizon}", work, None)[1]
    return Explained(
        drivers=pd.concat(drivers, ignore_index=True) if drivers else pd.DataFrame(),
        sentences=pd.DataFrame(sentences),
        history=pd.concat(histories, ignore_index=True) if histories else pd.DataFrame(),
        reasons=reasons,
        notices=notices,
    )


def answered(models: IsolatedModels, question: Question) -> Answer:
    """The reasons of a version.

    Raises:
        CbiError: it has none, or failed over them.
    """
    answer = models.ask(question)
    if answer.error:
        raise CbiError(f"{question.name}: {answer.error}")
    if not answer.explained:
        raise CbiError(f"{question.name}: it has no forecast from the last session")
    return answer


def driver_rows(
    row: pd.Series, reasons: Reasons, newest: pd.Series, registry: FeatureRegistry, words: Explanations
) -> pd.DataFrame:
    """Contributions to one published forecast, one row per feature and one for what no feature explains.

    ``shap_cents_lb`` adds up to the centre less the last price, ``width_cents_lb`` to the width of the 80% band, both
    in cents/lb. A feature that is no input of one of them is missing there. Log contributions are additive; they are
    converted to cents in proportion.

    Args:
        row: of ``forecasts.zl_forecasts_daily``. newest: the last session's features.

    Raises:
        CbiError: the contributions do not add up to the published move.
    """
    last, move = float(row["last_price"]), float(np.log(row["point"] / row["last_price"]))
    centre = pd.Series(reasons.centre, dtype="float64")
    if abs(float(centre.sum()) - move) * last > MOST_UNEXPLAINED_CENTS:
        raise CbiError(
            f"{row['model_version']}: its contributions add up to a log return of {centre.sum():+.4f}, "
            f"its forecast is {move:+.4f}"
        )
    cents = centre * (last * np.expm1(move) / centre.sum() if abs(centre.sum()) > 1e-12 else last)
    width = width_in_cents(reasons.width, float(row["p90"] - row["p10"]))
    both = pd.DataFrame({"shap_cents_lb": cents, "width_cents_lb": width})
    values = newest.reindex(both.index).astype("float64")
    categories = [registry.category_of.get(name) for name in both.index]
    table = pd.DataFrame(
        {
            "as_of": row["as_of"],
            "horizon": row["horizon"],
            "feature": both.index,
            "group": [words.group_of(name, category) for name, category in zip(both.index, categories, strict=True)],
            "shap_cents_lb": both["shap_cents_lb"].to_numpy(),
            "width_cents_lb": both["width_cents_lb"].to_numpy(),
            "feature_value": values.to_numpy(),
            "family": row["family"],
            "served": True,
            "model_version": row["model_version"],
        }
    )
    return table[_shown(table)].reset_index(drop=True)


def _shown(table: pd.DataFrame) -> pd.Series:
    """Rows to publish: of groups in which some feature has a value, and all others that are not 0.

    A group without a value today has no drivers, only zeros. (A tree may respond to a missing value. That part of the
    move stays, so that the contributions add up.)
    """
    known = table["feature_value"].notna().groupby(table["group"]).transform("any")
    moves = table["shap_cents_lb"].fillna(0.0).ne(0.0) | table["width_cents_lb"].fillna(0.0).ne(0.0)
    return (known & table["feature"].ne(BASE)) | moves


def width_in_cents(parts: dict[str, float], width: float) -> pd.Series:
    """Contributions to the width of the band in cents/lb, by feature; ``base`` is the width without any of them.

    In proportion to the contributions to the log width (the logarithmic mean divides the difference exactly).
    """
    features = pd.Series({name: value for name, value in parts.items() if name != BASE}, dtype="float64")
    total = float(features.sum())
    ordinary = width * np.exp(-total)
    per_log = (width - ordinary) / total if abs(total) > 1e-12 else width
    cents = features * per_log
    return pd.concat([cents, pd.Series({BASE: width - cents.sum()})])


def sentence_row(row: pd.Series, drivers: pd.DataFrame, title: str, words: Explanations) -> dict[str, object]:
    """One row of ``forecasts.zl_explanations_daily``: the reasons of centre and band in words."""
    return {
        "as_of": row["as_of"],
        "horizon": row["horizon"],
        "model_version": row["model_version"],
        "centre_sentence": centre_sentence(row, drivers, title, words),
        "width_sentence": width_sentence(row, drivers, title, words),
    }


def centre_sentence(row: pd.Series, drivers: pd.DataFrame, title: str, words: Explanations) -> str:
    """`3 months: 47.20, up 1.90 from today's 45.30: the curve +0.60, palm spread +1.30`.

    What is printed adds up: the rest has what the named topics leave, rounding included.
    """
    point, last = round(float(row["point"]), 2), round(float(row["last_price"]), 2)
    change = round(point - last, 2)
    moves = f"{'up' if change > 0 else 'down'} {abs(change):.2f} from" if change else "unchanged from"
    terms = _terms(drivers, "shap_cents_lb", change, words)
    why = f": {terms}" if terms else ": nothing that the model reads moves it"
    degraded = f" (degraded: {row['degraded_reason']})" if row["degraded"] else ""
    return f"{title}: {point:.2f}, {moves} today's {last:.2f}{why}{degraded}"


def width_sentence(row: pd.Series, drivers: pd.DataFrame, title: str, words: Explanations) -> str:
    """`3 months: 4 of 5 outcomes in 41.10 to 53.90, 12.80 wide, 1.10 more than on an ordinary day: VIX +0.40, …`."""
    low, high = round(float(row["p10"]), 2), round(float(row["p90"]), 2)
    width = round(high - low, 2)
    ordinary = round(float(drivers.loc[drivers["feature"] == BASE, "width_cents_lb"].sum()), 2)
    change = round(width - ordinary, 2)
    terms = _terms(drivers[drivers["feature"] != BASE], "width_cents_lb", change, words)
    says = f"{abs(change):.2f} {'more' if change > 0 else 'less'} than" if change else "as"
    return (
        f"{title}: 4 of 5 outcomes in {low:.2f} to {high:.2f}, {width:.2f} wide, {says} on an ordinary day"
        f"{f': {terms}' if terms else ''}"
    )


def _terms(drivers: pd.DataFrame, column: str, change: float, words: Explanations) -> str:
    """The largest topics and the rest, rounded so that they add up to ``change``."""
    topics = [words.topic_of(name, group) for name, group in zip(drivers["feature"], drivers["group"], strict=True)]
    sums = drivers[column].fillna(0.0).groupby(topics).sum()
    sums = sums.reindex(sums.abs().sort_values(ascending=False, kind="stable").index)
    named = sums[sums.abs() >= SHOWN_CENTS].head(NAMED_TOPICS).round(2)
    rest = round(change - float(named.sum()), 2)
    shown = [f"{topic} {value:+.2f}" for topic, value in named.items()]
    return ", ".join([*shown, *([f"the rest {rest:+.2f}"] if rest else [])])


def _history(row: pd.Series, answer: Answer, features: pd.DataFrame) -> pd.DataFrame:
    if not answer.history:
        return pd.DataFrame()
    table = pd.DataFrame(answer.history).T.drop(columns=BASE, errors="ignore") * float(row["last_price"])
    table.index = pd.DatetimeIndex(table.index)
    long = table.rename_axis("date").reset_index().melt("date", var_name="feature", value_name="shap_cents_lb")
    values = features.set_index("date")[[name for name in table.columns if name in features]]
    values = values.reindex(table.index).rename_axis("date").reset_index().melt("date", var_name="feature")
    merged = long.merge(values.rename(columns={"value": "feature_value"}), on=["date", "feature"], how="left")
    return merged.assign(horizon=row["horizon"], as_of=row["as_of"])
