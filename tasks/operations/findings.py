"""One line of the doctor: a check, its state, what was found, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.operations.health import NOT_YET, OK
from tasks.secrets import redact

WRONG, NOT_TRIED = "wrong", "not tried here"
STATES = (OK, NOT_YET, NOT_TRIED, WRONG)
NEXT_LINE = "Next: "


@dataclass(frozen=True)
class Finding:
    """``state`` is ok, not yet (a choice that is open), not tried here, or wrong. ``next``: what to do; empty if ok."""

    check: str
    state: str
    text: str
    next: str = ""

    def __post_init__(self) -> None:
        """Redact both texts: they are printed, and sent back in a report."""
        object.__setattr__(self, "text", redact(self.text))
        object.__setattr__(self, "next", redact(self.next))

    @property
    def line(self) -> str:
        """The finding as one line."""
        following = f". {NEXT_LINE}{self.next}" if self.next else ""
        return f"{self.check:<12} {self.state}: {self.text}{following}"


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, OK, text)


def wrong(check: str, text: str, remedy: str) -> Finding:
    """Something is wrong, with its remedy."""
    return Finding(check, WRONG, text, remedy)


def open_choice(check: str, text: str, remedy: str) -> Finding:
    """Something is not set up yet, which may be intended."""
    return Finding(check, NOT_YET, text, remedy)


def not_tried(check: str, why: str) -> Finding:
    """It cannot be tried on this system, or now. It is never ok."""
    return Finding(check, NOT_TRIED, why)
