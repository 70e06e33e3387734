"""Official texts on mandates, tariffs and support: mean score of the documents in a window.

tasks/texts/lexicon.py scores them, by phrases or by FinBERT; features.zl_sentiment names the scorer on every row.
Scores rate the policy, not its effect on prices.
"""

from __future__ import annotations

import pandas as pd

from tasks.features.policy import change_over_days, feed_alive

THEMES = ("mandate", "tariff", "subsidy")


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Documents on a theme in 90 days, and their mean score; missing without documents or after a hole in the feed.

    Support has no score: every document on it grants some.
    """
    date, alive = panel["date"], feed_alive(panel, 90)
    out = {}
    for theme in THEMES:
        spoke = change_over_days(panel[f"text_{theme}_scored_total"], date, 90).where(alive)
        score = change_over_days(panel[f"text_{theme}_score_total"], date, 90)
        out[f"text_{theme}_documents_90d"] = spoke
        if theme != "subsidy":
            out[f"text_{theme}_score_90d"] = (score / spoke.where(spoke > 0)).clip(-1, 1)
    return out
