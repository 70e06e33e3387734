-- One row a day: the regime it fell in, and what a training row of that day weighs.
CREATE OR REPLACE VIEW training.regime_lookup AS
SELECT day AS date, regime, training_weight
FROM training.regime_calendar, UNNEST(GENERATE_DATE_ARRAY(start_date, COALESCE(end_date, CURRENT_DATE()))) AS day;
