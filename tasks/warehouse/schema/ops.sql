-- What the runs did: intake, gates, refused cells, how far the features reach, alerts.
CREATE TABLE IF NOT EXISTS ops.ingest_runs (
  run STRING NOT NULL,
  source STRING NOT NULL,
  as_of DATE,
  origin STRING,
  status STRING,  -- ok, partial, failed, ended, disabled, paused or not recorded
  payloads INT64,
  observations INT64,
  quarantined INT64,
  series INT64,
  first_date DATE,
  last_date DATE,
  message STRING,
  created_at TIMESTAMP,
  PRIMARY KEY (run, source) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY source
OPTIONS (labels = [('made_again', 'no')]);

CREATE TABLE IF NOT EXISTS ops.gate_results (
  run STRING NOT NULL,
  gate STRING NOT NULL,
  suite STRING NOT NULL,
  expectation STRING NOT NULL,
  column_name STRING NOT NULL,  -- '' for an expectation about the whole table: a key has no NULL
  as_of DATE,
  on_fail STRING,
  success BOOL,
  unexpected_count INT64,
  element_count INT64,
  examples STRING,
  reason STRING,
  created_at TIMESTAMP,
  PRIMARY KEY (run, gate, suite, expectation, column_name) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY gate
OPTIONS (labels = [('made_again', 'no')]);

CREATE TABLE IF NOT EXISTS ops.quarantine_summary (
  as_of DATE NOT NULL,
  source STRING NOT NULL,
  series STRING NOT NULL,
  field STRING NOT NULL,
  rule STRING NOT NULL,
  cells INT64,
  first_date DATE,
  last_date DATE,
  reason STRING,
  PRIMARY KEY (as_of, source, series, field, rule) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY source
OPTIONS (labels = [('made_again', 'no')]);

CREATE TABLE IF NOT EXISTS ops.feature_coverage (
  as_of DATE NOT NULL,
  category STRING NOT NULL,
  year INT64 NOT NULL,
  features INT64,
  sessions INT64,
  share FLOAT64,  -- of the year's features x sessions that hold a value
  first_date DATE,  -- first session on which any feature of the category holds one, in any year
  PRIMARY KEY (as_of, category, year) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY category
OPTIONS (labels = [('made_again', 'yes')]);

CREATE TABLE IF NOT EXISTS ops.alerts (
  as_of DATE NOT NULL,
  kind STRING NOT NULL,
  subject STRING NOT NULL,
  level STRING,
  message STRING,
  created_at TIMESTAMP,
  PRIMARY KEY (as_of, kind, subject) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
OPTIONS (labels = [('made_again', 'no')]);

CREATE TABLE IF NOT EXISTS ops.alert_events (
  kind STRING NOT NULL,
  subject STRING NOT NULL,
  number INT64 NOT NULL,  -- of the events of this kind and subject, from 1
  as_of DATE,
  event STRING,  -- raised, sent, acknowledged or resolved
  `by` STRING,  -- run or person
  notify BOOL,  -- whether a person is to be notified
  level STRING,
  message STRING,
  note STRING,
  created_at TIMESTAMP,
  PRIMARY KEY (kind, subject, number) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY kind
OPTIONS (labels = [('made_again', 'no')]);
