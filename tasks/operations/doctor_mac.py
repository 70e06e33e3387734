"""The doctor's checks of macOS alone. They were never run on a Mac: tests hand them the output of its programs."""

from __future__ import annotations

from datetime import timedelta

from tasks.operations.findings import Finding, not_tried, ok, wrong
from tasks.operations.machine import Machine, next_daily_run, sleeps_after_minutes, wake_command, wakes_at
from tasks.operations.volume import MAC_VOLUMES

GUARDED_FOLDERS = ("Desktop", "Documents", "Downloads", "Library/Mobile Documents")


def checkout(machine: Machine) -> Finding:
    """Whether launchd's agents can read the folder of the code."""
    where = machine.project
    if not machine.is_mac:
        return not_tried("checkout", f"only macOS guards folders from agents; the code is in {where}")
    if MAC_VOLUMES in where.parents:
        return wrong(
            "checkout",
            f"the code is on the volume {where.relative_to(MAC_VOLUMES).parts[0]}: an agent cannot start from a volume "
            "that is not mounted yet, and only reports EX_CONFIG (78)",
            "move the checkout and .venv to the system's disk; CBI_HOME may stay on the volume",
        )
    for name in GUARDED_FOLDERS:
        if machine.user_folder / name in where.parents:
            return wrong(
                "checkout",
                f"the code is in ~/{name}, which macOS guards from agents",
                "move the checkout, for example to ~/cbi, or give Python Full Disk Access (docs/installed_services.md)",
            )
    return ok("checkout", f"{where} can be read by agents")


def wake(machine: Machine) -> Finding:
    """Whether the machine is awake when the daily run is due."""
    if not machine.is_mac:
        return not_tried("wake", "`pmset` is macOS's; elsewhere see to it that the machine is on at 19:00 Chicago")
    now = machine.now()
    due = next_daily_run(now)
    settings, events = machine.run(["pmset", "-g"]), machine.run(["pmset", "-g", "sched"])
    if settings is None or events is None or settings.status or events.status:
        return not_tried("wake", "`pmset -g` gave no answer")
    minutes = sleeps_after_minutes(settings.output)
    if minutes == 0:
        return ok("wake", f"this Mac never sleeps by itself; the daily run is due at {due:%H:%M}, local time")
    woken = wakes_at(events.output, due, awake=timedelta(minutes=minutes or 0))
    if woken:
        return ok("wake", f"it wakes for the daily run at {due:%H:%M}, local time")
    sleeps = "it sleeps when idle" if minutes is None else f"it sleeps after {minutes} minutes"
    why = "nothing wakes it" if woken is None else "its wake event has it asleep again, or is of other days,"
    return wrong(
        "wake",
        f"{sleeps}, and {why} when the daily run is due at {due:%H:%M}, local time. Such a run starts when it wakes",
        f"{wake_command(now)} (it replaces an earlier repeated event)",
    )
