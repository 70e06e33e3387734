"""Settings as a person finds them."""

from __future__ import annotations

import re

from tasks.settings import PROJECT, Settings


def test_the_example_file_names_every_setting_and_no_other() -> None:
    named = re.findall(r"^# (CBI_\w+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(f"CBI_{name.upper()}" for name in Settings.model_fields)
