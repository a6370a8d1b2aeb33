//! Dead letters: messages that failed too often, and rows that are no messages.
//!
//! A dead letter is a row with `processed = 2`, which old processes neither deliver nor delete.
//! What is known about it lies in `message_dead_letter`, under its id. A row whose id is not
//! text has no entry there; what is wrong with it is visible in the row itself, and rowids are
//! not kept anywhere, because `VACUUM` may give out new ones.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::Durability;
use super::row::{self, Timestamp};
use super::store::{self, Store, Writing};
use crate::error::Result;
use crate::limits;

/// Which dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection<'a> {
    /// Every one, also those without a usable id.
    All,
    /// Those with these ids.
    Ids(&'a [String]),
}

/// Dead letters, the oldest message first.
pub(super) const LETTERS: &str = "SELECT q.message_id, q.type, q.payload, q.timestamp,
       d.attempts, d.reason, d.error, d.died_at, q.processed_at
     FROM message_queue q LEFT JOIN message_dead_letter d ON d.message_id = q.message_id
     WHERE q.processed = 2 ORDER BY q.timestamp, q.rowid LIMIT ?1 OFFSET ?2";

const ATTEMPTS: &str = "attempts";
const CORRUPT: &str = "corrupt";

impl Store {
    /// Dead letters from the `offset`-th on, oldest message first, as the JSON text of an array
    /// of `{"id", "message", "raw", "attempts", "reason", "error", "diedAt"}`:
    ///
    /// - `message` is `{"id", "type", "payload", "timestamp"}`, or null where the row is not one;
    /// - `raw` is then what can be read of it,
    ///   `{"id", "type", "payload", "timestamp"}` with the payload's text as a string and null
    ///   for what is not text or not a number, else null;
    /// - `id` is null where it is not text; such a letter is reached by [`Selection::All`] only;
    /// - `reason` is `"attempts"` or `"corrupt"`, `error` the newest failure's text or null,
    ///   `diedAt` in milliseconds since 1970.
    ///
    /// At most [`limits::DEQUEUE_BYTES_MAX`] are returned, and at least one letter.
    pub fn dead_letters(&mut self, limit: u32, offset: u32) -> Result<String> {
        let mut statement = self.conn.prepare_cached(LETTERS)?;
        let mut rows = statement.query([limit, offset])?;
        let mut out = String::from("[");
        while let Some(row) = rows.next()? {
            let mut letter = String::new();
            let message = row::judge(row, 0)?;
            letter.push_str("{\"id\":");
            row::write_option(&mut letter, row::text(row.get_ref(0)?));
            letter.push_str(",\"message\":");
            match &message {
                Ok(message) => {
                    message.write(&mut letter);
                    letter.push_str(",\"raw\":null");
                }
                Err(_) => {
                    letter.push_str("null,\"raw\":");
                    write_raw(&mut letter, row)?;
                }
            }
            let attempts: Option<u32> = row.get(4)?;
            let reason: Option<String> = row.get(5)?;
            let error: Option<String> = row.get(6)?;
            let died_at: Option<i64> = row.get(7)?;
            let settled_at = match row.get_ref(8)? {
                ValueRef::Integer(seconds) => seconds.saturating_mul(1_000),
                _ => 0,
            };
            letter.push_str(&format!(
                ",\"attempts\":{},\"reason\":",
                attempts.unwrap_or(0)
            ));
            row::write_string(&mut letter, reason.as_deref().unwrap_or(CORRUPT));
            letter.push_str(",\"error\":");
            row::write_option(&mut letter, error.as_deref().or(message.err()));
            letter.push_str(&format!(",\"diedAt\":{}}}", died_at.unwrap_or(settled_at)));
            if out.len() > 1 {
                if out.len() + letter.len() > limits::DEQUEUE_BYTES_MAX {
                    break;
                }
                out.push(',');
            }
            out.push_str(&letter);
        }
        out.push(']');
        Ok(out)
    }

