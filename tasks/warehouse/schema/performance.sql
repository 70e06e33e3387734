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
  crps_log_return FLOAT64,
  better_naive STRING,
  skill_pct FLOAT64,
  skill_pct_low FLOAT64,
  skill_pct_high FLOAT64,
  dm_p_value FLOAT64,
  mape_pct FLOAT64,
  rmse_cents_lb FLOAT64,
  coverage_50 FLOAT64,
  coverage_80 FLOAT64,
  coverage_80_low FLOAT64,
  coverage_80_high FLOAT64,
  coverage_90 FLOAT64,
  width_80_log_return FLOAT64,
  calibration_error FLOAT64,
  brier FLOAT64,  -- of the chance that the price is higher, where the forecast has a view; a coin has 0.25
  direction_slope FLOAT64,  -- of the outcome on that chance; 1 is right, 0 or less says nothing
  direction_hit_rate FLOAT64,
  direction_hit_rate_low FLOAT64,
  direction_hit_rate_high FLOAT64,
  sharpe FLOAT64,
  sharpe_low FLOAT64,
  sharpe_high FLOAT64,
  periods INT64,
  refusal STRING,
  champion BOOL,
  created_at TIMESTAMP,
  PRIMARY KEY (trained_as_of, horizon, family, run) NOT ENFORCED
)
CLUSTER BY horizon, family
OPTIONS (labels = [('made_again', 'no')]);

-- Every promotion of the model store, by a training or a person; append-only, as its history is.
CREATE TABLE IF NOT EXISTS performance.promotions (
  horizon STRING NOT NULL,
  entry STRING NOT NULL,  -- a hash of the entry and its position
  position INT64,  -- in the history of the store, from 0
  model_version STRING,
  trained_as_of DATE,
  counts_from DATE,  -- the first date whose session it serves
  promoted_by STRING,  -- training or person
  promoted_at TIMESTAMP,  -- of a person's promotion
  forced BOOL,  -- a person overruled the promotion rule; the reason says why
  rolled_back STRING,  -- the version that a roll-back left
  reason STRING,
  run STRING,
  metadata STRING,  -- the digest of the version's metadata.json, which names the hashes of its files
  created_at TIMESTAMP,
  PRIMARY KEY (horizon, entry) NOT ENFORCED
)
CLUSTER BY horizon
OPTIONS (labels = [('made_again', 'no')]);
