-- What each training run measured, one row per horizon and family.
CREATE TABLE IF NOT EXISTS performance.leaderboard (
  trained_as_of DATE NOT NULL,
  horizon STRING NOT NULL,
  family STRING NOT NULL,
  run STRING NOT NULL,
  model_version STRING,
  folds INT64,
  origins INT64,
  first_origin DATE,
  last_origin DATE,
  pinball_log_return FLOAT64,
  skill_over_no_change_pct FLOAT64,
  mape_pct FLOAT64,
  coverage_50 FLOAT64,
  coverage_80 FLOAT64,
  coverage_90 FLOAT64,
  direction_hit_rate FLOAT64,
  champion BOOL,
  created_at TIMESTAMP,
  PRIMARY KEY (trained_as_of, horizon, family, run) NOT ENFORCED
)
CLUSTER BY horizon, family;