    /// Makes dead letters pending again, with all their attempts before them. Rows that are
    /// still corrupt stay. Returns how many were revived.
    pub fn redrive(&mut self, selection: Selection<'_>) -> Result<u64> {
        // Losing this would lose no message, but the caller was told that it is on its way.
        self.each_dead(selection, Durability::Full, |writing, rowid| {
            let mut statement = writing.conn.prepare_cached(
                "SELECT message_id, type, payload, timestamp FROM message_queue
                 WHERE rowid = ?1 AND processed = 2",
            )?;
            let mut rows = statement.query([rowid])?;
            let Some(row) = rows.next()? else {
                return Ok(false);
            };
            let Ok(message) = row::judge(row, 0)? else {
                return Ok(false);
            };
            forget(writing.conn, message.id)?;
            // With no attempt, and free: by it the message is found, however old it is, see
            // `candidates`.
            writing
                .conn
                .prepare_cached(
                    "INSERT OR REPLACE INTO message_claim
                       (message_id, attempt, token, owner, leased, available_at_ms)
                     VALUES (?1, 0, 0, '', 0, 0)",
                )?
                .execute([message.id])?;
            drop(rows);
            writing
                .conn
                .prepare_cached(
                    "UPDATE message_queue SET processed = 0, processed_at = NULL WHERE rowid = ?1",
                )?
                .execute([rowid])?;
            Ok(true)
        })
    }

    /// Deletes dead letters for good. Returns how many.
    pub fn purge_dead(&mut self, selection: Selection<'_>) -> Result<u64> {
        self.each_dead(selection, Durability::Normal, |writing, rowid| {
            writing
                .conn
                .prepare_cached(
                    "DELETE FROM message_dead_letter WHERE message_id =
                       (SELECT message_id FROM message_queue WHERE rowid = ?1 AND processed = 2)",
                )?
                .execute([rowid])?;
            let count = writing
                .conn
                .prepare_cached("DELETE FROM message_queue WHERE rowid = ?1 AND processed = 2")?
                .execute([rowid])?;
            Ok(count == 1)
        })
    }

    /// Runs `step` on every selected row, in transactions of bounded size.
    fn each_dead(
        &mut self,
        selection: Selection<'_>,
        level: Durability,
        step: impl Fn(&Writing<'_>, i64) -> Result<bool>,
    ) -> Result<u64> {
        let mut count = 0;
        match selection {
            Selection::All => {
                // Rowids from outside of the transaction: should `VACUUM` give out new ones in
                // between, they lead to other dead letters or to rows that the step refuses.
                let rowids = self
                    .conn
                    .prepare_cached("SELECT rowid FROM message_queue WHERE processed = 2")?
                    .query_map([], |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<i64>>>()?;
                for chunk in rowids.chunks(limits::CHUNK_ROWS) {
                    let work = |writing: &Writing<'_>| {
                        let mut count = 0;
                        for &rowid in chunk {
                            count += u64::from(step(writing, rowid)?);
                        }
                        Ok(count)
                    };
                    count += self.draining(|store| store.write(level, work))?;
                }
            }
            Selection::Ids(ids) => {
                for chunk in ids.chunks(limits::CHUNK_ROWS) {
                    let work = |writing: &Writing<'_>| {
                        let mut count = 0;
                        for id in chunk {
                            let rowid = writing
                                .conn
                                .prepare_cached(
                                    "SELECT rowid FROM message_queue
                                     WHERE message_id = ?1 AND processed = 2",
                                )?
                                .query_row([id], |row| row.get(0))
                                .optional()?;
                            if let Some(rowid) = rowid {
                                count += u64::from(step(writing, rowid)?);
                            }
                        }
                        Ok(count)
                    };
                    count += self.draining(|store| store.write(level, work))?;
                }
            }
        }
        Ok(count)
    }
}

