"""Forecasts that are not served: challengers in shadow, the baseline beside the champion, a champion that was replaced.

They are made of the same features at the same time as the served forecast, so that both can be compared on the same
origins once the outcome is known. A shadow that fails is a warning, and never touches what is served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from tasks.day import Day, InputNotes
from tasks.errors import CbiError, ModelStoreError
from tasks.forecasting.apart import IsolatedModels
from tasks.forecasting.forecast import DayForecast, age_reasons, answered, baselines_by, forecast_row, problem_of
from tasks.model_store import shadows
from tasks.model_store.administration import promotions_table
from tasks.model_store.champions import digest_of
from tasks.model_store.protocol import ModelStore, Version
from tasks.models.catalogue import BASELINES
from tasks.quantiles import BANDS, column, pinball
from tasks.registry import FeatureRegistry, Horizons
from tasks.run import RunContext
from tasks.secrets import quoted

RECORD = ["model_version", "origins", "first", "last", "pinball_log_return", "served_pinball_log_return"]
RECORD += ["skill_over_served_pct", "coverage_80", "served_coverage_80"]


def unserved(store: ModelStore, served: pd.DataFrame, as_of: pd.Timestamp) -> tuple[list[Version], list[str]]:
    """The versions that forecast unserved at a session, and a notice for each that cannot be found.

    By horizon: the baseline and the champion where another version serves, and the challengers in shadow.

    Args:
        served: the rows of the session's served forecasts.
    """
    found: dict[str, Version] = {}
    notices: list[str] = []
    for horizon in served["horizon"]:
        try:
            champion = store.champion(horizon, as_of)
        except ModelStoreError:  # the served forecast's own reason says so
            champion = None
        beside = [*baselines_by(store, horizon, as_of)[:1], *([champion] if champion else [])]
        found |= {version.name: version for version in beside}
    try:
        entries = {str(one["version"]): one for one in store.shadows()}
    except CbiError as error:
        return [v for name, v in found.items() if name not in set(served["model_version"])], [str(error)]
    for name in shadows.active(entries.values(), as_of):
        family, horizon, number = name.split("/")
        challenger = next((v for v in store.versions(family, horizon) if v.number == number), None)
        if challenger is None or digest_of(challenger) != entries[name]["metadata"]:
            notices.append(f"the shadow {name} is gone or altered; `cbi models shadow {name} --sessions 0` ends it")
        elif challenger.trained_as_of <= as_of and horizon in set(served["horizon"]):
            found[name] = challenger
    return [version for name, version in found.items() if name not in set(served["model_version"])], notices


def forecast_unserved(
    versions: Sequence[Version],
    features: pd.DataFrame,
    panel: pd.DataFrame,
    models: IsolatedModels,
    *,
    registry: FeatureRegistry,
    horizons: Horizons,
    as_of: pd.Timestamp,
    data_snapshot: str,
    code_version: str,
    notes: InputNotes | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of ``forecasts.zl_shadow_daily`` of a session, and a notice for each version without a forecast.

    Args:
        models: to which ``features`` were shown already, by the served forecast.
    """
    rows, notices = [], []
    for version in versions:
        problem = problem_of(version.horizon, horizons)
        try:
            served = answered(
                version, models, problem, features, registry, notes, age_reasons(version, horizons, as_of)
            )
            rows.append(
                forecast_row(
                    served,
                    problem,
                    features,
                    panel,
                    as_of=as_of,
                    notes=notes,
                    data_snapshot=data_snapshot,
                    code_version=code_version,
                )
            )
        except Exception as error:  # nothing that is not served may stop what is
            why = quoted(f"{error}" if isinstance(error, CbiError) else f"{type(error).__name__}: {error}", most=400)
            notices.append(f"{version.name} is not served and has no forecast: {why}")
    table = pd.DataFrame(rows)
    return (table.astype({"direction_reason": "object"}) if rows else table), notices


