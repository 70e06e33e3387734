"""What a person does with a model store: list, show, compare, promote, roll back, shadow. (upkeep.py: prune, verify.)

Functions over the protocol of a store; frames and plain values out. ``Judge`` is what decides whether a version may
become champion: the rule, the code of today, and the horizons.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from tasks import clock
from tasks.calendar import CHICAGO, sessions
from tasks.command_line import nearest
from tasks.errors import ModelStoreError, PromotionRefused
from tasks.evaluation.promotion import Audit, verdict
from tasks.model_store import shadows
from tasks.model_store.champions import (
    Entry,
    before_current,
    champion_by,
    counts_from,
    digest_of,
    is_persons,
    name_of,
    persons_entry,
    verified,
)
from tasks.model_store.contest import read_audit
from tasks.model_store.protocol import ModelStore, Version
from tasks.models.catalogue import BASELINE
from tasks.registry import Horizons, PromotionRule
from tasks.storage.hashes import fingerprint

FIGURES = (
    "served_gain_pct",
    "promotion_p_value",
    "skill_pct",
    "skill_pct_low",
    "skill_pct_high",
    "better_naive",
    "coverage_80",
    "origins",
)
LISTED = ["horizon", "version", "family", "trained_as_of", "age_sessions", "data_snapshot", "code_version"]
LISTED += [*FIGURES, "champion", "shadow", "why", "bytes"]
PROMOTIONS = ["horizon", "entry", "position", "model_version", "trained_as_of", "counts_from", "promoted_by"]
PROMOTIONS += ["promoted_at", "forced", "rolled_back", "reason", "run", "metadata"]


@dataclass(frozen=True)
class Judge:
    """What decides whether a version may become champion.

    ``partial_budgets``: budgets whose figures are of a few folds. ``objections``: reasons of checks outside the store,
    such as the pre-flight; any of them refuses every promotion.
    """

    rule: PromotionRule
    code_version: str
    horizons: Horizons
    partial_budgets: Collection[str] = ()
    objections: Sequence[str] = field(default=())

    def refusal(self, version: Version, audit: Audit | None) -> str:
        """Why the rule does not let a version become champion; empty if it does."""
        found = [verdict(version, version.metrics, self.rule, audit, code_version=self.code_version)]
        budget = str(version.metadata.get("budget", ""))
        if budget in self.partial_budgets:
            found.append(f"{version.name} was measured by budget {budget}, on a few folds only")
        return ". ".join(filter(None, found))


@dataclass(frozen=True)
class Promotion:
    """A person's promotion: the entry, the version that served before (empty: none), and what was overruled."""

    entry: Entry
    before: str
    objections: tuple[str, ...] = ()


def find(store: ModelStore, name: str, horizons: Horizons) -> Version:
    """The version of a name: family/horizon/v0001.

    Raises:
        ModelStoreError: there is none; the message names the nearest.
    """
    parts = name.split("/")
    if len(parts) == 3 and all(parts) and parts[1] in horizons.horizons:
        for version in store.versions(parts[0], parts[1]):
            if version.name == name:
                return version
    known = [version.name for version in all_versions(store, horizons)]
    raise ModelStoreError(
        f"{store.place} has no version {name!r}; a name is FAMILY/HORIZON/vNNNN, and `cbi models list` has them all."
        f"{nearest(name, known)}"
    )


def all_versions(store: ModelStore, horizons: Horizons) -> list[Version]:
    """Every complete version of the store, by horizon."""
    return [version for name in horizons.horizons for version in store.of_horizon(name)]


