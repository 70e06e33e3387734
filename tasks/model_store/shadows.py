"""Challengers in shadow: versions that forecast every session beside the champion and are not served.

``shadows.json`` of a store has one entry per version: ``version`` (family/horizon/v0001), ``metadata`` (its digest),
``at`` (when a person put it there, UTC) and ``sessions`` (for how many). It counts from the exchange's date of ``at``,
so that a replay of an earlier session has no shadow. An entry that has ended stays: its record is still shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from tasks.calendar import CHICAGO, sessions
from tasks.errors import ModelStoreError

if TYPE_CHECKING:
    from tasks.model_store.protocol import Version

Shadow = dict[str, Any]


def shadow_of(version: Version, digest: str, *, at: pd.Timestamp, count: int) -> Shadow:
    """The entry of a version that forecasts unserved for ``count`` sessions from ``at`` (UTC)."""
    return {
        "version": version.name,
        "metadata": digest,
        "at": f"{at.tz_convert('UTC'):%Y-%m-%dT%H:%M:%SZ}",
        "sessions": count,
    }


def with_shadow(shadows: Iterable[Shadow], shadow: Shadow) -> list[Shadow]:
    """The shadows with one more; a version that was there before begins anew."""
    return [*without(shadows, shadow["version"]), shadow]


def without(shadows: Iterable[Shadow], version: str) -> list[Shadow]:
    """The shadows without a version."""
    return [one for one in shadows if one["version"] != version]


def days_of(shadow: Shadow) -> pd.DatetimeIndex:
    """The sessions of a shadow: the first is that of the exchange's date of ``at``, or the next one."""
    first = pd.Timestamp(shadow["at"]).tz_convert(CHICAGO).tz_localize(None).normalize()
    return sessions(first)[: int(shadow["sessions"])]


def active(shadows: Iterable[Shadow], as_of: pd.Timestamp) -> list[str]:
    """The versions that are in shadow at a session."""
    return [str(one["version"]) for one in shadows if as_of in days_of(one)]


def lasting(shadows: Iterable[Shadow], date: pd.Timestamp) -> list[str]:
    """The versions whose shadow has begun by a date, which need be no session, and has not ended."""
    return [
        str(one["version"])
        for one in shadows
        if pd.Timestamp(one["at"]).tz_convert(CHICAGO).tz_localize(None).normalize() <= date <= days_of(one)[-1]
    ]


def of_json(content: bytes, place: str) -> list[Shadow]:
    """The shadows from the content of their file; none without a file.

    Raises:
        ModelStoreError: the content is no list of shadows.
    """
    if not content:
        return []
    try:
        found = json.loads(content)
        for one in found:
            family, horizon, number = str(one["version"]).split("/")
            if not (family and horizon and number and int(one["sessions"]) > 0 and isinstance(one["metadata"], str)):
                raise ValueError
            pd.Timestamp(one["at"]).tz_convert(CHICAGO)
        return list(found)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ModelStoreError(
            f"{place} is not readable; restore it from a backup, or delete it: then no challenger is in shadow"
        ) from None
