-- Texts as their sources published them: one row a topic, document and wording.
CREATE TABLE IF NOT EXISTS raw_intelligence.documents (
  source STRING NOT NULL,
  series STRING NOT NULL,
  document_id STRING NOT NULL,
  published DATE,
  available_at TIMESTAMP,
  fetched_at TIMESTAMP,
  title STRING,
  abstract STRING,
  url STRING,
  publisher STRING,
  vintage INT64 NOT NULL,
  PRIMARY KEY (source, series, document_id, vintage) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(published, MONTH)
CLUSTER BY source, series
OPTIONS (labels = [('made_again', 'yes')]);

-- What each document says of a theme: one row per document, theme and wording with a phrase of the theme.
CREATE TABLE IF NOT EXISTS raw_intelligence.document_scores (
  source STRING NOT NULL,
  document_id STRING NOT NULL,
  theme STRING NOT NULL,  -- registry/policy_lexicon.yaml
  available_at TIMESTAMP NOT NULL,
  score FLOAT64,  -- in [-1, 1]
  scorer STRING NOT NULL,  -- the lexicon with its version, or FinBERT with that of its weights
  PRIMARY KEY (source, document_id, theme, available_at, scorer) NOT ENFORCED
)
OPTIONS (labels = [('made_again', 'yes')]);
