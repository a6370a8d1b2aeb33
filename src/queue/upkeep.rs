//! Upkeep: what a queue needs so that its file does not only grow, and what it says of itself.

use rusqlite::params;

use super::Durability;
use super::claim::Living;
use super::owner;
use super::row::{self, Timestamp};
use super::store::{Rollback, Store};
use crate::error::{Code, Error, Result};
use crate::limits;

/// A queue at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stats {
    /// Messages to be delivered that nobody holds, those that wait for a retry included.
    pub pending: u64,
    /// Messages under a lease in force.
    pub claimed: u64,
    /// Pending messages that wait for their retry.
    pub waiting: u64,
    /// Processed messages that cleanup has not deleted yet.
    pub processed: u64,
    /// Dead letters.
    pub dead: u64,
    /// Timestamp of the oldest message that is not settled, in milliseconds.
    pub oldest_timestamp: Option<f64>,
    /// Size of the database file, in bytes.
    pub file_bytes: u64,
    /// The part of it that is free for new messages, in bytes.
    pub free_bytes: u64,
    /// Size of the write-ahead log beside it, in bytes.
    pub wal_bytes: u64,
}

impl Store {
    /// Deletes processed messages that were processed more than `retention_hours` ago; with 0,
    /// all of them. Messages that are not settled and dead letters stay. Returns how many.
    /// Ids that were remembered as handled are forgotten after the same time.
    ///
    /// Rows are deleted in transactions of [`limits::CHUNK_ROWS`], so that writers are not kept
    /// waiting.
    ///
    /// # Errors
    /// `InvalidArgument` when the retention is negative or not a number.
    pub fn cleanup(&mut self, retention_hours: f64) -> Result<u64> {
        let mut count = 0;
        loop {
            let (deleted, more) = self.cleanup_chunk(retention_hours)?;
            count += deleted;
            if !more {
                return Ok(count);
            }
        }
    }

