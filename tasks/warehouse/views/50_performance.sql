-- How published forecasts turned out. Every row of performance.forecast_outcomes counts once, except what readers were
-- not shown and what was published live after its outcome was known.

-- Realised errors per origin, horizon and slice: all forecasts, or those of a family, month (of as_of) or regime.
-- The Sharpe ratio is of trades that do not overlap: each group is cut into as many start phases as its trades overlap,
-- each phase's ratio is annualised by the horizon's own periods, and the median over the phases is shown.
CREATE OR REPLACE VIEW performance.vw_forecast_performance_tracking AS
WITH counted AS (
  SELECT *
  FROM performance.forecast_outcomes
  WHERE NOT superseded AND NOT (origin = 'live' AND published_late)
),
sliced AS (
  SELECT 'all' AS sliced_by, 'all' AS slice, counted.* FROM counted
  UNION ALL
  SELECT 'family' AS sliced_by, COALESCE(family, 'unknown') AS slice, counted.* FROM counted
  UNION ALL
  SELECT 'month' AS sliced_by, FORMAT_DATE('%Y-%m', as_of) AS slice, counted.* FROM counted
  UNION ALL
  SELECT 'regime' AS sliced_by, COALESCE(regime, 'unknown') AS slice, counted.* FROM counted
),
spaced AS (
  -- overlapping: the forecasts from this one on that start before its target date, itself included
  SELECT
    *,
    COUNT(*) OVER (
      PARTITION BY origin, replay, sliced_by, slice, horizon
      ORDER BY session_number / sessions_ahead RANGE BETWEEN CURRENT ROW AND 0.999999 FOLLOWING
    ) AS overlapping,
    ROW_NUMBER() OVER (PARTITION BY origin, replay, sliced_by, slice, horizon ORDER BY session_number) - 1 AS place
  FROM sliced
),
phased AS (
  SELECT
    *,
    MOD(place, MAX(overlapping) OVER (PARTITION BY origin, replay, sliced_by, slice, horizon)) AS phase
  FROM spaced
),
traded AS (
  SELECT
    origin, replay, sliced_by, slice, horizon, phase,
    COUNT(*) AS trades,
    AVG(sign_return) / NULLIF(STDDEV_SAMP(sign_return), 0) * SQRT(252 / MAX(sessions_ahead)) AS sharpe
  FROM phased
  GROUP BY origin, replay, sliced_by, slice, horizon, phase
),
ordered AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY origin, replay, sliced_by, slice, horizon ORDER BY sharpe) AS place,
    COUNT(*) OVER (PARTITION BY origin, replay, sliced_by, slice, horizon) AS phases
  FROM traded
  WHERE sharpe IS NOT NULL
),
traded_median AS (
  SELECT
    origin, replay, sliced_by, slice, horizon,
    AVG(IF(2 * place IN (phases, phases + 1, phases + 2), sharpe, NULL)) AS sharpe,
    MAX(phases) AS sharpe_phases,
    MIN(trades) AS sharpe_trades
  FROM ordered
  GROUP BY origin, replay, sliced_by, slice, horizon
),
measured AS (
  SELECT
    origin, replay, sliced_by, slice, horizon,
    COUNT(*) AS forecasts,
    MIN(as_of) AS first_as_of,
    MAX(as_of) AS last_as_of,
    100 * AVG(absolute_percentage_error) AS mape_pct,
    100 * AVG(no_change_absolute_percentage_error) AS no_change_mape_pct,
    100 * (1 - AVG(absolute_percentage_error) / NULLIF(AVG(no_change_absolute_percentage_error), 0)) AS mape_skill_pct,
    AVG(error_cents_lb) AS bias_cents_lb,
    100 * AVG(error_cents_lb / actual_price) AS bias_pct,
    AVG(IF(inside_50, 1.0, 0.0)) AS coverage_50,
    AVG(IF(inside_80, 1.0, 0.0)) AS coverage_80,
    AVG(IF(inside_90, 1.0, 0.0)) AS coverage_90,
    AVG(pinball_log_return) AS pinball_log_return,
    COUNT(baseline_pinball_log_return) AS compared_with_baseline,
    AVG(baseline_pinball_log_return) AS baseline_pinball_log_return,
    100 * (
      1 - AVG(IF(baseline_pinball_log_return IS NULL, NULL, pinball_log_return))
      / NULLIF(AVG(baseline_pinball_log_return), 0)
    ) AS pinball_skill_pct,
    COUNT(direction_hit) AS directions,
    AVG(IF(direction_hit IS NULL, NULL, IF(direction_hit, 1.0, 0.0))) AS direction_hit_rate
  FROM sliced
  GROUP BY origin, replay, sliced_by, slice, horizon
)
SELECT
  measured.*,
  {horizon_order} AS horizon_order,
  traded_median.sharpe,
  traded_median.sharpe_phases,
  traded_median.sharpe_trades,
  -- for readers of older tables: the same on every row of an origin
  MAX(IF(sliced_by = 'all' AND horizon = '1w', mape_pct, NULL)) OVER (PARTITION BY origin, replay)
    AS overall_mape_1week,
  MAX(IF(sliced_by = 'all' AND horizon = '1m', mape_pct, NULL)) OVER (PARTITION BY origin, replay)
    AS overall_mape_1month,
  MAX(IF(sliced_by = 'all' AND horizon = '3m', mape_pct, NULL)) OVER (PARTITION BY origin, replay)
    AS overall_mape_3month,
  MAX(IF(sliced_by = 'all' AND horizon = '6m', mape_pct, NULL)) OVER (PARTITION BY origin, replay)
    AS overall_mape_6month,
  MAX(IF(sliced_by = 'all' AND horizon = '12m', mape_pct, NULL)) OVER (PARTITION BY origin, replay)
    AS overall_mape_12month,
  MAX(IF(sliced_by = 'all' AND horizon = '1w', traded_median.sharpe, NULL)) OVER (PARTITION BY origin, replay)
    AS overall_sharpe_1week,
  MAX(IF(sliced_by = 'all' AND horizon = '1m', traded_median.sharpe, NULL)) OVER (PARTITION BY origin, replay)
    AS overall_sharpe_1month,
  MAX(IF(sliced_by = 'all' AND horizon = '3m', traded_median.sharpe, NULL)) OVER (PARTITION BY origin, replay)
    AS overall_sharpe_3month,
  MAX(IF(sliced_by = 'all' AND horizon = '6m', traded_median.sharpe, NULL)) OVER (PARTITION BY origin, replay)
    AS overall_sharpe_6month,
  MAX(IF(sliced_by = 'all' AND horizon = '12m', traded_median.sharpe, NULL)) OVER (PARTITION BY origin, replay)
    AS overall_sharpe_12month
