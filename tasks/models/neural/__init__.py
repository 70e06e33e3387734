"""Neural families: 252 sessions of many columns in, quantiles of every horizon out.

The one side effect of importing this package: what torch reads when it is imported is set before that. Every module
here imports torch, so nothing outside a training or forecasting process may import it.
"""

import os

os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # an operation MPS lacks runs on the CPU instead of failing
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses deterministic algorithms
