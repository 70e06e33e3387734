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

-- Forecasts as they would have been made on past sessions, by models trained before each of them. Never mixed with what
-- was published: another table, another chain.
CREATE TABLE IF NOT EXISTS forecasts.zl_replays_daily (
  replay STRING NOT NULL,  -- the name of the replay
  as_of DATE NOT NULL,
  horizon STRING NOT NULL,
  model_version STRING,
  trained_as_of DATE,  -- of the model version; on or before as_of
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
  origin STRING,  -- `replay` on every row
  data_snapshot STRING,
  code_version STRING,
  created_at TIMESTAMP,
  PRIMARY KEY (replay, as_of, horizon) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY replay, horizon
OPTIONS (labels = [('made_again', 'no')]);

-- Forecasts that were not served, with the same columns: challengers in shadow, the baseline beside the champion.
CREATE TABLE IF NOT EXISTS forecasts.zl_shadow_daily (
  as_of DATE NOT NULL,
  horizon STRING NOT NULL,
  model_version STRING NOT NULL,
  target_date DATE,
  last_price FLOAT64,
  contract STRING,
  roll_date DATE,
  target_contract STRING,
  curve_centre FLOAT64,
  centre_source STRING,
  point FLOAT64,
  p05 FLOAT64,
  p10 FLOAT64,
  p25 FLOAT64,
  p50 FLOAT64,
  p75 FLOAT64,
  p90 FLOAT64,
  p95 FLOAT64,
  direction_probability FLOAT64,
  direction_reason STRING,
  family STRING,
  is_baseline BOOL,
  degraded BOOL,
  degraded_reason STRING,
  regime STRING,
  conviction FLOAT64,
  confidence FLOAT64,
  origin STRING,
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

-- The record of what was published: each link seals the rows of one publication with the link before it
-- (tasks/warehouse/record.py). Links are added by a publish, in its transaction, and never changed.
CREATE TABLE IF NOT EXISTS forecasts.record_chain (
  chain STRING NOT NULL,  -- the origin of published forecasts, or `replay:` and the name of a replay
  number INT64 NOT NULL,  -- from 1, without gaps
  as_of DATE,
  row_count INT64,
  published_rows STRING,  -- the rows as published, one JSON object per line
  rows_sha256 STRING,  -- of published_rows
  previous_sha256 STRING,  -- link_sha256 of the link before; 64 zeros in the first
  link_sha256 STRING NOT NULL,  -- of chain, number, as_of, created_at, rows_sha256 and previous_sha256
  adopted BOOL,  -- the rows were published before the record began
  created_at TIMESTAMP,
  PRIMARY KEY (chain, number, link_sha256) NOT ENFORCED  -- with the hash: no link can replace another
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY chain
OPTIONS (labels = [('made_again', 'no')]);

-- What a buyer's rule says of each need (registry/decision.yaml), by month that is planned, and of all months together.
-- Prices in cents/lb with the buyer's basis; dollars of the pounds that are open.
CREATE TABLE IF NOT EXISTS forecasts.zl_decisions_daily (
  as_of DATE NOT NULL,
  need STRING NOT NULL,
  month STRING NOT NULL,  -- such as 2024-02; `all`: the months together, on joint paths
  is_example BOOL,  -- the need that the product ships with: edit registry/decision.yaml
  due_date DATE,  -- the month's first session: by then the oil is bought
  contract STRING,  -- the front month on that day
  pounds FLOAT64,
  open_pounds FLOAT64,
  unit STRING,  -- of the buyer
  unit_per_cent_lb FLOAT64,  -- one cent/lb in that unit
  now_source STRING,  -- how a price can be fixed today: `curve` (the contract's price) or `storage` (bought and stored)
  now_cents_lb FLOAT64,
  curve_cents_lb FLOAT64,
  curve_price_date DATE,  -- an older price was moved on with the front month since
  storage_cents_lb FLOAT64,
  wait_p10_cents_lb FLOAT64,
  wait_p50_cents_lb FLOAT64,
  wait_p90_cents_lb FLOAT64,
  wait_mean_cents_lb FLOAT64,
  now_usd FLOAT64,
  wait_mean_usd FLOAT64,
  wait_p10_usd FLOAT64,
  wait_p90_usd FLOAT64,
  wait_shortfall_usd FLOAT64,  -- mean of the dearest tenth of the paths
  budget_cents_lb FLOAT64,
  budget_usd FLOAT64,
  chance_waiting_cheaper FLOAT64,
  weighted_chance FLOAT64,  -- what the rule reads: paths above the budget count 1 + aversion times
  chance_over_budget FLOAT64,
  signal STRING,  -- buy, wait or ladder; of `all` also covered
  share_now FLOAT64,  -- of what is open
  pounds_now FLOAT64,
  plan STRING,
  cap_cents_lb FLOAT64,  -- model price of a cap at the budget, per pound, today
  cap_usd FLOAT64,
  collar_floor_cents_lb FLOAT64,  -- model: the floor that pays for the cap; missing where the budget is below the market
  dependence_power FLOAT64,  -- of the joint paths (tasks/decision/paths.py)
  reason STRING,  -- why something is missing
  need_version STRING,  -- of need and rule
  origin STRING,
  data_snapshot STRING,
  code_version STRING,
  created_at TIMESTAMP,
  PRIMARY KEY (as_of, need, month) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY need
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

-- What the served models answer where a few inputs are moved, for the sliders of the site (registry/scenarios.yaml,
-- surface). A point is `today`, one input moved, or two inputs moved.
CREATE TABLE IF NOT EXISTS forecasts.zl_surface_daily (
  as_of DATE NOT NULL,
  horizon STRING NOT NULL,  -- `every` for an input that has no value
  point STRING NOT NULL,
  input STRING,
  move FLOAT64,  -- in percent or an amount: moved_by
  value FLOAT64,  -- of the input after the move
  other_input STRING,
  other_move FLOAT64,
  other_value FLOAT64,
  title STRING,
  unit STRING,
  moved_by STRING,  -- percent or amount
  start_value FLOAT64,
  known_on DATE,  -- the session of start_value, if it is not the last one
  p10 FLOAT64,  -- cents/lb
  p50 FLOAT64,
  p90 FLOAT64,
  model_version STRING,
  surface STRING,  -- identity of the horizon's points and answers
  note STRING,
  PRIMARY KEY (as_of, horizon, point) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY horizon
OPTIONS (labels = [('made_again', 'no')]);

-- How far the sliders of the site are from the served models, measured at random points (`cbi site --check-surface`).
CREATE TABLE IF NOT EXISTS forecasts.zl_surface_checks (
  as_of DATE NOT NULL,
  horizon STRING NOT NULL,
  surface STRING NOT NULL,  -- identity of the points that were checked
  points INT64,
  largest_median_error_cents_lb FLOAT64,
  largest_band_error_cents_lb FLOAT64,  -- of either end of the 80% band
  created_at TIMESTAMP,
  PRIMARY KEY (as_of, horizon, surface) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY horizon
OPTIONS (labels = [('made_again', 'no')]);

-- What was bought for each need and month, as of a session: cover, and for settled months the cost against buying evenly
-- and against the signal. Single purchases stay in the home's ledger.
CREATE TABLE IF NOT EXISTS forecasts.zl_purchases_daily (
  as_of DATE NOT NULL,
  need STRING NOT NULL,
  month STRING NOT NULL,
  is_example BOOL,
  due_date DATE,
  needed_pounds FLOAT64,
  covered_pounds FLOAT64,
  open_pounds FLOAT64,
  bought_pounds FLOAT64,  -- in the ledger
  paid_cents_lb FLOAT64,  -- mean of these
  settled_pounds FLOAT64,  -- from here on: months whose due date has a close; what was open then counts at that price
  settled_paid_usd FLOAT64,
  even_usd FLOAT64,
  signal_usd FLOAT64,  -- of following the decisions that were published about the month
  saved_against_even_usd FLOAT64,
  saved_against_signal_usd FLOAT64,
  created_at TIMESTAMP,
  PRIMARY KEY (as_of, need, month) NOT ENFORCED
)
PARTITION BY DATE_TRUNC(as_of, MONTH)
CLUSTER BY need
OPTIONS (labels = [('made_again', 'no')]);