def list_versions(store: ModelStore, judge: Judge, as_of: pd.Timestamp, *, horizon: str | None = None) -> pd.DataFrame:
    """One row per version trained by ``as_of``: the champion of a horizon first, then the newest, then by skill.

    Columns ``LISTED``: age in sessions, skill in percent over the better naive with its 90% interval, coverage of the
    80% band as a share, size in bytes, and in ``why`` the reason why the version is champion or is not.
    """
    audit, history = read_audit(store), store.history()
    in_shadow = set(shadows.lasting(store.shadows(), as_of))
    rows = []
    for name in [horizon] if horizon else judge.horizons.horizons:
        champion = champion_by(history, name, as_of)
        for version in store.of_horizon(name):
            if version.trained_as_of > as_of:
                continue
            serves = is_champion(version, champion)
            rows.append(
                {
                    "horizon": name,
                    "version": version.name,
                    "family": version.family,
                    "trained_as_of": f"{version.trained_as_of:%Y-%m-%d}",
                    "age_sessions": len(sessions(version.trained_as_of, as_of)) - 1,
                    "data_snapshot": version.metadata.get("data_snapshot"),
                    "code_version": version.metadata.get("code_version"),
                    **{figure: version.metrics.get(figure) for figure in FIGURES},
                    "champion": serves,
                    "shadow": version.name in in_shadow,
                    "why": _why(version, champion, judge.refusal(version, audit), serves=serves),
                    "bytes": sum(store.sizes(version).values()),
                }
            )
    table = pd.DataFrame(rows, columns=LISTED)
    order = pd.DataFrame(
        {
            "horizon": table["horizon"].map(list(judge.horizons.horizons).index),
            "champion": ~table["champion"].astype(bool),
            "trained": -pd.to_datetime(table["trained_as_of"]).astype("int64"),
            "skill": -pd.to_numeric(table["skill_pct"], errors="coerce"),
        }
    )
    return table.loc[order.sort_values(["horizon", "champion", "trained", "skill"]).index].reset_index(drop=True)


def is_champion(version: Version, champion: Entry | None) -> bool:
    """Whether an entry of the history names this version, unaltered."""
    if champion is None or name_of(champion) != version.name:
        return False
    return champion.get("metadata", digest_of(version)) == digest_of(version)


def _why(version: Version, champion: Entry | None, refusal: str, *, serves: bool) -> str:
    if serves and champion is not None:
        return why_champion(champion)
    if champion is None:
        return refusal or "nothing is promoted at this horizon"
    if version.metadata.get("run") != champion["run"]:
        later = version.trained_as_of > pd.Timestamp(champion["trained_as_of"])
        return refusal or f"of {'a later' if later else 'an earlier'} training than {name_of(champion)}"
    if version.family == BASELINE:
        return f"the baseline: it serves where {name_of(champion)} cannot"
    if refusal:
        return refusal
    reason = "a person chose" if is_persons(champion) else "it met the rule, with less gain than"
    return f"{reason} {name_of(champion)}"


def why_champion(entry: Entry) -> str:
    """Why the version of an entry serves, in words."""
    if not is_persons(entry):
        if entry["family"] == BASELINE:
            return "the baseline: no family met the promotion rule"
        return "the highest gain of those that met the promotion rule"
    what = f"returned to it from {entry['rolled_back']}" if "rolled_back" in entry else "chose it"
    against = " against the promotion rule" if "forced" in entry else ""
    reason = f": {entry['reason']}" if entry.get("reason") else ""
    return f"a person {what} on {counts_from(entry):%Y-%m-%d}{against}{reason}"


def show_version(store: ModelStore, name: str, judge: Judge, as_of: pd.Timestamp) -> dict[str, Any]:
    """Everything that the store knows of one version: its row of the list, its inputs, figures, files and promotions.

    Raises:
        ModelStoreError: there is no such version.
    """
    version = find(store, name, judge.horizons)
    table = list_versions(store, judge, max(as_of, version.trained_as_of), horizon=version.horizon)
    [row] = table[table["version"] == version.name].to_dict("records")
    metadata = version.metadata
    return {
        **{str(column): value for column, value in row.items()},
        "refusal": judge.refusal(version, read_audit(store)),
        "budget": metadata.get("budget"),
        "run": metadata.get("run"),
        "identity": metadata.get("identity"),
        "metadata": digest_of(version),
        "inputs": len(metadata.get("columns") or []),
        "metrics": dict(version.metrics),
        "files": store.sizes(version),
        "promotions": [entry for entry in store.history() if name_of(entry) == version.name],
        "shadows": [one for one in store.shadows() if one["version"] == version.name],
    }


