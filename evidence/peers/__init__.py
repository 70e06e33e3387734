"""Other forecasting libraries on the product's own folds, in their own environment (`make bench-peers`).

The product's side writes plain parquet and JSON (``exchange``), each contender runs in its own process (``run``
inside the peers' environment, ``ours`` inside the product's), and all are measured by the same metrics (``report``).
"""
