-- Linewarden unit ledger, from schema version 1 to 2. A new ledger is made by version 1 and every step after it.
--
-- Bodies that the eyes behind the gate had seen in this epoch and that were no unit's, as far as their alarms are on
-- record: a line that starts again tells of those that came since.
ALTER TABLE plc_totals ADD COLUMN stray_pass INTEGER NOT NULL DEFAULT 0;
ALTER TABLE plc_totals ADD COLUMN stray_chute INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 2;
