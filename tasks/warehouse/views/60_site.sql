-- What the pages of the site read beside the views above: one query per part of a page (tasks/reporting/site).

-- The front-month close of every session, as last known, cents/lb.
CREATE OR REPLACE VIEW api.vw_price_history AS
SELECT date, zl_close_cents_lb AS close_cents_lb
FROM features.zl_daily_v1
WHERE zl_close_cents_lb IS NOT NULL
ORDER BY date;

-- The newest close and how it differs from those 1, 5, 21 and 252 sessions before. A roll of the front month is in it.
CREATE OR REPLACE VIEW api.vw_price_now AS
SELECT
  date AS as_of,
  zl_close_cents_lb AS close_cents_lb,
  zl_close_cents_lb - LAG(zl_close_cents_lb, 1) OVER (ORDER BY date) AS change_day_cents_lb,
  zl_close_cents_lb - LAG(zl_close_cents_lb, 5) OVER (ORDER BY date) AS change_week_cents_lb,
  zl_close_cents_lb - LAG(zl_close_cents_lb, 21) OVER (ORDER BY date) AS change_month_cents_lb,
  zl_close_cents_lb - LAG(zl_close_cents_lb, 252) OVER (ORDER BY date) AS change_year_cents_lb,
  100 * (zl_close_cents_lb / NULLIF(LAG(zl_close_cents_lb, 1) OVER (ORDER BY date), 0) - 1) AS change_day_pct,
  100 * (zl_close_cents_lb / NULLIF(LAG(zl_close_cents_lb, 5) OVER (ORDER BY date), 0) - 1) AS change_week_pct,
  100 * (zl_close_cents_lb / NULLIF(LAG(zl_close_cents_lb, 21) OVER (ORDER BY date), 0) - 1) AS change_month_pct,
  100 * (zl_close_cents_lb / NULLIF(LAG(zl_close_cents_lb, 252) OVER (ORDER BY date), 0) - 1) AS change_year_pct
FROM features.zl_daily_v1
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (ORDER BY date DESC) = 1;

-- The measured skill of each served forecast: on past origins when its model was trained, the best rival of that
-- training, and realised since (published forecasts, else the largest replay).
CREATE OR REPLACE VIEW api.vw_lived_skill AS
WITH board AS (
  SELECT *
  FROM performance.leaderboard
  WHERE TRUE
  QUALIFY RANK() OVER (PARTITION BY horizon ORDER BY trained_as_of DESC, created_at DESC, run DESC) = 1
),
rival AS (
  SELECT horizon, family, served_gain_pct, promotion_p_value, refusal
  FROM board
  WHERE family <> best_naive
  QUALIFY ROW_NUMBER() OVER (PARTITION BY horizon ORDER BY IF(promotion_p_value IS NULL, 1, 0), promotion_p_value, served_gain_pct DESC, family) = 1
),
served AS (
  SELECT *
  FROM performance.leaderboard
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY horizon, model_version ORDER BY trained_as_of DESC, created_at DESC, run) = 1
),
realised AS (
  SELECT *
  FROM performance.vw_forecast_performance_tracking
  WHERE sliced_by = 'all'
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY horizon ORDER BY IF(replay = '', 0, 1), forecasts DESC, replay
  ) = 1
)
SELECT
  f.as_of, f.horizon, f.horizon_order, f.family, f.model_version, f.is_baseline,
  s.best_naive,
  s.served_gain_pct,
  s.promotion_p_value,
  s.mape_pct AS measured_mape_pct,
  100 * s.coverage_80 AS measured_coverage_80_pct,
  s.origins AS measured_origins,
  s.first_origin AS measured_from,
  s.last_origin AS measured_to,
  rival.family AS rival,
  rival.served_gain_pct AS rival_gain_pct,
  rival.promotion_p_value AS rival_p_value,
  r.origin AS realised_origin,
  r.replay AS realised_replay,
  r.forecasts AS realised_forecasts,
  r.mape_pct AS realised_mape_pct,
  r.no_change_mape_pct AS realised_no_change_mape_pct,
  r.pinball_skill_pct AS realised_skill_pct,
  100 * r.coverage_80 AS realised_coverage_80_pct
