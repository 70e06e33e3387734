"""Units that more than one module converts by."""

LB_PER_TONNE = 2204.62
LB_PER_SHORT_TON = 2000.0


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign; what rounds to nought has none: +1.20, -0.05, 0.00."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"
