"""Each document with its scores, for readers: the titles behind a score of the sentiment features."""

from __future__ import annotations

import pandas as pd

from tasks.registry import Lexicon
from tasks.texts.lexicon import score_documents, scorer_name

COLUMNS = ("source", "document_id", "theme", "available_at", "score", "scorer")


def document_scores(documents: pd.DataFrame, lexicon: Lexicon) -> pd.DataFrame:
    """Rows of ``raw_intelligence.document_scores``: one per document, theme and wording with a phrase of the theme.

    ``score`` is in [-1, 1]; ``scorer`` names what scored the row: the lexicon with its version, or FinBERT with that of
    its weights.

    Args:
        documents: staged documents (tasks/staging/documents.py). A document of several topics is one document.
    """
    if documents.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    sources = documents.drop_duplicates("document_id").set_index("document_id")["source"]
    scored = score_documents(documents, lexicon)
    scored = scored.assign(source=scored["document_id"].map(sources), scorer=scorer_name(lexicon))
    return scored[list(COLUMNS)].reset_index(drop=True)
