-- What a dashboard reads.

-- The champion of each session that was forecast, and who promoted it: a training or a person, and why.
CREATE OR REPLACE VIEW api.vw_champions AS
SELECT as_of, horizon, model_version, counts_from, promoted_by, forced, rolled_back, reason
FROM (
  SELECT
    f.as_of, f.horizon, p.model_version, p.counts_from, p.promoted_by, p.forced, p.rolled_back, p.reason,
    ROW_NUMBER() OVER (
      PARTITION BY f.as_of, f.horizon ORDER BY p.counts_from DESC, p.created_at DESC, p.position DESC
    ) AS newest
  FROM (SELECT DISTINCT as_of, horizon FROM forecasts.zl_forecasts_daily) AS f
  JOIN performance.promotions AS p
    ON p.horizon = f.horizon AND p.counts_from <= f.as_of AND p.trained_as_of <= f.as_of
) AS counted
WHERE newest = 1;

-- The newest session's forecast, one row per horizon. Where two model versions forecast it, the data that was read last
-- counts; on the same data the champion stands first (it was promoted, or returned to, after another had forecast), and
-- a sound forecast before a degraded one (a champion that was damaged and is mended).
CREATE OR REPLACE VIEW api.vw_latest_forecast AS
SELECT
  as_of,
  horizon,
  {horizon_order} AS horizon_order,
  target_date,
  last_price,
  contract,
  roll_date,
  target_contract,
  curve_centre,
  centre_source,
  point,
  100 * (point / NULLIF(last_price, 0) - 1) AS expected_change_pct,
  p05, p10, p25, p50, p75, p90, p95,
  p10 AS lower_80,
  p90 AS upper_80,
  direction_probability,
  direction_reason,
  family,
  model_version,
  is_baseline,
  degraded,
  degraded_reason,
  regime,
  conviction,
  confidence,
  origin,
  data_snapshot,
  code_version,
  created_at
FROM (
  SELECT
    f.*,
    COALESCE(f.model_version = c.model_version, FALSE) AS is_champion,
    FIRST_VALUE(f.data_snapshot) OVER (PARTITION BY f.as_of, f.horizon ORDER BY f.created_at DESC, f.model_version DESC)
      AS newest_snapshot
  FROM forecasts.zl_forecasts_daily AS f
  LEFT JOIN api.vw_champions AS c ON c.as_of = f.as_of AND c.horizon = f.horizon
) AS published
WHERE as_of = (SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily)
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY horizon
  ORDER BY
    IF(data_snapshot = newest_snapshot, 0, 1), IF(is_champion, 0, 1), degraded, created_at DESC, is_baseline,
    model_version DESC
) = 1
ORDER BY horizon_order;

-- The same in 80 columns, for a terminal. Cents/lb; p_up: the chance of a higher price, where one is published.
CREATE OR REPLACE VIEW api.vw_latest_forecast_short AS
SELECT
  horizon,
  target_date AS due,
  ROUND(last_price, 2) AS price,
  ROUND(point, 2) AS forecast,
  ROUND(p10, 2) AS low_80,
  ROUND(p90, 2) AS high_80,
  ROUND(direction_probability, 2) AS p_up,
  NOT degraded AS sound
FROM api.vw_latest_forecast
ORDER BY horizon_order;

-- The newest session's contracts: what each costs now, and the band of its price, one row per contract and horizon.
CREATE OR REPLACE VIEW api.vw_curve AS
SELECT
  as_of,
  contract,
  horizon,
  target_date,
  last_trading_day,
  DATE_DIFF(last_trading_day, as_of, DAY) AS days_to_last_trading_day,
  price_date,
  last_price,
  p05, p10, p25, p50, p75, p90, p95,
  p10 AS lower_80,
  p90 AS upper_80,
  direction_probability,
  origin,
  created_at
FROM forecasts.zl_contracts_daily
WHERE as_of = (SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily)
ORDER BY last_trading_day, target_date;

