"""What changed about the line that no alarm tells, each once: peers, documents, cameras, PLC, key switch. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from daemon.line.conditions import Facts
from daemon.messages import Loaded
from daemon.units import Authority, LineMode

SHORT = 12


class Changes:
    """Owned by Control; the first look tells of everything that there is."""

    def __init__(self, mode: LineMode) -> None:
        self._mode = mode
        self._seen: tuple[Any, ...] = ()
        self._told: dict[tuple[str, str], str] = {}

    def since(self, facts: Facts, loaded: Loaded | None, sessions: Mapping[str, int]) -> list[tuple[str, str]]:
        """Return (code, text) of what changed since the last call. Called hundreds of times a second."""
        plc = (facts.epoch, facts.key, facts.link, facts.plc_right, facts.plc_aborted)
        seen = (*plc, facts.recorder, facts.vision, loaded, tuple(sessions.items()))
        if seen == self._seen:
            return []
        first, self._seen = not self._seen, seen
        began = [("LINE_STARTED", f"a process of line begins, line mode {self._mode.value}")] if first else []
        return began + list(self._changed(self._now(facts, loaded, sessions)))

    def _changed(self, now: dict[tuple[str, str], str]) -> Iterator[tuple[str, str]]:
        for key, text in now.items():
            if self._told.get(key, "") != text:
                self._told[key] = text
                if text:
                    yield key[0], text

    def _now(self, facts: Facts, loaded: Loaded | None, sessions: Mapping[str, int]) -> dict[tuple[str, str], str]:
        """Return what there is to tell by code and subject, "" for nothing."""
        return {
            ("PEER_FOUND", "recorder"): "recorder" if facts.recorder else "",
            ("PEER_FOUND", "vision"): "vision" if facts.vision else "",
            ("LOADED", ""): _documents(loaded) if loaded else "",
            **{("CAMERA", name): self._camera(name, session) for name, session in sessions.items()},
            ("EPOCH", ""): self._epoch(facts),
            ("KEY_SWITCH", ""): "" if facts.key is None else f"inspection authority {_authority(facts.key)}",
            ("PLC", "identity"): self._either(
                "identity", facts.link and not facts.plc_right, "not the station's PLC or register map",
                "the station's PLC and register map"),
            ("PLC", "aborted"): self._either(
                "aborted", facts.link and facts.plc_aborted, "it says that it is aborted", "it is not aborted"),
        }  # fmt: skip

    def _either(self, subject: str, odd: bool, says: str, else_says: str) -> str:
        """Return what to say of something odd, and afterwards that it is over."""
        return says if odd else else_says if self._told.get(("PLC", subject)) else ""

    def _epoch(self, facts: Facts) -> str:
        if facts.epoch:
            return f"epoch {facts.epoch} is agreed with the PLC"
        return "the epoch is over, no other is agreed yet" if facts.link and self._told.get(("EPOCH", "")) else ""

    def _camera(self, name: str, session: int) -> str:
        if session:
            return f"{name} acquires, session {session}"
        return f"{name} does not acquire" if self._told.get(("CAMERA", name)) else ""


def _documents(loaded: Loaded) -> str:
    bundle, recipe = loaded.bundle[:SHORT], loaded.recipe[:SHORT]
    return f"bundle {loaded.bundle_name} {bundle}, recipe {loaded.recipe_name} {recipe}"


def _authority(key: int) -> str:
    return Authority(key).name if key in set(Authority) else f"unknown ({key})"
