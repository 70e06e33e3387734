-- Forecasts and their reasons, one row per session, horizon and model version (or feature).
CREATE TABLE IF NOT EXISTS forecasts.zl_forecasts_daily (
  as_of DATE NOT NULL,
  horizon STRING NOT NULL,
  model_version STRING NOT NULL,
  target_date DATE,
  last_price FLOAT64,
  contract STRING,  -- of the last price, such as ZLF24
  roll_date DATE,  -- the first session whose front-month price is of the next contract
  target_contract STRING,  -- of the front-month price on the target date
  curve_centre FLOAT64,  -- where the curve puts the front-month price on the target date; missing where it is not known
  centre_source STRING,  -- `curve`, or `price` with the reason
  point FLOAT64,
  p05 FLOAT64,
  p10 FLOAT64,
  p25 FLOAT64,
  p50 FLOAT64,
  p75 FLOAT64,
  p90 FLOAT64,
  p95 FLOAT64,
  direction_probability FLOAT64,  -- that the price is higher; missing where direction_reason says why
  direction_reason STRING,
  family STRING,
  is_baseline BOOL,
  degraded BOOL,
  degraded_reason STRING,
  regime STRING,
  conviction FLOAT64,  -- |2 x direction_probability - 1|: how far the chance is from one half
  confidence FLOAT64,  -- share of past outcomes that lay inside the model's 80% band
  origin STRING,  -- of its payloads: live, recorded (the archive that ends in the past), folder, or rehearsal (CBI_NOW)
  data_snapshot STRING,
  code_version STRING,
  created_at TIMESTAMP,
  PRIMARY KEY (as_of, horizon, model_version) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY horizon
OPTIONS (labels = [('made_again', 'no')]);

CREATE TABLE IF NOT EXISTS forecasts.zl_explainers_daily (
  as_of DATE NOT NULL,
  horizon STRING NOT NULL,
  feature STRING NOT NULL,
  `group` STRING,  -- registry/explanations.yaml
  shap_cents_lb FLOAT64,  -- part of the centre less the last price; missing for a feature of the band's width only
  width_cents_lb FLOAT64,  -- part of the width of the 80% band; missing for a feature of the centre only
  feature_value FLOAT64,
  family STRING,
  served BOOL,
  model_version STRING,
  PRIMARY KEY (as_of, horizon, feature) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY horizon, `group`
OPTIONS (labels = [('made_again', 'no')]);

-- What a buyer can lock in: each listed contract, and where its price may stand at each horizon and before it goes off.
CREATE TABLE IF NOT EXISTS forecasts.zl_contracts_daily (
  as_of DATE NOT NULL,
  contract STRING NOT NULL,  -- such as ZLH24
  horizon STRING NOT NULL,  -- `last`: the day before the last trading day
  target_date DATE,
  last_trading_day DATE,
  price_date DATE,  -- of last_price, which may be some days old
  last_price FLOAT64,
  p05 FLOAT64,
  p10 FLOAT64,
  p25 FLOAT64,
  p50 FLOAT64,
  p75 FLOAT64,
  p90 FLOAT64,
  p95 FLOAT64,
  direction_probability FLOAT64,  -- share of past moves of contracts, over as many sessions, that were up
  origin STRING,
  data_snapshot STRING,
  code_version STRING,
  created_at TIMESTAMP,
  PRIMARY KEY (as_of, contract, horizon) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY contract
OPTIONS (labels = [('made_again', 'no')]);

-- The reasons of each forecast in a sentence: of its centre, and of the width of its band.
CREATE TABLE IF NOT EXISTS forecasts.zl_explanations_daily (
  as_of DATE NOT NULL,
  horizon STRING NOT NULL,
  model_version STRING,
  centre_sentence STRING,
  width_sentence STRING,
  PRIMARY KEY (as_of, horizon) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY horizon
OPTIONS (labels = [('made_again', 'no')]);

-- What moved the forecast since the session before. The rows of a session and horizon add up to both moves.
CREATE TABLE IF NOT EXISTS forecasts.zl_changes_daily (
  as_of DATE NOT NULL,
  horizon STRING NOT NULL,
  part STRING NOT NULL,  -- revision, price, curve, data, model, calibration; unknown where the note says why
  subject STRING NOT NULL,  -- of data: the series; of model: the new version
  centre_cents_lb FLOAT64,
  width_cents_lb FLOAT64,  -- of the 80% band
  since DATE,
  note STRING,
  PRIMARY KEY (as_of, horizon, part, subject) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY horizon, part
OPTIONS (labels = [('made_again', 'no')]);

-- What the served models say if the days of a past episode came on top of today's market (registry/scenarios.yaml).
CREATE TABLE IF NOT EXISTS forecasts.zl_scenarios_daily (
  as_of DATE NOT NULL,
  scenario STRING NOT NULL,
  horizon STRING NOT NULL,
  title STRING,
  story STRING,
  episode_first DATE,
  episode_last DATE,
  magnitudes STRING,  -- what moved in the episode, measured on the panel
  model_version STRING,
  last_price FLOAT64,
  scenario_price FLOAT64,
  centre FLOAT64,
  scenario_centre FLOAT64,
  centre_change_cents_lb FLOAT64,
  beyond_price_cents_lb FLOAT64,  -- of the change, what is not the move of the last price itself
  scenario_p10 FLOAT64,
  scenario_p90 FLOAT64,
  width_cents_lb FLOAT64,  -- of the 80% band
  scenario_width_cents_lb FLOAT64,
  width_change_pct FLOAT64,  -- of the width as a share of the price
  overrides STRING,  -- flags that fire in the scenario and not today
  overrides_before STRING,
  regime STRING,
  regime_before STRING,
  analogues INT64,  -- past sessions alike whose outcome was known by as_of
  analogue_median_pct FLOAT64,
  analogue_low_pct FLOAT64,
  analogue_high_pct FLOAT64,
  analogue_up_share FLOAT64,
  analogue_outcomes STRING,  -- dates and what ZL did to the horizon, the newest first
  note STRING,
  PRIMARY KEY (as_of, scenario, horizon) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY scenario
OPTIONS (labels = [('made_again', 'no')]);
