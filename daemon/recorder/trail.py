"""The writing end of the audit trail: appends entries inside the ledger's transaction and knows the tree's head."""

import sqlite3
from dataclasses import dataclass

from daemon import ledger_file
from daemon.records import Record, Row, encode_body
from signing.chain import leaf, link

INSERT_ENTRY = "INSERT INTO entry VALUES (?, ?, ?)"
INSERT_NODE = "INSERT INTO node VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Stamp:
    """When and whence an entry came: UTC ns, clock quality, process and its life, the open batch."""

    wall_ns: int
    clock: str
    origin: str
    session: int
    batch: str


@dataclass(frozen=True, slots=True)
class Head:
    """The tree over all durable entries."""

    size: int
    root: bytes


class Trail:
    """Owned by the ledger. `begin` before a transaction, then `commit` or `rollback` with it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        size = ledger_file.size(db)
        self._frontier = ledger_file.frontier(db, size)
        self._chain = ledger_file.chain_before(db, size)
        self._before = (self._frontier.copy(), self._chain)

    @property
    def next(self) -> int:
        """The number of the next entry."""
        return self._frontier.size

    @property
    def chain(self) -> bytes:
        """The chain hash of the newest entry."""
        return self._chain

    @property
    def head(self) -> Head:
        """The head of the tree; inside a transaction with what it has appended so far."""
        return Head(self._frontier.size, self._frontier.root())

    def begin(self) -> None:
        self._before = (self._frontier.copy(), self._chain)

    def rollback(self) -> None:
        self._frontier, self._chain = self._before

    def append(self, row: Row, stamp: Stamp) -> None:
        """Append one entry."""
        made = Record(stamp.wall_ns, stamp.batch, stamp.clock, self.next, stamp.origin, row, stamp.session)
        self.append_body(encode_body(made))

    def append_body(self, body: bytes) -> None:
        """Append an entry whose body is given (restored from an archive), byte for byte."""
        hashed = leaf(body)
        self._chain = link(self._chain, hashed)
        self._db.execute(INSERT_ENTRY, (self.next, body, self._chain))
        for complete in self._frontier.append(hashed):
            self._db.execute(INSERT_NODE, complete)
