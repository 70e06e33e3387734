"""Delivery to a person through Apprise: mail, Slack, Teams, Telegram, a webhook. No text of an address leaves here."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

import pandas as pd

from tasks.secrets import find_secret, quoted, redact, remember_secret

NOTIFY = "CBI_NOTIFY"
"""Apprise addresses, by blank or comma, in the environment or the keychain."""
FOOT = "`cbi alerts list` shows all that are open; `cbi alerts ack KIND SUBJECT` ends reminders of one."
TOKEN = 8
"""Parts of an address of this length may be a key."""
UNSET = f"Nobody is notified of alerts: {NOTIFY} is not set (docs/running.md)."


@dataclass(frozen=True)
class Delivery:
    """What became of a message: how many routes got it, and the kinds (`mailto`, `slack`) of those that did not."""

    sent: int
    failed: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every route got it."""
        return self.sent > 0 and not self.failed

    def line(self) -> str:
        """For a log or a person; without an address."""
        names = ", ".join(self.failed)
        if not self.sent:
            return f"not delivered ({names} failed)"
        failed = f"; not by {names}" if names else ""
        return f"sent by {self.sent} of {self.sent + len(self.failed)} routes{failed}"


def addresses() -> tuple[str, ...]:
    """The configured addresses; each, and every key in it, is redacted from all texts from now on."""
    found = tuple(part for part in re.split(r"[\s,]+", find_secret(NOTIFY) or "") if part)
    for one in found:
        remember_secret(one)
        for part in re.split(r"[/:@?&=]+", one.partition("://")[2]):
            if len(part) >= TOKEN and not re.fullmatch(r"[\w-]+(\.[\w-]+)+", part):  # a host's name is no key
                remember_secret(part)
    return found


def is_usable(address: str) -> bool:
    """Whether Apprise can send to an address. Nothing is sent."""
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs parts of addresses
    try:
        return apprise.Apprise.instantiate(address) is not None
    except Exception:  # whatever a route's class raises; its text may name the address
        return False


def message_of(notices: pd.DataFrame, *, as_of: pd.Timestamp) -> tuple[str, str]:
    """Subject and text of the notices together, the gravest first."""
    order = {"critical": 0, "warning": 1, "info": 2}
    ranked = notices.assign(rank=notices["level"].map(order)).sort_values(["rank", "kind", "subject"], kind="stable")
    worst = ranked["level"].iloc[0]
    lines = [
        f"{row['level'].upper()} {row['kind']} {row['subject']}: {quoted(row['message'])}"
        for row in ranked.to_dict("records")
    ]
    count = f"{len(notices)} alerts" if len(notices) > 1 else "1 alert"
    subject = f"CBI, ZL as of {as_of:%Y-%m-%d}: {count}, {worst}"
    return redact(subject), redact("\n".join([*lines, "", FOOT]))


def deliver(
    subject: str, text: str, *, html: str = "", attach: tuple[str, ...] = (), to: tuple[str, ...] | None = None
) -> Delivery:
    """Send one message by every route. Nothing is raised: a route that fails is named by its kind.

    Args:
        html: the same as HTML, for mail. attach: paths of files, for routes that take them. to: addresses; default:
            those configured.
    """
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs parts of addresses
    done, failed = 0, []
    for one in addresses() if to is None else to:
        kind = one.partition("://")[0]
        by_mail = kind in ("mailto", "mailtos")
        try:
            route = apprise.Apprise.instantiate(one)
            body, form = (html, "html") if html and by_mail else (text, "text")
            reached = route is not None and apprise.Apprise(servers=[route]).notify(
                body=body, title=subject, body_format=form, attach=list(attach) or None
            )
        except Exception:  # whatever a route does, it stops no run; its text may name an address
            reached = False
        if reached:
            done += 1
        else:
            failed.append(kind if re.fullmatch(r"[a-z0-9+-]{1,12}", kind) else "an address without a known kind")
    return Delivery(done, tuple(failed))
