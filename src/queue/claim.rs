//! Claims: who may deliver a message, until when, and what became of it.
//!
//! ```text
//! pending --claim--> claimed(token, attempt, lease) --complete--> processed
//!    ^                  |  |  |
//!    |<----release------'  |  '--fail, attempts left--> waiting --time--> pending
//!    |<--lease ran out or--'  '--fail, none left------> dead letter
//!         owner is dead
//! ```
//!
//! A delivery whose lease ran out, or whose owner died, was cut short. That is rarely the fault of
//! the message: whatever else its consumer held was cut short with it, and messages whose handler
//! was never started too. So it does not count as a failure. A message that was cut short as often
//! as it may fail is suspected, and from then on claimed by itself, so that its consumer can
//! deliver it with nothing beside it. If it is cut short a few times even so
//! ([`limits::CUT_SHORT_ALONE_MAX`]), it is what ends its consumers, and becomes a dead letter.
//!
//! A claim is settled only with its token. A claim that ran out keeps its token until somebody
//! else takes the message: until then its owner may still complete it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use rusqlite::{Connection, OptionalExtension, params};

use super::candidates::{Candidate, History, Living, Place, candidates, least_tried};
use super::owner::Owner;
use super::room;
use super::row::{self, Flaw, Message};
use super::store::{Store, Writing};
use super::{Durability, dead, handled};
use crate::error::{Error, Result};
use crate::limits;
use crate::values::{Package, Part};

/// A message that was claimed.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The id.
    pub id: String,
    /// The type.
    pub kind: String,
    /// The payload, a JSON text.
    pub payload: String,
    /// When the message arose, in milliseconds.
    pub timestamp: f64,
    /// What settles this claim, and no other of the same message.
    pub token: i64,
    /// Deliveries begun, this one included. It also counts those whose process was killed.
    pub attempt: u32,
}

/// A delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The message.
    pub id: String,
    /// Its claim.
    pub token: i64,
    /// Why, for people. Cut to [`limits::ERROR_TEXT_BYTES_MAX`].
    pub error: String,
    /// Failures after which the message becomes a dead letter.
    pub attempts_max: u32,
    /// The wait after the first failure, in milliseconds; it doubles with every further one.
    pub retry_base_ms: u64,
    /// The longest wait, in milliseconds.
    pub retry_max_ms: u64,
}

/// What became of a failed delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailOutcome {
    /// It is due again after this many milliseconds.
    Retry {
        /// The wait, random between half of the full wait and all of it.
        delay_ms: u64,
    },
    /// It is a dead letter now.
    Dead,
    /// The claim was no longer held, or the message is settled: nothing changed.
    Stale,
}

/// Claims to settle in one transaction; claims are `(id, token)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Handled.
    pub complete: Vec<(String, i64)>,
    /// Failed.
    pub fail: Vec<Failure>,
    /// Not begun; back at once, and the attempt does not count.
    pub release: Vec<(String, i64)>,
}

impl Settlement {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.complete.len() + self.fail.len() + self.release.len()
    }

    /// The claims that were not held.
    fn stale<'a>(&'a self, settled: &Settled) -> Vec<(&'a str, i64)> {
        let failed = self.fail.iter().map(|failure| (&failure.id, failure.token));
        let claims = |claims: &'a [(String, i64)]| claims.iter().map(|(id, token)| (id, *token));
        let held = |outcome: &FailOutcome| *outcome != FailOutcome::Stale;
        claims(&self.complete)
            .chain(failed)
            .chain(claims(&self.release))
            .zip(
                (settled.completed.iter().copied())
                    .chain(settled.failed.iter().map(held))
                    .chain(settled.released.iter().copied()),
            )
            .filter(|(_, is_held)| !is_held)
            .map(|((id, token), _)| (id.as_str(), token))
            .collect()
    }

    /// Two with half of the claims each, in their order, if there is more than one.
    fn halves(&self) -> Option<(Settlement, Settlement)> {
        if self.len() < 2 {
            return None;
        }
        let mut left = self.len() / 2;
        let mut part = |len: usize| {
            let taken = len.min(left);
            left -= taken;
            taken
        };
        let complete = self.complete.split_at(part(self.complete.len()));
        let fail = self.fail.split_at(part(self.fail.len()));
        let release = self.release.split_at(part(self.release.len()));
        let of =
            |complete: &[(String, i64)], fail: &[Failure], release: &[(String, i64)]| Settlement {
                complete: complete.to_vec(),
                fail: fail.to_vec(),
                release: release.to_vec(),
            };
        Some((
            of(complete.0, fail.0, release.0),
            of(complete.1, fail.1, release.1),
        ))
    }
}