def compare_versions(store: ModelStore, first: str, second: str, horizons: Horizons) -> pd.DataFrame:
    """One row per measured figure of two versions of a horizon, and what differs between them.

    Figures are as measured at each one's training. The rows on ``shared origins`` are of the out-of-fold forecasts of
    both on the same origins: mean pinball loss of the log return, and the skill of the first over the second.

    Raises:
        ModelStoreError: one does not exist, or they are of two horizons.
    """
    one, other = find(store, first, horizons), find(store, second, horizons)
    if one.horizon != other.horizon:
        raise ModelStoreError(f"{first} and {second} are of two horizons, whose figures cannot be compared")
    facts = [
        ("trained_as_of", f"{one.trained_as_of:%Y-%m-%d}", f"{other.trained_as_of:%Y-%m-%d}"),
        *(
            (name, one.metadata.get(name), other.metadata.get(name))
            for name in ("budget", "data_snapshot", "code_version", "run")
        ),
        ("inputs", len(one.metadata.get("columns") or []), len(other.metadata.get("columns") or [])),
        ("bytes", sum(store.sizes(one).values()), sum(store.sizes(other).values())),
    ]
    rows: list[dict[str, Any]] = [{"figure": name, first: a, second: b} for name, a, b in facts]
    measured = [name for name in one.metrics if name in other.metrics and not name.endswith(("_low", "_high"))]
    rows += [{"figure": name, first: one.metrics[name], second: other.metrics[name]} for name in measured]
    table = pd.DataFrame([*rows, *_on_shared_origins(one, other, horizons, first, second)])
    numbers = table[[first, second]].map(lambda value: value if isinstance(value, int | float) else np.nan)
    return table.assign(difference=(numbers[first] - numbers[second]).astype("float64"))


def _on_shared_origins(
    one: Version, other: Version, horizons: Horizons, first: str, second: str
) -> list[dict[str, Any]]:
    from tasks.quantiles import column, pinball
    from tasks.storage.files import read_parquet

    levels, frames = tuple(horizons.quantiles), []
    for version in (one, other):
        path = version.checked_folder() / "oof.parquet"
        oof = read_parquet(path) if path.exists() else pd.DataFrame()
        if oof.empty:
            return []
        frames.append(oof[oof["scored"] & oof["p50"].notna()].set_index("date"))
    dates = frames[0].index.intersection(frames[1].index)
    if dates.empty:
        return []
    names = [column(level) for level in levels]
    losses = [
        pinball(frame.loc[dates, "target_log_return"].to_numpy(), frame.loc[dates, names].to_numpy(), levels)
        for frame in frames
    ]
    a, b = (float(loss.mean()) for loss in losses)
    return [
        {"figure": "origins, shared origins", first: len(dates), second: len(dates)},
        {"figure": "pinball_log_return, shared origins", first: a, second: b},
        {"figure": "skill_pct over the other, shared origins", first: 100 * (1 - a / b), second: 100 * (1 - b / a)},
    ]


def promote(
    store: ModelStore,
    name: str,
    judge: Judge,
    *,
    at: pd.Timestamp,
    reason: str = "",
    force: bool = False,
) -> Promotion:
    """Let a person make a version champion of its horizon.

    Args:
        at: the instant, UTC. It serves sessions from the exchange's date of it on, until a person chooses again or a
            training as of a later session promotes.
        force: although the rule refuses it, or it is worse than the champion; ``reason`` then says why.

    Raises:
        ModelStoreError: there is no such version, it was trained as of a later session, or a file of it is altered:
            that could not serve, forced or not.
        PromotionRefused: the rule refuses it, and it is not forced, or forced without a reason.
    """
    version = find(store, name, judge.horizons)
    _require_serviceable(store, version, at)
    audit = read_audit(store)
    found: list[Promotion] = []

    def decide(history: Sequence[Entry]) -> list[Entry]:
        champion = champion_by(history, version.horizon, _date(at))
        objections = tuple(filter(None, [judge.refusal(version, audit), _worse(store, version, champion)]))
        objections += tuple(judge.objections)
        if objections and not (force and reason):
            what = (
                "give --reason TEXT with --force" if force else "add --force --reason TEXT to promote it all the same"
            )
            raise PromotionRefused(f"{'; '.join(objections)}. To overrule this, {what}")
        entry = persons_entry(version, at=at, reason=reason, forced=bool(objections))
        found.append(Promotion(entry, name_of(champion) if champion else "", objections))
        return [entry]

    store.append(decide)
    return found[-1]