/// What can be read of a row that is no message.
fn write_raw(out: &mut String, row: &rusqlite::Row<'_>) -> Result<()> {
    for (index, name) in ["id", "type", "payload"].into_iter().enumerate() {
        out.push_str(if index == 0 { "{\"" } else { ",\"" });
        out.push_str(name);
        out.push_str("\":");
        match row.get_ref(index)? {
            // What is longer than any message cannot be shown either.
            ValueRef::Text(bytes) | ValueRef::Blob(bytes)
                if bytes.len() <= limits::PAYLOAD_BYTES_MAX as usize =>
            {
                row::write_string(out, &String::from_utf8_lossy(bytes));
            }
            _ => out.push_str("null"),
        }
    }
    out.push_str(",\"timestamp\":");
    match Timestamp::of_column(row.get_ref(3)?) {
        Some(timestamp) => timestamp.write(out),
        None => out.push_str("null"),
    }
    out.push('}');
    Ok(())
}

/// Makes a pending message a dead letter, and ends its claim.
pub(super) fn bury(writing: &Writing<'_>, id: &str, attempts: u32, error: &str) -> Result<()> {
    writing
        .conn
        .prepare_cached(
            "UPDATE message_queue SET processed = 2, processed_at = ?2
             WHERE message_id = ?1 AND processed = 0",
        )?
        .execute(params![id, writing.unix_seconds()])?;
    writing
        .conn
        .prepare_cached(
            "INSERT OR REPLACE INTO message_dead_letter
               (message_id, attempts, reason, error, died_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![id, attempts, ATTEMPTS, error, writing.unix_ms])?;
    store::forget_claim(writing.conn, id)
}

/// Makes pending rows that are no messages dead letters. They are addressed by rowid, because
/// the id of such a row may be null, and several may be.
pub(super) fn set_aside(writing: &Writing<'_>, corrupt: &[(i64, row::Flaw)]) -> Result<()> {
    for (rowid, flaw) in corrupt {
        let count = writing
            .conn
            .prepare_cached(
                "UPDATE message_queue SET processed = 2, processed_at = ?2
                 WHERE rowid = ?1 AND processed = 0",
            )?
            .execute(params![rowid, writing.unix_seconds()])?;
        if count == 0 {
            continue;
        }
        writing
            .conn
            .prepare_cached(
                "INSERT OR REPLACE INTO message_dead_letter
                   (message_id, attempts, reason, error, died_at)
                 SELECT q.message_id, coalesce(c.attempt, 0), ?2, ?3, ?4
                 FROM message_queue q LEFT JOIN message_claim c ON c.message_id = q.message_id
                 WHERE q.rowid = ?1 AND typeof(q.message_id) = 'text'",
            )?
            .execute(params![rowid, CORRUPT, flaw, writing.unix_ms])?;
        writing
            .conn
            .prepare_cached(
                "DELETE FROM message_claim WHERE message_id =
                   (SELECT message_id FROM message_queue WHERE rowid = ?1)",
            )?
            .execute([rowid])?;
    }
    Ok(())
}

/// Drops what is known of a dead letter that is none any more.
pub(super) fn forget(conn: &Connection, id: &str) -> Result<()> {
    conn.prepare_cached("DELETE FROM message_dead_letter WHERE message_id = ?1")?
        .execute([id])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Folder, message};
    use super::super::{FailOutcome, Failure, Owner};
    use super::*;

    fn letters(store: &mut Store) -> Vec<Value> {
        let text = store.dead_letters(100, 0).expect("readable");
        serde_json::from_str(&text).expect("valid JSON")
    }

    fn kill(store: &mut Store, owner: &Owner) {
        let failures: Vec<Failure> = store
            .claim(10, 1_000, 0, owner)
            .expect("free")
            .into_iter()
            .map(|claimed| Failure {
                id: claimed.id,
                token: claimed.token,
                error: "no \"luck\"".to_owned(),
                attempts_max: 1,
                retry_base_ms: 1,
                retry_max_ms: 1,
            })
            .collect();
        let outcomes = store.fail(&failures).expect("held");
        assert!(outcomes.iter().all(|outcome| *outcome == FailOutcome::Dead));
    }

    #[test]
    fn a_dead_letter_tells_its_story_and_can_be_revived() {
        let folder = Folder::new();
        let (mut store, owner) = (folder.store(), Owner::new());
        store
            .enqueue_many(&[message("a", 1), message("b", 2)])
            .expect("new");
        kill(&mut store, &owner);
        assert_eq!(folder.ids(&mut store), [""; 0]);
        let story = letters(&mut store);
        assert_eq!(
            story[0],
            json!({
                "id": "a",
                "message": {"id": "a", "type": "t", "payload": {"x": 1}, "timestamp": 1},
                "raw": null, "attempts": 1, "reason": "attempts", "error": "no \"luck\"",
                "diedAt": 1_700_000_000_000_i64,
            })
        );
        let page = store.dead_letters(1, 1).expect("readable");
        assert_eq!(
            serde_json::from_str::<Vec<Value>>(&page).expect("JSON"),
            story[1..]
        );

        let ids = ["b".to_owned(), "unknown".to_owned()];
        assert_eq!(store.redrive(Selection::Ids(&ids)).expect("dead"), 1);
        assert_eq!(store.redrive(Selection::Ids(&ids)).expect("alive"), 0);
        assert_eq!(
            store.claim(9, 1_000, 0, &owner).expect("free")[0].attempt,
            1
        );
        assert_eq!(store.redrive(Selection::All).expect("dead"), 1);
        assert_eq!(letters(&mut store).len(), 0);
        assert_eq!(folder.ids(&mut store), ["a", "b"]);
    }

    #[test]
    fn corrupt_rows_are_shown_raw_and_revived_once_they_are_repaired() {
        let folder = Folder::new();
        let mut store = folder.store();
        store
            .conn
            .execute_batch(
                "INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES
                 (NULL, 't', '1', 1), (x'61ff', 't', '1', 2), ('broken', 't', '{\"', 3)",
            )
            .expect("as an old process may write");
        assert_eq!(folder.ids(&mut store), [""; 0]);
        let story = letters(&mut store);
        assert_eq!(story[0]["id"], Value::Null);
        assert_eq!(story[0]["error"], "The id is not text in UTF-8.");
        assert_eq!(story[0]["diedAt"], 1_700_000_000_000_i64);
        assert_eq!(story[1]["raw"]["id"], "a\u{fffd}");
        assert_eq!(
            story[2],
            json!({
                "id": "broken", "message": null,
                "raw": {"id": "broken", "type": "t", "payload": "{\"", "timestamp": 3},
                "attempts": 0, "reason": "corrupt", "error": "The payload is not valid JSON.",
                "diedAt": 1_700_000_000_000_i64,
            })
        );
        assert_eq!(store.redrive(Selection::All).expect("readable"), 0);
        store
            .conn
            .execute_batch("UPDATE message_queue SET payload = '{}' WHERE message_id = 'broken'")
            .expect("ours");
        assert_eq!(letters(&mut store)[2]["message"]["payload"], json!({}));
        assert_eq!(store.redrive(Selection::All).expect("repaired"), 1);
        assert_eq!(folder.ids(&mut store), ["broken"]);
        assert_eq!(store.purge_dead(Selection::All).expect("dead"), 2);
        assert_eq!(letters(&mut store).len(), 0);
        assert_eq!(folder.ids(&mut store), ["broken"]);
    }

    #[test]
    fn purging_and_marking_leave_nothing_behind() {
        let folder = Folder::new();
        let (mut store, owner) = (folder.store(), Owner::new());
        store
            .enqueue_many(&[message("a", 1), message("b", 2), message("c", 3)])
            .expect("new");
        kill(&mut store, &owner);
        assert_eq!(
            store
                .purge_dead(Selection::Ids(&["a".to_owned()]))
                .expect("dead"),
            1
        );
        assert!(
            store
                .mark_processed("b")
                .expect("dead letters can be marked")
        );
        assert_eq!(letters(&mut store).len(), 1);
        let known: i64 = store
            .conn
            .query_row("SELECT count(*) FROM message_dead_letter", [], |row| {
                row.get(0)
            })
            .expect("readable");
        assert_eq!(known, 1);
    }
}
