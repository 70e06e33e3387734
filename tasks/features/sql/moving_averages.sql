-- ZL (without the steps of its rolls) against its simple moving averages, over the known closes: a session without a close is not in any average.
--
-- Sums are of whole numbers (1e-12 cents per pound), so that they are exact in any order.
WITH known AS (
  SELECT date, zl_roll_free AS close, CAST(ROUND(zl_roll_free * 1e12) AS INT64) AS fixed, ROW_NUMBER() OVER (ORDER BY date) AS n
  FROM panel
  WHERE zl_roll_free IS NOT NULL
),
averages AS (
  SELECT
    date,
    close,
    IF(n >= 10, SUM(fixed) OVER (ORDER BY date ROWS BETWEEN 9 PRECEDING AND CURRENT ROW), NULL) / 10 / 1e12 AS sma_10,
    IF(n >= 21, SUM(fixed) OVER (ORDER BY date ROWS BETWEEN 20 PRECEDING AND CURRENT ROW), NULL) / 21 / 1e12 AS sma_21,
    IF(n >= 50, SUM(fixed) OVER (ORDER BY date ROWS BETWEEN 49 PRECEDING AND CURRENT ROW), NULL) / 50 / 1e12 AS sma_50,
    IF(n >= 100, SUM(fixed) OVER (ORDER BY date ROWS BETWEEN 99 PRECEDING AND CURRENT ROW), NULL) / 100 / 1e12
      AS sma_100,
    IF(n >= 200, SUM(fixed) OVER (ORDER BY date ROWS BETWEEN 199 PRECEDING AND CURRENT ROW), NULL) / 200 / 1e12
      AS sma_200
  FROM known
)
SELECT
  panel.date,
  close / sma_10 - 1 AS zl_sma_ratio_10d,
  close / sma_21 - 1 AS zl_sma_ratio_21d,
  close / sma_50 - 1 AS zl_sma_ratio_50d,
  close / sma_100 - 1 AS zl_sma_ratio_100d,
  close / sma_200 - 1 AS zl_sma_ratio_200d,
  sma_50 / sma_200 - 1 AS zl_sma_cross_50_200
FROM panel
LEFT JOIN averages ON averages.date = panel.date
ORDER BY panel.date
