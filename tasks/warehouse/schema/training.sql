-- Market regimes with dates known afterwards: for weights and slices, never a feature.
CREATE TABLE IF NOT EXISTS training.regime_calendar (
  regime STRING NOT NULL,
  start_date DATE,
  end_date DATE,
  training_weight FLOAT64,
  PRIMARY KEY (regime) NOT ENFORCED
)
OPTIONS (labels = [('made_again', 'yes')]);