def with_unserved(
    run: RunContext,
    day: Day,
    data_snapshot: str,
    models: IsolatedModels,
    store: ModelStore,
    forecasted: DayForecast,
) -> DayForecast:
    """The day's forecasts with those that are not served, and with the promotions of the store.

    Whatever fails here is a notice. It never stops what is served.
    """
    try:
        versions, missing = unserved(store, forecasted.forecasts, run.as_of)
        rows, failed = forecast_unserved(
            versions,
            day.features,
            day.panel,
            models,
            registry=run.features,
            horizons=run.horizons,
            as_of=run.as_of,
            data_snapshot=data_snapshot,
            code_version=run.code_version,
            notes=day.notes,
        )
        promotions = promotions_table(store.history())
        notices = (*forecasted.notices, *missing, *failed)
        return replace(forecasted, shadows=rows, promotions=promotions, notices=notices)
    except Exception as error:
        why = f"no forecasts beside the served ones: {type(error).__name__}: {error}"
        return replace(forecasted, notices=(*forecasted.notices, why))


def shadow_record(unserved_rows: pd.DataFrame, outcomes: pd.DataFrame, levels: tuple[float, ...]) -> pd.DataFrame:
    """How unserved versions did beside what was served, on origins whose outcome is known.

    Args:
        unserved_rows: of ``forecasts.zl_shadow_daily``. outcomes: of ``performance.forecast_outcomes``: the served
            forecasts with ``actual_price``; prices in cents/lb.

    Returns:
        one row per version: ``origins`` due, their ``first`` and ``last`` date, mean pinball loss of the log return of
        both, skill over what was served in percent, and the coverage of both 80% bands. No interval: origins overlap,
        and it is what happened, not an estimate.
    """
    if unserved_rows.empty or outcomes.empty:
        return pd.DataFrame(columns=RECORD)
    names, key = [column(level) for level in levels], ["as_of", "horizon"]
    due = outcomes[outcomes["actual_price"].notna()].drop_duplicates(key, keep="last")
    both = unserved_rows[[*key, "model_version", *names]].merge(
        due[[*key, "last_price", "actual_price", *names]], on=key, suffixes=("", "_served")
    )
    own = log_losses(both, levels)
    other = log_losses(both, levels, suffix="_served")
    low, high = BANDS[80]
    table = both.assign(
        own=own,
        other=other,
        inside=both["actual_price"].between(both[low], both[high]).astype("float64"),
        inside_served=both["actual_price"].between(both[f"{low}_served"], both[f"{high}_served"]).astype("float64"),
    )
    found = table.groupby("model_version", as_index=False).agg(
        origins=("own", "size"),
        first=("as_of", "min"),
        last=("as_of", "max"),
        pinball_log_return=("own", "mean"),
        served_pinball_log_return=("other", "mean"),
        coverage_80=("inside", "mean"),
        served_coverage_80=("inside_served", "mean"),
    )
    return found.assign(
        skill_over_served_pct=100 * (1 - found["pinball_log_return"] / found["served_pinball_log_return"])
    )[RECORD]


def log_losses(rows: pd.DataFrame, levels: tuple[float, ...], *, suffix: str = "") -> np.ndarray:
    """The pinball loss of each row's log return, mean over the quantiles.

    Args:
        rows: ``last_price, actual_price`` and the quantile columns with ``suffix``, in cents/lb.
    """
    last = rows["last_price"].to_numpy(dtype="float64")
    target = np.log(rows["actual_price"].to_numpy(dtype="float64") / last)
    quantiles = rows[[f"{column(level)}{suffix}" for level in levels]].to_numpy(dtype="float64")
    return pinball(target, np.log(quantiles / last[:, None]), levels)


def is_baseline(name: str) -> bool:
    """Whether a version's name is of a baseline."""
    return name.split("/")[0] in BASELINES


def baselines_of(unserved_rows: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """By horizon the unserved rows of the baseline."""
    if unserved_rows.empty:
        return {}
    rows = unserved_rows[unserved_rows["model_version"].map(is_baseline)]
    return {str(horizon): part for horizon, part in rows.groupby("horizon")}
