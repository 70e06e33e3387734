-- Why a forecast is what it is, what changed, what if, and signals by the names that older readers know.

-- The reasons of every forecast in words.
CREATE OR REPLACE VIEW api.vw_explanations AS
SELECT as_of, horizon, {horizon_order} AS horizon_order, model_version, centre_sentence, width_sentence
FROM forecasts.zl_explanations_daily
ORDER BY as_of DESC, horizon_order;

-- What moved the newest forecast since the session before, cents/lb; the rows of a horizon add up to both moves.
CREATE OR REPLACE VIEW api.vw_changes AS
SELECT
  as_of, horizon, {horizon_order} AS horizon_order, since, part,
  CASE part
    WHEN 'revision' THEN 1 WHEN 'price' THEN 2 WHEN 'curve' THEN 3 WHEN 'data' THEN 4 WHEN 'model' THEN 5
    WHEN 'calibration' THEN 6 ELSE 7
  END AS part_order,
  subject, centre_cents_lb, width_cents_lb, note
FROM forecasts.zl_changes_daily
WHERE as_of = (SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily)
ORDER BY horizon_order, part_order, ABS(centre_cents_lb) DESC, subject;

-- The scenarios of the newest session.
CREATE OR REPLACE VIEW api.vw_scenarios AS
SELECT
  as_of, scenario, title, story, episode_first, episode_last, magnitudes,
  horizon, {horizon_order} AS horizon_order,
  last_price, scenario_price, centre, scenario_centre, centre_change_cents_lb, beyond_price_cents_lb,
  scenario_p10, scenario_p90, width_cents_lb, scenario_width_cents_lb, width_change_pct,
  overrides, overrides_before, regime, regime_before,
  analogues, analogue_median_pct, analogue_low_pct, analogue_high_pct, analogue_up_share, analogue_outcomes,
  model_version, note
FROM forecasts.zl_scenarios_daily
WHERE as_of = (SELECT MAX(as_of) FROM forecasts.zl_forecasts_daily)
ORDER BY scenario, horizon_order;

-- Every document with what it says of each theme, the newest first. A document without a phrase of a theme has no
-- score. One wording of one document is one row per theme, whatever its topics.
CREATE OR REPLACE VIEW api.vw_news AS
SELECT
  d.source, d.document_id, d.published, d.available_at, d.topics, d.title, d.abstract, d.publisher, d.url,
  s.theme, s.score, s.scorer
FROM (
  SELECT
    source, document_id, available_at,
    MIN(published) AS published,
    STRING_AGG(DISTINCT series, ', ' ORDER BY series) AS topics,
    MIN(title) AS title, MIN(abstract) AS abstract, MIN(publisher) AS publisher, MIN(url) AS url
  FROM raw_intelligence.documents
  GROUP BY source, document_id, available_at
) AS d
LEFT JOIN raw_intelligence.document_scores AS s
  ON s.source = d.source AND s.document_id = d.document_id AND s.available_at = d.available_at
ORDER BY d.available_at DESC, d.document_id, s.theme;

-- The Big 8 of the newest session. It says how unusual the market is, never where the price goes.
-- Light, by the composite: red from 0.63 (a tenth of the sessions of 2010-2018), yellow from 0.58 (a fifth), else green;
-- unknown where fewer than five of the eight signals are known.
CREATE OR REPLACE VIEW api.vw_big8_composite_signal AS
SELECT
  date AS as_of,
  big8_composite,
  CASE
    WHEN big8_composite IS NULL THEN 'unknown'
    WHEN big8_composite >= 0.63 THEN 'red'
    WHEN big8_composite >= 0.58 THEN 'yellow'
    ELSE 'green'
  END AS light,
  big8_coverage,
  crisis_intensity_score,
  master_regime_classification,
  big8_vix_stress, big8_harvest_pace, big8_china_relations, big8_tariff_threat,
  big8_geopolitical_volatility, big8_biofuel_cascade, big8_hidden_correlation, big8_biofuel_margin
FROM features.zl_daily_v1
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (ORDER BY date DESC) = 1;

-- The newest forecast as a signal, one row per horizon, with the figures that its model reached on past origins.
-- signal: up or down where the forecast has a published chance of a higher price, by the side of one half that it is on;
-- else neutral. So it never contradicts the forecast.
-- Light: red if the forecast is degraded or its model is not measured; yellow if it is neutral, a baseline, or its chance
-- is within 5 points of one half; else green.
CREATE OR REPLACE VIEW api.vw_ultimate_adaptive_signal AS
SELECT
  f.as_of,
  f.horizon,
  f.horizon_order,
  f.target_date,
  f.last_price,
  f.point AS predicted_price,
  f.expected_change_pct,
  f.direction_probability,
  CASE
    WHEN f.direction_probability IS NULL OR f.direction_probability = 0.5 THEN 'neutral'
    WHEN f.direction_probability > 0.5 THEN 'up'
    ELSE 'down'
  END AS signal,
  CASE
    WHEN f.degraded OR m.mape_pct IS NULL THEN 'red'
    WHEN f.direction_probability IS NULL OR f.is_baseline OR ABS(f.direction_probability - 0.5) < 0.05 THEN 'yellow'
    ELSE 'green'
  END AS light,
  f.direction_reason,
  m.mape_pct,
  m.sharpe,
  m.direction_hit_rate,
  m.skill_pct,
  m.coverage_80,
  m.first_origin AS measured_from,
  m.last_origin AS measured_to,
  f.regime,
  f.model_version,
  f.degraded,
  f.degraded_reason
FROM api.vw_latest_forecast AS f
LEFT JOIN (
  SELECT *
  FROM performance.leaderboard
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY horizon, model_version ORDER BY trained_as_of DESC, created_at DESC, run) = 1
) AS m
  ON m.horizon = f.horizon AND m.model_version = f.model_version
ORDER BY f.horizon_order;
