"""The tables of ``cbi models`` for a person: short columns, and figures with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tasks.models.catalogue import BASELINE
from tasks.units import signed

NONE = "none"


def versions_for_people(table: pd.DataFrame) -> pd.DataFrame:
    """The list of versions (tasks/model_store/administration.py) with the columns that fit a terminal."""
    state = table["champion"].map({True: "champion", False: ""}) + table["shadow"].map({True: "in shadow", False: ""})
    data, code = (table[name].map(_short) for name in ("data_snapshot", "code_version"))
    return pd.DataFrame(
        {
            "version": table["version"],
            "state": state,
            "trained as of": table["trained_as_of"],
            "age": table["age_sessions"],
            "data, code": data + ", " + code,
            "skill % (90%)": [
                _interval(*figures)
                for figures in table[["skill_pct", "skill_pct_low", "skill_pct_high"]].itertuples(index=False)
            ],
            "over": table["better_naive"].map(lambda name: NONE if pd.isna(name) else name),
            "80% covered": table["coverage_80"].map(lambda share: NONE if pd.isna(share) else f"{share:.0%}"),
            "kB": (table["bytes"] / 1000).map("{:.0f}".format),
            "why": [shorter(why, name) for why, name in zip(table["why"], table["version"], strict=True)],
        }
    )


def facts_for_people(facts: Mapping[str, Any]) -> pd.DataFrame:
    """What is known of one version, one fact per line: ``what, value``."""
    lines: list[tuple[str, object]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            lines += [(f"{name}: {part}", figure) for part, figure in value.items()]
        elif isinstance(value, list):
            lines += [(name, ", ".join(f"{part} {text}" for part, text in one.items())) for one in value]
            lines += [] if value else [(name, NONE)]
        else:
            lines.append((name, value))
    return pd.DataFrame(lines, columns=["what", "value"])


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """The cells of a table as texts; what is missing is named so."""
    return table.map(_cell)


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return NONE
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def shorter(why: str, version: str) -> str:
    """A refusal without the words that its row says already."""
    return why.replace(f"{version} is not promoted: ", "").replace(f". {BASELINE} is served", "")


def _short(digest: Any) -> str:
    return NONE if pd.isna(digest) else str(digest)[:8]


def _interval(skill: Any, low: Any, high: Any) -> str:
    if pd.isna(skill):
        return NONE
    bounds = "" if pd.isna(low) or pd.isna(high) else f" ({signed(low)} to {signed(high)})"
    return f"{signed(skill)}{bounds}"
