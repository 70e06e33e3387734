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
