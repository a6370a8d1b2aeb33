//! Upkeep: what a queue needs so that its file does not only grow, and what it says of itself.

use rusqlite::params;

use super::Durability;
use super::candidates::Living;
use super::owner;
use super::row::{self, Timestamp};
use super::store::{Rollback, Store, Writing};
use crate::error::{Code, Error, Result};
use crate::limits;

/// How many messages are in the state `?1`, at most `?2`.
pub(super) const IN_STATE: &str = "SELECT count(*) FROM
     (SELECT 1 FROM message_queue WHERE processed = ?1 LIMIT ?2)";

/// The timestamp of the oldest pending message.
pub(super) const OLDEST: &str = "SELECT min(timestamp) FROM message_queue WHERE processed = 0";

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
    /// Whether everything was counted. If not, there are more messages than these add up to, or
    /// some of those that count as pending are claimed.
    pub exact: bool,
    /// Timestamp of the oldest message that is not settled, in milliseconds.
    pub oldest_timestamp: Option<f64>,
    /// Size of the database file, in bytes.
    pub file_bytes: u64,
    /// The part of it that is free for new messages, in bytes.
    pub free_bytes: u64,
    /// Size of the write-ahead log beside it, in bytes.
    pub wal_bytes: u64,
}

/// How far a cleanup has come. Every step is short, and may be followed by other work.
#[derive(Debug, Clone, Default)]
pub(super) struct CleanupProgress {
    /// Messages that were deleted.
    pub(super) deleted: u64,
    stage: Stage,
    /// The key behind which the stage goes on.
    after: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Messages,
    Handled,
    Claims,
    Letters,
    Done,
}

