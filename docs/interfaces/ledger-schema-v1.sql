-- Linewarden unit ledger, schema version 1. To create a ledger daemon/recorder/ledger.py runs this file and then each
-- ledger-schema-vN.sql in turn; it runs those that are missing on a ledger of an earlier release, which cannot go back.
-- Only the recorder writes. Opened with journal_mode = WAL, synchronous = FULL. application_id is "LWRD".
-- A reader opens the file read-only; a newer user_version than its own is refused.
--
-- Times: *_ns are CLOCK_MONOTONIC of this device (0 = the stage did not happen), *_wall_ns are UTC nanoseconds since 1970
-- and stand beside `clock`: "ntp" (the kernel's clock was synchronised) or "unsynchronised".
-- `digest` is the sha256 of the message without its sequence number (msgpack, map keys sorted): a row that is sent
-- again and is equal is ignored, a unit or permit that differs goes to `conflict` and never replaces what is stored.
-- unit, unit_view, permit, gap, alarm and conflict are append-only; a batch can only go from open to closed.

CREATE TABLE batch (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('open', 'closed')),
  station TEXT NOT NULL,
  bundle TEXT NOT NULL,
  recipe TEXT NOT NULL,
  bundle_name TEXT NOT NULL,
  recipe_name TEXT NOT NULL,
  register_map TEXT NOT NULL,
  release TEXT NOT NULL,
  configuration TEXT NOT NULL,
  actor TEXT NOT NULL,
  role TEXT NOT NULL,
  reason TEXT NOT NULL,
  opened_wall_ns INTEGER NOT NULL,
  opened_clock TEXT NOT NULL,
  since_epoch INTEGER NOT NULL,                     -- newest epoch on record when it was opened
  closed_actor TEXT NOT NULL DEFAULT '',
  closed_reason TEXT NOT NULL DEFAULT '',
  closed_wall_ns INTEGER NOT NULL DEFAULT 0,
  closed_clock TEXT NOT NULL DEFAULT '',
  report TEXT NOT NULL DEFAULT ''                   -- report-v1 as it stood when the batch closed
) STRICT;
CREATE UNIQUE INDEX batch_one_open ON batch (state) WHERE state = 'open';

-- The verdict behind a permit, sent with the permit. `views` is JSON: what vision judged, with frame keys and pixel digests.
CREATE TABLE permit (
  epoch INTEGER NOT NULL, lane INTEGER NOT NULL, number INTEGER NOT NULL,
  batch TEXT NOT NULL,
  configuration TEXT NOT NULL,
  verdict TEXT NOT NULL,
  bundle TEXT NOT NULL,
  views TEXT NOT NULL,
  created_ns INTEGER NOT NULL, last_edge_ns INTEGER NOT NULL, frame_ns INTEGER NOT NULL, inferred_ns INTEGER NOT NULL,
  inference_ns INTEGER NOT NULL, judged_ns INTEGER NOT NULL, permit_ns INTEGER NOT NULL, closed_ns INTEGER NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (epoch, lane, number)
) STRICT;
CREATE INDEX permit_batch ON permit (batch, epoch, lane);

-- One row per unit, for ever. `source` is "line", or "plc" for a unit read from the PLC's closed ring.
CREATE TABLE unit (
  epoch INTEGER NOT NULL, lane INTEGER NOT NULL, number INTEGER NOT NULL,
  batch TEXT NOT NULL,
  configuration TEXT NOT NULL,
  outcome TEXT NOT NULL,
  verdict TEXT NOT NULL,
  reason TEXT NOT NULL,
  channel TEXT NOT NULL,
  defect TEXT NOT NULL,
  source TEXT NOT NULL,
  bundle TEXT NOT NULL,
  plc_flags INTEGER NOT NULL,
  encoder INTEGER NOT NULL,
  created_ns INTEGER NOT NULL, last_edge_ns INTEGER NOT NULL, frame_ns INTEGER NOT NULL, inferred_ns INTEGER NOT NULL,
  inference_ns INTEGER NOT NULL, judged_ns INTEGER NOT NULL, permit_ns INTEGER NOT NULL, closed_ns INTEGER NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (epoch, lane, number)
) STRICT;
CREATE INDEX unit_batch ON unit (batch, epoch, lane);