FROM api.vw_latest_forecast AS f
LEFT JOIN served AS s ON s.horizon = f.horizon AND s.model_version = f.model_version
LEFT JOIN rival ON rival.horizon = f.horizon
LEFT JOIN realised AS r ON r.horizon = f.horizon
ORDER BY f.horizon_order;

-- When each report came last, how many days lie between two on average (of the last twelve gaps), and when the next one
-- is due by that.
CREATE OR REPLACE VIEW api.vw_next_due AS
WITH days AS (
  SELECT DISTINCT
    CASE source
      WHEN 'usda_wasde' THEN 'WASDE (USDA)'
      WHEN 'cftc' THEN 'COT (CFTC)'
      ELSE 'petroleum stocks (EIA)'
    END AS report,
    CAST(available_at AS DATE) AS day
  FROM staging.observations
  WHERE source IN ('usda_wasde', 'cftc') OR (source = 'eia' AND LOWER(series) LIKE '%wcestus1%')
),
gaps AS (
  SELECT
    report, day,
    DATE_DIFF(day, LAG(day) OVER (PARTITION BY report ORDER BY day), DAY) AS gap_days,
    ROW_NUMBER() OVER (PARTITION BY report ORDER BY day DESC) AS newest
  FROM days
)
SELECT
  report,
  MAX(day) AS last_release,
  AVG(IF(newest <= 12, gap_days, NULL)) AS usual_gap_days,
  DATE_ADD(MAX(day), INTERVAL CAST(ROUND(AVG(IF(newest <= 12, gap_days, NULL))) AS INT64) DAY) AS expected
FROM gaps
GROUP BY report
ORDER BY expected, report;

-- The decision for all months of each need, by session: what the rule has said so far.
CREATE OR REPLACE VIEW api.vw_decision_history AS
SELECT as_of, need, is_example, signal, share_now, pounds_now, open_pounds, chance_waiting_cheaper, origin
FROM forecasts.zl_decisions_daily
WHERE month = 'all'
ORDER BY as_of DESC, need;

-- Realised errors by year of the forecast; what readers were not shown does not count.
CREATE OR REPLACE VIEW api.vw_outcomes_by_year AS
SELECT
  origin, replay, horizon, {horizon_order} AS horizon_order,
  EXTRACT(YEAR FROM as_of) AS year,
  COUNT(*) AS forecasts,
  100 * AVG(absolute_percentage_error) AS mape_pct,
  100 * AVG(no_change_absolute_percentage_error) AS no_change_mape_pct,
  100 * AVG(IF(inside_50, 1.0, 0.0)) AS coverage_50_pct,
  100 * AVG(IF(inside_80, 1.0, 0.0)) AS coverage_80_pct,
  100 * AVG(IF(inside_90, 1.0, 0.0)) AS coverage_90_pct,
  100 * (
    1 - AVG(IF(baseline_pinball_log_return IS NULL, NULL, pinball_log_return))
    / NULLIF(AVG(baseline_pinball_log_return), 0)
  ) AS pinball_skill_pct
FROM performance.forecast_outcomes
WHERE NOT superseded AND NOT (origin = 'live' AND published_late)
GROUP BY origin, replay, horizon, year
ORDER BY origin, replay, horizon_order, year;

-- The chance of a higher price that forecasts published, in steps of five points, beside how often it was higher.
CREATE OR REPLACE VIEW api.vw_reliability AS
SELECT
  origin, replay, horizon, {horizon_order} AS horizon_order,
  ROUND(direction_probability * 20) / 20 AS chance,
  COUNT(*) AS forecasts,
  AVG(direction_probability) AS mean_chance,
  AVG(IF(actual_price > last_price, 1.0, 0.0)) AS share_higher
FROM performance.forecast_outcomes
WHERE NOT superseded AND NOT (origin = 'live' AND published_late) AND direction_probability IS NOT NULL
GROUP BY origin, replay, horizon, chance
ORDER BY origin, replay, horizon_order, chance;

-- Every promotion: which version serves a horizon from which date on, and why.
CREATE OR REPLACE VIEW api.vw_versions AS
SELECT
  counts_from, horizon, {horizon_order} AS horizon_order, model_version, trained_as_of, promoted_by, forced, rolled_back,
  reason
