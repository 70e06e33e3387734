"""docs/data_dictionary.md says what the registry says."""

from __future__ import annotations

from tasks.reporting.data_dictionary import PATH, render


def test_the_committed_dictionary_is_the_registrys(registry):
    told = PATH.read_text()
    assert told == render(registry.sources, registry.features), "run `make docs` and commit the result"
    for spec in registry.sources.sources.values():
        assert all(f"| `{series}` | {entry.title}" in told for series, entry in spec.series.items())
