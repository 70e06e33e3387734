"""Prune and verify a model store: which versions nobody needs any more, and whether the rest is what was stored."""

from __future__ import annotations

import pandas as pd

from tasks.errors import ModelStoreError
from tasks.model_store.administration import all_versions
from tasks.model_store.champions import current_champions, digest_of, in_order, name_of, tenures
from tasks.model_store.protocol import ModelStore, Version
from tasks.models.catalogue import BASELINES
from tasks.registry import Horizons

FOREVER = pd.Timestamp.max.normalize()


def plan_prune(store: ModelStore, horizons: Horizons, *, last: int) -> pd.DataFrame:
    """One row per version: ``version, trained_as_of, bytes``, and in ``keep`` why it stays; empty if it may go.

    Kept are: champions and whatever the last ``last`` entries of a horizon's history name; versions that a run as of
    any earlier session would serve, and the baselines that would stand in there; versions in shadow, or that were; all
    rivals of a current champion; and the newest version of each family and horizon, whose number is never given again.
    """
    history, versions = store.history(), all_versions(store, horizons)
    champions, in_shadow = current_champions(history), {str(one["version"]) for one in store.shadows()}
    served = {name: tenures(history, name, FOREVER) for name in horizons.horizons}
    recent = {name_of(entry) for name in horizons.horizons for entry in in_order(history, name, FOREVER)[-last:]}
    replays = {name_of(entry) for entries in served.values() for entry in entries}
    runs = {(name, entry["run"]) for name, entries in served.items() for entry in entries}
    newest: dict[tuple[str, str], Version] = {(one.family, one.horizon): one for one in versions}
    rows = []
    for version in versions:
        run = (version.horizon, str(version.metadata.get("run")))
        champion = champions.get(version.horizon)
        reasons = {
            "champion": champion is not None and name_of(champion) == version.name,
            f"named in the last {last} promotions": version.name in recent,
            "serves replays of earlier sessions": version.name in replays,
            "stands in for a champion in replays": version.family in BASELINES and run in runs,
            "in shadow, or was": version.name in in_shadow,
            "rival of the champion": champion is not None and champion["run"] == run[1],
            "newest of its family": newest[version.family, version.horizon] == version,
        }
        keep = next((why for why, holds in reasons.items() if holds), "")
        rows.append(
            {
                "version": version.name,
                "trained_as_of": f"{version.trained_as_of:%Y-%m-%d}",
                "bytes": sum(store.sizes(version).values()),
                "keep": keep,
            }
        )
    return pd.DataFrame(rows, columns=["version", "trained_as_of", "bytes", "keep"])


def prune(store: ModelStore, horizons: Horizons, *, last: int) -> pd.DataFrame:
    """Delete the versions that nobody needs, and return the plan by which it was done. A killed run is repeated.

    Call it under the lock ``models``: a training that promotes meanwhile could need one of them.
    """
    plan = plan_prune(store, horizons, last=last)
    going = set(plan.loc[plan["keep"] == "", "version"])
    for version in all_versions(store, horizons):
        if version.name in going:
            store.delete(version)
    return plan


def verify(store: ModelStore, horizons: Horizons) -> pd.DataFrame:
    """One row per version and per promotion of a lost one: ``version, state``. Reads every byte where it is stored.

    ``state`` is ``ok``, or names what is altered or gone.
    """
    versions = {version.name: version for version in all_versions(store, horizons)}
    states = {}
    for name, version in versions.items():
        try:
            altered = store.altered(version)
        except ModelStoreError as error:
            states[name] = str(error)
            continue
        states[name] = f"altered or gone: {', '.join(altered)}" if altered else "ok"
    needed = {name_of(entry): entry for name in horizons.horizons for entry in tenures(store.history(), name, FOREVER)}
    for name, entry in needed.items():
        if name not in versions:
            states[name] = "was promoted and is gone: restore it from a backup, or run `cbi train`"
        elif entry.get("metadata", digest_of(versions[name])) != digest_of(versions[name]):
            states[name] = "is not the version that was promoted: its metadata.json was altered, or it was replaced"
    return pd.DataFrame(sorted(states.items()), columns=["version", "state"])