def roll_back(store: ModelStore, horizon: str, judge: Judge, *, at: pd.Timestamp, reason: str = "") -> Promotion:
    """Return a horizon to the champion before the present one, as one more entry of the history.

    Raises:
        ModelStoreError: there was none before, or that version is gone or altered.
    """
    if horizon not in judge.horizons.horizons:
        raise ModelStoreError(f"no horizon {horizon!r}; known: {', '.join(judge.horizons.horizons)}")
    found: list[Promotion] = []

    def decide(history: Sequence[Entry]) -> list[Entry]:
        today = _date(at)
        champion, before = champion_by(history, horizon, today), before_current(history, horizon, today)
        if champion is None or before is None:
            raise ModelStoreError(
                f"{store.place} has no champion at {horizon} before the present one; choose a version of "
                "`cbi models list` with `cbi models promote`"
            )
        version = verified(find(store, name_of(before), judge.horizons), before, f"{store.place}/{name_of(before)}")
        _require_serviceable(store, version, at)
        entry = persons_entry(version, at=at, reason=reason, rolled_back=name_of(champion))
        found.append(Promotion(entry, name_of(champion)))
        return [entry]

    store.append(decide)
    return found[-1]


def put_in_shadow(store: ModelStore, name: str, judge: Judge, *, at: pd.Timestamp, count: int) -> shadows.Shadow | None:
    """Let a version forecast unserved for ``count`` sessions; 0 ends it. Returns the entry, None at its end.

    Raises:
        ModelStoreError: there is no such version, or it could not serve.
    """
    if count == 0:
        store.change_shadows(lambda before: shadows.without(before, name))
        return None
    version = find(store, name, judge.horizons)
    _require_serviceable(store, version, at)
    shadow = shadows.shadow_of(version, digest_of(version), at=at, count=count)
    store.change_shadows(lambda before: shadows.with_shadow(before, shadow))
    return shadow


def promotions_table(history: Sequence[Entry]) -> pd.DataFrame:
    """The history as rows of ``performance.promotions``, without ``created_at``.

    ``entry`` is a hash of an entry and its place: a store that was built anew adds rows and rewrites none.
    """
    rows = [
        {
            "horizon": entry["horizon"],
            "entry": fingerprint([position, dict(entry)]),
            "position": position,
            "model_version": name_of(entry),
            "trained_as_of": pd.Timestamp(entry["trained_as_of"]),
            "counts_from": counts_from(entry),
            "promoted_by": entry.get("by", "training"),
            "promoted_at": entry["at"] if is_persons(entry) else None,
            "forced": "forced" in entry,
            "rolled_back": entry.get("rolled_back"),
            "reason": entry.get("reason") or None,
            "run": entry["run"],
            "metadata": entry.get("metadata"),
        }
        for position, entry in enumerate(history)
    ]
    table = pd.DataFrame(rows, columns=PROMOTIONS)
    table["promoted_at"] = pd.to_datetime(table["promoted_at"], utc=True)
    kinds: Mapping[str, str] = {
        "position": "int64",
        "forced": "bool",
        "promoted_at": "datetime64[us, UTC]",
        "trained_as_of": "datetime64[us]",
        "counts_from": "datetime64[us]",
        **dict.fromkeys(("rolled_back", "reason", "metadata"), "object"),
    }
    return table.astype(dict(kinds))


def today() -> pd.Timestamp:
    """The exchange's date of now: a promotion of this moment counts from it."""
    return _date(clock.now())


def _date(at: pd.Timestamp) -> pd.Timestamp:
    return at.tz_convert(CHICAGO).tz_localize(None).normalize()


def _require_serviceable(store: ModelStore, version: Version, at: pd.Timestamp) -> None:
    if version.trained_as_of > _date(at):
        raise ModelStoreError(
            f"{version.name} was trained as of {version.trained_as_of:%Y-%m-%d}, after today ({_date(at):%Y-%m-%d})"
        )
    if altered := store.altered(version):
        raise ModelStoreError(
            f"{version.name} is not what was stored, and would not be served: {', '.join(altered[:3])}; restore it "
            "from a backup, or run `cbi train`"
        )


def _worse(store: ModelStore, version: Version, champion: Entry | None) -> str:
    """Why a version is worse than the champion, by the gain measured at each one's training; empty if it is not."""
    if champion is None or name_of(champion) == version.name:
        return ""
    stored = store.versions(champion["family"], champion["horizon"])
    serving = next((one for one in stored if one.name == name_of(champion)), None)
    if serving is None:
        return ""
    own, other = (_gain(one) for one in (version, serving))
    if own is None or other is None or own >= other:
        return ""
    return (
        f"the measured gain of {version.name} is {own:+.2f}%, below the {other:+.2f}% of {serving.name}, which serves"
    )


def _gain(version: Version) -> float | None:
    value = version.metrics.get("served_gain_pct")
    return None if value is None or np.isnan(float(value)) else float(value)