/// The outcome of a [`Settlement`], in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Whether the claim was still held.
    pub completed: Vec<bool>,
    /// What became of the failures.
    pub failed: Vec<FailOutcome>,
    /// Whether the claim was still held.
    pub released: Vec<bool>,
    /// Ids of those that were not held only because somebody has marked their message as handled:
    /// nobody else has or had them, and they will not be delivered again.
    pub handled: Vec<String>,
}

/// On which terms messages are claimed.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Length of the lease, in milliseconds.
    pub lease_ms: u64,
    /// Failures after which a message is a dead letter, and deliveries cut short after which it is
    /// suspected; 0: no limit.
    pub attempts_max: u32,
    /// Who claims.
    pub owner: &'a Owner,
    /// Whether a suspected message may be claimed, which is then the only one of the claim. If not,
    /// the claim ends in front of it.
    pub alone: bool,
    /// Whether those come first of which the fewest deliveries were begun, wherever they stand. Among
    /// equal ones the oldest comes first.
    pub least_tried: bool,
}

/// Claimed messages as a package, see [`Package`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedPackage {
    /// An array of `{"message": {"id", "type", "payload", "timestamp"}, "token", "attempt"}`.
    pub bytes: Vec<u8>,
    /// Its length.
    pub count: u32,
    /// Whether the claim ended in front of a suspected message, or consists of one.
    pub suspects: bool,
}

/// What a claim makes of a free message.
enum Verdict {
    Claim,
    /// It is claimed by itself.
    Suspect,
    /// It has used up its failures.
    Failed,
    /// It is what ends its consumers.
    Deadly,
}

fn judge(history: History, attempts_max: u32) -> Verdict {
    if attempts_max == 0 {
        return Verdict::Claim;
    }
    if history.failures >= attempts_max {
        return Verdict::Failed;
    }
    if history.cut_short() < attempts_max {
        return Verdict::Claim;
    }
    match history.alone < limits::CUT_SHORT_ALONE_MAX {
        true => Verdict::Suspect,
        false => Verdict::Deadly,
    }
}

/// The error text of a dead letter whose last delivery nobody lived to report on.
const CUT_SHORT: &str = "its deliveries were cut short";

/// The SQL condition that the claimer `?1` holds a claim, under whatever name.
macro_rules! is_owned {
    () => {
        "(owner = ?1 OR substr(owner, 1, length(?1) + 1) = ?1 || '/')"
    };
}

