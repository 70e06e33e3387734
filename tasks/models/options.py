"""Options and row weights of a family's fit at one horizon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.errors import RegistryError


def options_of(family: str, defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """``defaults``, overridden by ``given`` (registry/models.yaml).

    Raises:
        RegistryError: the family has no such option.
    """
    if unknown := sorted(set(given or {}) - set(defaults)):
        raise RegistryError(f"unknown options of {family}: {', '.join(unknown)}; known: {sorted(defaults) or 'none'}")
    return {**defaults, **(given or {})}


def mean_one(weights: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """The weights of ``rows`` (numbers or a mask), scaled to mean 1: penalties and leaf sizes keep their meaning."""
    if weights is None:
        return np.ones(int(rows.sum()) if rows.dtype == bool else len(rows))
    return weights[rows] / weights[rows].mean()
