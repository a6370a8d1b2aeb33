//! Messages on their way into the queue.

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, params};

use super::message::NewMessage;
use super::row::Timestamp;
use super::store::forget_claim;
use crate::error::{Code, Error, Result};

/// When a message counts as stored because one is stored under its id, whatever the state of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotence {
    /// Never: such a message is refused.
    None,
    /// When its type, the text of its payload and its timestamp are the same.
    Message,
    /// When its type and the text of its payload are. Who publishes a message once more does not
    /// know the timestamp that was made for it the first time.
    Content,
}

/// The inserts of one write transaction.
pub(super) struct Inserts<'c> {
    conn: &'c Connection,
    insert: CachedStatement<'c>,
    /// Whether a new message may find claims of an old one under its id. Old processes delete rows
    /// and leave our entry, which says nothing about the new message.
    has_claims: bool,
}

impl<'c> Inserts<'c> {
    pub(super) fn begin(conn: &'c Connection) -> Result<Self> {
        Ok(Inserts {
            conn,
            insert: conn.prepare_cached(
                "INSERT INTO message_queue (message_id, type, payload, timestamp)
                 VALUES (?1, ?2, ?3, ?4)",
            )?,
            has_claims: conn
                .prepare_cached("SELECT 1 FROM message_claim LIMIT 1")?
                .exists([])?,
        })
    }

    /// Inserts a message; one that is there already, as `idempotence` has it, counts as inserted.
    ///
    /// # Errors
    /// `SQLITE_CONSTRAINT_PRIMARYKEY` when the id is stored already, without idempotence;
    /// `IdConflict` when another message is stored under it.
    pub(super) fn insert(
        &mut self,
        message: &NewMessage<'_>,
        idempotence: Idempotence,
    ) -> Result<()> {
        let outcome = self.insert_new(message);
        match &outcome {
            Err(error) if is_duplicate(error) && idempotence != Idempotence::None => {}
            _ => return outcome,
        }
        let any_timestamp = idempotence == Idempotence::Content;
        if is_stored(self.conn, message, any_timestamp)? {
            // Whoever stored it may not have waited for the disk, or in vain. A commit that writes
            // something does, for all that the log holds; one that writes nothing does not. A token
            // that is passed over is as good as any other change.
            self.conn
                .prepare_cached("UPDATE message_meta SET value = value + 1 WHERE key = 'token'")?
                .execute([])?;
            return Ok(());
        }
        let different = match any_timestamp {
            true => "type or payload",
            false => "type, payload or timestamp",
        };
        Err(Error::rule(
            Code::IdConflict,
            format!(
                "Another message is stored under the id {:?}: its {different} differs.",
                message.id()
            ),
        ))
    }

    /// Inserts all of them; the text of an error names the message.
    ///
    /// # Errors
    /// As [`Inserts::insert`].
    pub(super) fn insert_all(
        &mut self,
        messages: &[NewMessage<'_>],
        idempotence: Idempotence,
    ) -> Result<()> {
        for (index, message) in messages.iter().enumerate() {
            self.insert(message, idempotence)
                .map_err(|error| match messages.len() {
                    1 => error,
                    count => locate(error, index, count, message.id()),
                })?;
        }
        Ok(())
    }

    fn insert_new(&mut self, message: &NewMessage<'_>) -> Result<()> {
        self.insert.execute(params![
            message.id(),
            message.kind(),
            message.payload(),
            Timestamp::new(message.timestamp())
        ])?;
        if self.has_claims {
            forget_claim(self.conn, message.id())?;
        }
        Ok(())
    }
}

/// Whether exactly this message is stored, in whatever state; at `any_timestamp` if asked so.
fn is_stored(conn: &Connection, message: &NewMessage<'_>, any_timestamp: bool) -> Result<bool> {
    let mut statement = conn.prepare_cached(
        "SELECT type, payload, timestamp FROM message_queue WHERE message_id = ?1",
    )?;
    let mut rows = statement.query([message.id()])?;
    let Some(row) = rows.next()? else {
        return Ok(false);
    };
    let is = |column, text: &str| -> Result<bool> {
        Ok(match row.get_ref(column)? {
            // Old processes may store either.
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes == text.as_bytes(),
            _ => false,
        })
    };
    let timestamp = Timestamp::of_column(row.get_ref(2)?).map(Timestamp::as_f64);
    Ok(is(0, message.kind())?
        && is(1, message.payload())?
        && (any_timestamp || timestamp == Some(message.timestamp())))
}

/// Adds to the text which message of a batch it is about; the code stays.
fn locate(error: Error, index: usize, count: usize, id: &str) -> Error {
    let place = format!("(at index {index} of {count}, id {id:?})");
    match error {
        Error::Sqlite(rusqlite::Error::SqliteFailure(code, text)) => {
            let text = text.unwrap_or_else(|| code.to_string());
            let text = format!("{text} {place}");
            Error::Sqlite(rusqlite::Error::SqliteFailure(code, Some(text)))
        }
        Error::Rule { code, message } => Error::rule(code, format!("{message} {place}")),
        other => other,
    }
}

/// Whether an insert failed because of what is stored already.
pub(super) fn is_duplicate(error: &Error) -> bool {
    match error {
        Error::Rule { code, .. } => *code == Code::IdConflict,
        Error::Sqlite(error) => {
            error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
        }
        Error::System { .. } => false,
    }
}
