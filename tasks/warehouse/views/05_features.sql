-- Parts of the feature table by subject. `{correlations}` and its like are the features of tasks/features/sql/*.sql.

-- How ZL has moved with other markets.
CREATE OR REPLACE VIEW features.zl_correlations AS
SELECT date, {correlations}
FROM features.zl_daily_v1;

-- ZL against its own averages: simple ones in SQL, the others by TA-Lib.
CREATE OR REPLACE VIEW features.zl_moving_averages AS
SELECT
  date,
  {moving_averages},
  zl_ema_ratio_12d,
  zl_ema_ratio_26d,
  zl_ema_ratio_100d,
  zl_wma_ratio_21d,
  zl_dema_ratio_21d,
  zl_tema_ratio_21d,
  zl_trima_ratio_21d,
  zl_kama_ratio_30d,
  zl_t3_ratio_10d,
  zl_ht_trendline_ratio
FROM features.zl_daily_v1;

-- Regimes from thresholds, the classifier's probabilities, and the regime that the Big 8 name.
CREATE OR REPLACE VIEW features.zl_regimes AS
SELECT
  date,
  {regimes},
  regime_prob_calm,
  regime_prob_tense,
  regime_prob_crisis,
  regime_stability_63d,
  regime_refit_agreement,
  master_regime_classification,
  crisis_intensity_score
FROM features.zl_daily_v1;