FROM performance.promotions
ORDER BY counts_from DESC, horizon_order, position DESC;

-- The state of every chain of the record. `cbi verify record` checks each link.
CREATE OR REPLACE VIEW api.vw_record AS
SELECT
  chain,
  COUNT(*) AS links,
  SUM(row_count) AS sealed_rows,
  MIN(as_of) AS first_as_of,
  MAX(as_of) AS last_as_of,
  MAX(IF(newest = 1, link_sha256, NULL)) AS head_sha256
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY chain ORDER BY number DESC, created_at DESC) AS newest
  FROM forecasts.record_chain
) AS numbered
GROUP BY chain
ORDER BY chain;

-- Spreads and margins around soybean oil, by session.
CREATE OR REPLACE VIEW api.vw_market_history AS
SELECT
  date,
  board_crush_usd_bu,
  100 * oil_share AS oil_share_pct,
  oil_less_palm_usd_t,
  oil_less_dalian_palm_cents_lb,
  dalian_soyoil_less_palm_cents_lb,
  dalian_soyoil_premium_cents_lb,
  china_crush_margin_cny_t,
  boho_usd_gal,
  vix,
  curve_slope_pct_month
FROM features.zl_daily_v1
ORDER BY date;

-- The regime of every session and the chances it is read from.
CREATE OR REPLACE VIEW api.vw_regime_history AS
SELECT
  date, master_regime_classification, crisis_intensity_score, regime_prob_calm, regime_prob_tense, regime_prob_crisis
FROM features.zl_daily_v1
ORDER BY date;

-- Average rolling correlation (63 sessions) of ZL with other markets, by year.
CREATE OR REPLACE VIEW api.vw_correlation_map AS
SELECT
  EXTRACT(YEAR FROM date) AS year,
  AVG(zl_zs_correlation_63d) AS soybeans,
  AVG(zl_zm_correlation_63d) AS soybean_meal,
  AVG(zl_zc_correlation_63d) AS corn,
  AVG(zl_cl_correlation_63d) AS wti_crude,
  AVG(zl_ho_correlation_63d) AS heating_oil,
  AVG(zl_cpo_correlation_63d) AS palm_oil,
  AVG(zl_dalian_soyoil_correlation_63d) AS dalian_soybean_oil,
  AVG(zl_dalian_palm_correlation_63d) AS dalian_palm_oil,
  AVG(zl_gc_correlation_63d) AS gold,
  AVG(zl_hg_correlation_63d) AS copper,
  AVG(zl_sp500_correlation_63d) AS sp500,
  AVG(zl_brl_correlation_63d) AS real_per_dollar,
  AVG(zl_myr_correlation_63d) AS ringgit_per_dollar,
  AVG(zl_dxy_correlation_63d) AS dollar_index
FROM features.zl_correlations
GROUP BY year
ORDER BY year DESC;

-- The weather of three growing regions against normal, by session; the place is the middle of the region.
CREATE OR REPLACE VIEW api.vw_weather AS
SELECT
  date, 'Brazil, Center-West' AS region, -15.6 AS latitude, -56.1 AS longitude,
  brazil_center_west_rain_30d_mm AS rain_30d_mm,
  brazil_center_west_rain_30d_z AS rain_30d_z,
  brazil_center_west_temperature_30d_anomaly_c AS temperature_anomaly_c
FROM features.zl_daily_v1
UNION ALL
SELECT
  date, 'Brazil, Paraná' AS region, -24.5 AS latitude, -51.5 AS longitude,
  parana_rain_30d_mm AS rain_30d_mm,
  parana_rain_30d_z AS rain_30d_z,
  parana_temperature_30d_anomaly_c AS temperature_anomaly_c
FROM features.zl_daily_v1
UNION ALL
SELECT
  date, 'US Midwest' AS region, 41.5 AS latitude, -92.0 AS longitude,
  us_midwest_rain_30d_mm AS rain_30d_mm,
  us_midwest_rain_30d_z AS rain_30d_z,
  us_midwest_temperature_30d_anomaly_c AS temperature_anomaly_c
FROM features.zl_daily_v1;

