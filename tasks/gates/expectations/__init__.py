"""Expectations of our own, for what Great Expectations has none. Importing this package registers them.

Each looks at the whole frame, vectorised, and reports how many cells, rows or columns are at fault with three examples
that carry their key. Importing takes seconds, so only tasks/gates/suites.py imports it, inside a function.
"""

from tasks.gates.expectations import columns, dates, series, targets

__all__ = ["columns", "dates", "series", "targets"]