    /// One transaction of [`Store::cleanup`]: how many it deleted, and whether more are left.
    pub(super) fn cleanup_chunk(&mut self, retention_hours: f64) -> Result<(u64, bool)> {
        if retention_hours.is_nan() || retention_hours < 0.0 {
            return Err(Error::rule(
                Code::InvalidArgument,
                format!("The retention must be 0 or more hours, not {retention_hours}."),
            ));
        }
        // Conversion saturates: a retention beyond the calendar keeps everything.
        #[allow(clippy::cast_possible_truncation)]
        let retention = (retention_hours * 3_600.0).ceil() as i64;
        let cutoff = self
            .clock
            .unix_ms()
            .div_euclid(1_000)
            .saturating_sub(retention);
        // Without a retention the time does not matter, not even a missing or a future one.
        let select = match retention {
            0 => "SELECT rowid FROM message_queue WHERE processed = 1 LIMIT ?2 + 0 * ?1",
            _ => {
                "SELECT rowid FROM message_queue WHERE processed = 1 AND processed_at < ?1
                 LIMIT ?2"
            }
        };
        // Found outside of the transaction: readers keep nobody waiting, and most calls find
        // nothing.
        let rowids = self
            .conn
            .prepare_cached(select)?
            .query_map(params![cutoff, limits::CHUNK_ROWS as i64], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        let mut count = 0;
        if !rowids.is_empty() {
            count = self.write(Durability::Normal, |writing| {
                // The time again: rows may have changed, and `VACUUM` may have renumbered them.
                let mut delete = writing.conn.prepare_cached(
                    "DELETE FROM message_queue
                     WHERE rowid = ?1 AND processed = 1 AND (?3 OR processed_at < ?2)",
                )?;
                let mut count = 0;
                for rowid in &rowids {
                    count += delete.execute(params![rowid, cutoff, retention == 0])? as u64;
                }
                Ok(count)
            })?;
        }
        if rowids.len() == limits::CHUNK_ROWS {
            return Ok((count, true));
        }
        if self.forget_handled_chunk((retention > 0).then_some(cutoff))? {
            return Ok((count, true));
        }
        self.prune()?;
        Ok((count, false))
    }

    /// Drops what is known of messages that old processes settled or deleted.
    fn prune(&mut self) -> Result<()> {
        // The claim of a settled message stays while its lease runs, so that its owner is told
        // that its work counts.
        let claims = concat!(
            "SELECT c.message_id FROM message_claim c
             WHERE NOT (c.leased AND c.available_at_ms > ?1 AND NOT ",
            owner::of_another_boot!(),
            ") AND NOT EXISTS (SELECT 1 FROM message_queue q
                               WHERE q.message_id = c.message_id AND q.processed = 0)"
        );
        let letters = "SELECT d.message_id FROM message_dead_letter d
             WHERE NOT EXISTS (SELECT 1 FROM message_queue q
                               WHERE q.message_id = d.message_id AND q.processed = 2)";
        let now = self.clock.boot_ms();
        let collect = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            self.conn
                .prepare_cached(sql)?
                .query_map(values, |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()
        };
        let claims = collect(claims, &[&now, &owner::boot()])?;
        let letters = collect(letters, &[])?;
        let drops = [
            (
                claims,
                "DELETE FROM message_claim WHERE message_id = ?1
                   AND NOT (leased AND available_at_ms > ?2)
                   AND NOT EXISTS (SELECT 1 FROM message_queue q
                                   WHERE q.message_id = ?1 AND q.processed = 0)",
            ),
            (
                letters,
                "DELETE FROM message_dead_letter WHERE message_id = ?1 AND ?2 IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM message_queue q
                                   WHERE q.message_id = ?1 AND q.processed = 2)",
            ),
        ];
        for (ids, sql) in drops {
            for chunk in ids.chunks(limits::CHUNK_ROWS) {
                self.write(Durability::Normal, |writing| {
                    let mut delete = writing.conn.prepare_cached(sql)?;
                    for id in chunk {
                        delete.execute(params![id, writing.boot_ms])?;
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Counts what the queue holds, all at one instant.
    ///
    /// What is pending or dead is counted entry by entry in an index.
    /// Processed messages, usually the most, are what remains of the number of all rows, which
    /// SQLite counts by pages. Claims are looked at one by one.
    pub fn stats(&mut self) -> Result<Stats> {
        self.conn.prepare_cached("BEGIN")?.execute([])?;
        let _rollback = Rollback(&self.conn);
        let number = |sql: &str| -> Result<u64> {
            let value: i64 = self
                .conn
                .prepare_cached(sql)?
                .query_row([], |row| row.get(0))?;
            Ok(u64::try_from(value).unwrap_or(0))
        };
        let unsettled = number("SELECT count(*) FROM message_queue WHERE processed = 0")?;
        let dead = number("SELECT count(*) FROM message_queue WHERE processed = 2")?;
        let all = number("SELECT count(*) FROM message_queue")?;
        let (claimed, waiting) = self.count_claims()?;
        let oldest_timestamp = self
            .conn
            .prepare_cached("SELECT min(timestamp) FROM message_queue WHERE processed = 0")?
            .query_row([], |row| Ok(Timestamp::of_column(row.get_ref(0)?)))?
            .map(Timestamp::as_f64);
        let page = number("PRAGMA page_size")?;
        Ok(Stats {
            pending: unsettled.saturating_sub(claimed),
            claimed,
            waiting,
            processed: all.saturating_sub(unsettled + dead),
            dead,
            oldest_timestamp,
            file_bytes: number("PRAGMA page_count")? * page,
            free_bytes: number("PRAGMA freelist_count")? * page,
            wal_bytes: std::fs::metadata(self.wal_path()).map_or(0, |metadata| metadata.len()),
        })
    }

    /// Messages under a lease in force, and messages that wait for their retry.
    fn count_claims(&self) -> Result<(u64, u64)> {
        let now = self.clock.boot_ms();
        let mut living = Living::default();
        let mut statement = self.conn.prepare_cached(concat!(
            "SELECT c.leased, c.owner FROM message_claim c
             JOIN message_queue q ON q.message_id = c.message_id AND q.processed = 0
             WHERE c.available_at_ms > ?1 AND NOT ",
            owner::of_another_boot!()
        ))?;
        let mut rows = statement.query(params![now, owner::boot()])?;
        let (mut claimed, mut waiting) = (0, 0);
        while let Some(row) = rows.next()? {
            if !row.get::<_, bool>(0)? {
                waiting += 1;
            } else if row::text(row.get_ref(1)?).is_some_and(|owner| !living.is_dead(owner)) {
                claimed += 1;
            }
        }
        Ok((claimed, waiting))
    }

    /// Gives free space back to the file system, and empties the write-ahead log.
    ///
    /// Files that this package created are compacted step by step, beside other writers. A file
    /// of the original package is rebuilt once (`VACUUM`): that takes as much free disk as the
    /// file is large, and other writers wait for it, after which it can be compacted step by
    /// step too. Rowids may change by it; nothing in this package keeps one.
    ///
    /// # Errors
    /// `SQLITE_BUSY` when other processes hold the file longer than the busy timeout.
    pub fn compact(&mut self) -> Result<()> {
        let number = |store: &Store, sql: &str| -> Result<i64> {
            Ok(store.conn.query_row(sql, [], |row| row.get(0))?)
        };
        if number(self, "PRAGMA auto_vacuum")? == 0 {
            if number(self, "PRAGMA freelist_count")? > 0 {
                self.conn
                    .execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")?;
            }
        } else {
            let mut free = number(self, "PRAGMA freelist_count")?;
            while free > 0 {
                self.write(Durability::Normal, |writing| {
                    let step = format!("PRAGMA incremental_vacuum({})", limits::VACUUM_STEP_PAGES);
                    // One page per row of the answer.
                    let mut statement = writing.conn.prepare_cached(&step)?;
                    let mut rows = statement.query([])?;
                    while rows.next()?.is_some() {}
                    Ok(())
                })?;
                let left = number(self, "PRAGMA freelist_count")?;
                if left >= free {
                    // Others free pages as fast as we give them back.
                    break;
                }
                free = left;
            }
        }
        self.empty_log()
    }

    /// Closes the connection, and empties the write-ahead log if nobody else needs it.
    ///
    /// # Errors
    /// None that would lose a message: what was committed is in the log, which the next opening
    /// reads.
    pub fn close(self) -> Result<()> {
        // Whoever closes last does this anyway; others would wait for readers in vain.
        let _ = self.conn.busy_timeout(std::time::Duration::ZERO);
        let _ = self.empty_log();
        self.conn.close().map_err(|(_, error)| Error::Sqlite(error))
    }

    fn empty_log(&self) -> Result<()> {
        // The answer says whether a reader or writer was in the way; then a later call will do.
        self.conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// The write-ahead log, which lies beside the file.
    pub fn wal_path(&self) -> std::path::PathBuf {
        let mut name = self.path().as_os_str().to_owned();
        name.push("-wal");
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, message};
    use super::super::{NewMessage, Owner};
    use super::*;

    #[test]
    fn only_processed_messages_older_than_the_retention_are_deleted() {
        let folder = Folder::new();
        let mut store = folder.store();
        let names = ["old", "young", "pending", "dead"];
        for (index, name) in (1..).zip(names) {
            store.enqueue(&message(name, index)).expect("new");
        }
        store.mark_processed("old").expect("there");
        store
            .conn
            .execute_batch(
                "UPDATE message_queue SET processed = 2, processed_at = 1
                 WHERE message_id = 'dead'",
            )
            .expect("ours");
        folder.clock.advance(3_600_000);
        store.mark_processed("young").expect("there");
        for (retention, expected) in [(24.0, 0), (f64::INFINITY, 0), (1.0, 0)] {
            assert_eq!(
                store.cleanup(retention).expect("free"),
                expected,
                "{retention}"
            );
        }
        folder.clock.advance(1_000);
        assert_eq!(store.cleanup(1.0).expect("free"), 1);
        // The calendar was set back: by it, the message will be processed in the future.
        folder.clock.set_unix_ms(0);
        assert_eq!(store.cleanup(0.001).expect("free"), 0);
        assert_eq!(store.cleanup(0.0).expect("free"), 1);
        assert_eq!(folder.ids(&mut store), ["pending"]);
        assert_eq!(store.stats().expect("readable").dead, 1);
        for retention in [-0.1, f64::NAN, f64::NEG_INFINITY] {
            let error = store.cleanup(retention).expect_err("out of range");
            assert_eq!(error.code(), "ERR_IPC_INVALID_ARGUMENT");
        }
    }

    #[test]
    fn more_than_one_chunk_is_deleted() {
        let folder = Folder::new();
        let mut store = folder.store();
        let count = limits::CHUNK_ROWS * 2 + 1;
        let ids: Vec<String> = (0..count).map(|index| index.to_string()).collect();
        let messages: Vec<_> = ids.iter().map(|id| message(id, 1)).collect();
        store.enqueue_many(&messages).expect("new");
        store.mark_processed_many(&ids).expect("there");
        assert_eq!(store.stats().expect("readable").processed, count as u64);
        assert_eq!(store.cleanup(0.0).expect("free"), count as u64);
        assert_eq!(store.stats().expect("readable").processed, 0);
    }

    #[test]
    fn cleanup_forgets_what_old_processes_settled() {
        let folder = Folder::new();
        let (mut store, owner) = (folder.store(), Owner::new());
        for index in 1..=4 {
            store
                .enqueue(&message(&index.to_string(), index))
                .expect("new");
        }
        store.claim(2, 1_000, 0, &owner).expect("free");
        store.claim(1, 60_000, 0, &owner).expect("free");
        store
            .conn
            .execute_batch(
                "UPDATE message_queue SET processed = 1 WHERE message_id <> '2';
                 INSERT INTO message_dead_letter VALUES ('4', 1, 'attempts', NULL, 1)",
            )
            .expect("as old processes leave it");
        folder.clock.advance(1_000);
        store.cleanup(24.0).expect("free");
        let left = |table: &str| -> Vec<String> {
            store
                .conn
                .prepare(&format!("SELECT message_id FROM {table}"))
                .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
                .expect("readable")
        };
        assert_eq!(left("message_claim"), ["2", "3"], "the lease of 3 runs on");
        assert_eq!(left("message_dead_letter"), [""; 0]);
    }

    #[test]
    fn an_empty_cleanup_takes_no_lock() {
        let folder = Folder::new();
        let (mut store, other) = (folder.store(), folder.store());
        other.conn.execute_batch("BEGIN IMMEDIATE").expect("free");
        assert_eq!(store.cleanup(0.0).expect("not waiting"), 0);
    }

    #[test]
    fn statistics_tell_the_states_apart() {
        let folder = Folder::new();
        let (mut store, owner) = (folder.store(), Owner::new());
        let empty = store.stats().expect("readable");
        assert_eq!((empty.pending, empty.oldest_timestamp), (0, None));
        assert!(empty.file_bytes > 0);
        for index in 1..=5 {
            store
                .enqueue(&message(&index.to_string(), index))
                .expect("new");
        }
        store.mark_processed("1").expect("there");
        store.claim(2, 60_000, 0, &owner).expect("free");
        let stats = store.stats().expect("readable");
        assert_eq!(
            (
                stats.pending,
                stats.claimed,
                stats.waiting,
                stats.processed,
                stats.dead
            ),
            (2, 2, 0, 1, 0)
        );
        assert_eq!(stats.oldest_timestamp, Some(2.0));
        assert!(stats.wal_bytes > 0);
        folder.clock.advance(60_000);
        let stats = store.stats().expect("readable");
        assert_eq!(
            (stats.pending, stats.claimed),
            (4, 0),
            "leases that ran out"
        );
    }

    #[test]
    fn compaction_shrinks_files_of_either_origin() {
        for original in [false, true] {
            let folder = Folder::new();
            if original {
                rusqlite::Connection::open(folder.path())
                    .and_then(|conn| conn.execute_batch(include_str!("schema.sql")))
                    .expect("without auto_vacuum");
            }
            let mut store = folder.store();
            let payload = format!("\"{}\"", "x".repeat(20_000_000));
            let large = NewMessage::new("a", "t", payload, 1.0).expect("valid");
            store.enqueue(&large).expect("new");
            store.enqueue(&message("b", 1)).expect("new");
            store.mark_processed("a").expect("there");
            store.cleanup(0.0).expect("free");
            let before = store.stats().expect("readable");
            assert!(before.free_bytes > 20_000_000);
            store.compact().expect("free");
            let after = store.stats().expect("readable");
            assert!(after.file_bytes < 100_000, "{original}: {after:?}");
            assert_eq!((after.free_bytes, after.wal_bytes), (0, 0), "{original}");
            assert_eq!(folder.ids(&mut store), ["b"]);
            let wal = store.wal_path();
            store.close().expect("the last one");
            assert!(!wal.exists());
        }
    }
}