-- Net futures positions in soybean oil by class of trader, contracts, one row per report (CFTC, legacy, futures only).
CREATE OR REPLACE VIEW api.vw_positioning AS
WITH newest AS (
  SELECT observation_date, field, value, available_at
  FROM staging.observations
  WHERE source = 'cftc' AND ENDS_WITH(series, '.007601')
  QUALIFY ROW_NUMBER() OVER (PARTITION BY observation_date, field ORDER BY vintage DESC) = 1
)
SELECT
  observation_date AS date,
  MAX(available_at) AS available_at,
  MAX(IF(field = 'commercial_long', value, NULL)) - MAX(IF(field = 'commercial_short', value, NULL)) AS commercial_net,
  MAX(IF(field = 'noncommercial_long', value, NULL)) - MAX(IF(field = 'noncommercial_short', value, NULL))
    AS noncommercial_net,
  MAX(IF(field = 'nonreportable_long', value, NULL)) - MAX(IF(field = 'nonreportable_short', value, NULL))
    AS nonreportable_net,
  MAX(IF(field = 'open_interest', value, NULL)) AS open_interest
FROM newest
GROUP BY observation_date
ORDER BY date;

-- What USDA's WASDE said of a marketing year, release by release, and how it moved since the release before.
CREATE OR REPLACE VIEW api.vw_wasde_revisions AS
SELECT
  series,
  observation_date AS marketing_year,
  CAST(available_at AS DATE) AS released,
  value,
  value - LAG(value) OVER (PARTITION BY series, observation_date ORDER BY vintage) AS revision,
  unit
FROM staging.observations
WHERE source = 'usda_wasde' AND field = 'value' AND series IN (
  'soybean_oil.us.ending_stocks', 'soybean_oil.us.production', 'soybean_oil.us.biofuel_use', 'soybean_oil.us.exports',
  'soybean_oil.world.ending_stocks', 'soybeans.us.ending_stocks', 'soybeans.brazil.production',
  'soybeans.argentina.production', 'soybeans.china.imports'
)
ORDER BY series, marketing_year, released;

-- Policy events by day and kind; direction above 0 is supportive of prices.
CREATE OR REPLACE VIEW api.vw_policy_timeline AS
SELECT
  observation_date AS date,
  REPLACE(REPLACE(series, 'event.', ''), '_', ' ') AS kind,
  MAX(IF(field = 'events', value, NULL)) AS events,
  MAX(IF(field = 'direction', value, NULL)) AS direction
FROM staging.observations
WHERE source = 'policy_events' AND STARTS_WITH(series, 'event.')
GROUP BY observation_date, series
ORDER BY date DESC, kind;

-- How much of the feature table holds values, by category and year, at the newest session.
CREATE OR REPLACE VIEW api.vw_coverage AS
SELECT as_of, category, year, features, sessions, 100 * share AS share_pct, first_date
FROM ops.feature_coverage
WHERE as_of = (SELECT MAX(as_of) FROM ops.feature_coverage)
ORDER BY category, year;

-- Cells that were refused, at the newest session that has any, by rule and by series.
CREATE OR REPLACE VIEW api.vw_quarantine AS
SELECT as_of, rule, source, series, field, cells, first_date, last_date, reason
FROM ops.quarantine_summary
WHERE as_of = (SELECT MAX(as_of) FROM ops.quarantine_summary)
ORDER BY rule, cells DESC, source, series, field;

CREATE OR REPLACE VIEW api.vw_quarantine_rules AS
SELECT
  rule, SUM(cells) AS cells, COUNT(*) AS fields, COUNT(DISTINCT source) AS sources,
  MIN(first_date) AS first_date, MAX(last_date) AS last_date, MIN(reason) AS reason
FROM api.vw_quarantine
GROUP BY rule
ORDER BY cells DESC, rule;

-- The checks of the newest run of each gate.
CREATE OR REPLACE VIEW api.vw_gates AS
SELECT
  run, gate, suite, expectation, column_name, as_of, on_fail, success, unexpected_count, element_count, examples, reason,
  created_at
FROM ops.gate_results
WHERE TRUE
QUALIFY RANK() OVER (PARTITION BY gate ORDER BY as_of DESC, created_at DESC, run DESC) = 1
ORDER BY success, gate, suite, expectation, column_name;

