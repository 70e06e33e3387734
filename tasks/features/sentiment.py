"""What official texts say of mandates, tariffs and support: mean score of the documents of a window.

tasks/texts/lexicon.py scores them, by phrases or by FinBERT; features.zl_sentiment names the scorer on every row.
Scores are of the policy, not of its effect on prices.
"""

from __future__ import annotations

import pandas as pd

from tasks.features.policy import change_over_days, feed_alive

THEMES = ("mandate", "tariff", "subsidy")


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Documents that spoke of a theme in 90 days, and their mean score; none where none spoke or the feed had a hole.

    Support has no score: every document of the feed that speaks of it gives some.
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
