-- refreshed.zl_correlations: the features of tasks/features/sql/correlations.sql, refreshed inside BigQuery.
-- Written by `cbi project scheduled-sql`: generated, never edited.
CREATE OR REPLACE TABLE `${PROJECT}`.`${PREFIX}refreshed`.zl_correlations
PARTITION BY DATE_TRUNC(date, YEAR)
OPTIONS (
  labels=[('app', 'cbi')]
) AS
WITH prices AS (
  SELECT
    p.date,
    m.market,
    m.age,
    LN(IF(p.zl_roll_free > 0, p.zl_roll_free, NULL)) AS zl,
    LN(IF(m.price > 0, m.price, NULL)) AS price
  FROM `${PROJECT}`.`${PREFIX}features`.zl_panel_daily_v1 AS p
  CROSS JOIN UNNEST([
    STRUCT('zs' AS market, p.zs_last AS price, 0.0 AS age),
    STRUCT('zm' AS market, p.zm_last AS price, 0.0 AS age),
    STRUCT('zc' AS market, p.zc_last AS price, 0.0 AS age),
    STRUCT('cl' AS market, p.cl_last AS price, 0.0 AS age),
    STRUCT('ho' AS market, p.ho_last AS price, 0.0 AS age),
    STRUCT('cpo' AS market, p.cpo_last AS price, 0.0 AS age),
    STRUCT('gc' AS market, p.gc_last AS price, 0.0 AS age),
    STRUCT('hg' AS market, p.hg_last AS price, 0.0 AS age),
    STRUCT('sp500' AS market, p.sp500_last AS price, 0.0 AS age),
    STRUCT('brl' AS market, p.brl_last AS price, 0.0 AS age),
    STRUCT('myr' AS market, p.myr_last AS price, 0.0 AS age),
    STRUCT('dxy' AS market, p.dxy_last AS price, 0.0 AS age),
    STRUCT(
      'dalian_soyoil' AS market,
      p.dalian_soyoil_cny_t AS price,
      p.dalian_soyoil_cny_t__age_days AS age
    ),
    STRUCT(
      'dalian_palm' AS market,
      p.dalian_palm_cny_t AS price,
      p.dalian_palm_cny_t__age_days AS age
    ),
    STRUCT('cpo_own_bars' AS market, p.cpo_last AS price, p.cpo_last__age_days AS age)
  ]) AS m
), returns AS (
  SELECT
    date,
    market,
    IF(
      market IN ('brl', 'myr'),
      LAG(zl) OVER session - LAG(zl, 2) OVER session,
      zl - LAG(zl) OVER session
    ) AS x,
    IF(age = 0, price - LAG(price) OVER session, NULL) AS y
  FROM prices
  WINDOW session AS (PARTITION BY market ORDER BY date)
), paired AS (
  SELECT
    date,
    market,
    x,
    y
  FROM returns
  UNION ALL
  SELECT
    date,
    CONCAT('after_', market) AS market,
    x,
    LAG(y) OVER (PARTITION BY market ORDER BY date) AS y
  FROM returns
  WHERE
    market IN ('dalian_soyoil', 'dalian_palm', 'cpo_own_bars')
), terms AS (
  SELECT
    date,
    market,
    CAST(ROUND(IF(y IS NULL, NULL, x) * 1e16) AS INT64) AS x,
    CAST(ROUND(IF(x IS NULL, NULL, y) * 1e16) AS INT64) AS y,
    CAST(ROUND(x * y * 1e16) AS INT64) AS xy,
    CAST(ROUND(IF(y IS NULL, NULL, x * x) * 1e16) AS INT64) AS xx,
    CAST(ROUND(IF(x IS NULL, NULL, y * y) * 1e16) AS INT64) AS yy
  FROM paired
), sums AS (
  SELECT
    date,
    market,
    63 AS sessions,
    COUNT(xy) OVER quarter AS n,
    SUM(x) OVER quarter AS x,
    SUM(y) OVER quarter AS y,
    SUM(xy) OVER quarter AS xy,
    SUM(xx) OVER quarter AS xx,
    SUM(yy) OVER quarter AS yy
  FROM terms
  WINDOW quarter AS (PARTITION BY market ORDER BY date ROWS BETWEEN 62 PRECEDING AND CURRENT ROW)
  UNION ALL
  SELECT
    date,
    market,
    252 AS sessions,
    COUNT(xy) OVER whole_year AS n,
    SUM(x) OVER whole_year AS x,
    SUM(y) OVER whole_year AS y,
    SUM(xy) OVER whole_year AS xy,
    SUM(xx) OVER whole_year AS xx,
    SUM(yy) OVER whole_year AS yy
  FROM terms
  WHERE
    market IN ('cl', 'dalian_soyoil', 'dalian_palm')
  WINDOW whole_year AS (PARTITION BY market ORDER BY date ROWS BETWEEN 251 PRECEDING AND CURRENT ROW)
), moments AS (
  SELECT
    date,
    market,
    sessions,
    xy / n / 1e16 - (
      x / n / 1e16
    ) * (
      y / n / 1e16
    ) AS covariance,
    xx / n / 1e16 - (
      x / n / 1e16
    ) * (
      x / n / 1e16
    ) AS variance_x,
    yy / n / 1e16 - (
      y / n / 1e16
    ) * (
      y / n / 1e16
    ) AS variance_y
  FROM sums
  WHERE
    3 * n >= 2 * sessions
), measured AS (
  SELECT
    date,
    market,
    sessions,
    LEAST(
      1.0,
      GREATEST(
        -1.0,
        covariance / IF(variance_x * variance_y > 1e-24, SQRT(variance_x * variance_y), NULL)
      )
    ) AS correlation,
    covariance / IF(variance_y > 1e-12, variance_y, NULL) AS beta
  FROM moments
)
SELECT
  panel.date,
  MAX(IF(market = 'zs' AND sessions = 63, correlation, NULL)) AS zl_zs_correlation_63d,
  MAX(IF(market = 'zm' AND sessions = 63, correlation, NULL)) AS zl_zm_correlation_63d,
  MAX(IF(market = 'zc' AND sessions = 63, correlation, NULL)) AS zl_zc_correlation_63d,
  MAX(IF(market = 'cl' AND sessions = 63, correlation, NULL)) AS zl_cl_correlation_63d,
  MAX(IF(market = 'ho' AND sessions = 63, correlation, NULL)) AS zl_ho_correlation_63d,
  MAX(IF(market = 'cpo' AND sessions = 63, correlation, NULL)) AS zl_cpo_correlation_63d,
  MAX(IF(market = 'gc' AND sessions = 63, correlation, NULL)) AS zl_gc_correlation_63d,
  MAX(IF(market = 'hg' AND sessions = 63, correlation, NULL)) AS zl_hg_correlation_63d,
  MAX(IF(market = 'sp500' AND sessions = 63, correlation, NULL)) AS zl_sp500_correlation_63d,
  MAX(IF(market = 'brl' AND sessions = 63, correlation, NULL)) AS zl_brl_correlation_63d,
  MAX(IF(market = 'myr' AND sessions = 63, correlation, NULL)) AS zl_myr_correlation_63d,
  MAX(IF(market = 'dxy' AND sessions = 63, correlation, NULL)) AS zl_dxy_correlation_63d,
  MAX(IF(market = 'cl' AND sessions = 252, correlation, NULL)) AS zl_cl_correlation_252d,
  MAX(IF(market = 'dalian_soyoil' AND sessions = 63, correlation, NULL)) AS zl_dalian_soyoil_correlation_63d,
  MAX(IF(market = 'dalian_soyoil' AND sessions = 252, correlation, NULL)) AS zl_dalian_soyoil_correlation_252d,
  MAX(IF(market = 'dalian_soyoil' AND sessions = 63, beta, NULL)) AS zl_dalian_soyoil_beta_63d,
  MAX(IF(market = 'after_dalian_soyoil' AND sessions = 63, correlation, NULL)) AS zl_after_dalian_soyoil_correlation_63d,
  MAX(IF(market = 'dalian_palm' AND sessions = 63, correlation, NULL)) AS zl_dalian_palm_correlation_63d,
  MAX(IF(market = 'dalian_palm' AND sessions = 252, correlation, NULL)) AS zl_dalian_palm_correlation_252d,
  MAX(IF(market = 'dalian_palm' AND sessions = 63, beta, NULL)) AS zl_dalian_palm_beta_63d,
  MAX(IF(market = 'after_dalian_palm' AND sessions = 63, correlation, NULL)) AS zl_after_dalian_palm_correlation_63d,
  MAX(IF(market = 'cpo_own_bars' AND sessions = 63, beta, NULL)) AS zl_cpo_beta_63d,
  MAX(IF(market = 'after_cpo_own_bars' AND sessions = 63, correlation, NULL)) AS zl_after_cpo_correlation_63d
FROM `${PROJECT}`.`${PREFIX}features`.zl_panel_daily_v1 AS panel
LEFT JOIN measured
  ON measured.date = panel.date
GROUP BY
  panel.date;
