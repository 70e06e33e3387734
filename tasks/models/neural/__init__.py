"""Neural families: 252 sessions of many columns in, quantiles of every horizon out.

Importing this package has one side effect: it sets the variables that torch reads at import. Every module here
imports torch, so only a training or forecasting process may import it.
"""

import os

os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # an operation that MPS lacks runs on the CPU
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses deterministic algorithms
