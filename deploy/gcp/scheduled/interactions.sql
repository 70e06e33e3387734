-- refreshed.zl_interactions: the features of tasks/features/sql/interactions.sql, refreshed inside BigQuery.
-- Written by `cbi project scheduled-sql`: generated, never edited.
CREATE OR REPLACE TABLE `${PROJECT}`.`${PREFIX}refreshed`.zl_interactions
PARTITION BY DATE_TRUNC(date, YEAR)
OPTIONS (
  labels=[('app', 'cbi')]
) AS
SELECT
  date,
  oil_share_z_252d * cl_return_21d AS oil_share_z_x_cl_return_21d,
  boho_z_252d * ho_return_21d AS boho_z_x_ho_return_21d,
  zl_cl_correlation_63d * cl_return_5d AS cl_move_followed_5d,
  zl_cpo_beta_63d * cpo_return_5d AS cpo_move_followed_5d,
  brazil_harvest * brl_return_21d AS brazil_harvest_x_brl_return_21d,
  us_pod_fill * us_midwest_rain_30d_z AS pod_fill_x_midwest_rain_30d_z,
  board_crush_z_252d * wasde_us_soybeans_stocks_to_use_pct AS crush_z_x_us_soybeans_stocks_to_use,
  regime_risk_off * zl_return_21d AS risk_off_x_zl_return_21d,
  vix_z_252d * dxy_return_21d AS vix_z_x_dxy_return_21d,
  zl_return_63d / NULLIF(zl_volatility_63d_pct / 100 / 2, 0) AS zl_return_63d_per_volatility
FROM `${PROJECT}`.`${PREFIX}features`.zl_daily_v1 AS built;
