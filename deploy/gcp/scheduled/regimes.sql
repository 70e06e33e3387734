-- refreshed.zl_regimes: the features of tasks/features/sql/regimes.sql, refreshed inside BigQuery.
-- Written by `cbi project scheduled-sql`: generated, never edited.
CREATE OR REPLACE TABLE `${PROJECT}`.`${PREFIX}refreshed`.zl_regimes
PARTITION BY DATE_TRUNC(date, YEAR)
OPTIONS (
  labels=[('app', 'cbi')]
) AS
WITH returns AS (
  SELECT
    date,
    ROW_NUMBER() OVER session AS n,
    zl_roll_free AS close,
    vix_last AS vix,
    LN(IF(zl_roll_free > 0, zl_roll_free, NULL)) - LAG(LN(IF(zl_roll_free > 0, zl_roll_free, NULL))) OVER session AS x
  FROM `${PROJECT}`.`${PREFIX}features`.zl_panel_daily_v1 AS panel
  WINDOW session AS (ORDER BY date)
), sums AS (
  SELECT
    date,
    n,
    close,
    vix,
    COUNT(x) OVER quarter AS known,
    SUM(CAST(ROUND(x * 1e16) AS INT64)) OVER quarter AS x,
    SUM(CAST(ROUND(x * x * 1e16) AS INT64)) OVER quarter AS xx,
    COUNT(close) OVER trend AS closes,
    SUM(CAST(ROUND(close * 1e12) AS INT64)) OVER trend AS close_sum
  FROM returns
  WINDOW quarter AS (ORDER BY date ROWS BETWEEN 62 PRECEDING AND CURRENT ROW), trend AS (ORDER BY date ROWS BETWEEN 199 PRECEDING AND CURRENT ROW)
), measures AS (
  SELECT
    date,
    n,
    vix,
    IF(
      known >= 42,
      SQRT(
        GREATEST(0.0, xx / 1e16 - (
          x / 1e16
        ) * (
          x / 1e16
        ) / known) / (
          known - 1
        )
      ),
      NULL
    ) AS volatility,
    IF(closes >= 150, close / (
      close_sum / closes / 1e12
    ) - 1, NULL) AS trend
  FROM sums
), places AS (
  SELECT
    today.n,
    COUNT(past.volatility) AS volatilities,
    SUM(
      IF(
        past.volatility < today.volatility,
        2,
        IF(past.volatility = today.volatility, 1, NULL)
      )
    ) AS twice_calmer,
    COUNT(IF(today.n - past.n < 756, past.vix, NULL)) AS vixes,
    SUM(
      IF(
        today.n - past.n < 756,
        IF(past.vix < today.vix, 2, IF(past.vix = today.vix, 1, NULL)),
        NULL
      )
    ) AS twice_braver
  FROM measures AS today
  JOIN measures AS past
    ON past.n BETWEEN today.n - 1259 AND today.n
  GROUP BY
    today.n
), ranks AS (
  SELECT
    n,
    IF(volatilities >= 630, (
      twice_calmer + 1
    ) / 2 / volatilities, NULL) AS volatility_rank,
    IF(vixes >= 378, (
      twice_braver + 1
    ) / 2 / vixes, NULL) AS vix_rank
  FROM places
)
SELECT
  date,
  IF(volatility_rank IS NULL, NULL, IF(volatility_rank <= 0.33, 1.0, 0.0)) AS regime_calm,
  IF(volatility_rank IS NULL, NULL, IF(volatility_rank >= 0.8, 1.0, 0.0)) AS regime_stressed,
  IF(trend IS NULL, NULL, IF(trend > 0.05, 1.0, 0.0)) AS regime_uptrend,
  IF(trend IS NULL, NULL, IF(trend < -0.05, 1.0, 0.0)) AS regime_downtrend,
  IF(vix_rank IS NULL, NULL, IF(vix_rank >= 0.8, 1.0, 0.0)) AS regime_risk_off
FROM measures
JOIN ranks
  ON ranks.n = measures.n;
