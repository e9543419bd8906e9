"""Handing what lies in `incoming/` to `slots`, once for each thing that is new, and reading what it answered."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from daemon.store_requests import ANSWERS, REQUESTS, SUFFIX, Request, Response, What, drop, new_id
from signing.floor import Versions
from signing.permission import Pair

ACTOR, ROLE = "uplink", "machine"
LARGEST_ANSWER = 64 * 1024


class Handing:
    """Owned by the duty to update. `request` and `handed` outlive the process in update-status.json."""

    def __init__(self, state: Path, request: str, handed: str) -> None:
        self._state = state
        self.request = request
        self.handed = handed

    @property
    def pending(self) -> bool:
        """Whether `slots` has not taken the last one yet."""
        return bool(self.request) and (self._state / REQUESTS / f"{self.request}{SUFFIX}").exists()

    def forget(self) -> None:
        """Ask again about the same, even if it was answered."""
        self.handed = ""

    def hand(self, what: What, versions: Versions, pairs: Sequence[Pair], wish: Sequence[Pair] | None) -> None:
        """Ask `slots` to look, unless it was asked about exactly this or still has the last to do.

        Args:
            what: CHECK where lists and revocations are new and bytes are missing, APPLY where all is there.
            pairs: what this line may have.

        Raises:
            OSError: the request cannot be written.
        """
        named = " ".join(f"{pair.bundle[:12]}+{pair.recipe[:12]}" for pair in pairs) or "nothing"
        wished = "-" if wish is None else " ".join(f"{pair.bundle[:12]}+{pair.recipe[:12]}" for pair in wish)
        about = f"{what}: {versions.text()}; to have {named}; wish {wished}"
        if about == self.handed or self.pending:
            return
        listed = None if wish is None else [(pair.bundle, pair.recipe) for pair in wish]
        request = Request(new_id(), what, ACTOR, ROLE, f"published by the fleet: {versions.text()}", wish=listed)
        drop(self._state, request)
        self.request, self.handed = request.id, about

    @property
    def refusal(self) -> str:
        """What `slots` found wrong with the last request, "" for nothing or while it did not answer."""
        try:
            raw = (self._state / ANSWERS / f"{self.request}{SUFFIX}").read_bytes() if self.request else b""
            answer = msgspec.json.decode(raw[:LARGEST_ANSWER], type=Response) if raw else None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return ""
        return answer.text if answer and not answer.ok else ""