impl Store {
    /// Claims up to `limit` of the oldest pending messages for `lease_ms`. A call that finds
    /// none writes nothing, and takes no write lock unless the call before it found its fill.
    ///
    /// Messages are free when nobody holds them, when the lease ran out, and when the holder is
    /// known to be dead. Corrupt rows are set aside and do not count. At most
    /// [`limits::DEQUEUE_BYTES_MAX`] are returned, and at least one message if one is free.
    ///
    /// Messages that failed `attempts_max` times already (0: no limit) become dead letters and do
    /// not count. One that was cut short as often is claimed by itself; it becomes a dead letter
    /// when that was in vain [`limits::CUT_SHORT_ALONE_MAX`] times.
    pub fn claim(
        &mut self,
        limit: u32,
        lease_ms: u64,
        attempts_max: u32,
        owner: &Owner,
    ) -> Result<Vec<Claimed>> {
        let terms = Terms {
            lease_ms,
            attempts_max,
            owner,
            alone: true,
            least_tried: false,
        };
        self.draining_fewer(limit as usize, |store, limit| {
            let mut claimed = Vec::new();
            store.claim_each(limit, &terms, |message, token, attempt| {
                let is_json = message.is_json();
                if is_json {
                    claimed.push(Claimed {
                        id: message.id.to_owned(),
                        kind: message.kind.to_owned(),
                        payload: message.payload.to_owned(),
                        timestamp: message.timestamp.as_f64(),
                        token,
                        attempt,
                    });
                }
                is_json
            })?;
            Ok(claimed)
        })
    }

    /// As [`Store::claim`], with the messages as a package.
    pub fn claim_package(&mut self, limit: u32, terms: &Terms<'_>) -> Result<ClaimedPackage> {
        self.draining_fewer(limit as usize, |store, limit| {
            let mut scanner = std::mem::take(&mut store.scanner);
            let mut package = Package::new(&mut scanner);
            let outcome = store.claim_each(limit, terms, |message, token, attempt| {
                package.push(Part::Object(&[
                    ("message", Part::Object(&message.fields())),
                    ("token", Part::Number(token as f64)),
                    ("attempt", Part::Number(attempt.into())),
                ]))
            });
            let outcome = outcome.map(|suspects| ClaimedPackage {
                count: package.count(),
                bytes: package.finish(),
                suspects,
            });
            store.scanner = scanner;
            outcome
        })
    }

