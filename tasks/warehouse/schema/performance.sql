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
  best_naive STRING,  -- of the horizon, over the baseline's origins: what promotion compares with
  served_gain_pct FLOAT64,  -- loss saved over best_naive if this family is served, and the baseline where it cannot be
  promotion_p_value FLOAT64,  -- chance that the best of all families tried gains as surely without skill
  independent_periods INT64,  -- horizons that fit into those origins one after another
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
  brier_high FLOAT64,  -- upper end of its 90% interval: a chance is published where it is below 0.25
  direction_slope FLOAT64,  -- of the outcome on that chance; 1 is right, 0 or less says nothing
  direction_hit_rate FLOAT64,
  direction_hit_rate_low FLOAT64,
  direction_hit_rate_high FLOAT64,
  sharpe FLOAT64,  -- of trading the direction, per year; median over the origins at which it could begin
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

-- Each forecast beside what happened, from the session after its target date on. A row is written once.
CREATE TABLE IF NOT EXISTS performance.forecast_outcomes (
  origin STRING NOT NULL,  -- of a published forecast; `replay` of a replay's
  replay STRING NOT NULL,  -- the name of the replay; '' of a published forecast: a key has no NULL
  as_of DATE NOT NULL,
  horizon STRING NOT NULL,
  model_version STRING NOT NULL,
  target_date DATE,
  settled_on DATE,  -- the session whose evening's knowledge of the target date's close counts
  session_number INT64,  -- of as_of, in CBOT sessions since 2000-01-03
  sessions_ahead INT64,
  family STRING,
  is_baseline BOOL,
  degraded BOOL,
  regime STRING,
  contract STRING,
  target_contract STRING,
  last_price FLOAT64,
  p05 FLOAT64,
  p10 FLOAT64,
  p25 FLOAT64,
  p50 FLOAT64,
  p75 FLOAT64,
  p90 FLOAT64,
  p95 FLOAT64,
  direction_probability FLOAT64,
  published_at TIMESTAMP,
  published_late BOOL,  -- after the evening of the target date, when the outcome was known
  superseded BOOL,  -- readers were shown another forecast of the same session and horizon
  actual_price FLOAT64,  -- front-month close of the target date, cents/lb
  actual_log_return FLOAT64,  -- from last_price
  forecast_log_return FLOAT64,  -- from last_price to p50
  error_cents_lb FLOAT64,  -- p50 less actual_price
  absolute_percentage_error FLOAT64,  -- |p50 / actual_price - 1|, a share
  pinball_log_return FLOAT64,
  inside_50 BOOL,
  inside_80 BOOL,
  inside_90 BOOL,
  direction_hit BOOL,  -- missing where the forecast had no view, or the price did not move
  sign_return FLOAT64,  -- of the predicted direction, after trading cost; 0 without a view
  no_change_error_cents_lb FLOAT64,  -- last_price less actual_price
  no_change_absolute_percentage_error FLOAT64,
  baseline_version STRING,  -- the baseline's forecast of the same origin, session and horizon; missing without one
  baseline_pinball_log_return FLOAT64,
  data_snapshot STRING,
  code_version STRING,
  created_at TIMESTAMP,
  PRIMARY KEY (origin, replay, as_of, horizon, model_version) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY origin, horizon
OPTIONS (labels = [('made_again', 'no')]);

-- Every promotion of the model store, by a training or a person; append-only, as its history is.
CREATE TABLE IF NOT EXISTS performance.promotions (
  counts_from DATE NOT NULL,  -- the first date whose session it serves
  horizon STRING NOT NULL,
  entry STRING NOT NULL,  -- a hash of the entry and its position
  position INT64,  -- in the history of the store, from 0
  model_version STRING,
  trained_as_of DATE,
  promoted_by STRING,  -- training or person
  promoted_at TIMESTAMP,  -- of a person's promotion
  forced BOOL,  -- a person overruled the promotion rule; the reason says why
  rolled_back STRING,  -- the version that a roll-back left
  reason STRING,
  run STRING,
  metadata STRING,  -- the digest of the version's metadata.json, which names the hashes of its files
  created_at TIMESTAMP,
  PRIMARY KEY (counts_from, horizon, entry) NOT ENFORCED
)
CLUSTER BY horizon
OPTIONS (labels = [('made_again', 'no')]);
