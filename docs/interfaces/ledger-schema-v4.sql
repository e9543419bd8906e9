-- Linewarden unit ledger, from schema version 3 to 4: sub-lots (docs/interfaces/records-v1.md).
--
-- A batch begins as its sub-lot 1, with what table `batch` says. Each further sub-lot was begun by a swap inside the
-- batch that a person of QA signed; `number` counts from 2. Which units belong to it is said by the configuration of
-- their rows. The signed order itself is the signature of the act that stands beside it in `audit`.
CREATE TABLE sublot (
  entry INTEGER PRIMARY KEY,
  batch TEXT NOT NULL, number INTEGER NOT NULL,
  bundle TEXT NOT NULL, recipe TEXT NOT NULL,
  bundle_name TEXT NOT NULL, recipe_name TEXT NOT NULL,
  plan TEXT NOT NULL,
  configuration TEXT NOT NULL,
  signer TEXT NOT NULL,                             -- printed name
  key TEXT NOT NULL,                                -- id of the key that signed the order
  signed_utc TEXT NOT NULL,                         -- by the signer's clock
  why TEXT NOT NULL CHECK (why <> ''),              -- as it was signed
  actor TEXT NOT NULL, role TEXT NOT NULL, reason TEXT NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  UNIQUE (batch, number)
) STRICT;

CREATE TRIGGER sublot_no_update BEFORE UPDATE ON sublot BEGIN SELECT RAISE(ABORT, 'sublot is append-only'); END;
CREATE TRIGGER sublot_no_delete BEFORE DELETE ON sublot BEGIN SELECT RAISE(ABORT, 'sublot is append-only'); END;

PRAGMA user_version = 4;
