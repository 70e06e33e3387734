"""docs/data_dictionary.md says what the registry says."""

from __future__ import annotations

from tasks.registry import load_derived
from tasks.reporting.data_dictionary import PATH, render


def test_the_committed_dictionary_is_the_registrys(registry):
    told = PATH.read_text()
    made = render(registry.sources, load_derived(registry.folder, registry.sources), registry.features)
    assert told == made, "run `make docs` and commit the result"
    for spec in registry.sources.sources.values():
        named = [s for s, entry in spec.series.items() if f"| `{s}` | {entry.title}" in told]
        assert len(named) + sum(len(of.series(p, spec.contract_name)) for p, of in spec.contracts.items()) == len(
            spec.series
        )
