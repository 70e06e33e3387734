"""ZL without the steps of its rolls: what its moves, volatility and indicators are computed on.

The quote is one contract after another (tasks/panel/rolls.py). Levels, spreads and ratios to other prices use the
quote.
"""

from __future__ import annotations

import pandas as pd

ROLL_FREE = "zl_roll_free"
"""The panel column: the last close divided by all steps so far; a step that is unknown stays in it."""


def roll_free_bars(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Open, high, low and close of each session's bar on the scale of the roll-free close."""
    scale = panel[ROLL_FREE] / panel["zl_last"]
    return {name: panel[name] * scale for name in ("zl_open", "zl_high", "zl_low", "zl_close")}
