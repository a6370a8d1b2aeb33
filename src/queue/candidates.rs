//! Which messages may be claimed: the oldest pending rows that nobody holds.
//!
//! Rows are walked in their order, and those that somebody holds are passed over. Where many
//! stand at the head, each call would pass over all of them again. So the walk remembers its
//! [`Place`], and what can make a row in front of it free is asked for instead:
//!
//! | a row in front of the place is free | found by |
//! |---|---|
//! | its wait for a retry ends, or it was released | the index of the waiting |
//! | its lease runs out | the earliest end of a lease that was seen there |
//! | its owner dies | the owners that were seen there |
//! | it is new, and has an old timestamp | rows that were added since |
//! | anything else, such as a change by hand | the place is forgotten once a minute |
//!
//! In the other cases the walk begins at the beginning again.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, Row, ToSql, params};

use super::owner;
use super::row::{self, Raw};
use crate::error::Result;
use crate::limits;

/// Rows that are passed over before their place is remembered.
const PASSED_MIN: usize = 64;

/// New rows that are looked at one by one; if there are more, the walk begins at the beginning.
const NEW_ROWS_MAX: i64 = 10_000;

/// How long a place is believed, in milliseconds. No longer than the usual lease: whatever goes
/// unnoticed, a lease would have taken as long.
const PLACE_MS: i64 = limits::LEASE_MS as i64;

/// A pending row that nobody holds.
pub(super) struct Candidate {
    pub(super) rowid: i64,
    pub(super) history: History,
}

/// What became of a message so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct History {
    /// Deliveries begun.
    pub(super) attempts: u32,
    /// Of these, the ones that were reported as failed.
    pub(super) failures: u32,
    /// And the ones with nothing beside it that nobody has reported on.
    pub(super) alone: u32,
}

impl History {
    /// Deliveries that began and that nobody lived to report on.
    pub(super) fn cut_short(self) -> u32 {
        self.attempts.saturating_sub(self.failures)
    }
}

/// Every pending row up to this one was held when it was walked past.
#[derive(Debug, Clone)]
pub(super) struct Place {
    timestamp: Raw,
    rowid: i64,
    passed: usize,
    /// The newest row there was.
    newest: i64,
    /// Who held leases among them.
    owners: BTreeSet<String>,
    /// When the first of these leases ends.
    lease_ends: i64,
    /// Until when it is believed.
    until: i64,
}

/// Whether owners are alive, asked once per call and owner.
#[derive(Default)]
pub(super) struct Living(HashMap<String, bool>);

impl Living {
    pub(super) fn is_dead(&mut self, owner: &str) -> bool {
        if let Some(&dead) = self.0.get(owner) {
            return dead;
        }
        let dead = owner::is_dead(owner);
        self.0.insert(owner.to_owned(), dead);
        dead
    }
}

/// What a walk reads of a row: `?2` is [`owner::boot`] of the caller.
macro_rules! walk {
    ($condition:literal) => {
        concat!(
            "SELECT q.rowid, q.timestamp, c.attempt, c.leased, c.owner, c.available_at_ms,
               c.message_id IS NOT NULL AND ",
            owner::of_another_boot!(),
            " AS another_boot, c.failures, c.alone
             FROM message_queue q LEFT JOIN message_claim c ON c.message_id = q.message_id
             WHERE q.processed = 0 AND ",
            $condition,
            " ORDER BY q.timestamp, q.rowid"
        )
    };
}

pub(super) const WALK: &str = walk!("1");
pub(super) const WALK_SAME: &str = walk!("q.timestamp = ?1 AND q.rowid > ?3");
pub(super) const WALK_LATER: &str = walk!("q.timestamp > ?1");

/// Rows in front of a place whose wait is over, those first that wait longest, by their order.
pub(super) const DUE: &str = "SELECT rowid, attempt, failures, alone FROM (
       SELECT q.rowid AS rowid, q.timestamp AS timestamp, c.attempt AS attempt,
         c.failures AS failures, c.alone AS alone
       FROM message_claim c INDEXED BY idx_message_claim_waiting
       CROSS JOIN message_queue q ON q.message_id = c.message_id
       WHERE c.leased = 0 AND c.available_at_ms <= ?1 AND q.processed = 0
         AND (q.timestamp < ?2 OR (q.timestamp = ?2 AND q.rowid <= ?3))
       ORDER BY c.available_at_ms LIMIT ?4)
     ORDER BY timestamp, rowid";

/// Of the rows behind a rowid: how many there are, the newest, and the oldest timestamp if it
/// stands in front of `?2`.
pub(super) const ADDED: &str = "SELECT count(*), max(rowid), min(timestamp), min(timestamp) < ?2
     FROM (SELECT rowid, timestamp FROM message_queue INDEXED BY idx_message_queue_cleanup
           WHERE processed = 0 AND processed_at IS NULL AND rowid > ?1 LIMIT ?3)";

