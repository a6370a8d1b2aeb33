//! Which messages may be claimed: the oldest pending rows that nobody holds.
//!
//! Rows are walked in their order, and those that somebody holds are passed over. Where many
//! stand at the head, each call would pass over all of them again. So the walk remembers its
//! [`Place`], and what can make a row in front of it free is asked for instead:
//!
//! | a row in front of the place is free | found by |
//! |---|---|
//! | its wait for a retry ends, or it was released | the index of the waiting |
//! | its lease runs out, or its owner dies | the index of the leased, by owner |
//! | it is new, and has an old timestamp | rows that were added since |
//! | rowids were given out anew | the newest row is not what it was: the place is forgotten |
//! | anything else, such as a change by hand | the place is forgotten after a while |
//!
//! What these questions cost depends on how many owners there are and on what is found, not on
//! how many rows stand in front. A place that is forgotten is looked for from the beginning.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::owner;
use super::row::{self, Raw};
use crate::error::Result;
use crate::limits;

/// Rows that are passed over before their place is remembered.
const PASSED_MIN: usize = 64;

/// New rows that are looked at one by one; if there are more, the walk begins at the beginning.
const NEW_ROWS_MAX: i64 = 10_000;

/// How long a place is believed, in milliseconds. It covers only what nothing tells of.
const PLACE_MS: i64 = 1_000;

/// So many rows are passed over again after this time, a hundredth of it or less. With more of them
/// a place is believed for as many times longer.
const PLACE_ROWS: i64 = 10_000;

/// The longest time that a place is believed, in milliseconds.
const PLACE_MS_MAX: i64 = 60_000;

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
    /// The newest row there was, and its id. While it is there nobody can have been given its rowid
    /// or a smaller one.
    newest: (i64, Raw),
    /// Waits that ended up to this time have been looked at: none is in front.
    waiting_until: i64,
    /// The same of leases, by their owner.
    leased_until: BTreeMap<Raw, i64>,
    /// When the walk began that came here.
    began: i64,
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
        walk!($condition, "q.timestamp, q.rowid")
    };
    ($condition:literal, $order:literal) => {
        concat!(
            "SELECT q.rowid, q.timestamp, c.attempt, c.leased, c.owner, c.available_at_ms,
               c.message_id IS NOT NULL AND ",
            owner::of_another_boot!(),
            " AS another_boot, c.failures, c.alone
             FROM message_queue q LEFT JOIN message_claim c ON c.message_id = q.message_id
             WHERE q.processed = 0 AND ",
            $condition,
            " ORDER BY ",
            $order
        )
    };
}

pub(super) const WALK: &str = walk!("1");
pub(super) const WALK_SAME: &str = walk!("q.timestamp = ?1 AND q.rowid > ?3");
pub(super) const WALK_LATER: &str = walk!("q.timestamp > ?1");
pub(super) const WALK_UNTRIED: &str = walk!("(c.message_id IS NULL OR c.attempt = 0)");
pub(super) const WALK_TRIED: &str = walk!("c.attempt > 0", "c.attempt, q.timestamp, q.rowid");

/// Rows in front of the place `?2`, `?3` that became free, of one kind of claim.
macro_rules! in_front {
    ($index:literal, $condition:literal, $order:literal) => {
        concat!(
            "SELECT q.timestamp, q.rowid, c.attempt, c.failures, c.alone
             FROM message_claim c INDEXED BY ",
            $index,
            " CROSS JOIN message_queue q ON q.message_id = c.message_id
             WHERE ",
            $condition,
            " AND c.available_at_ms <= ?1 AND q.processed = 0
               AND (q.timestamp < ?2 OR (q.timestamp = ?2 AND q.rowid <= ?3))",
            $order,
            " LIMIT ?4"
        )
    };
}

/// Those whose wait is over, and was not by `?5`, those first that wait longest. What was released
/// never had to wait.
pub(super) const DUE: &str = in_front!(
    "idx_message_claim_waiting",
    "c.leased = 0 AND NOT (c.available_at_ms BETWEEN 1 AND ?5)",
    " ORDER BY c.available_at_ms"
);

/// Those whose lease by `?6` ends between `?5` and `?1`.
pub(super) const LEFT: &str = in_front!(
    "idx_message_claim_leased",
    "c.leased = 1 AND c.owner = ?6 AND c.available_at_ms > ?5",
    ""
);

/// The next owner of leases behind `?1`, and the end of its first one.
pub(super) const NEXT_OWNER: &str =
    "SELECT owner, available_at_ms FROM message_claim INDEXED BY idx_message_claim_leased
     WHERE leased = 1 AND owner > ?1 ORDER BY owner, available_at_ms LIMIT 1";

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
        Some(place) => still_true(conn, now, place)?,
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
        found = walk.in_front(conn)?;
        // Whatever is found behind it does not stop the place from moving on.
        let mut behind = Vec::new();
        walk.limit = limit - found.len();
        let Place {
            timestamp, rowid, ..
        } = walk.place.clone();
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