    /// Hands every message that it claims to `take`, with its token and its attempt. That says whether the
    /// payload is JSON; if not, it has left the message out, which is not claimed then. Returns whether it
    /// ended in front of a suspected message, or took one.
    fn claim_each(
        &mut self,
        limit: usize,
        terms: &Terms<'_>,
        mut take: impl FnMut(&Message<'_>, i64, u32) -> bool,
    ) -> Result<bool> {
        let Terms {
            lease_ms,
            attempts_max,
            owner,
            alone: may_be_alone,
            least_tried: is_by_attempts,
        } = *terms;
        let now = self.clock.boot_ms();
        let mut living = Living::default();
        // It stays away after a failure: the transaction is undone, and with it what was walked
        // past in it.
        let mut place = self.place.take();
        if limit == 0 {
            return Ok(false);
        }
        let mut find =
            |conn: &Connection, now, wanted, place: &mut Option<Place>| match is_by_attempts {
                true => least_tried(conn, now, wanted, &mut living),
                false => candidates(conn, now, wanted, &mut living, place),
            };
        let is_sure = self.claims_go_on && !is_by_attempts;
        if !is_sure && find(&self.conn, now, 1, &mut place)?.is_empty() {
            self.place = place;
            return Ok(false);
        }
        let (count, suspects) = self.write(Durability::Normal, |writing| {
            let mut token = None;
            let until = deadline(writing.boot_ms, lease_ms);
            let mut select = writing.conn.prepare_cached(
                "SELECT message_id, type, payload, timestamp FROM message_queue WHERE rowid = ?1",
            )?;
            let mut hold = writing.conn.prepare_cached(
                "INSERT INTO message_claim
                   (message_id, attempt, token, owner, leased, available_at_ms, alone)
                 VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6)
                 ON CONFLICT (message_id) DO UPDATE SET
                   attempt = excluded.attempt, token = excluded.token,
                   owner = excluded.owner, leased = 1,
                   available_at_ms = excluded.available_at_ms,
                   alone = excluded.alone",
            )?;
            let (mut count, mut bytes) = (0, 0);
            loop {
                let wanted = (limit - count).min(limits::CHUNK_ROWS);
                let found = find(writing.conn, writing.boot_ms, wanted, &mut place)?;
                let exhausted = found.len() < wanted;
                let mut corrupt: Vec<(i64, Flaw)> = Vec::new();
                for Candidate { rowid, history } in found {
                    let token = match token {
                        Some(token) => token,
                        None => *token.insert(next_token(writing.conn)?),
                    };
                    let mut rows = select.query([rowid])?;
                    let Some(row) = rows.next()? else { continue };
                    let message = match row::read(row, 0)? {
                        Ok(message) => message,
                        Err(flaw) => {
                            corrupt.push((rowid, flaw));
                            continue;
                        }
                    };
                    let verdict = judge(history, attempts_max);
                    // Whatever became of it: that is what is wrong with it. Others are read as they are taken.
                    if !matches!(verdict, Verdict::Claim) && !message.is_json() {
                        corrupt.push((rowid, row::NOT_JSON));
                        continue;
                    }
                    if let Verdict::Failed | Verdict::Deadly = verdict {
                        let id = message.id.to_owned();
                        // The row is written to.
                        drop(rows);
                        let error = match verdict {
                            Verdict::Failed => last_error(writing.conn, &id)?,
                            _ => None,
                        };
                        let error = error.as_deref().unwrap_or(CUT_SHORT);
                        dead::bury(writing, &id, history.attempts, error)?;
                        continue;
                    }
                    let is_alone = matches!(verdict, Verdict::Suspect);
                    let is_over = count > 0 && bytes + message.bytes() > limits::DEQUEUE_BYTES_MAX;
                    if is_over || (is_alone && (count > 0 || !may_be_alone)) {
                        dead::set_aside(writing, &corrupt)?;
                        return Ok((limit, is_alone));
                    }
                    let attempt = history.attempts.saturating_add(1);
                    let alone = history.alone.saturating_add(u32::from(is_alone));
                    if !take(&message, token, attempt) {
                        corrupt.push((rowid, row::NOT_JSON));
                        continue;
                    }
                    hold.execute(params![
                        message.id,
                        attempt,
                        token,
                        owner.text(),
                        until,
                        alone
                    ])?;
                    bytes += message.bytes();
                    count += 1;
                    if is_alone {
                        dead::set_aside(writing, &corrupt)?;
                        return Ok((limit, true));
                    }
                }
                dead::set_aside(writing, &corrupt)?;
                if exhausted || count == limit {
                    return Ok((count, false));
                }
            }
        })?;
        self.place = place;
        self.claims_go_on = count == limit && !is_by_attempts;
        Ok(suspects)
    }

    /// Marks claimed messages as processed. `false`: the claim was no longer held, somebody else
    /// has or had the message, and nothing changed. A message that an old process has marked in
    /// the meantime counts as completed.
    pub fn complete(&mut self, claims: &[(String, i64)]) -> Result<Vec<bool>> {
        let settlement = Settlement {
            complete: claims.to_vec(),
            ..Settlement::default()
        };
        Ok(self.settle(&settlement)?.completed)
    }

    /// Schedules failed messages for another delivery, or sets them aside as dead letters.
    pub fn fail(&mut self, failures: &[Failure]) -> Result<Vec<FailOutcome>> {
        let settlement = Settlement {
            fail: failures.to_vec(),
            ..Settlement::default()
        };
        Ok(self.settle(&settlement)?.failed)
    }

    /// Gives claimed messages back at once, as if they had not been claimed.
    pub fn release(&mut self, claims: &[(String, i64)]) -> Result<Vec<bool>> {
        let settlement = Settlement {
            release: claims.to_vec(),
            ..Settlement::default()
        };
        Ok(self.settle(&settlement)?.released)
    }

