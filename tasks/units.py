"""Units that more than one module converts by."""

LB_PER_TONNE = 2204.62
LB_PER_SHORT_TON = 2000.0