impl CleanupProgress {
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// The stage goes on, or the next one begins.
    fn go_on(&mut self, more: bool) {
        if !more {
            self.stage = match self.stage {
                Stage::Messages => Stage::Handled,
                Stage::Handled => Stage::Claims,
                Stage::Claims => Stage::Letters,
                Stage::Letters | Stage::Done => Stage::Done,
            };
        }
    }
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
        let mut progress = CleanupProgress::default();
        while !progress.is_done() {
            self.cleanup_step(retention_hours, &mut progress)?;
        }
        Ok(progress.deleted)
    }

    /// One step of [`Store::cleanup`]: a transaction, or a look at as many entries.
    pub(super) fn cleanup_step(
        &mut self,
        retention_hours: f64,
        progress: &mut CleanupProgress,
    ) -> Result<()> {
        let cutoff = self.cutoff(retention_hours)?;
        match progress.stage {
            Stage::Messages => {
                let rows = self.draining_fewer(limits::CHUNK_ROWS, |store, count| {
                    store.delete_processed(cutoff, count)
                })?;
                progress.deleted += rows;
                progress.go_on(rows > 0);
            }
            Stage::Handled => {
                let more = self.draining_fewer(limits::CHUNK_ROWS, |store, count| {
                    store.forget_handled(cutoff, count)
                })?;
                progress.go_on(more);
            }
            Stage::Claims | Stage::Letters => {
                let after = std::mem::take(&mut progress.after);
                let last = self.prune(progress.stage, &after)?;
                progress.go_on(last.is_some());
                progress.after = last.unwrap_or_default();
            }
            Stage::Done => {}
        }
        Ok(())
    }

    /// What was settled before this, in seconds since 1970, is deleted; `None`: everything.
    fn cutoff(&self, retention_hours: f64) -> Result<Option<i64>> {
        if retention_hours.is_nan() || retention_hours < 0.0 {
            return Err(Error::rule(
                Code::InvalidArgument,
                format!("The retention must be 0 or more hours, not {retention_hours}."),
            ));
        }
        // Conversion saturates: a retention beyond the calendar keeps everything.
        #[allow(clippy::cast_possible_truncation)]
        let retention = (retention_hours * 3_600.0).ceil() as i64;
        let now = self.clock.unix_ms().div_euclid(1_000);
        // Without a retention the time does not matter, not even a missing or a future one.
        Ok((retention > 0).then(|| now.saturating_sub(retention)))
    }

    /// Deletes up to `count` processed messages. Returns how many.
    fn delete_processed(&mut self, cutoff: Option<i64>, count: usize) -> Result<u64> {
        let select = match cutoff {
            None => "SELECT rowid FROM message_queue WHERE processed = 1 LIMIT ?2 + 0 * ?1",
            Some(_) => {
                "SELECT rowid FROM message_queue WHERE processed = 1 AND processed_at < ?1
                 LIMIT ?2"
            }
        };
        // Found outside of the transaction: readers keep nobody waiting, and most calls find
        // nothing.
        let before = cutoff.unwrap_or(0);
        let rowids = self
            .conn
            .prepare_cached(select)?
            .query_map(params![before, count as i64], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        if rowids.is_empty() {
            return Ok(0);
        }
        self.write(Durability::Normal, |writing| {
            // The time again: rows may have changed, and `VACUUM` may have renumbered them.
            let mut delete = writing.conn.prepare_cached(
                "DELETE FROM message_queue
                 WHERE rowid = ?1 AND processed = 1 AND (?3 OR processed_at < ?2)",
            )?;
            let mut count = 0;
            for rowid in &rowids {
                count += delete.execute(params![rowid, before, cutoff.is_none()])? as u64;
            }
            Ok(count)
        })
    }

    /// Drops what is known of messages that old processes settled or deleted: looks at the next
    /// entries behind the key `after`. Returns the last one that it looked at, if there may be
    /// more.
    fn prune(&mut self, stage: Stage, after: &str) -> Result<Option<String>> {
        // The claim of a settled message stays while its lease runs, so that its owner is told
        // that its work counts.
        let (select, delete) = match stage {
            Stage::Claims => (
                concat!(
                    "SELECT c.message_id, NOT (c.leased AND c.available_at_ms > ?1 AND NOT ",
                    owner::of_another_boot!(),
                    ") AND NOT EXISTS (SELECT 1 FROM message_queue q
                                       WHERE q.message_id = c.message_id AND q.processed = 0)
                     FROM message_claim c WHERE c.message_id > ?3
                     ORDER BY c.message_id LIMIT ?4"
                ),
                "DELETE FROM message_claim WHERE message_id = ?1
                   AND NOT (leased AND available_at_ms > ?2)
                   AND NOT EXISTS (SELECT 1 FROM message_queue q
                                   WHERE q.message_id = ?1 AND q.processed = 0)",
            ),
            _ => (
                "SELECT d.message_id, ?1 + ?2 IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM message_queue q
                                   WHERE q.message_id = d.message_id AND q.processed = 2)
                 FROM message_dead_letter d WHERE d.message_id > ?3
                 ORDER BY d.message_id LIMIT ?4",
                "DELETE FROM message_dead_letter WHERE message_id = ?1 AND ?2 IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM message_queue q
                                   WHERE q.message_id = ?1 AND q.processed = 2)",
            ),
        };
        let (now, count) = (self.clock.boot_ms(), limits::CHUNK_ROWS as i64);
        let entries = self
            .conn
            .prepare_cached(select)?
            .query_map(params![now, owner::boot(), after, count], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<Vec<(String, bool)>>>()?;
        let more = entries.len() == limits::CHUNK_ROWS;
        let last = entries.last().map(|(id, _)| id.clone());
        let idle = entries.iter().filter(|(_, idle)| *idle);
        let idle: Vec<&str> = idle.map(|(id, _)| id.as_str()).collect();
        if !idle.is_empty() {
            let work = |writing: &Writing<'_>| {
                let mut delete = writing.conn.prepare_cached(delete)?;
                for id in &idle {
                    delete.execute(params![id, writing.boot_ms])?;
                }
                Ok(())
            };
            self.draining(|store| store.write(Durability::Normal, work))?;
        }
        Ok(last.filter(|_| more))
    }

    /// Counts what the queue holds, all at one instant: up to [`limits::STATS_COUNT_MAX`] messages
    /// of each state and [`limits::STATS_CLAIMS_MAX`] claims, so that the call takes milliseconds
    /// however much there is.
    pub fn stats(&mut self) -> Result<Stats> {
        let claims_max = i64::from(limits::STATS_CLAIMS_MAX);
        self.count(i64::from(limits::STATS_COUNT_MAX), claims_max)
    }

    /// As [`Store::stats`], with every message and claim counted, which takes as long as there are
    /// many.
    pub fn exact_stats(&mut self) -> Result<Stats> {
        self.count(i64::MAX, i64::MAX)
    }

    fn count(&mut self, max: i64, claims_max: i64) -> Result<Stats> {
        self.conn.prepare_cached("BEGIN")?.execute([])?;
        let _rollback = Rollback(&self.conn);
        let number = |sql: &str| -> Result<u64> {
            let value: i64 = self
                .conn
                .prepare_cached(sql)?
                .query_row([], |row| row.get(0))?;
            Ok(u64::try_from(value).unwrap_or(0))
        };
        let mut exact = true;
        let (claimed, waiting) = self.count_claims(claims_max, &mut exact)?;
        let mut of_state = |state: i64, max: i64| -> Result<u64> {
            let count: i64 = self
                .conn
                .prepare_cached(IN_STATE)?
                .query_row([state, max], |row| row.get(0))?;
            exact &= count < max;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        // The claimed ones do not count as pending.
        let unsettled = of_state(0, max.saturating_add_unsigned(claimed))?;
        let (processed, dead) = (of_state(1, max)?, of_state(2, max)?);
        let oldest_timestamp = self
            .conn
            .prepare_cached(OLDEST)?
            .query_row([], |row| Ok(Timestamp::of_column(row.get_ref(0)?)))?
            .map(Timestamp::as_f64);
        let page = number("PRAGMA page_size")?;
        Ok(Stats {
            pending: unsettled.saturating_sub(claimed),
            claimed,
            waiting,
            processed,
            dead,
            exact,
            oldest_timestamp,
            file_bytes: number("PRAGMA page_count")? * page,
            free_bytes: number("PRAGMA freelist_count")? * page,
            wal_bytes: std::fs::metadata(self.wal_path()).map_or(0, |metadata| metadata.len()),
        })
    }

    /// Messages under a lease in force, and messages that wait for their retry, among the first
    /// `max` entries.
    fn count_claims(&self, max: i64, exact: &mut bool) -> Result<(u64, u64)> {
        let now = self.clock.boot_ms();
        let mut living = Living::default();
        let mut statement = self.conn.prepare_cached(concat!(
            "SELECT c.leased, c.owner, c.available_at_ms > ?1 AND NOT ",
            owner::of_another_boot!(),
            " AND EXISTS (SELECT 1 FROM message_queue q
                          WHERE q.message_id = c.message_id AND q.processed = 0)
             FROM message_claim c LIMIT ?3"
        ))?;
        let mut rows = statement.query(params![now, owner::boot(), max])?;
        let mut looked_at = 0;
        let (mut claimed, mut waiting) = (0, 0);
        while let Some(row) = rows.next()? {
            looked_at += 1;
            if !row.get(2)? {
                continue;
            }
            if !row.get::<_, bool>(0)? {
                waiting += 1;
            } else if row::text(row.get_ref(1)?).is_some_and(|owner| !living.is_dead(owner)) {
                claimed += 1;
            }
        }
        *exact &= looked_at < max;
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
        self.place = None;
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
                let vacuum = |writing: &Writing<'_>| {
                    let step = format!("PRAGMA incremental_vacuum({})", limits::VACUUM_STEP_PAGES);
                    // One page per row of the answer.
                    let mut statement = writing.conn.prepare_cached(&step)?;
                    let mut rows = statement.query([])?;
                    while rows.next()?.is_some() {}
                    Ok(())
                };
                self.draining(|store| store.write(Durability::Normal, vacuum))?;
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
        self.conn.close()
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
    fn statistics_count_to_a_limit_and_say_so() {
        let folder = Folder::new();
        let (mut store, owner) = (folder.store(), Owner::new());
        let max = limits::STATS_COUNT_MAX;
        let ids: Vec<String> = (0..max + 9).map(|index| index.to_string()).collect();
        let messages: Vec<_> = ids.iter().map(|id| message(id, 1)).collect();
        store.enqueue_many(&messages[..9]).expect("new");
        store.claim(8, 60_000, 0, &owner).expect("free");
        let stats = store.stats().expect("readable");
        assert_eq!((stats.pending, stats.claimed, stats.exact), (1, 8, true));
        store.enqueue_many(&messages[9..]).expect("new");
        let stats = store.stats().expect("readable");
        assert_eq!(
            (stats.pending, stats.claimed, stats.exact),
            (max.into(), 8, false)
        );
        let stats = store.exact_stats().expect("readable");
        assert_eq!(
            (stats.pending, stats.claimed, stats.exact),
            (u64::from(max) + 1, 8, true)
        );
        store.mark_processed_many(&ids).expect("there");
        let stats = store.stats().expect("readable");
        assert_eq!(
            (stats.pending, stats.processed, stats.exact),
            (0, max.into(), false)
        );
        let stats = store.exact_stats().expect("readable");
        assert_eq!((stats.processed, stats.exact), (u64::from(max) + 9, true));
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