-- How the gates went, run by run.
CREATE OR REPLACE VIEW api.vw_gate_history AS
SELECT
  as_of, run, gate,
  COUNT(*) AS checks,
  SUM(IF(success, 1, 0)) AS met,
  SUM(IF(NOT success AND on_fail = 'warn', 1, 0)) AS warnings,
  SUM(IF(NOT success AND on_fail = 'quarantine', 1, 0)) AS set_aside,
  SUM(IF(NOT success AND on_fail = 'block', 1, 0)) AS blocking,
  MAX(created_at) AS created_at
FROM ops.gate_results
GROUP BY as_of, run, gate
ORDER BY as_of DESC, created_at DESC, gate;

-- What each source last said of its state: how many of its series hold values, and the newest.
CREATE OR REPLACE VIEW api.vw_sources AS
SELECT
  source, MAX(status) AS status, MAX(message) AS message, COUNT(series) AS series, SUM(observations) AS observations,
  MIN(first_observation) AS first_observation, MAX(last_observation) AS last_observation, MIN(age_days) AS age_days
FROM api.vw_data_freshness
GROUP BY source
ORDER BY source;

-- What each feature adds to the newest served forecasts, the largest first.
CREATE OR REPLACE VIEW api.vw_drivers AS
SELECT
  as_of, horizon, {horizon_order} AS horizon_order, feature, `group`, shap_cents_lb, width_cents_lb, feature_value, family
FROM forecasts.zl_explainers_daily
WHERE served AND as_of = (SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily)
ORDER BY horizon_order, GREATEST(ABS(COALESCE(shap_cents_lb, 0)), ABS(COALESCE(width_cents_lb, 0))) DESC, feature;

-- The response surface of the newest session, with what each point changes against today.
CREATE OR REPLACE VIEW api.vw_surface AS
WITH points AS (
  SELECT *, {horizon_order} AS horizon_order
  FROM forecasts.zl_surface_daily
  WHERE as_of = (SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily)
)
SELECT
  p.as_of, p.horizon, p.horizon_order, p.point, p.input, p.move, p.value, p.other_input, p.other_move,
  p.other_value, p.title, p.unit, p.moved_by, p.start_value, p.known_on, p.p10, p.p50, p.p90,
  p.p50 - t.p50 AS p50_change_cents_lb,
  GREATEST(ABS(p.p10 - t.p10), ABS(p.p50 - t.p50), ABS(p.p90 - t.p90)) AS largest_change_cents_lb,
  p.model_version, p.surface, p.note
FROM points AS p
LEFT JOIN (SELECT horizon AS of_horizon, p10, p50, p90 FROM points WHERE point = 'today') AS t ON t.of_horizon = p.horizon
ORDER BY p.horizon_order, p.other_input, p.input, p.move, p.other_move;

-- How far each input alone moves each horizon at most, of the median and both ends of the 80% band.
CREATE OR REPLACE VIEW api.vw_surface_reactions AS
SELECT
  as_of, horizon, horizon_order, input, title, unit, moved_by,
  MIN(move) AS lowest_move,
  MAX(move) AS highest_move,
  MAX(start_value) AS start_value,
  MAX(known_on) AS known_on,
  COUNT(*) AS points,
  COUNT(largest_change_cents_lb) AS answered_points,
  MAX(largest_change_cents_lb) AS largest_change_cents_lb,
  MAX(note) AS note
FROM api.vw_surface
WHERE input IS NOT NULL AND other_input IS NULL
GROUP BY as_of, horizon, horizon_order, input, title, unit, moved_by
ORDER BY horizon_order, input;

-- How far the sliders are from the served models, where it was measured for the points that are published now.
CREATE OR REPLACE VIEW api.vw_surface_checks AS
SELECT
  s.as_of, s.horizon, s.horizon_order, c.points, c.largest_median_error_cents_lb,
  c.largest_band_error_cents_lb, c.created_at
FROM api.vw_surface AS s
JOIN forecasts.zl_surface_checks AS c ON c.as_of = s.as_of AND c.horizon = s.horizon AND c.surface = s.surface
WHERE s.point = 'today'
ORDER BY s.horizon_order;