/// The pending rows that nobody holds, those first of which the fewest deliveries were begun, at most
/// `limit`.
///
/// Each call passes over all that precede them, or, where all were tried, puts them in order; their
/// payloads are not looked at. A poller that pauses asks for that, once per pause.
pub(super) fn least_tried(
    conn: &Connection,
    now: i64,
    limit: usize,
    living: &mut Living,
) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    let mut walk = Walk {
        now,
        limit,
        living,
        // It is of no use to a walk in another order.
        place: Place::beginning(conn, now)?,
    };
    let values = params![Raw::Null, owner::boot()];
    if walk.over(conn, WALK_UNTRIED, values, &mut found)? {
        walk.over(conn, WALK_TRIED, values, &mut found)?;
    }
    Ok(found)
}

/// The place, moved to where the walk has to go on; `None`: it has to begin at the beginning.
fn still_true(conn: &Connection, now: i64, mut place: Place) -> Result<Option<Place>> {
    let (newest, id) = &place.newest;
    if now >= place.began.saturating_add(believed_ms(place.passed)) || id_of(conn, *newest)? != *id
    {
        return Ok(None);
    }
    let (count, added, oldest, is_before): (i64, Option<i64>, Raw, Option<bool>) = conn
        .prepare_cached(ADDED)?
        .query_row(params![newest, place.timestamp, NEW_ROWS_MAX], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
    if count == NEW_ROWS_MAX {
        return Ok(None);
    }
    if is_before == Some(true) {
        place.timestamp = oldest;
        place.rowid = i64::MIN;
    }
    if let Some(rowid) = added {
        place.newest = (rowid, id_of(conn, rowid)?);
    }
    Ok(Some(place))
}

/// How long a place behind so many rows is believed.
fn believed_ms(passed: usize) -> i64 {
    let times = i64::try_from(passed).unwrap_or(i64::MAX) / PLACE_ROWS;
    times.saturating_mul(PLACE_MS).clamp(PLACE_MS, PLACE_MS_MAX)
}

/// The id of the row with this rowid; null if there is none.
fn id_of(conn: &Connection, rowid: i64) -> Result<Raw> {
    let id = conn
        .prepare_cached("SELECT message_id FROM message_queue WHERE rowid = ?1")?
        .query_row([rowid], |row| row.get(0))
        .optional()?;
    Ok(id.unwrap_or(Raw::Null))
}

impl Place {
    /// In front of every row.
    fn beginning(conn: &Connection, now: i64) -> Result<Self> {
        let newest = conn
            .prepare_cached(
                "SELECT rowid, message_id FROM message_queue ORDER BY rowid DESC LIMIT 1",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(Place {
            timestamp: Raw::Null,
            rowid: i64::MIN,
            passed: 0,
            newest: newest.unwrap_or((0, Raw::Null)),
            waiting_until: 0,
            leased_until: BTreeMap::new(),
            began: now,
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

/// A row in front of a place that became free, by its order.
type Freed = (Raw, i64, History);

impl Walk<'_> {
    /// The rows in front of the place that became free, in their order.
    fn in_front(&mut self, conn: &Connection) -> Result<Vec<Candidate>> {
        let mut freed = self.due(conn)?;
        freed.append(&mut self.left(conn)?);
        freed.sort_by(|(one, one_rowid, _), (other, other_rowid, _)| {
            one.cmp(other).then(one_rowid.cmp(other_rowid))
        });
        let candidates = freed
            .into_iter()
            .map(|(_, rowid, history)| Candidate { rowid, history });
        Ok(candidates.take(self.limit).collect())
    }

    /// Those that waited.
    fn due(&mut self, conn: &Connection) -> Result<Vec<Freed>> {
        let Place {
            timestamp,
            rowid,
            waiting_until,
            ..
        } = &self.place;
        let max = limits::CHUNK_ROWS as i64;
        let freed = query_freed(
            conn,
            DUE,
            params![self.now, timestamp, rowid, max, waiting_until],
        )?;
        if freed.is_empty() {
            self.place.waiting_until = self.now;
        }
        Ok(freed)
    }

    /// Those whose lease ran out, and those whose owner died.
    fn left(&mut self, conn: &Connection) -> Result<Vec<Freed>> {
        let mut freed = Vec::new();
        let mut next_owner = conn.prepare_cached(NEXT_OWNER)?;
        let mut last = Raw::Text(Vec::new());
        loop {
            let next = next_owner
                .query_row([&last], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((owner, first_end)): Option<(Raw, i64)> = next else {
                return Ok(freed);
            };
            let until = match owner.as_text() {
                Some(text) if !self.living.is_dead(text) => self.now,
                _ => i64::MAX,
            };
            let seen = self.place.leased_until.get(&owner).copied();
            let seen = seen.unwrap_or(i64::MIN);
            if first_end <= until && seen < until {
                let place = &self.place;
                let max = limits::CHUNK_ROWS as i64;
                let mut left = query_freed(
                    conn,
                    LEFT,
                    params![until, place.timestamp, place.rowid, max, seen, owner],
                )?;
                if left.is_empty() {
                    self.place.leased_until.insert(owner.clone(), until);
                }
                freed.append(&mut left);
            }
            last = owner;
        }
    }

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
        self.place.timestamp = row.get(1)?;
        self.place.rowid = rowid;
        self.place.passed += 1;
        Ok(())
    }
}

fn query_freed(conn: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<Freed>> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(values, |row| {
        let history = History {
            attempts: row.get(2)?,
            failures: row.get(3)?,
            alone: row.get(4)?,
        };
        Ok((row.get(0)?, row.get(1)?, history))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests;
