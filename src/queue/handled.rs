//! Ids that were handled, whichever way their message came: what recognises another copy.
//!
//! A message may come by the queue and by another channel. Whoever handles it there says so here;
//! its row, if there is one, counts as processed from then on, and its id stays known for as long
//! as processed messages do.

use rusqlite::{Connection, params};

use super::Durability;
use super::store::{self, Store, Writing};
use crate::error::Result;

/// Numbers of pending rows, oldest first. A pending row has no `processed_at` unless somebody
/// has put one there by hand, so that this index, made for the cleanup, holds them by rowid.
const NEWEST: &str = "SELECT max(rowid) FROM message_queue INDEXED BY idx_message_queue_cleanup
     WHERE processed = 0 AND processed_at IS NULL";
const UP_TO: &str = "SELECT 1 FROM message_queue INDEXED BY idx_message_queue_cleanup
     WHERE processed = 0 AND processed_at IS NULL AND rowid <= ?1 LIMIT 1";
/// As the two above, of rows that somebody has given a `processed_at`: usually none.
const NEWEST_ODD: &str = "SELECT max(rowid) FROM message_queue INDEXED BY idx_message_queue_cleanup
     WHERE processed = 0 AND processed_at IS NOT NULL";
const UP_TO_ODD: &str = "SELECT 1 FROM message_queue INDEXED BY idx_message_queue_cleanup
     WHERE processed = 0 AND processed_at IS NOT NULL AND rowid <= ?1 LIMIT 1";

impl Store {
    /// Marks pending messages as processed, whoever has claimed them: such a claim is stale then, and
    /// [`Store::settle`] tells its owner why.
    /// Messages in another state, and ids without one, are left as they are. Returns how many
    /// were marked.
    pub fn mark_handled(&mut self, ids: &[impl AsRef<str>]) -> Result<u64> {
        let (mut marked, mut left) = (0, ids);
        while !left.is_empty() {
            // In one transaction, unless the disk is full.
            let (some, count) = self.draining_fewer(left.len(), |store, count| {
                Ok((store.settle_handled(&left[..count], false)?, count))
            })?;
            marked += some;
            left = &left[count..];
        }
        Ok(marked)
    }

    /// As [`Store::mark_handled`], and remembers every id, until [`Store::cleanup`] forgets it.
    /// An id that is remembered already is so for the full time again.
    ///
    /// On a full disk this fails as an enqueue does: it takes room for every id, which is not to
    /// come from what the queue needs to be drained.
    pub fn remember_handled(&mut self, ids: &[impl AsRef<str>]) -> Result<u64> {
        self.storing(|store| store.settle_handled(ids, true))
    }

    fn settle_handled(&mut self, ids: &[impl AsRef<str>], remember: bool) -> Result<u64> {
        if ids.is_empty() {
            return Ok(0);
        }
        self.write(Durability::Normal, |writing| {
            let mut count = 0;
            for id in ids {
                count += u64::from(settle(writing, id.as_ref())?);
                if remember {
                    record(writing.conn, id.as_ref(), writing.unix_seconds())?;
                }
            }
            Ok(count)
        })
    }

    /// Which of `ids`, by their places, are remembered as handled or belong to a message that is
    /// processed.
    pub fn handled_among(&mut self, ids: &[impl AsRef<str>]) -> Result<Vec<usize>> {
        self.among(
            ids,
            "SELECT 1 FROM message_handled WHERE message_id = ?1
             UNION ALL
             SELECT 1 FROM message_queue WHERE message_id = ?1 AND processed = 1",
        )
    }

    /// Which of `ids`, by their places, belong to a message that is still to be delivered.
    pub fn pending_among(&mut self, ids: &[impl AsRef<str>]) -> Result<Vec<usize>> {
        self.among(
            ids,
            "SELECT 1 FROM message_queue WHERE message_id = ?1 AND processed = 0",
        )
    }

