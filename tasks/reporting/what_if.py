"""The answer of `cbi what-if`: what the home holds, asked and shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from tasks.command_line import nearest
from tasks.errors import StaleSource, WrongWord
from tasks.features.build import build_features
from tasks.forecasting.apart import isolated_models
from tasks.forecasting.forecast import forecast_day
from tasks.forecasting.scenarios import State
from tasks.forecasting.what_if import Move, moves_of, what_if
from tasks.model_store.open import open_store
from tasks.registry import load_features, load_horizons, load_sources
from tasks.registry.scenarios import load_scenarios
from tasks.settings import Settings
from tasks.storage.files import read_parquet
from tasks.storage.zones import Zones
from tasks.units import signed


@dataclass(frozen=True)
class WhatIf:
    """The moves, the state of the forecasts before and after them, and one row per horizon."""

    as_of: pd.Timestamp
    moves: list[Move]
    before: State
    after: State
    rows: pd.DataFrame
    features_changed: int


def asked(settings: Settings, words: Sequence[str], horizon: str | None) -> WhatIf:
    """The answer from the newest panel of this home and the champions of its session.

    Raises:
        WrongWord: a word is wrong. StaleSource: there is no panel yet.
    """
    with isolated_models() as models:
        models.begin()  # its libraries are imported while the panel is read
        zones, spec = Zones(settings.home), load_scenarios(settings.registry)
        path = zones.panel / "panel.parquet"
        if not path.exists():
            raise StaleSource(f"there is no panel in {zones.panel}; run `cbi daily` first")
        panel = read_parquet(path)
        moves = moves_of(words, panel, spec)
        horizons = load_horizons(settings.registry)
        if horizon is not None:
            if horizon not in horizons.horizons:
                known = horizons.horizons
                raise WrongWord(f"there is no horizon {horizon}.{nearest(horizon, known)} Horizons: {', '.join(known)}")
            horizons = horizons.model_copy(update={"horizons": {horizon: horizons.horizons[horizon]}})
        registry = load_features(settings.registry, load_sources(settings.registry))
        features = build_features(panel, registry)
        as_of = pd.Timestamp(panel["date"].iloc[-1])
        day = forecast_day(
            features,
            panel,
            open_store(settings),
            registry=registry,
            horizons=horizons,
            as_of=as_of,
            data_snapshot="",
            code_version="",
            models=models,
        )
        return WhatIf(as_of, moves, *what_if(panel, features, moves, day.served, models, registry))


def shown(answer: WhatIf, *, as_json: bool) -> str:
    """The answer as text, or as JSON."""
    fires = [flag for flag in answer.after.fires if flag not in answer.before.fires]
    if as_json:
        rows = answer.rows.astype(object).where(answer.rows.notna(), None).to_dict("records")
        content = {
            "as_of": f"{answer.as_of:%Y-%m-%d}",
            "moves": [str(move) for move in answer.moves],
            "fires": fires,
            "features_changed": answer.features_changed,
            "regime": answer.after.regime,
            "horizons": rows,
        }
        return json.dumps(content, indent=1)
    lines = [f"As of {answer.as_of:%Y-%m-%d}, ZL {answer.before.last_price:.2f} cents/lb, and what if"]
    lines += [f"  {move}" for move in answer.moves]
    for row in answer.rows.to_dict("records"):
        if isinstance(note := row.get("note"), str):
            lines.append(f"{row['title']}: {note}")
            continue
        lines.append(
            f"{row['title']}: {row['centre']:.2f} to {row['scenario_centre']:.2f} "
            f"({signed(row['centre_change_cents_lb'])}); 4 of 5 outcomes in {row['p10']:.2f} to {row['p90']:.2f} "
            f"before, {row['scenario_p10']:.2f} to {row['scenario_p90']:.2f} after ({row['model_version']})"
        )
    lines.append(f"Features that change: {answer.features_changed}")
    lines.append(f"Flags that fire: {', '.join(fires) or 'none beside those of today'}")
    lines.append(f"Regime: {answer.after.regime or 'not known'} (today {answer.before.regime or 'not known'})")
    return "\n".join(lines)