-- The newest session's decisions: per need, one row per month and one of all months together, which comes first.
CREATE OR REPLACE VIEW api.vw_decision AS
SELECT
  as_of,
  need,
  month,
  is_example,
  IF(is_example, 'example need: edit registry/decision.yaml', NULL) AS note,
  due_date,
  contract,
  pounds,
  open_pounds,
  unit,
  now_source,
  now_cents_lb,
  wait_p10_cents_lb,
  wait_p50_cents_lb,
  wait_p90_cents_lb,
  now_cents_lb * unit_per_cent_lb AS now_price,
  wait_p10_cents_lb * unit_per_cent_lb AS wait_lower_80,
  wait_p50_cents_lb * unit_per_cent_lb AS wait_median,
  wait_p90_cents_lb * unit_per_cent_lb AS wait_upper_80,
  budget_cents_lb * unit_per_cent_lb AS budget_price,
  curve_price_date,
  now_usd,
  wait_mean_usd,
  wait_p10_usd,
  wait_p90_usd,
  wait_shortfall_usd,
  budget_usd,
  chance_waiting_cheaper,
  weighted_chance,
  chance_over_budget,
  signal,
  share_now,
  pounds_now,
  plan,
  cap_cents_lb * unit_per_cent_lb AS model_cap_price,
  cap_usd AS model_cap_usd,
  collar_floor_cents_lb * unit_per_cent_lb AS model_collar_floor_price,
  reason,
  origin,
  created_at
FROM forecasts.zl_decisions_daily
WHERE as_of = (SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily)
ORDER BY need, IF(month = 'all', 0, 1), month;

-- Every session's forecast by the names older readers know.
CREATE OR REPLACE VIEW predictions.zl_predictions AS
SELECT as_of AS date, horizon, point AS predicted_price, confidence
FROM (
  SELECT
    f.*,
    COALESCE(f.model_version = c.model_version, FALSE) AS is_champion,
    FIRST_VALUE(f.data_snapshot) OVER (PARTITION BY f.as_of, f.horizon ORDER BY f.created_at DESC, f.model_version DESC)
      AS newest_snapshot
  FROM forecasts.zl_forecasts_daily AS f
  LEFT JOIN api.vw_champions AS c ON c.as_of = f.as_of AND c.horizon = f.horizon
) AS published
WHERE TRUE  -- BigQuery wants a WHERE before QUALIFY
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY as_of, horizon
  ORDER BY
    IF(data_snapshot = newest_snapshot, 0, 1), IF(is_champion, 0, 1), degraded, created_at DESC, is_baseline,
    model_version DESC
) = 1;

-- Cents per pound that each group of features adds to the centre (less the last price) and to the width of the band.
CREATE OR REPLACE VIEW api.vw_explainer_groups AS
SELECT
  as_of, horizon, `group`,
  SUM(shap_cents_lb) AS shap_cents_lb,
  SUM(width_cents_lb) AS width_cents_lb,
  served, family
FROM forecasts.zl_explainers_daily
GROUP BY as_of, horizon, `group`, served, family;

-- Every alert that is open, the newest first: its newest event, and since when.
CREATE OR REPLACE VIEW api.vw_open_alerts AS
SELECT
  level, kind, subject, message, as_of, since, event AS state, `by`, note, created_at
FROM (
  SELECT
    *,
    MIN(IF(number > closed, as_of, NULL)) OVER (PARTITION BY kind, subject) AS since,
    ROW_NUMBER() OVER (PARTITION BY kind, subject ORDER BY number DESC) AS newest
  FROM (
    SELECT
      e.*,
      COALESCE(MAX(IF(event = 'resolved', number, NULL)) OVER (PARTITION BY kind, subject), 0) AS closed
    FROM ops.alert_events AS e
  ) AS with_closed
) AS ranked
WHERE newest = 1 AND event != 'resolved'
ORDER BY as_of DESC, kind, subject;

-- Every alert, newest first. Current: raised on the session of the newest forecast, or since.
CREATE OR REPLACE VIEW api.vw_alerts AS
SELECT
  as_of, level, kind, subject, message, created_at,
  as_of >= COALESCE((SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily), as_of) AS is_current
FROM ops.alerts
ORDER BY as_of DESC, kind, subject;