-- The views behind a unit's verdict: frame key, device time, sha256 of the raw pixels, class scores 0..1 as JSON.
CREATE TABLE unit_view (
  epoch INTEGER NOT NULL, lane INTEGER NOT NULL, number INTEGER NOT NULL, position INTEGER NOT NULL,
  camera TEXT NOT NULL, region INTEGER NOT NULL, shot INTEGER NOT NULL,
  frame_camera TEXT NOT NULL, frame_session INTEGER NOT NULL, frame_id INTEGER NOT NULL,
  device_ts INTEGER NOT NULL,
  pixel_digest TEXT NOT NULL,
  scores TEXT NOT NULL,
  PRIMARY KEY (epoch, lane, number, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX unit_view_frame ON unit_view (frame_camera, frame_session, frame_id, region);

-- Units older than the PLC's closed ring, by number range.
CREATE TABLE gap (
  session INTEGER NOT NULL, seq INTEGER NOT NULL,
  epoch INTEGER NOT NULL, lane INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  cause TEXT NOT NULL,
  batch TEXT NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (session, seq, digest)
) STRICT;

-- Alarms and state changes; `origin` is line or recorder, `session` that process's life.
CREATE TABLE alarm (
  origin TEXT NOT NULL, session INTEGER NOT NULL, seq INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,
  code TEXT NOT NULL,
  text TEXT NOT NULL,
  state TEXT NOT NULL,
  epoch INTEGER, lane INTEGER, number INTEGER,
  batch TEXT NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (origin, session, seq, digest)
) STRICT;
CREATE INDEX alarm_batch ON alarm (batch);

-- Rows that were refused because they contradict a stored one; `message` is the refused message as JSON.
CREATE TABLE conflict (
  kind TEXT NOT NULL,
  digest BLOB NOT NULL,
  why TEXT NOT NULL,
  message TEXT NOT NULL,
  session INTEGER NOT NULL, seq INTEGER NOT NULL,
  batch TEXT NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  PRIMARY KEY (kind, digest)
) STRICT;

-- The PLC's own counts of one epoch and lane while `batch` was open; the newest counts win, `first` and `last` (unit
-- numbers of the batch) only widen. *_before is what the epoch had counted before the batch began (the least ever seen).
CREATE TABLE plc_totals (
  batch TEXT NOT NULL, epoch INTEGER NOT NULL, lane INTEGER NOT NULL,
  session INTEGER NOT NULL, seq INTEGER NOT NULL,
  created INTEGER NOT NULL, passed INTEGER NOT NULL, diverted INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL,
  created_before INTEGER NOT NULL, passed_before INTEGER NOT NULL, diverted_before INTEGER NOT NULL,
  recorded_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL,
  PRIMARY KEY (batch, epoch, lane)
) STRICT;

-- Lives of `line`: every message up to and including `acknowledged` is in this file.
CREATE TABLE session (
  session INTEGER PRIMARY KEY,
  acknowledged INTEGER NOT NULL,
  begun_wall_ns INTEGER NOT NULL, clock TEXT NOT NULL
) STRICT;

CREATE TRIGGER unit_no_update BEFORE UPDATE ON unit BEGIN SELECT RAISE(ABORT, 'unit is append-only'); END;
CREATE TRIGGER unit_no_delete BEFORE DELETE ON unit BEGIN SELECT RAISE(ABORT, 'unit is append-only'); END;
CREATE TRIGGER unit_view_no_update BEFORE UPDATE ON unit_view BEGIN SELECT RAISE(ABORT, 'unit_view is append-only'); END;
CREATE TRIGGER unit_view_no_delete BEFORE DELETE ON unit_view BEGIN SELECT RAISE(ABORT, 'unit_view is append-only'); END;
CREATE TRIGGER permit_no_update BEFORE UPDATE ON permit BEGIN SELECT RAISE(ABORT, 'permit is append-only'); END;
CREATE TRIGGER permit_no_delete BEFORE DELETE ON permit BEGIN SELECT RAISE(ABORT, 'permit is append-only'); END;
CREATE TRIGGER gap_no_update BEFORE UPDATE ON gap BEGIN SELECT RAISE(ABORT, 'gap is append-only'); END;
CREATE TRIGGER gap_no_delete BEFORE DELETE ON gap BEGIN SELECT RAISE(ABORT, 'gap is append-only'); END;
CREATE TRIGGER alarm_no_update BEFORE UPDATE ON alarm BEGIN SELECT RAISE(ABORT, 'alarm is append-only'); END;
CREATE TRIGGER alarm_no_delete BEFORE DELETE ON alarm BEGIN SELECT RAISE(ABORT, 'alarm is append-only'); END;
CREATE TRIGGER conflict_no_update BEFORE UPDATE ON conflict BEGIN SELECT RAISE(ABORT, 'conflict is append-only'); END;
CREATE TRIGGER conflict_no_delete BEFORE DELETE ON conflict BEGIN SELECT RAISE(ABORT, 'conflict is append-only'); END;
CREATE TRIGGER batch_no_delete BEFORE DELETE ON batch BEGIN SELECT RAISE(ABORT, 'a batch is never deleted'); END;
CREATE TRIGGER batch_closes_once BEFORE UPDATE ON batch
WHEN OLD.state <> 'open' OR NEW.state <> 'closed' OR NEW.id <> OLD.id OR NEW.configuration <> OLD.configuration
  OR NEW.bundle <> OLD.bundle OR NEW.recipe <> OLD.recipe OR NEW.actor <> OLD.actor OR NEW.reason <> OLD.reason
  OR NEW.opened_wall_ns <> OLD.opened_wall_ns
BEGIN SELECT RAISE(ABORT, 'a batch can only be closed, once'); END;
CREATE TRIGGER plc_totals_no_delete BEFORE DELETE ON plc_totals BEGIN SELECT RAISE(ABORT, 'totals are never deleted'); END;
CREATE TRIGGER session_no_delete BEFORE DELETE ON session BEGIN SELECT RAISE(ABORT, 'sessions are never deleted'); END;
CREATE TRIGGER session_only_forward BEFORE UPDATE ON session WHEN NEW.acknowledged < OLD.acknowledged
BEGIN SELECT RAISE(ABORT, 'acknowledged never goes back'); END;

PRAGMA application_id = 1280791108;
PRAGMA user_version = 1;
