"""The base class of registry entries, and the loader of a registry file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from tasks.errors import RegistryError
from tasks.settings import PROJECT


class Entry(BaseModel):
    """Base of every registry entry: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=Entry)


def _time_of_day(text: str) -> str:
    try:
        if datetime.strptime(text, "%H:%M").strftime("%H:%M") == text:
            return text
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not a time of day; write it as 18:00")


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML that refuses duplicate keys; YAML itself silently uses the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        double = sorted({str(key) for key in keys if keys.count(key) > 1})
        if double:
            raise yaml.MarkedYAMLError(problem=f"written twice: {', '.join(double)}", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep=deep)


def how_to_restore(path: Path) -> str:
    """How to restore a lost registry file; it is in the checkout unless CBI_REGISTRY names another folder."""
    if path.is_relative_to(PROJECT):
        return f"restore it with `git checkout {path.relative_to(PROJECT)}`"
    return f"restore it, or start from a copy of {PROJECT / 'registry' / path.name}"


def read_entries(path: Path, model: type[Model]) -> Model:
    """Load a file as ``model`` and check it.

    Raises:
        RegistryError: it is missing or not YAML, or an entry is invalid; the message names file and entry.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 it is a safe one
    except FileNotFoundError:
        raise RegistryError(f"{path} is missing; {how_to_restore(path)}") from None
    except yaml.YAMLError as error:
        raise RegistryError(f"{path} is not YAML: {error}") from None
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise RegistryError(f"{path}: {problems}") from None
