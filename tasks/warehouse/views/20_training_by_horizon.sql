-- Features and targets of one horizon. A row whose target is not known yet is for serving.
CREATE OR REPLACE VIEW training.vw_zl_{horizon}_v1 AS
SELECT *, IF(target_log_return IS NULL, 'serve', 'train') AS split
FROM training.zl_training_prod_allhistory_{horizon};
