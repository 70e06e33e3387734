"""Forecasting libraries from outside on the product's own folds, in an environment of their own (`make bench-peers`).

The product's side writes plain parquet and JSON (``exchange``), each contender runs in a process of its own (``run``
inside the peers' environment, ``ours`` inside the product's), and all are judged by the same metrics (``report``).
"""