    /// Gives everything back that `owner` holds; these deliveries count. For an owner that ends
    /// while its process lives on, which other processes could not tell. Returns how many.
    pub fn release_all(&mut self, owner: &Owner) -> Result<u64> {
        let holds = self
            .conn
            .prepare_cached(concat!(
                "SELECT 1 FROM message_claim WHERE leased = 1 AND ",
                is_owned!()
            ))?
            .exists([owner.text()])?;
        if !holds {
            return Ok(0);
        }
        let release = |writing: &Writing<'_>| {
            let count = writing
                .conn
                .prepare_cached(concat!(
                    "UPDATE message_claim SET leased = 0, available_at_ms = 0 \
                     WHERE leased = 1 AND ",
                    is_owned!()
                ))?
                .execute([owner.text()])?;
            Ok(count as u64)
        };
        self.draining(|store| store.write(Durability::Normal, release))
    }

    /// [`Store::complete`], [`Store::fail`] and [`Store::release`] in one transaction.
    pub fn settle(&mut self, settlement: &Settlement) -> Result<Settled> {
        if settlement.is_empty() {
            return Ok(Settled::default());
        }
        let mut at_once = |store: &mut Store| store.settle_at_once(settlement);
        let outcome = match settlement.len() {
            0..=room::FEW => self.draining(at_once),
            _ => self.reusing_log(&mut at_once),
        };
        match outcome {
            Err(error) if error.is_full() => self.settle_in_halves(settlement, error),
            outcome => outcome,
        }
    }

    fn settle_at_once(&mut self, settlement: &Settlement) -> Result<Settled> {
        self.write(Durability::Normal, |writing| {
            let mut settled = Settled {
                completed: complete(writing, &settlement.complete)?,
                failed: settlement
                    .fail
                    .iter()
                    .map(|failure| fail(writing, failure))
                    .collect::<Result<_>>()?,
                released: release(writing, &settlement.release)?,
                handled: Vec::new(),
            };
            for (id, token) in settlement.stale(&settled) {
                if handled::end_claim(writing.conn, id, token)? {
                    settled.handled.push(id.to_owned());
                }
            }
            Ok(settled)
        })
    }

    /// The disk is full, and all of them together need more room than there is.
    ///
    /// # Errors
    /// `full` when a claim cannot be settled by itself. Of the others some may be settled then:
    /// they are stale when they are settled again.
    fn settle_in_halves(&mut self, settlement: &Settlement, full: Error) -> Result<Settled> {
        let Some((first, second)) = settlement.halves() else {
            return Err(full);
        };
        let mut settled = self.settle(&first)?;
        let others = self.settle(&second)?;
        settled.completed.extend(others.completed);
        settled.failed.extend(others.failed);
        settled.released.extend(others.released);
        settled.handled.extend(others.handled);
        Ok(settled)
    }

    /// Renews the lease of claims for `lease_ms` from now. `false`: it was no longer held.
    pub fn extend(&mut self, claims: &[(String, i64)], lease_ms: u64) -> Result<Vec<bool>> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let extend = |writing: &Writing<'_>| {
            let until = deadline(writing.boot_ms, lease_ms);
            let mut statement = writing.conn.prepare_cached(
                "UPDATE message_claim SET available_at_ms = ?3
                 WHERE message_id = ?1 AND token = ?2 AND leased = 1",
            )?;
            claims
                .iter()
                .map(|(id, token)| Ok(statement.execute(params![id, token, until])? == 1))
                .collect()
        };
        self.draining(|store| store.write(Durability::Normal, extend))
    }
}

fn next_token(conn: &Connection) -> Result<i64> {
    conn.prepare_cached("UPDATE message_meta SET value = value + 1 WHERE key = 'token'")?
        .execute([])?;
    Ok(conn
        .prepare_cached("SELECT value FROM message_meta WHERE key = 'token'")?
        .query_row([], |row| row.get(0))?)
}

/// The end of a lease or of a wait. Never now: what is claimed is held for a moment at least.
fn deadline(now: i64, ms: u64) -> i64 {
    now.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX).max(1))
}

const END_CLAIM: &str =
    "DELETE FROM message_claim WHERE message_id = ?1 AND token = ?2 AND leased = 1";

