"""Reads the shipped systemd unit files, so that `linewarden sim` starts the daemons by production's own rules.

Only the directives that decide how a process lives are read; sandboxing stays systemd's. A value that cannot be
understood is an error, because a rule that is silently ignored would make the simulation prove nothing.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from provisioning.errors import CommandFailed

SPAN_NS = {"us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000}
RESTARTS = {"always": True, "on-failure": True, "no": False}


class UnitFileError(CommandFailed):
    """A unit file cannot be read; the text names the file, the directive and the value."""


@dataclass(frozen=True, slots=True)
class Unit:
    """How one process is started, watched and restarted. Times in ns; `fifo` 0 = not a real-time process."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    watchdog_ns: int
    restart: bool
    restart_ns: int
    keep_down: frozenset[int]
    start_timeout_ns: int
    stop_timeout_ns: int
    abort_timeout_ns: int
    fifo: int
    lock_memory: bool
    state: bool


def read(path: Path, instance: str = "") -> Unit:
    """Return the rules in one `.service` file; `instance` fills %i of a template, %b is this boot.

    Raises:
        UnitFileError: unreadable, not Type=notify, or a value this reader does not know.
    """
    entries = _entries(path, instance)
    try:
        return _unit(entries, _name(path, instance))
    except (KeyError, ValueError) as error:
        raise UnitFileError(f"{path}: {error}") from error


def span_ns(text: str) -> int:
    """Return nanoseconds of a systemd time span such as `100ms`, `2`, `1min 30s`.

    Raises:
        ValueError: not a time span.
    """
    parts = re.findall(r"([0-9.]+)\s*([a-z]*)", text)
    if not parts or re.sub(r"[0-9.]+\s*(us|ms|s|min)?", "", text).strip():
        raise ValueError(f"{text!r} is not a time span")
    return sum(int(float(number) * SPAN_NS[unit or "s"]) for number, unit in parts)


def _name(path: Path, instance: str) -> str:
    stem = path.stem.removeprefix("linewarden-")
    return stem + instance if stem.endswith("@") else stem


def _entries(path: Path, instance: str) -> dict[str, list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnitFileError(f"{path}: cannot be read: {error.strerror}") from error
    entries: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith(("#", ";", "[")) or "=" not in line:
            continue
        key, value = line.split("=", 1)
        entries.setdefault(key.strip(), []).append(value.strip().replace("%i", instance).replace("%b", _boot()))
    return entries


def _boot() -> str:
    """What systemd puts in the place of %b."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")


def _unit(entries: dict[str, list[str]], name: str) -> Unit:
    def last(key: str, default: str) -> str:
        return entries.get(key, [default])[-1]

    if last("Type", "simple") != "notify":
        raise ValueError("Type= is not notify")
    return Unit(
        name=name,
        command=tuple(shlex.split(entries["ExecStart"][-1])),
        environment=dict(_assignment(word) for line in entries.get("Environment", []) for word in shlex.split(line)),
        watchdog_ns=span_ns(last("WatchdogSec", "0")),
        restart=_restart(last("Restart", "no")),
        restart_ns=span_ns(last("RestartSec", "100ms")),
        keep_down=frozenset(int(code) for code in last("RestartPreventExitStatus", "").split()),
        start_timeout_ns=span_ns(last("TimeoutStartSec", "90s")),
        stop_timeout_ns=span_ns(last("TimeoutStopSec", "90s")),
        abort_timeout_ns=span_ns(last("TimeoutAbortSec", "90s")),
        fifo=int(last("CPUSchedulingPriority", "0")) if last("CPUSchedulingPolicy", "other") == "fifo" else 0,
        lock_memory=last("LimitMEMLOCK", "") == "infinity",
        state="StateDirectory" in entries,
    )


def _restart(value: str) -> bool:
    if value not in RESTARTS:
        raise ValueError(f"Restart={value} is not known here")
    return RESTARTS[value]


def _assignment(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"Environment={word} has no '='")
    return key, value
