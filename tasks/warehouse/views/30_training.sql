-- Feature rows that at least the nearest horizon can be trained on.
CREATE OR REPLACE VIEW training.vw_training_features_ready AS
SELECT f.*
FROM features.zl_daily_v1 AS f
JOIN training.zl_training_prod_allhistory_1w AS t ON t.date = f.date
WHERE t.target_log_return IS NOT NULL;
