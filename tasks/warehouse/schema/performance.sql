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
