"""``cbi project dictionary``: docs/data_dictionary.md, generated from the registry only."""

from __future__ import annotations

from tasks.registry import (
    Availability,
    DataSources,
    DerivedSeries,
    FeatureRegistry,
    SeriesSpec,
    SourceSpec,
    provenance,
)
from tasks.settings import PROJECT

PATH = PROJECT / "docs" / "data_dictionary.md"


def render(sources: DataSources, derived: DerivedSeries, features: FeatureRegistry) -> str:
    """The dictionary as Markdown: one chapter per source, then derived and missing series, then the features."""
    contracts = sum(len(_contracts(spec)) for spec in sources.sources.values())
    series = sum(len(spec.series) for spec in sources.sources.values()) - contracts
    parts = [
        "# Data dictionary",
        "Generated from `registry/` by `make docs`; a test fails when it is out of date. "
        f"{len(sources.sources)} sources, {series} series (and futures contracts by delivery month), "
        f"{len(derived.series)} derived ones, "
        f"{len(features.features)} features.",
        "`point in time`: *exact*, the source says when each value was released; *lagged*, a rule of the release "
        "calendar that is never early; *revised*, the history is rewritten and no vintages are stored: never in the "
        "production features. `put off as … is`: closed offices, shutdowns and late releases of that name in "
        "registry/release_calendar.yaml. `frequency`: how often new values come out; *event*, when something happens. "
        "`reliability`: *high*, an official or exchange source that keeps its calendar; *medium*, official with holes "
        "or a selection, or unofficial but checked against others; *low*, maintained by hand, recorded once, or from "
        "an address without a guarantee. "
        "A value computed from several series has the slowest frequency of them (daily, weekly, monthly, quarterly, "
        "annual, event), the lowest reliability, and the worst point in time (exact, lagged, revised); the calendar is "
        "daily, high and exact. `first date`: the first session with a value on the recorded archive, which the gate "
        "POST_FEATURES compares with every run.",
        "## Sources",
        *(_source(name, spec) for name, spec in sources.sources.items()),
        "## Derived series",
        _derived(derived),
        "## Missing, and why",
        "\n".join(f"- `{name}`: {why}" for name, why in derived.missing.items()),
        "## Features",
        *(_features(category, features, sources, derived) for category in features.categories),
    ]
    return "\n\n".join(parts) + "\n"


def known_when(rule: Availability) -> str:
    """An availability rule in words."""
    clock = f"{rule.time} {rule.timezone}"
    days = f"{rule.min_days} day{'s' if rule.min_days != 1 else ''}"
    text = {
        "same_day": f"the same day, {clock}",
        "next_business_day": f"the next business day, {clock}",
        "weekday_after": f"the first {(rule.weekday or '').capitalize()} at least {days} after, {clock}",
        "day_of_month": f"by day {rule.day} of the {_ordinal(rule.months_after)} month after, {clock}",
        "recorded": "when the source released it, as it says itself",
        "days_after": f"{days} after, {clock}",
    }[rule.rule]
    if rule.release:
        text += f"; put off as `{rule.release}` is"
    return text + (f"; {len(rule.delays)} dated delays" if rule.delays else "")


def _ordinal(number: int) -> str:
    return {0: "same", 1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _source(name: str, spec: SourceSpec) -> str:
    keys = [f"needs {', '.join(spec.secrets)}"] if spec.secrets else []
    keys += [f"takes {', '.join(spec.optional_secrets)}"] if spec.optional_secrets else []
    facts = [
        f"- Address: {spec.endpoint}" + (f" ({'; '.join(keys)})" if keys else ""),
        f"- Schedule: `{spec.schedule.cron}` {spec.schedule.timezone}; "
        + ("served whole each time" if spec.served_whole else f"the last {spec.refetch_days} days are fetched again")
        + f"; at most {spec.rate_limit_per_minute} requests a minute; priority {spec.priority}",
        f"- Known: {known_when(spec.availability)}; point in time: {spec.point_in_time}",
        f"- Frequency: {spec.frequency}; reliability: {spec.reliability}; {spec.caveat}",
        f"- License: {spec.licence}",
        f"- Fields: {', '.join(_field(spec, field) for field in spec.fields)}",
    ]
    if spec.disabled:
        facts.insert(1, f"- Disabled live: {spec.disabled}")
    rows = [
        "| series | what | unit | allowed | frequency | known | point in time | stale after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    contracts = _contracts(spec)
    for product, of in spec.contracts.items():
        names = list(of.series(product, spec.contract_name))
        span, (low, high) = f"`{names[0]}` and on", of.range
        title = f"{of.title}: every contract from {of.first_year} to {of.years_ahead} years from today"
        allowed = f"{low:g} to {high:g}"
        rows.append(
            _row([span, title, of.unit, allowed, spec.frequency, "as the source", spec.point_in_time, "its end"])
        )
    for series, entry in spec.series.items():
        if series in contracts:
            continue
        rule = entry.availability
        known = "as the source" if rule is None or rule == spec.availability else known_when(rule)
        low, high = entry.range
        cells = [
            f"`{series}`",
            entry.title,
            entry.unit,
            f"{low:g} to {high:g}",
            entry.frequency or spec.frequency,
            known,
            str(entry.point_in_time or spec.point_in_time),
            _stale_after(entry, spec),
        ]
        rows.append(_row(cells))
    return "\n".join([f"### {name}: {spec.title}", "", *facts, "", *rows])


def _stale_after(entry: SeriesSpec, spec: SourceSpec) -> str:
    if entry.ended:
        return f"ended {entry.ended}"
    days = f"{entry.stale_limit_days or spec.stale_limit_days} days"
    return f"{days} of {entry.season[0]} to {entry.season[1]}" if entry.season else days


def _contracts(spec: SourceSpec) -> set[str]:
    return {name for product, of in spec.contracts.items() for name in of.series(product, spec.contract_name)}


def _field(spec: SourceSpec, field: str) -> str:
    return f"`{field}` ({spec.field_units[field]})" if field in spec.field_units else f"`{field}`"


def _derived(derived: DerivedSeries) -> str:
    rows = ["| series | what | unit | allowed | formula |", "|---|---|---|---|---|"]
    for name, entry in derived.series.items():
        low, high = entry.range
        rows.append(_row([f"`{name}`", entry.title, entry.unit, f"{low:g} to {high:g}", entry.formula]))
    return "\n".join(rows)


def _features(category: str, features: FeatureRegistry, sources: DataSources, derived: DerivedSeries) -> str:
    rows = [
        "| feature | formula | unit | from | first date | frequency | reliability | point in time | sign for ZL |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in features.categories[category].items():
        worth = provenance(entry.sources, sources, derived)
        cells = [
            f"`{name}`",
            entry.formula,
            entry.unit,
            ", ".join(entry.sources),
            f"{entry.first_date}",
            worth.frequency,
            worth.reliability,
            worth.point_in_time,
            entry.sign,
        ]
        rows.append(_row(cells))
    return "\n".join([f"### {category}", "", *rows])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
