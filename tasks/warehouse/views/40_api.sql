-- What a dashboard reads.

-- The newest session's forecast, one row per horizon. Where two model versions forecast it, the data that was read last
-- counts; on the same data a sound forecast stands before a degraded one (a champion that was damaged and is mended).
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
    *,
    FIRST_VALUE(data_snapshot) OVER (PARTITION BY as_of, horizon ORDER BY created_at DESC, model_version DESC)
      AS newest_snapshot
  FROM forecasts.zl_forecasts_daily
) AS told
WHERE as_of = (SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily)
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY horizon
  ORDER BY IF(data_snapshot = newest_snapshot, 0, 1), degraded, created_at DESC, is_baseline, model_version DESC
) = 1
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

-- Every session's forecast by the names older readers know.
CREATE OR REPLACE VIEW predictions.zl_predictions AS
SELECT as_of AS date, horizon, point AS predicted_price, confidence
FROM (
  SELECT
    *,
    FIRST_VALUE(data_snapshot) OVER (PARTITION BY as_of, horizon ORDER BY created_at DESC, model_version DESC)
      AS newest_snapshot
  FROM forecasts.zl_forecasts_daily
) AS told
WHERE TRUE  -- BigQuery wants a WHERE before QUALIFY
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY as_of, horizon
  ORDER BY IF(data_snapshot = newest_snapshot, 0, 1), degraded, created_at DESC, is_baseline, model_version DESC
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

-- Every alert, newest first. Current: raised on the session of the newest forecast, or since.
CREATE OR REPLACE VIEW api.vw_alerts AS
SELECT
  as_of, level, kind, subject, message, created_at,
  as_of >= COALESCE((SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily), as_of) AS is_current
FROM ops.alerts
ORDER BY as_of DESC, kind, subject;