/// Returns of each claim whether it was held.
fn complete(writing: &Writing<'_>, claims: &[(String, i64)]) -> Result<Vec<bool>> {
    let mut end = writing.conn.prepare_cached(END_CLAIM)?;
    let mut mark = writing.conn.prepare_cached(
        "UPDATE message_queue SET processed = 1, processed_at = ?2
         WHERE message_id = ?1 AND processed = 0",
    )?;
    let complete = |(id, token): &(String, i64)| {
        let is_held = end.execute(params![id, token])? == 1;
        if is_held {
            mark.execute(params![id, writing.unix_seconds()])?;
        }
        Ok(is_held)
    };
    claims.iter().map(complete).collect()
}

/// Returns of each claim whether it was held.
fn release(writing: &Writing<'_>, claims: &[(String, i64)]) -> Result<Vec<bool>> {
    // The entry stays, also one that counts no attempt: by it the message is found again, see
    // `candidates`.
    let mut release = writing.conn.prepare_cached(
        "UPDATE message_claim SET leased = 0, available_at_ms = 0, attempt = attempt - 1,
           alone = max(alone - 1, 0)
         WHERE message_id = ?1 AND token = ?2 AND leased = 1",
    )?;
    let release = |(id, token): &(String, i64)| Ok(release.execute(params![id, token])? == 1);
    claims.iter().map(release).collect()
}

fn fail(writing: &Writing<'_>, failure: &Failure) -> Result<FailOutcome> {
    let Failure { id, token, .. } = failure;
    let history: Option<(u32, u32)> = writing
        .conn
        .prepare_cached(
            "SELECT attempt, failures FROM message_claim
             WHERE message_id = ?1 AND token = ?2 AND leased = 1",
        )?
        .query_row(params![id, token], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((attempt, failures)) = history else {
        return Ok(FailOutcome::Stale);
    };
    let failures = failures.saturating_add(1);
    let pending = writing
        .conn
        .prepare_cached("SELECT 1 FROM message_queue WHERE message_id = ?1 AND processed = 0")?
        .exists([id])?;
    if !pending {
        // An old process has delivered it.
        let mut end = writing.conn.prepare_cached(END_CLAIM)?;
        end.execute(params![id, token])?;
        return Ok(FailOutcome::Stale);
    }
    let error = shorten(&failure.error);
    if failures >= failure.attempts_max {
        dead::bury(writing, id, attempt, error)?;
        return Ok(FailOutcome::Dead);
    }
    let delay_ms = retry_delay_ms(failures, failure.retry_base_ms, failure.retry_max_ms);
    writing
        .conn
        .prepare_cached(
            "UPDATE message_claim SET leased = 0, available_at_ms = ?2, error = ?3,
               failures = ?4, alone = max(alone - 1, 0)
             WHERE message_id = ?1",
        )?
        .execute(params![
            id,
            deadline(writing.boot_ms, delay_ms),
            error,
            failures
        ])?;
    Ok(FailOutcome::Retry { delay_ms })
}

fn last_error(conn: &Connection, id: &str) -> Result<Option<String>> {
    Ok(conn
        .prepare_cached("SELECT error FROM message_claim WHERE message_id = ?1")?
        .query_row([id], |row| row.get(0))?)
}

fn shorten(text: &str) -> &str {
    let mut end = text.len().min(limits::ERROR_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Exponential, with the upper half of the wait left to chance, so that messages that failed
/// together do not come back together.
fn retry_delay_ms(failures: u32, base_ms: u64, max_ms: u64) -> u64 {
    let doublings = failures.saturating_sub(1).min(63);
    let full = base_ms.saturating_mul(1 << doublings).min(max_ms);
    // The keys of a hasher are random.
    let chance = RandomState::new().build_hasher().finish();
    full - chance % (full / 2 + 1)
}

#[cfg(test)]
mod tests;
