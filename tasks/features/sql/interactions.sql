-- What matters only together with something else: products of features of the same session (`built`: the feature
-- table without these columns). Missing where either part is.
SELECT
  date,
  -- crude pulls the more, the dearer oil already is against meal
  oil_share_z_252d * cl_return_21d AS oil_share_z_x_cl_return_21d,
  -- biofuel's margin and what diesel does to it
  boho_z_252d * ho_return_21d AS boho_z_x_ho_return_21d,
  -- the crude move of the week as far as ZL has followed crude, and palm's in ZL's own log return
  zl_cl_correlation_63d * cl_return_5d AS cl_move_followed_5d,
  zl_cpo_beta_63d * cpo_return_5d AS cpo_move_followed_5d,
  -- a weaker real makes farmers sell while they harvest
  brazil_harvest * brl_return_21d AS brazil_harvest_x_brl_return_21d,
  -- rain counts while pods fill
  us_pod_fill * us_midwest_rain_30d_z AS pod_fill_x_midwest_rain_30d_z,
  -- a wide crush with few beans left
  board_crush_z_252d * wasde_us_soybeans_stocks_to_use_pct AS crush_z_x_us_soybeans_stocks_to_use,
  -- momentum in fear, and flight to the dollar
  regime_risk_off * zl_return_21d AS risk_off_x_zl_return_21d,
  vix_z_252d * dxy_return_21d AS vix_z_x_dxy_return_21d,
  -- momentum in its own standard deviations: those of a quarter of a year are half of those of a year
  zl_return_63d / NULLIF(zl_volatility_63d_pct / 100 / 2, 0) AS zl_return_63d_per_volatility
FROM built
ORDER BY date
