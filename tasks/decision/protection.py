"""What protection would cost by a model: a cap at the budget, and the floor that pays for it.

No option price of any exchange is read. Premiums are those of Black (1976) with the volatility of the forecast's own
80% band, so that they are as wide as the forecast, no more and no less.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

NORMAL_80 = 2 * NormalDist().inv_cdf(0.9)
"""Standard deviations within the 80% band of a normal distribution."""
STEPS = 80


@dataclass(frozen=True)
class Protection:
    """Premium of a cap per pound, paid today, and the floor of a collar that costs nothing (missing: there is none)."""

    cap_cents_lb: float
    collar_floor_cents_lb: float


def black_76(forward: float, strike: float, deviation: float, discount: float) -> tuple[float, float]:
    """Prices of a call and a put on a forward (Black 1976), today.

    Args:
        deviation: standard deviation of the log price at expiry. discount: today's price of one at expiry.
    """
    normal = NormalDist().cdf
    if deviation <= 0 or strike <= 0:
        call = max(forward - strike, 0.0)
    else:
        upper = np.log(forward / strike) / deviation + deviation / 2
        call = forward * normal(upper) - strike * normal(upper - deviation)
    return discount * call, discount * (call - forward + strike)


def protection(
    forward: float, p10: float, p90: float, *, strike: float, financing_pct_year: float, years: float
) -> Protection:
    """Model prices for one month.

    Args:
        forward: the price that can be fixed for the month, or the forecast's mean, without the basis; p10, p90: of the
            forecast at the month. strike: the budget without the basis. All in cents/lb.
    """
    if not np.isfinite([forward, p10, p90]).all() or strike <= 0:
        return Protection(np.nan, np.nan)
    deviation = float(np.log(p90 / p10) / NORMAL_80)
    discount = 1 / (1 + financing_pct_year / 100 * years)
    cap, put_at_cap = black_76(forward, strike, deviation, discount)
    if put_at_cap < cap or cap <= 0:
        return Protection(cap, np.nan)  # the budget is below the market: no floor below it pays for the cap
    low, high = 0.0, strike
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if black_76(forward, middle, deviation, discount)[1] < cap else (low, middle)
    return Protection(cap, high)