/// The oldest pending rows that nobody holds, at most `limit`. `place` is where the walk of the
/// last call came to, and is where this one came to afterwards.
pub(super) fn candidates(
    conn: &Connection,
    now: i64,
    limit: usize,
    living: &mut Living,
    place: &mut Option<Place>,
) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    let known = match place.take() {
        Some(place) => still_true(conn, now, living, place)?,
        None => None,
    };
    let mut walk = Walk {
        now,
        limit,
        living,
        place: match known {
            Some(place) => place,
            None => Place::beginning(conn, now)?,
        },
    };
    if walk.place.passed == 0 {
        walk.over(conn, WALK, params![Raw::Null, owner::boot()], &mut found)?;
    } else {
        let Place {
            timestamp, rowid, ..
        } = walk.place.clone();
        let mut statement = conn.prepare_cached(DUE)?;
        let mut due = statement.query(params![now, timestamp, rowid, limits::CHUNK_ROWS as i64])?;
        while found.len() < limit
            && let Some(row) = due.next()?
        {
            found.push(Candidate {
                rowid: row.get(0)?,
                history: History {
                    attempts: row.get(1)?,
                    failures: row.get(2)?,
                    alone: row.get(3)?,
                },
            });
        }
        // Whatever is found behind it does not stop the place from moving on.
        let mut behind = Vec::new();
        walk.limit = limit - found.len();
        let values = params![timestamp, owner::boot(), rowid];
        let ended = walk.over(conn, WALK_SAME, values, &mut behind)?;
        if ended {
            walk.over(conn, WALK_LATER, &values[..2], &mut behind)?;
        }
        found.append(&mut behind);
    }
    let reached = walk.place;
    if reached.passed >= PASSED_MIN {
        *place = Some(reached);
    }
    Ok(found)
}

/// The place, moved to where the walk has to go on; `None`: it has to begin at the beginning.
fn still_true(
    conn: &Connection,
    now: i64,
    living: &mut Living,
    mut place: Place,
) -> Result<Option<Place>> {
    let is_over = now >= place.until || now >= place.lease_ends;
    if is_over || place.owners.iter().any(|owner| living.is_dead(owner)) {
        return Ok(None);
    }
    let (count, newest, oldest, is_before): (i64, Option<i64>, Raw, Option<bool>) =
        conn.prepare_cached(ADDED)?.query_row(
            params![place.newest, place.timestamp, NEW_ROWS_MAX],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
    if count == NEW_ROWS_MAX {
        return Ok(None);
    }
    if is_before == Some(true) {
        place.timestamp = oldest;
        place.rowid = i64::MIN;
    }
    place.newest = newest.unwrap_or(place.newest);
    Ok(Some(place))
}

impl Place {
    /// In front of every row.
    fn beginning(conn: &Connection, now: i64) -> Result<Self> {
        let newest: Option<i64> = conn
            .prepare_cached("SELECT max(rowid) FROM message_queue")?
            .query_row([], |row| row.get(0))?;
        Ok(Place {
            timestamp: Raw::Null,
            rowid: i64::MIN,
            passed: 0,
            newest: newest.unwrap_or(0),
            owners: BTreeSet::new(),
            lease_ends: i64::MAX,
            until: now.saturating_add(PLACE_MS),
        })
    }
}

/// A walk over rows in their order.
struct Walk<'a> {
    now: i64,
    limit: usize,
    living: &'a mut Living,
    place: Place,
}

impl Walk<'_> {
    /// Adds what is free to `found`. Returns whether it came to the end of these rows.
    fn over(
        &mut self,
        conn: &Connection,
        sql: &str,
        values: &[&dyn ToSql],
        found: &mut Vec<Candidate>,
    ) -> Result<bool> {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        while found.len() < self.limit {
            let Some(row) = rows.next()? else {
                return Ok(true);
            };
            let rowid = row.get(0)?;
            if self.is_free(row)? {
                found.push(Candidate {
                    rowid,
                    history: History {
                        attempts: row.get::<_, Option<u32>>(2)?.unwrap_or(0),
                        failures: row.get::<_, Option<u32>>(7)?.unwrap_or(0),
                        alone: row.get::<_, Option<u32>>(8)?.unwrap_or(0),
                    },
                });
            } else if found.is_empty() {
                self.pass(rowid, row)?;
            }
        }
        Ok(false)
    }

    fn is_free(&mut self, row: &Row<'_>) -> Result<bool> {
        let Some(leased) = row.get::<_, Option<bool>>(3)? else {
            return Ok(true);
        };
        let is_over = row.get::<_, i64>(5)? <= self.now || row.get(6)?;
        if is_over || !leased {
            return Ok(is_over);
        }
        Ok(match row::text(row.get_ref(4)?) {
            Some(owner) => self.living.is_dead(owner),
            None => true,
        })
    }

    /// Moves the place behind a row that is held.
    fn pass(&mut self, rowid: i64, row: &Row<'_>) -> Result<()> {
        let place = &mut self.place;
        place.timestamp = row.get(1)?;
        place.rowid = rowid;
        place.passed += 1;
        if row.get(3)? {
            place.lease_ends = place.lease_ends.min(row.get(5)?);
            if let Some(owner) = row::text(row.get_ref(4)?)
                && !place.owners.contains(owner)
            {
                place.owners.insert(owner.to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
