"""The tests (docs/tests.md). What this sets is set before numpy or torch is imported."""

import os

# Two test processes share two cores: threads of one that wait for the other's core cost more than they give.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
