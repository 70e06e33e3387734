"""Everything that explains a day's forecasts: drivers, changes since the session before, scenarios, scored texts.

Computed after the forecasts. Each part stands alone: what fails is a notice with its reason, and the other parts and
the forecasts stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from tasks.calendar import sessions
from tasks.day import Day
from tasks.errors import CbiError
from tasks.forecasting.apart import IsolatedModels
from tasks.forecasting.attribution import Reasons
from tasks.forecasting.changes import Version as Compared
from tasks.forecasting.changes import changes_of
from tasks.forecasting.explain import Explained, Served, answered, attempt, explain_day, question_of
from tasks.forecasting.forecast import DayForecast
from tasks.forecasting.scenarios import scenarios_of_day
from tasks.forecasting.surface import surface_rows
from tasks.model_store.protocol import ModelStore, Version
from tasks.registry.explanations import load_explanations
from tasks.registry.scenarios import load_scenarios
from tasks.run import RunContext
from tasks.storage.files import read_json
from tasks.texts.scored import document_scores

LOOK_BACK_DAYS = 14


@dataclass(frozen=True)
class DayReasons:
    """What explains the forecasts of one session.

    ``changes``, ``scenarios``, ``surface`` and ``document_scores`` have the rows of ``forecasts.zl_changes_daily``,
    ``forecasts.zl_scenarios_daily``, ``forecasts.zl_surface_daily`` and ``raw_intelligence.document_scores``.
    ``notices``: what failed, and why.
    """

    explained: Explained = field(default_factory=Explained)
    changes: pd.DataFrame = field(default_factory=pd.DataFrame)
    scenarios: pd.DataFrame = field(default_factory=pd.DataFrame)
    surface: pd.DataFrame = field(default_factory=pd.DataFrame)
    document_scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    notices: tuple[str, ...] = ()


def reasons_of_day(
    run: RunContext,
    day: Day,
    forecasted: DayForecast,
    models: IsolatedModels,
    store: ModelStore,
    *,
    published: Callable[[pd.Timestamp], pd.DataFrame],
    documents: Callable[[], pd.DataFrame],
) -> DayReasons:
    """Every part that can be computed.

    Args:
        models: the process that reads models; it has been shown the day's features. published: the published forecasts
            of a session, one row per horizon. documents: the staged documents known at the session.
    """
    words = attempt("explanations", lambda: load_explanations(run.settings.registry, run.features), None)
    notices = words[1]
    explained = Explained()
    if words[0] is not None:
        groups = words[0]
        explained, problem = attempt(
            "explanations",
            lambda: explain_day(
                forecasted.forecasts, forecasted.served, day.features, models, registry=run.features, words=groups
            ),
            Explained(),
        )
        notices += problem + explained.notices
    nothing: tuple[pd.DataFrame, tuple[str, ...]] = (pd.DataFrame(), ())
    changes, problem = attempt(
        "changes since the session before",
        lambda: _changes(run, day, forecasted, models, store, explained.reasons, published),
        nothing,
    )
    notices += problem + changes[1]
    scenarios, problem = attempt(
        "scenarios",
        lambda: scenarios_of_day(
            day.panel,
            day.features,
            day.labels,
            load_scenarios(run.settings.registry),
            forecasted.served,
            models,
            run.features,
        ),
        nothing,
    )
    notices += problem + scenarios[1]
    surface, problem = attempt(
        "response surface",
        lambda: surface_rows(
            day.panel,
            day.features,
            forecasted.served,
            models,
            run.features,
            load_scenarios(run.settings.registry),
        ),
        pd.DataFrame(),
    )
    notices += problem
    lexicon = run.derived.lexicon
    scores, problem = attempt(
        "scores of documents",
        lambda: pd.DataFrame() if lexicon is None else document_scores(documents(), lexicon),
        pd.DataFrame(),
    )
    return DayReasons(explained, changes[0], scenarios[0], surface, scores, notices + problem)


def session_before(as_of: pd.Timestamp) -> pd.Timestamp:
    """The session before one."""
    return sessions(first=as_of - pd.Timedelta(days=LOOK_BACK_DAYS), last=as_of)[-2]


def _changes(
    run: RunContext,
    day: Day,
    forecasted: DayForecast,
    models: IsolatedModels,
    store: ModelStore,
    reasons: dict[str, list[Reasons]],
    published: Callable[[pd.Timestamp], pd.DataFrame],
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The changes at every horizon, and notices of the horizons that failed."""
    before = session_before(run.as_of)
    rows = published(before)
    earlier = {row["horizon"]: row for _, row in rows.iterrows()}
    today = {row["horizon"]: row for _, row in forecasted.forecasts.iterrows()}
    parts = []
    notices: tuple[str, ...] = ()
    for one in forecasted.served:
        horizon = one.problem.horizon

        def work(one: Served = one, horizon: str = horizon) -> pd.DataFrame:
            yesterday = earlier.get(horizon)
            if horizon not in reasons:
                raise CbiError("there are no drivers to split them by")
            new = _compared(one.version, reasons[horizon], before)
            old: Compared | None = new
            if yesterday is not None and yesterday["model_version"] != one.version.name:
                old = _earlier_version(store, one, str(yesterday["model_version"]), models, before)
            return changes_of(
                today[horizon],
                yesterday,
                new,
                old,
                run.features,
                levels=one.problem.quantiles,
                session_before=before,
            )

        table, problem = attempt(f"changes at {horizon}", work, pd.DataFrame())
        parts.append(table)
        notices += problem
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True), notices


def _compared(version: Version, reasons: list[Reasons], before: pd.Timestamp) -> Compared:
    """A version with its reasons at both sessions, and the width that it learned."""
    calibration = read_json(version.folder / "calibration.json") or {}
    of_before = [one for one in reasons[:-1] if one.session == f"{before:%Y-%m-%d}"]
    return Compared(version.name, of_before[0] if of_before else None, reasons[-1], float(calibration["log_width"]))


def _earlier_version(
    store: ModelStore, one: Served, name: str, models: IsolatedModels, before: pd.Timestamp
) -> Compared | None:
    """The version that served the session before; None if the store no longer has it."""
    family = name.split("/")[0]
    found = [version for version in store.versions(family, one.problem.horizon) if version.name == name]
    if not found:
        return None
    answer = answered(models, question_of(found[0], one.problem, "reasons"))
    return _compared(found[0], answer.reasons, before)
