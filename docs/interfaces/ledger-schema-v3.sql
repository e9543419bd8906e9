-- Linewarden unit ledger, from schema version 2 to 3: the audit trail (docs/interfaces/records-v1.md).
--
-- `entry` is the record: every row of every other table was written by exactly one entry, in the same transaction, and
-- names it. The other tables are the index of it: they can be built again from the entries alone. Rows of an older
-- schema have entry = 0; their digests stand in entry 0, the genesis.

-- `body` is canonical JSON, kept for ever as it was written; `chain` = sha256(chain before, leaf of body), entry 0 on 32
-- zero bytes; the leaf is RFC 6962's sha256(0x00, body).
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  body BLOB NOT NULL,
  chain BLOB NOT NULL
) STRICT;

-- Roots of complete subtrees of the Merkle tree over the entries, at levels 8, 16, 24, ... (C2SP tlog-tiles): the hash
-- over entries position * 2^level and the 2^level - 1 that follow.
CREATE TABLE node (
  level INTEGER NOT NULL, position INTEGER NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;

-- Tree heads over the first `size` entries as signed notes (C2SP tlog-checkpoint). `anchored` 1: the note's sha256 was
-- extended into the NV index of the TPM, in order of size.
CREATE TABLE checkpoint (
  size INTEGER PRIMARY KEY,
  note TEXT NOT NULL,
  anchored INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Who did what, when and why: every act of a person, done or refused, and what the recorder itself has to tell
-- (trail-open, trail-close, clock-step, clock-quality, archived). What the line did by itself stands in `alarm`.
CREATE TABLE audit (
  entry INTEGER PRIMARY KEY,
  origin TEXT NOT NULL, session INTEGER NOT NULL, seq INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,
  what TEXT NOT NULL,
  who TEXT NOT NULL, role TEXT NOT NULL,
  why TEXT NOT NULL CHECK (why <> ''),
  old TEXT NOT NULL, new TEXT NOT NULL,
  signature TEXT NOT NULL,
  done INTEGER NOT NULL,
  answer TEXT NOT NULL,
  batch TEXT NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  digest BLOB NOT NULL,
  UNIQUE (origin, session, seq, digest)
) STRICT;
CREATE INDEX audit_batch ON audit (batch);

-- What became of the image of a judged frame: 'retained' (whole on this disk, durable before this row), 'dropped' (it
-- should have been and was not, `why`), 'released' (deleted here after the site archive had it).
CREATE TABLE evidence (
  entry INTEGER PRIMARY KEY,
  epoch INTEGER NOT NULL, lane INTEGER NOT NULL, number INTEGER NOT NULL,
  camera TEXT NOT NULL, region INTEGER NOT NULL, shot INTEGER NOT NULL,
  digest TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('retained', 'dropped', 'released')),
  why TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  batch TEXT NOT NULL,
  session INTEGER NOT NULL, seq INTEGER NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  row_digest BLOB NOT NULL,
  UNIQUE (session, seq, row_digest)
) STRICT;
CREATE INDEX evidence_unit ON evidence (epoch, lane, number);
CREATE INDEX evidence_digest ON evidence (digest);
CREATE INDEX evidence_batch ON evidence (batch);

-- What a site archive has confirmed by digest: the first `size` entries, their checkpoint, images and documents.
CREATE TABLE archived (
  entry INTEGER PRIMARY KEY,
  target TEXT NOT NULL,
  size INTEGER NOT NULL,
  images INTEGER NOT NULL,
  root TEXT NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  UNIQUE (target, size)
) STRICT;

ALTER TABLE permit ADD COLUMN entry INTEGER NOT NULL DEFAULT 0;
ALTER TABLE unit ADD COLUMN entry INTEGER NOT NULL DEFAULT 0;
ALTER TABLE gap ADD COLUMN entry INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alarm ADD COLUMN entry INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conflict ADD COLUMN entry INTEGER NOT NULL DEFAULT 0;
ALTER TABLE plc_totals ADD COLUMN entry INTEGER NOT NULL DEFAULT 0;   -- the newest of several
-- Digest of what executed the models (engines/plan_digest.py), part of the configuration digest from now on.
ALTER TABLE batch ADD COLUMN plan TEXT NOT NULL DEFAULT '';
ALTER TABLE batch ADD COLUMN entry INTEGER NOT NULL DEFAULT 0;        -- that opened it
ALTER TABLE batch ADD COLUMN closed_entry INTEGER NOT NULL DEFAULT 0; -- that closed it
-- sha256 over "session acknowledged begun_wall_ns clock", so that a damaged mark is seen; '' on rows of an older schema.
ALTER TABLE session ADD COLUMN digest TEXT NOT NULL DEFAULT '';

CREATE TRIGGER entry_no_update BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'entry is append-only'); END;
CREATE TRIGGER entry_no_delete BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'entry is append-only'); END;
CREATE TRIGGER entry_no_gap BEFORE INSERT ON entry
WHEN NEW.seq <> (SELECT coalesce(max(seq) + 1, 0) FROM entry)
BEGIN SELECT RAISE(ABORT, 'entries leave no gap'); END;
CREATE TRIGGER node_no_update BEFORE UPDATE ON node BEGIN SELECT RAISE(ABORT, 'node is append-only'); END;
CREATE TRIGGER node_no_delete BEFORE DELETE ON node BEGIN SELECT RAISE(ABORT, 'node is append-only'); END;
CREATE TRIGGER checkpoint_no_delete BEFORE DELETE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'checkpoint is append-only'); END;
CREATE TRIGGER checkpoint_only_anchored BEFORE UPDATE ON checkpoint
WHEN NEW.size <> OLD.size OR NEW.note <> OLD.note OR NEW.anchored < OLD.anchored
BEGIN SELECT RAISE(ABORT, 'a checkpoint can only be anchored'); END;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER evidence_no_update BEFORE UPDATE ON evidence BEGIN SELECT RAISE(ABORT, 'evidence is append-only'); END;
CREATE TRIGGER evidence_no_delete BEFORE DELETE ON evidence BEGIN SELECT RAISE(ABORT, 'evidence is append-only'); END;
CREATE TRIGGER archived_no_update BEFORE UPDATE ON archived BEGIN SELECT RAISE(ABORT, 'archived is append-only'); END;
CREATE TRIGGER archived_no_delete BEFORE DELETE ON archived BEGIN SELECT RAISE(ABORT, 'archived is append-only'); END;

-- For questions years later (linewarden trace): what was found wrong, what rang, who acted.
CREATE INDEX unit_defect ON unit (defect, batch, outcome) WHERE defect <> '';
CREATE INDEX alarm_code ON alarm (code, batch) WHERE code <> 'STATE';
CREATE INDEX audit_who ON audit (who, batch);

PRAGMA user_version = 3;
