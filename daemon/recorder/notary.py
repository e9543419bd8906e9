"""The recorder's care for its trail: it opens and closes it, has its heads signed and anchored, and watches the clock.

`open_trail` checks what is there before anything is added: a line does not run on a trail that does not verify.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from daemon import ledger_file
from daemon.config import Station, release
from daemon.ledger_file import DAMAGED
from daemon.recorder import events, verify
from daemon.recorder.gather import Gather, Trouble
from daemon.recorder.heads import Anchored, Heads, Signed
from daemon.recorder.ledger import Ledger, LedgerUnwritable
from daemon.recorder.verify import TrailBroken
from daemon.recorder.wall import WallClock
from signing.chain import START, key_id, origin
from signing.device_key import DeviceKey, open_device_key
from signing.durable import write_durably
from signing.public_key import public_key_file

KEYS = "keys"
LAST_WORD_S = 1.5
CLOCK_NS = 100_000_000


class Notary:
    """Owned by the recorder's loop. Never waits for the key, but for the last head at the end."""

    def __init__(self, ledger: Ledger, gather: Gather, clock: WallClock, heads: Heads) -> None:
        self._ledger = ledger
        self._gather = gather
        self._clock = clock
        self._heads = heads
        self._boot = events.boot_id()
        self._watch = events.ClockWatch(clock.now(), time.monotonic_ns())
        self._looked_ns = 0
        self._failure = ""

    def opened(self, batch: str) -> None:
        """Say that the trail goes on, and how it ended before."""
        about = f"release {release()}, key {self._heads.key}"
        self._gather.audit(events.opened(self._ledger.last_event(), self._boot, about), batch)

    def tick(self, now_ns: int, batch: str) -> None:
        """Do what is due. Called every turn of the loop."""
        if now_ns - self._looked_ns >= CLOCK_NS:
            self._looked_ns = now_ns
            for row in self._watch.look(self._clock.now(), time.monotonic_ns()):
                self._gather.audit(row, batch)
            self._heads.tick(self._ledger.head, now_ns)
        self._take(now_ns, batch)

    def witness(self, now_ns: int) -> None:
        """A batch was opened or closed: have the trail signed and anchored as it stands."""
        self._heads.ask(self._ledger.head, now_ns, anchor=True)

    def closed(self, batch: str) -> None:
        """Say that the trail ends here in order; the caller writes it, then calls `close`."""
        self._gather.audit(events.closed(self._boot), batch)

    def close(self, batch: str) -> None:
        """Sign and anchor the last head, at most LAST_WORD_S, and end the thread."""
        end = time.monotonic() + LAST_WORD_S
        self.witness(time.monotonic_ns())
        while not self._heads.idle and (left := end - time.monotonic()) > 0:
            self._take(time.monotonic_ns(), batch, left)
        self._heads.close(max(0.1, end - time.monotonic()))

    def _take(self, now_ns: int, batch: str, wait_s: float = 0.0) -> None:
        for made in self._heads.done(now_ns, wait_s):
            with contextlib.suppress(LedgerUnwritable):
                self._store(made)
            if made.failure and made.failure != self._failure:
                self._gather.alarm(Trouble.UNSIGNED, f"the trail's head is not signed: {made.failure}", batch)
            self._failure = made.failure

    def _store(self, made: Signed | Anchored) -> None:
        if isinstance(made, Anchored):
            if not made.failure:
                self._ledger.anchored(made.size)
        elif made.note:
            self._ledger.add_checkpoint(made.size, made.note)
            if made.anchor:
                self._heads.anchor(made)


def device_key(station: Station, state: Path) -> DeviceKey:
    """Open the key that the station file names and keep its public half in the state folder.

    Raises:
        KeyRefused: no such key, or one that proves nothing in production.  OSError: the folder cannot be written.
    """
    settings = station.recorder
    folder = Path(named) if (named := os.environ.get("CREDENTIALS_DIRECTORY")) else None
    key = open_device_key(settings.key, state, folder, settings.tpm, production=station.production)
    name, pem = public_key_file(key.public_der)
    path = state / name
    if not path.exists():
        path.parent.mkdir(mode=0o750, exist_ok=True)
        write_durably(path, pem.encode())
    return key


def known_keys(state: Path) -> dict[bytes, ec.EllipticCurvePublicKey]:
    """Return the public keys that signed this device's trail, by id.

    Raises:
        TrailBroken: a file of the folder is no such key.
    """
    found: dict[bytes, ec.EllipticCurvePublicKey] = {}
    for path in sorted((state / KEYS).glob("*.pem")):
        with _translated(path):
            key = load_pem_public_key(path.read_bytes())
        if not isinstance(key, ec.EllipticCurvePublicKey) or path.stem != key_id(_der(key)).hex():
            raise TrailBroken(f"{path}: not the key of that name: bring the file back from the archive")
        found[key_id(_der(key))] = key
    return found


def open_trail(ledger: Ledger, state: Path, station: Station, key: DeviceKey) -> None:
    """Verify what is there: the newest entries, their checkpoints, and what the TPM remembers of the heads.

    Raises:
        TrailBroken: the first thing that is wrong.
    """
    name = origin(station.name, station.identity)
    try:
        verify.verify_trail(ledger.database, known_keys(state), name, recent=True)
        heads = ledger_file.checkpoints(ledger.database)
    except DAMAGED as error:
        raise TrailBroken(f"the file is damaged: {error}") from error
    held = key.anchored()
    if held is None:
        return
    unmarked = verify.unmarked_anchor(heads, held)
    if unmarked is None and (held != START or any(head.anchored for head in heads)):
        raise TrailBroken("the TPM holds other tree heads than the ledger: entries were cut off, or it is another TPM")
    if unmarked:
        ledger.anchored(unmarked)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise TrailBroken(f"{path}: not a public key ({error}): bring it back from the archive") from error


def _der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
