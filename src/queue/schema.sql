-- The tables of a queue file, with their indexes but for those by timestamp, which depend on whose file it
-- is (`schema.rs`). Every statement may run on a file that has them already.
--
-- `message_queue` and its indexes are shared with processes that run the original package and
-- know nothing else. `processed` is 0 pending, 1 processed, 2 dead letter; the original selects
-- 0, deletes 1 and ignores 2.
CREATE TABLE IF NOT EXISTS message_queue (
  message_id   TEXT PRIMARY KEY,
  type         TEXT NOT NULL,
  payload      TEXT NOT NULL,
  timestamp    INTEGER NOT NULL,
  processed    INTEGER DEFAULT 0,
  processed_at INTEGER,
  created_at   INTEGER DEFAULT (strftime('%s', 'now'))
);
CREATE INDEX IF NOT EXISTS idx_message_queue_cleanup ON message_queue (processed, processed_at);

-- Claims live beside the queue, because an update of `message_queue` would rewrite the whole row
-- with its payload. Only messages that are claimed now, wait for a retry, or were given back have
-- an entry.
CREATE TABLE IF NOT EXISTS message_claim (
  message_id      TEXT PRIMARY KEY NOT NULL,
  attempt         INTEGER NOT NULL, -- deliveries begun so far
  token           INTEGER NOT NULL, -- of the newest claim; older ones are stale
  owner           TEXT NOT NULL,    -- who claimed it, see owner.rs; begins with the boot id
  leased          INTEGER NOT NULL, -- 1 claimed, 0 waiting for its retry
  available_at_ms INTEGER NOT NULL, -- on the clock of that boot, see clock.rs
  error           TEXT,             -- of the newest failure
  failures        INTEGER NOT NULL DEFAULT 0, -- deliveries that were reported as failed
  alone           INTEGER NOT NULL DEFAULT 0  -- deliveries with nothing beside it, not reported on
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS idx_message_claim_waiting ON message_claim (available_at_ms)
  WHERE leased = 0;
CREATE INDEX IF NOT EXISTS idx_message_claim_leased ON message_claim (owner, available_at_ms)
  WHERE leased = 1;

-- What is known about a row with processed = 2. Rows whose id is not text have no entry.
CREATE TABLE IF NOT EXISTS message_dead_letter (
  message_id TEXT PRIMARY KEY NOT NULL,
  attempts   INTEGER NOT NULL,
  reason     TEXT NOT NULL,    -- 'attempts' or 'corrupt'
  error      TEXT,
  died_at    INTEGER NOT NULL  -- ms since 1970
) WITHOUT ROWID;

-- Ids that a consumer has handled, whether or not their message ever came to this file, so that
-- another copy is recognised. Cleanup forgets them after the retention.
CREATE TABLE IF NOT EXISTS message_handled (
  message_id TEXT PRIMARY KEY NOT NULL,
  handled_at INTEGER NOT NULL  -- s since 1970, of the newest copy
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idx_message_handled_at ON message_handled (handled_at);

-- 'token' is the newest token that was handed out.
CREATE TABLE IF NOT EXISTS message_meta (
  key   TEXT PRIMARY KEY NOT NULL,
  value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT OR IGNORE INTO message_meta (key, value) VALUES ('token', 0);
