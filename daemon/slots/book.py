"""The state of the store in the hands of its one writer, and the rows that tell of it on their way to the recorder."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from daemon.acts import recorded
from daemon.messages import PROTO, Act, Answer, Hello
from daemon.records import AuditRow
from daemon.store_requests import Response
from daemon.telling import tell
from signing.store import LARGEST_SESSION, open_store, write_state
from signing.store_state import Owed, StoreState, Told, owing, settled

PROCESS = "slots"


@dataclass(frozen=True, slots=True)
class Recorder:
    """The way to the recorder of the station called `name`."""

    socket: Path
    name: str

    @property
    def there(self) -> bool:
        return tell(self.socket, Hello(PROTO, PROCESS, self.name, new_session()), [])

    def stores(self, session: int, rows: Sequence[AuditRow]) -> bool:
        return tell(self.socket, Hello(PROTO, PROCESS, self.name, session), rows)


class Book:
    """Owned by one run of slots, under the store's lock. `folder`: the store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = open_store(folder)

    def commit(self, state: StoreState, act: Act | None = None, answer: Response | None = None, new: str = "") -> None:
        """Make a state the store's, with the row that tells of the act that led to it.

        Raises:
            OSError: the store cannot be written; what was before holds.
        """
        if act is not None and answer is not None:
            said = Answer(answer.ok, answer.text)
            row = recorded(act, self.state.looks(), new or state.looks(), said, time.monotonic_ns())
            state = owing(state, Owed(**structs.asdict(row)))
        if state != self.state:
            write_state(self.folder, state)
            self.state = state

    def answered(self, request: str) -> Response | None:
        """Return the answer to a request that an earlier run did and could not put down any more."""
        told = self.state.told.get(request)
        return Response(told.ok, told.text) if told else None

    def telling(self, state: StoreState, request: str, answer: Response) -> StoreState:
        """Return a state that knows the answer to a request."""
        return structs.replace(state, told=state.told | {request: Told(answer.ok, answer.text)})

    def forget(self, open_requests: set[str]) -> None:
        """Keep answers only of requests whose files are still there."""
        told = {request: told for request, told in self.state.told.items() if request in open_requests}
        self.commit(structs.replace(self.state, told=told))

    def deliver(self, recorder: "Recorder") -> None:
        """Send the recorder what it has not stored yet."""
        rows = [AuditRow(**structs.asdict(row)) for row in self.state.owed]
        if rows and recorder.stores(self.state.session, rows):
            self.commit(settled(self.state, new_session()))


def new_session() -> int:
    return 1 + secrets.randbelow(LARGEST_SESSION)