-- What was bought for each need and month, as of the newest session.
CREATE OR REPLACE VIEW api.vw_purchases AS
SELECT
  as_of, need, month, is_example, due_date, needed_pounds, covered_pounds, open_pounds, bought_pounds, paid_cents_lb,
  settled_pounds, settled_paid_usd, even_usd, signal_usd, saved_against_even_usd, saved_against_signal_usd
FROM forecasts.zl_purchases_daily
WHERE as_of = (SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily)
ORDER BY need, month;

-- The settled months of each need together; against the signal only those about which a decision was published.
CREATE OR REPLACE VIEW api.vw_purchases_settled AS
SELECT
  as_of, need, is_example,
  COUNT(settled_pounds) AS settled_months,
  SUM(settled_pounds) AS settled_pounds,
  SUM(settled_paid_usd) AS settled_paid_usd,
  SUM(saved_against_even_usd) AS saved_against_even_usd,
  COUNT(saved_against_signal_usd) AS signal_months,
  SUM(saved_against_signal_usd) AS saved_against_signal_usd
FROM api.vw_purchases
GROUP BY as_of, need, is_example
ORDER BY need;

-- The curve at the newest session and one, three and twelve months before: of each the newest day in two weeks with the
-- prices of two contracts or more. A published session's own contracts come first, then pairs of contracts of one moment
-- (registry/roll_calendar.yaml) in the value that was published first. `delivery` is the first day of the month.
CREATE OR REPLACE VIEW api.vw_curve_snapshots AS
WITH legs AS (
  SELECT observation_date AS date, REPLACE(field, '_contract', '') AS leg, ENDS_WITH(field, '_contract') AS is_name, value
  FROM staging.observations
  WHERE source = 'pysystemtrade' AND series = 'SOYOIL'
  QUALIFY ROW_NUMBER() OVER (PARTITION BY observation_date, field ORDER BY vintage) = 1
),
pairs AS (
  SELECT
    date, leg,
    CAST(FLOOR(MAX(IF(is_name, value, NULL)) / 100) AS INT64) AS delivers,
    MAX(IF(is_name, NULL, value)) AS price_cents_lb
  FROM legs
  GROUP BY date, leg
),
prices AS (
  SELECT
    as_of AS date, 1 AS preference, price_date,
    CAST(CONCAT('20', SUBSTR(contract, 4, 2)) AS INT64) * 100 + STRPOS('FGHJKMNQUVXZ', SUBSTR(contract, 3, 1)) AS delivers,
    last_price AS price_cents_lb
  FROM forecasts.zl_contracts_daily
  WHERE horizon = 'last'
  UNION ALL
  SELECT date, 2 AS preference, date AS price_date, delivers, price_cents_lb
  FROM pairs
  WHERE delivers IS NOT NULL AND price_cents_lb IS NOT NULL
),
days AS (
  SELECT date, preference
  FROM prices
  GROUP BY date, preference
  HAVING COUNT(DISTINCT delivers) >= 2
),
spans AS (
  SELECT 0 AS months_before
  UNION ALL SELECT 1 AS months_before
  UNION ALL SELECT 3 AS months_before
  UNION ALL SELECT 12 AS months_before
),
wanted AS (
  SELECT
    months_before,
    CAST(DATE_SUB((SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily), INTERVAL months_before MONTH) AS DATE) AS day
  FROM spans
),
chosen AS (
  SELECT w.months_before, d.date, d.preference
  FROM wanted AS w
  JOIN days AS d ON d.date <= w.day AND d.date > DATE_SUB(w.day, INTERVAL 14 DAY)
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY w.months_before ORDER BY d.preference, d.date DESC) = 1
)
SELECT
  c.months_before, c.date,
  CONCAT(
    'ZL', SUBSTR('FGHJKMNQUVXZ', MOD(p.delivers, 100), 1),
    SUBSTR(CAST(p.delivers AS STRING), 3, 2)
  ) AS contract,
  DATE(CAST(FLOOR(p.delivers / 100) AS INT64), MOD(p.delivers, 100), 1) AS delivery,
  MAX(p.price_date) AS price_date,
  MAX(p.price_cents_lb) AS price_cents_lb
FROM chosen AS c
JOIN prices AS p ON p.date = c.date AND p.preference = c.preference
GROUP BY c.months_before, c.date, p.delivers
ORDER BY c.months_before, delivery;