FROM measured
LEFT JOIN traded_median USING (origin, replay, sliced_by, slice, horizon);

-- One forecast beside its outcome, newest first: what was said, what happened, and what no change would have said.
CREATE OR REPLACE VIEW api.vw_prediction_accuracy AS
SELECT
  origin,
  replay,
  as_of,
  horizon,
  {horizon_order} AS horizon_order,
  target_date,
  family,
  model_version,
  is_baseline,
  regime,
  last_price,
  p50 AS predicted_price,
  p10 AS lower_80,
  p90 AS upper_80,
  actual_price,
  error_cents_lb,
  100 * error_cents_lb / NULLIF(actual_price, 0) AS error_pct,
  100 * absolute_percentage_error AS absolute_error_pct,
  100 * no_change_absolute_percentage_error AS no_change_absolute_error_pct,
  pinball_log_return,
  inside_50,
  inside_80,
  inside_90,
  direction_probability,
  direction_hit,
  published_at,
  published_late
FROM performance.forecast_outcomes
WHERE NOT superseded
ORDER BY as_of DESC, horizon_order;

-- The newest value of every series that is stored, its age on the newest session, and what the newest run said of its
-- source. A source without any value has one row without a series.
CREATE OR REPLACE VIEW api.vw_data_freshness AS
WITH newest AS (
  SELECT source, as_of, status, message, created_at
  FROM ops.ingest_runs
  WHERE TRUE  -- BigQuery wants a WHERE before QUALIFY
  QUALIFY ROW_NUMBER() OVER (PARTITION BY source ORDER BY as_of DESC, created_at DESC) = 1
),
stored AS (
  SELECT
    source,
    series,
    MIN(observation_date) AS first_observation,
    MAX(observation_date) AS last_observation,
    MAX(available_at) AS last_available_at,
    MAX(fetched_at) AS last_fetched_at,
    COUNT(*) AS observations
  FROM staging.observations
  GROUP BY source, series
)
SELECT
  COALESCE(stored.source, newest.source) AS source,
  stored.series,
  stored.first_observation,
  stored.last_observation,
  DATE_DIFF((SELECT MAX(as_of) FROM ops.ingest_runs), stored.last_observation, DAY) AS age_days,
  stored.last_available_at,
  stored.last_fetched_at,
  stored.observations,
  newest.status,
  newest.message,
  newest.as_of AS status_as_of,
  newest.created_at AS status_at
FROM newest
FULL OUTER JOIN stored ON stored.source = newest.source
ORDER BY source, series;

-- By the name older readers know: FRED's series in their newest vintage, one row per series and date.
CREATE OR REPLACE VIEW raw_intelligence.fred_economic_data AS
SELECT
  series AS series_id,
  observation_date AS date,
  value,
  unit,
  available_at AS released_at,
  fetched_at,
  vintage
FROM staging.observations
WHERE source = 'fred' AND field = 'value'
QUALIFY ROW_NUMBER() OVER (PARTITION BY series, observation_date ORDER BY vintage DESC) = 1;

-- By the name older readers know: daily bars, one row per symbol and date. `source` says whose they are: Databento's
-- where it is subscribed, else Yahoo's of the continuous contract; each under its own symbol, never mixed in one.
CREATE OR REPLACE VIEW market_data.databento_futures_ohlcv_1d AS
WITH bars AS (
  SELECT source, series, observation_date, field, value
  FROM staging.observations
  WHERE source = 'databento' OR (source = 'yahoo' AND ENDS_WITH(series, '=F'))
  QUALIFY ROW_NUMBER() OVER (PARTITION BY source, series, observation_date, field ORDER BY vintage DESC) = 1
)
SELECT
  observation_date AS date,
  series AS symbol,
  MAX(IF(field = 'open', value, NULL)) AS open,
  MAX(IF(field = 'high', value, NULL)) AS high,
  MAX(IF(field = 'low', value, NULL)) AS low,
  MAX(IF(field = 'close', value, NULL)) AS close,
  MAX(IF(field = 'volume', value, NULL)) AS volume,
  source
FROM bars
GROUP BY source, series, observation_date;
