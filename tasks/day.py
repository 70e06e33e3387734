"""One session's tables in pipeline order: observations → panel → features → labels, and what was set aside.

The daily flow runs this pipeline task by task; the time machine runs it directly. It is plain functions of a run and of
the staged data, without an orchestrator. Gates that stop a run are not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from tasks.features.build import build_features
from tasks.features.coverage import summarise_starts
from tasks.gates.confirmation import unconfirmed_closes
from tasks.gates.quarantine import ColumnsAside, without_failing_columns, without_failing_features
from tasks.gates.run import GateResult
from tasks.gates.stored import Known, known_at_session, known_tables
from tasks.gates.tables import Tables, assembly_tables, feature_tables
from tasks.labels import build_labels, with_rolls, with_settled_closes
from tasks.panel.curve import contract_prices
from tasks.panel.join import build_panel
from tasks.panel.summary import summarise_panel
from tasks.run import RunContext
from tasks.staging.stage import Staged


@dataclass(frozen=True)
class InputNotes:
    """Problems of the inputs that a forecast must mention.

    ``set_aside``: by `source series` of a panel column, or by feature: the reason why it failed a gate, in words.
    ``stands_in``: by `source series` of a panel column without a value: `source series` of the fallback shown instead.
    ``unconfirmed``: by `source series` of a critical series: why its newest close is unlikely, in words.
    """

    set_aside: Mapping[str, str] = field(default_factory=dict)
    stands_in: Mapping[str, str] = field(default_factory=dict)
    unconfirmed: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> list[tuple[str, str]]:
        """Subject and message of each note, for alerts and people."""
        aside = {name: f"set aside, and what depends on it is missing: {why}" for name, why in self.set_aside.items()}
        spare = {name: f"no current value; {other} stands in" for name, other in self.stands_in.items()}
        doubt = {name: f"the newest close is unconfirmed: {why}" for name, why in self.unconfirmed.items()}
        return [*doubt.items(), *aside.items(), *spare.items()]


@dataclass(frozen=True)
class Day:
    """The tables of one session. ``set_aside``: by gate, the results of the expectations that set something aside."""

    observations: pd.DataFrame
    quarantine: pd.DataFrame
    series: pd.DataFrame
    panel: pd.DataFrame
    panel_summary: pd.DataFrame
    features: pd.DataFrame
    feature_starts: pd.DataFrame
    labels: pd.DataFrame
    notes: InputNotes
    set_aside: Mapping[str, tuple[GateResult, ...]]


def assemble(run: RunContext, observations: pd.DataFrame) -> ColumnsAside:
    """The point-in-time panel with its summary; columns that fail POST_ASSEMBLY are missing in it."""
    panel = build_panel(observations, run.joins, as_of=run.as_of)
    summary = summarise_panel(panel, run.joins, observations, run.sources)
    return without_failing_columns(panel, summary, expectations=run.settings.expectations)


def make_features(run: RunContext, assembled: ColumnsAside) -> ColumnsAside:
    """The feature table with the first date of each feature; features that fail POST_FEATURES are missing in it."""
    features = build_features(assembled.table, run.features)
    starts = summarise_starts(features, run.features, run.sources, assembled.summary)
    return without_failing_features(features, starts, expectations=run.settings.expectations)


def make_labels(run: RunContext, panel: pd.DataFrame, observations: pd.DataFrame) -> pd.DataFrame:
    """The targets at every horizon, with both returns."""
    settled, rule = with_settled_closes(panel, observations, as_of=run.as_of), run.rolls.rolls["ZL"]
    labels = build_labels(settled, run.horizons)
    return with_rolls(labels, settled, contract_prices(observations, rule), rule)


def notes_on(run: RunContext, known: Known, assembled: ColumnsAside, featured: ColumnsAside) -> InputNotes:
    """What was set aside, replaced or unconfirmed, named as the feature registry names sources."""
    targets = {
        column: f"{join.source} {target.rpartition('.')[0]}"
        for join in run.joins.joins
        for column, target in join.columns.items()
    }
    shown = assembled.summary[assembled.summary["fallback"]]
    return InputNotes(
        set_aside={targets[column]: why for column, why in assembled.reasons.items()} | featured.reasons,
        stands_in={targets[column]: other for column, other in zip(shown["column"], shown["shown_from"], strict=True)},
        unconfirmed=unconfirmed_closes(known.observations, known.quarantine, run.sources, as_of=run.as_of),
    )


def complete_day(run: RunContext, known: Known, assembled: ColumnsAside, featured: ColumnsAside) -> Day:
    """The day, completed with labels and notes once panel and features are computed."""
    return Day(
        observations=known.observations,
        quarantine=known.quarantine,
        series=known.series,
        panel=assembled.table,
        panel_summary=assembled.summary,
        features=featured.table,
        feature_starts=featured.summary,
        labels=make_labels(run, assembled.table, known.observations),
        notes=notes_on(run, known, assembled, featured),
        set_aside={
            "POST_STAGING": known.set_aside,
            "POST_ASSEMBLY": assembled.results,
            "POST_FEATURES": featured.results,
        },
    )


def day_of(run: RunContext, staged: Iterable[Staged]) -> Day:
    """Every table of the run's session, computed from the staged data."""
    known = known_at_session(run, staged)
    assembled = assemble(run, known.observations)
    return complete_day(run, known, assembled, make_features(run, assembled))


def gate_tables(run: RunContext, day: Day) -> dict[str, Tables]:
    """The tables that each gate between staging and training checks, by gate."""
    return {
        "POST_STAGING": known_tables(
            run, Known(day.observations, day.quarantine, day.series, day.set_aside["POST_STAGING"])
        ),
        "POST_FEATURES": feature_tables(day.features, day.panel, day.feature_starts, run.features),
        "POST_ASSEMBLY": assembly_tables(day.panel, day.panel_summary, day.labels),
    }
