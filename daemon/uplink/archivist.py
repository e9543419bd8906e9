"""Owns the site archive of a station: one pass at a time, what is confirmed, and whether the recorder knows it."""

from pathlib import Path

from daemon.config import ConfigError, Station
from daemon.documents import documents_of
from daemon.messages import PROTO, Hello
from daemon.records import ArchivedRow
from daemon.telling import tell
from daemon.uplink import memory
from daemon.uplink.archive import DESCRIPTION, DOCUMENTS, KEYS, VERIFIER
from daemon.uplink.memory import Memory, remembered
from daemon.uplink.opening import open_archive, verifier
from daemon.uplink.shipping import Step, ship
from daemon.uplink.sources import Sources
from daemon.uplink.stores import Store

SOCKET = "recorder.sock"
FEW = (f"{KEYS}/", f"{DOCUMENTS}/", DESCRIPTION, VERIFIER)


class Archivist:
    """Owned by uplink's loop. `station` names an archive."""

    def __init__(self, station: Station, path: Path, state: Path, runtime: Path, session: int) -> None:
        self._station = station
        self._path = path
        self._state = state
        self._recorder = runtime / SOCKET
        self._hello = Hello(PROTO, "uplink", station.name, session)
        self._sources = Sources(state, self._documents, verifier())
        self._known: frozenset[str] = frozenset()
        self._trouble = ""
        self._lacking: list[str] = []
        self._seq = 0
        self._row: ArchivedRow | None = None
        self._store: Store | None = None
        self._memory = Memory("", 0, "", [], 0, told=True)

    @property
    def told(self) -> bool:
        """False while the archive confirmed something that the recorder has not put on record."""
        return self._memory.told

    def ship(self, step: Step) -> str:
        """Do one pass and return in one line how the archive stands.

        Raises:
            StoreError, OSError: again later.  ArchiveError, StoreConflict, LedgerUnreadable: a person has to look.
            ConfigError: the archive cannot be opened as configured.
        """
        store = self._opened()
        shipped = ship(self._sources, store, self._memory.mark, step, known=self._known)
        if shipped is not None:
            self._lacking = shipped.lacking
            self._known |= {path for path in shipped.written if path.startswith(FEW)}
            self._remember(remembered(store.name, shipped.mark, told=False))
        self._tell()
        return self._summary(store)

    def close(self) -> None:
        """Let go of the store; the next pass opens it again."""
        if self._store is not None:
            self._store.close()
            self._store = None
            self._known = frozenset()

    def _opened(self) -> Store:
        if self._store is None:
            self._store = open_archive(self._station.archive, self._path, self._state)
            self._memory = memory.load(self._state, self._store.name)
        return self._store

    def _documents(self) -> dict[str, bytes]:
        """Return the station's documents; none where one cannot be read: the records go out without them."""
        try:
            self._trouble, found = "", documents_of(self._path, self._state)
        except ConfigError as error:
            self._trouble, found = f"warning: {error}", {}
        return found

    def _tell(self) -> None:
        """Send what is not on record yet; a row keeps its number until it is stored."""
        known = self._memory
        if self._row is None and not known.told:
            self._seq += 1
            root = known.mark.root.hex()
            self._row = ArchivedRow(self._seq, known.target, known.size, known.images, root)
        if self._row is not None and tell(self._recorder, self._hello, [self._row]):
            stored, self._row = self._row, None
            if (stored.target, stored.size) == (known.target, known.size):
                self._remember(remembered(known.target, known.mark, told=True))

    def _remember(self, new: Memory) -> None:
        memory.save(self._state, new)
        self._memory = new

    def _summary(self, store: Store) -> str:
        known = self._memory
        texts = [f"{known.size} entries and {known.images} images archived in {store.name}"]
        if not known.told:
            texts.append("not on record yet: the recorder does not answer")
        if store.warning:
            texts.append(f"warning: {store.warning}")
        texts += [self._trouble] if self._trouble else []
        return "; ".join([*texts, *self._lacking[:1]])
