"""Scores of policy documents: themes by the phrases of registry/policy_lexicon.yaml, scored by phrases or FinBERT.

A document's score for a theme is (up - down) / (up + down) phrases, in [-1, 1] (`lexicon-v1`). A document without a
phrase of the theme has no score, which is not 0. If FinBERT's weights are installed (tasks/texts/finbert.py), its tone
of the whole text replaces that score; the themes of a document stay the same. This is not among the features because
the panel has only numbers: scores enter it as derived series, each known when its document was known.
"""

from __future__ import annotations

import re

import pandas as pd

from tasks.registry import Lexicon, Theme
from tasks.sources.texts import normalised
from tasks.texts.finbert import FinBert


def score_documents(documents: pd.DataFrame, lexicon: Lexicon) -> pd.DataFrame:
    """``document_id``, ``theme``, ``available_at``, ``score``: one row per wording with a phrase of a theme.

    A document of several topics is one document. Each of several wordings counts from its ``available_at`` on, until
    ``replaced``, the instant of the next wording.
    """
    texts = documents.drop_duplicates(["source", "document_id", "available_at"])
    texts = texts.sort_values(["source", "document_id", "available_at"])
    titles, abstracts = (f.fillna("").map(normalised) for f in (texts["title"], texts["abstract"]))
    replaced = texts.groupby(["source", "document_id"])["available_at"].shift(-1)
    parts = []
    for name, theme in lexicon.themes.items():
        pattern = _pattern(theme)
        of_title, of_abstract = (
            part.map(lambda text, theme=theme, pattern=pattern: _score(text, theme, pattern)).astype("float64")
            for part in (titles, abstracts)
        )
        parts.append(
            pd.DataFrame(
                {
                    "document_id": texts["document_id"],
                    "theme": name,
                    "available_at": texts["available_at"],
                    "replaced": replaced,
                    "score": of_title.fillna(of_abstract),
                }
            )
        )
    rows = pd.concat(parts)
    rows = rows[rows["score"].notna()]
    if lexicon.finbert is not None:
        whole = texts["title"].fillna("").str.cat(texts["abstract"].fillna(""), sep=". ")
        rows["score"] = scorer_of(lexicon).scores(whole.loc[rows.index].tolist())
    return rows.reset_index(drop=True)


def scorer_of(lexicon: Lexicon) -> FinBert:
    """The installed FinBERT."""
    assert lexicon.finbert is not None, "ask scorer_name for what scores"
    return FinBert(lexicon.finbert.folder, lexicon.finbert.remembered)


def scorer_name(lexicon: Lexicon) -> str:
    """The name of the scorer on this machine; every scored row records it."""
    return lexicon.name if lexicon.finbert is None else scorer_of(lexicon).name


def _pattern(theme: Theme) -> re.Pattern[str]:
    longest_first = sorted({normalised(phrase) for phrase in (*theme.up, *theme.down)}, key=len, reverse=True)
    return re.compile(f"\\b({'|'.join(map(re.escape, longest_first))})(?:e?s)?\\b")


def _score(text: str, theme: Theme, pattern: re.Pattern[str]) -> float | None:
    found = [match.group(1) for match in pattern.finditer(text)]
    if not found:
        return None
    ups = {normalised(phrase) for phrase in theme.up}
    up = sum(phrase in ups for phrase in found)
    return (2 * up - len(found)) / len(found)
