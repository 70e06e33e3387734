"""What may differ between two fits of a family at one horizon: its options, and how much each row counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.errors import RegistryError


def options_of(family: str, defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """``defaults`` with what is ``given`` (registry/models.yaml) in their place.

    Raises:
        RegistryError: an option that the family does not have.
    """
    if unknown := sorted(set(given or {}) - set(defaults)):
        raise RegistryError(f"unknown options of {family}: {', '.join(unknown)}; known: {sorted(defaults) or 'none'}")
    return {**defaults, **(given or {})}


def mean_one(weights: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """The weights of ``rows`` (numbers or a mask), with mean 1 so that penalties and leaf sizes keep their meaning."""
    if weights is None:
        return np.ones(int(rows.sum()) if rows.dtype == bool else len(rows))
    return weights[rows] / weights[rows].mean()
