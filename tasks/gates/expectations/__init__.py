"""Our own expectations, for checks that Great Expectations does not have. Importing this package registers them.

Each checks the whole frame, vectorised, and reports how many cells, rows or columns fail, with three examples and their
keys. Importing takes seconds, so only tasks/gates/suites.py imports it, inside a function.
"""

from tasks.gates.expectations import columns, dates, series, targets

__all__ = ["columns", "dates", "series", "targets"]