    fn among(&mut self, ids: &[impl AsRef<str>], sql: &str) -> Result<Vec<usize>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut places = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            if statement.exists([id.as_ref()])? {
                places.push(place);
            }
        }
        Ok(places)
    }

    /// A number of the newest message that is to be delivered: whatever is stored later has a
    /// larger one for as long as this message is there. 0: there is none.
    pub fn newest_pending(&mut self) -> Result<i64> {
        let mut newest = 0;
        for sql in [NEWEST, NEWEST_ODD] {
            let found: Option<i64> = self
                .conn
                .prepare_cached(sql)?
                .query_row([], |row| row.get(0))?;
            newest = newest.max(found.unwrap_or(0));
        }
        Ok(newest)
    }

    /// Whether a message is to be delivered whose number is not above this one.
    pub fn has_pending_up_to(&mut self, number: i64) -> Result<bool> {
        for sql in [UP_TO, UP_TO_ODD] {
            if self.conn.prepare_cached(sql)?.exists([number])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Forgets up to `count` ids that were handled before `cutoff`, in seconds since 1970; if
    /// there is none, any. Returns whether there may be more.
    pub(super) fn forget_handled(&mut self, cutoff: Option<i64>, count: usize) -> Result<bool> {
        let cutoff = cutoff.unwrap_or(i64::MAX);
        // Found outside of the transaction: most calls find nothing, and take no lock.
        let ids = self
            .conn
            .prepare_cached(
                "SELECT message_id FROM message_handled WHERE handled_at < ?1 LIMIT ?2",
            )?
            .query_map(params![cutoff, count as i64], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<String>>>()?;
        if ids.is_empty() {
            return Ok(false);
        }
        self.write(Durability::Normal, |writing| {
            let mut forget = writing.conn.prepare_cached(
                "DELETE FROM message_handled WHERE message_id = ?1 AND handled_at < ?2",
            )?;
            for id in &ids {
                forget.execute(params![id, cutoff])?;
            }
            Ok(true)
        })
    }
}

/// Whether a pending message was marked.
fn settle(writing: &Writing<'_>, id: &str) -> Result<bool> {
    let count = writing
        .conn
        .prepare_cached(
            "UPDATE message_queue SET processed = 1, processed_at = ?2
             WHERE message_id = ?1 AND processed = 0",
        )?
        .execute(params![id, writing.unix_seconds()])?;
    if count > 0 && !keep_claim(writing.conn, id)? {
        store::forget_claim(writing.conn, id)?;
    }
    Ok(count > 0)
}

/// Gives the claim of a message that was marked back, and leaves it there, so that its owner can
/// be told from one whose message somebody else took. `false`: nobody holds it.
fn keep_claim(conn: &Connection, id: &str) -> Result<bool> {
    let count = conn
        .prepare_cached("UPDATE message_claim SET leased = 0 WHERE message_id = ?1 AND leased = 1")?
        .execute([id])?;
    Ok(count > 0)
}

/// Forgets a claim whose message was marked while it was held. `false`: it was not.
pub(super) fn end_claim(conn: &Connection, id: &str, token: i64) -> Result<bool> {
    let count = conn
        .prepare_cached(
            "DELETE FROM message_claim WHERE message_id = ?1 AND token = ?2 AND leased = 0
               AND EXISTS (SELECT 1 FROM message_queue WHERE message_id = ?1 AND processed = 1)",
        )?
        .execute(params![id, token])?;
    Ok(count > 0)
}

fn record(conn: &Connection, id: &str, unix_seconds: i64) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO message_handled (message_id, handled_at) VALUES (?1, ?2)
         ON CONFLICT (message_id) DO UPDATE SET handled_at = excluded.handled_at",
    )?
    .execute(params![id, unix_seconds])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, message, plan};
    use super::super::{FailOutcome, Failure, Owner, Settlement};
    use super::*;
    use crate::limits;

    #[test]
    fn only_pending_messages_are_marked_and_their_claims_are_stale() {
        let folder = Folder::new();
        let (mut store, owner) = (folder.store(), Owner::new());
        for (index, id) in (1..).zip(["claimed", "pending", "processed", "dead"]) {
            store.enqueue(&message(id, index)).expect("new");
        }
        store.mark_processed("processed").expect("there");
        store
            .conn
            .execute_batch("UPDATE message_queue SET processed = 2 WHERE message_id = 'dead'")
            .expect("ours");
        let claim = store.claim(1, 60_000, 0, &owner).expect("free").remove(0);
        let ids = ["claimed", "pending", "processed", "dead", "unknown"];
        assert_eq!(store.pending_among(&ids).expect("readable"), [0, 1]);
        assert_eq!(store.handled_among(&ids).expect("readable"), [2]);
        assert_eq!(store.mark_handled(&ids).expect("free"), 2);
        assert_eq!(store.pending_among(&ids).expect("readable"), [0; 0]);
        assert_eq!(store.handled_among(&ids).expect("readable"), [0, 1, 2]);
        let held = [(claim.id, claim.token)];
        assert_eq!(store.extend(&held, 60_000).expect("free"), [false]);
        assert_eq!(store.complete(&held).expect("free"), [false]);
        let stats = store.stats().expect("readable");
        assert_eq!((stats.processed, stats.dead, stats.pending), (3, 1, 0));
        assert_eq!(store.mark_handled(&[""; 0]).expect("nothing to do"), 0);
    }

    #[test]
    fn whoever_holds_a_message_that_was_marked_is_told_so_and_nobody_else() {
        let folder = Folder::new();
        let (mut store, owner, rival) = (folder.store(), Owner::new(), Owner::new());
        let ids = ["complete", "fail", "release", "taken", "processed"];
        for (index, id) in (1..).zip(ids) {
            store.enqueue(&message(id, index)).expect("new");
        }
        let claim = |store: &mut Store, owner: &Owner| -> Vec<(String, i64)> {
            let claimed = store.claim(9, 60_000, 0, owner).expect("free");
            claimed.into_iter().map(|one| (one.id, one.token)).collect()
        };
        let first = claim(&mut store, &owner);
        store.release(&first[3..4]).expect("held");
        let taken = claim(&mut store, &rival);
        store.mark_processed("processed").expect("there");
        assert_eq!(store.mark_handled(&ids).expect("free"), 4);
        let failure = |(id, token): &(String, i64)| Failure {
            id: id.clone(),
            token: *token,
            error: String::new(),
            attempts_max: 9,
            retry_base_ms: 1,
            retry_max_ms: 1,
        };
        let settlement = Settlement {
            complete: vec![first[0].clone(), first[3].clone(), first[4].clone()],
            fail: vec![failure(&first[1])],
            release: vec![first[2].clone()],
        };
        let settled = store.settle(&settlement).expect("free");
        assert_eq!(settled.completed, [false; 3]);
        assert_eq!(settled.failed, [FailOutcome::Stale]);
        assert_eq!(settled.released, [false]);
        // Of the others somebody else had one, and one was marked by somebody who does not care.
        assert_eq!(settled.handled, ["complete", "fail", "release"]);
        let again = store.settle(&settlement).expect("free");
        assert!(again.handled.is_empty(), "it is told once");
        let settlement = Settlement {
            complete: taken,
            ..Settlement::default()
        };
        let settled = store.settle(&settlement).expect("free");
        assert_eq!(settled.handled, ["taken"], "the newest claim is the one");
    }

    #[test]
    fn a_claim_of_a_message_that_was_marked_is_forgotten_by_the_cleanup() {
        let folder = Folder::new();
        let (mut store, owner) = (folder.store(), Owner::new());
        store.enqueue(&message("a", 1)).expect("new");
        store.claim(1, 60_000, 0, &owner).expect("free");
        store.mark_handled(&["a"]).expect("free");
        store.cleanup(1.0).expect("free");
        let left: i64 = store
            .conn
            .query_row("SELECT count(*) FROM message_claim", [], |row| row.get(0))
            .expect("readable");
        assert_eq!(left, 0);
    }

    #[test]
    fn ids_are_remembered_for_the_retention_counted_from_the_newest_copy() {
        let folder = Folder::new();
        let mut store = folder.store();
        store.enqueue(&message("row", 1)).expect("new");
        let ids = ["early", "row", "again"];
        assert_eq!(store.remember_handled(&ids).expect("free"), 1);
        folder.clock.advance(3_600_000);
        store.remember_handled(&["again"]).expect("free");
        store.cleanup(1.0).expect("free");
        assert_eq!(store.handled_among(&ids).expect("readable"), [0, 1, 2]);
        folder.clock.advance(1_000);
        assert_eq!(
            store.cleanup(1.0).expect("free"),
            1,
            "the row alone is counted"
        );
        assert_eq!(store.handled_among(&ids).expect("readable"), [2]);
        // The calendar was set back: by it, the id will be handled in the future.
        folder.clock.set_unix_ms(0);
        store.cleanup(0.001).expect("free");
        assert_eq!(store.handled_among(&ids).expect("readable"), [2]);
        store.cleanup(0.0).expect("free");
        assert_eq!(store.handled_among(&ids).expect("readable"), [0; 0]);
    }

    #[test]
    fn more_ids_than_one_chunk_are_forgotten() {
        let folder = Folder::new();
        let mut store = folder.store();
        let count = limits::CHUNK_ROWS * 2 + 1;
        let ids: Vec<String> = (0..count).map(|index| index.to_string()).collect();
        store.remember_handled(&ids).expect("free");
        assert_eq!(store.handled_among(&ids).expect("readable").len(), count);
        store.cleanup(0.0).expect("free");
        assert!(store.handled_among(&ids).expect("readable").is_empty());
    }

    #[test]
    fn numbers_tell_what_was_there_before() {
        let folder = Folder::new();
        let mut store = folder.store();
        assert_eq!(store.newest_pending().expect("readable"), 0);
        assert!(!store.has_pending_up_to(i64::MAX).expect("readable"));
        // Their timestamps say the opposite of their order.
        for (index, id) in ["a", "b", "c"].into_iter().enumerate() {
            store.enqueue(&message(id, 9 - index as u32)).expect("new");
        }
        store.mark_processed("c").expect("there");
        let number = store.newest_pending().expect("readable");
        assert_eq!(number, 2);
        store.enqueue(&message("d", 1)).expect("new");
        assert_eq!(store.newest_pending().expect("readable"), 4);
        store.mark_processed("a").expect("there");
        assert!(store.has_pending_up_to(number).expect("b is there"));
        // As nobody but a person at the file leaves it.
        store
            .conn
            .execute_batch("UPDATE message_queue SET processed_at = 1 WHERE message_id = 'b'")
            .expect("ours");
        assert!(store.has_pending_up_to(number).expect("b is there"));
        store.mark_processed("b").expect("there");
        assert!(!store.has_pending_up_to(number).expect("d is newer"));
        store.mark_processed("d").expect("there");
        assert_eq!(store.newest_pending().expect("readable"), 0);
    }

    #[test]
    fn every_lookup_is_a_search_of_an_index() {
        let folder = Folder::new();
        let store = folder.store();
        for sql in [NEWEST, UP_TO] {
            let plan = plan(&store, sql);
            let bounded = sql == NEWEST || plan[0].contains("rowid<?");
            assert!(
                plan.len() == 1 && plan[0].starts_with("SEARCH") && bounded,
                "{plan:?}"
            );
        }
    }
}
