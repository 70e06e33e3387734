"""How far the sliders of the site are from the served models, measured at random points of the published surface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks import clock
from tasks.errors import StaleSource
from tasks.features.build import build_features
from tasks.forecasting.apart import IsolatedModels, isolated_models
from tasks.forecasting.explain import Served, question_of
from tasks.forecasting.scenarios import LOWER, SHOWN_ROWS, UPPER
from tasks.forecasting.surface import PRICES, Answers, Asked, Point, answers_of, asked_from, surface_answer
from tasks.registry import load_features, load_sources
from tasks.registry.features import FeatureRegistry
from tasks.registry.scenarios import load_scenarios
from tasks.reporting.what_if import newest_panel, served_from
from tasks.settings import Settings
from tasks.storage.zones import Zones
from tasks.warehouse.open import open_warehouse

POINTS = 200
CHECKS = "forecasts.zl_surface_checks"
OF_SESSION = "SELECT * FROM forecasts.zl_surface_daily WHERE as_of = DATE '{day}'"


def check_surface(settings: Settings, *, points: int = POINTS) -> pd.DataFrame:
    """Measure the surface of the newest session and publish the result: the rows of ``forecasts.zl_surface_checks``.

    Raises:
        StaleSource: no surface is published for the newest panel, or other models are served now.
    """
    panel = newest_panel(settings)
    as_of, warehouse = pd.Timestamp(panel["date"].iloc[-1]), open_warehouse(settings)
    day = f"{as_of:%Y-%m-%d}"
    rows = warehouse.query(OF_SESSION.format(day=day)) if warehouse.is_published() else pd.DataFrame()
    rows = rows[rows["surface"].notna()] if len(rows) else rows
    if rows.empty:
        raise StaleSource(f"no response surface of {day} is published; run `cbi daily` first")
    registry = load_features(settings.registry, load_sources(settings.registry))
    with isolated_models() as models:
        models.begin()
        features = build_features(panel, registry)
        served = served_from(settings, panel, features, models, wanted=set(rows["horizon"]))
        surfaces = {one.problem.horizon: rows[rows["horizon"] == one.problem.horizon] for one in served}
        for one in served:
            if set(surfaces[one.problem.horizon]["model_version"]) != {one.version.name}:
                raise StaleSource(
                    f"{one.version.name} serves now, and the surface of {day} is of another; run `cbi daily` first"
                )
        asked = asked_from(panel, features, load_scenarios(settings.registry), registry)
        chosen = random_points(asked, points, seed=int(f"{as_of:%Y%m%d}"))
        found = exact_answers(asked, chosen, served, models, registry)
    now = clock.now().floor("s")
    measured = [
        {
            "as_of": as_of,
            "horizon": horizon,
            "surface": str(own["surface"].iloc[0]),
            **errors_of(answers_of(own), found[horizon]),
            "created_at": now,
        }
        for horizon, own in surfaces.items()
    ]
    table = pd.DataFrame(measured)
    warehouse.publish({CHECKS: table}, as_of=as_of, staging=Zones(settings.home).staging)
    return table


def random_points(asked: Asked, count: int, *, seed: int) -> list[Point]:
    """Moves of every input at once, each drawn evenly between the ends of its levels."""
    draws = np.random.default_rng(seed)
    return [
        tuple((name, float(draws.uniform(axis.by.moves[0], axis.by.moves[-1]))) for name, axis in asked.axes.items())
        for _ in range(count)
    ]


def exact_answers(
    asked: Asked, points: list[Point], served: Sequence[Served], models: IsolatedModels, registry: FeatureRegistry
) -> dict[str, Answers]:
    """By horizon, the served models' answers, with the features of each point built over the whole panel."""
    last = float(asked.panel["zl_last"].iloc[-1])
    built = [
        build_features(pd.concat([asked.panel.iloc[:-1], asked.row(point)], ignore_index=True), registry).tail(1)
        for point in points
    ]
    models.show(pd.concat([asked.features.tail(SHOWN_ROWS), *built], ignore_index=True))
    found: dict[str, Answers] = {}
    for one in served:
        answer = models.ask(question_of(one.version, one.problem, "alternatives", alternatives=len(points)))
        if answer.error:
            raise StaleSource(f"{one.version.name}: {answer.error}")
        at = [one.problem.quantiles.index(level) for level in (LOWER, 0.5, UPPER)]
        prices = last * np.exp(np.array(answer.alternatives)[:, at])
        found[one.problem.horizon] = {
            point: dict(zip(PRICES, map(float, row), strict=True)) for point, row in zip(points, prices, strict=True)
        }
    return found


def errors_of(surface: Answers, exact: Answers) -> Mapping[str, float]:
    """The largest differences of the surface from the models, cents/lb. Points without an answer do not count."""
    differences = pd.DataFrame(
        [
            {name: abs(surface_answer(surface, dict(point))[name] - prices[name]) for name in PRICES}
            for point, prices in exact.items()
        ]
    ).dropna()
    return {
        "points": len(differences),
        "largest_median_error_cents_lb": float(differences["p50"].max()),
        "largest_band_error_cents_lb": float(differences[["p10", "p90"]].max().max()),
    }
