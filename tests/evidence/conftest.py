"""`evidence` is no installed package: it is found from the project's folder, however pytest was started."""

from __future__ import annotations

import sys

from tasks.settings import PROJECT

sys.path.insert(0, str(PROJECT))
