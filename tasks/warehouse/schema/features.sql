-- What the features of a run were: every registered one, and how far this run had values of it.
CREATE TABLE IF NOT EXISTS features.master_feature_universe (
  as_of DATE NOT NULL,
  feature STRING NOT NULL,
  place INT64,  -- in the feature table, from 1
  category STRING,
  unit STRING,
  formula STRING,
  sources STRING,  -- parted by "; "
  point_in_time STRING,  -- exact, lagged or revised
  expected_sign STRING,
  made_in STRING,  -- python; "python and sql" where tasks/features/sql defines it too
  in_production BOOL,
  first_date DATE,  -- of a value in this run
  last_date DATE,
  missing_share FLOAT64,  -- of the sessions since first_date; 1 where there is no value
  created_at TIMESTAMP,
  PRIMARY KEY (as_of, feature) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY category
OPTIONS (labels = [('made_again', 'yes')]);
