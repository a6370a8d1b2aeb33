//! Candle states: one JSON text per exchange and symbol, the newest only.
//!
//! States may be large and many. They are handed over one by one, borrowed from the database,
//! so that nothing here holds them all.

use rusqlite::{Connection, Row, params};

use super::RuntimeStore;
use crate::error::Result;
use crate::queue::{Rollback, Writing};

/// The state of one symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<'a> {
    /// The exchange.
    pub exchange: &'a str,
    /// The symbol, unique within its exchange.
    pub symbol: &'a str,
    /// The state. It is text to the database; nobody looks inside.
    pub json: &'a str,
}

impl RuntimeStore {
    /// Stores a state in the place of an earlier one.
    pub fn save_state(&mut self, state: &State<'_>) -> Result<()> {
        self.queue.write_durably(|writing| save(writing, state))
    }

    /// Stores all states that `fill` passes to the function it is given, in one transaction: all
    /// or none, also when `fill` fails. Of two states of the same symbol the later one stays.
    ///
    /// # Errors
    /// Those of `fill`, or SQLite's.
    pub fn save_states(
        &mut self,
        fill: impl FnOnce(&mut dyn FnMut(&State<'_>) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        self.queue
            .write_durably(|writing| fill(&mut |state| save(writing, state)))
    }

    /// The state of a symbol, if there is one.
    pub fn load_state(&self, exchange: &str, symbol: &str) -> Result<Option<String>> {
        let mut found = None;
        self.load_states(exchange, &[symbol], |state| {
            found = Some(state.json.to_owned());
            Ok(())
        })?;
        Ok(found)
    }

    /// Passes the states of these symbols to `each`, in this order, as of one instant. Symbols
    /// without a state are passed over.
    ///
    /// # Errors
    /// The first of `each`, or SQLite's.
    pub fn load_states(
        &self,
        exchange: &str,
        symbols: &[impl AsRef<str>],
        mut each: impl FnMut(&State<'_>) -> Result<()>,
    ) -> Result<()> {
        let conn = self.conn();
        // One by one: any number of symbols, and no limit of bound values.
        let mut statement = conn.prepare_cached(
            "SELECT exchange, symbol, CAST(state_json AS TEXT) FROM candle_state
             WHERE exchange = ?1 AND symbol = ?2",
        )?;
        conn.prepare_cached("BEGIN")?.execute([])?;
        let _end = Rollback(conn);
        for symbol in symbols {
            let mut rows = statement.query(params![exchange, symbol.as_ref()])?;
            while let Some(row) = rows.next()? {
                pass(row, &mut each)?;
            }
        }
        Ok(())
    }

    /// Passes every state to `each`.
    ///
    /// # Errors
    /// The first of `each`, or SQLite's.
    pub fn load_all_states(&self, each: impl FnMut(&State<'_>) -> Result<()>) -> Result<()> {
        let sql = "SELECT exchange, symbol, CAST(state_json AS TEXT) FROM candle_state";
        select(self.conn(), sql, &[], each)
    }

    /// Passes every state of an exchange to `each`.
    ///
    /// # Errors
    /// The first of `each`, or SQLite's.
    pub fn load_states_of(
        &self,
        exchange: &str,
        each: impl FnMut(&State<'_>) -> Result<()>,
    ) -> Result<()> {
        let sql = "SELECT exchange, symbol, CAST(state_json AS TEXT) FROM candle_state
                   WHERE exchange = ?1";
        select(self.conn(), sql, &[&exchange], each)
    }
}

fn save(writing: &Writing<'_>, state: &State<'_>) -> Result<()> {
    // Text, though the column is declared BLOB: other processes read strings.
    writing
        .conn
        .prepare_cached(
            "INSERT INTO candle_state (exchange, symbol, state_json, updated_at)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET
               state_json = excluded.state_json, updated_at = excluded.updated_at",
        )?
        .execute(params![
            state.exchange,
            state.symbol,
            state.json,
            writing.unix_ms
        ])?;
    Ok(())
}

fn select(
    conn: &Connection,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
    mut each: impl FnMut(&State<'_>) -> Result<()>,
) -> Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    while let Some(row) = rows.next()? {
        pass(row, &mut each)?;
    }
    Ok(())
}

/// Bytes that are no UTF-8 become U+FFFD, as in every other reader of the file: one bad row must
/// not hide the others.
fn pass(row: &Row<'_>, each: &mut impl FnMut(&State<'_>) -> Result<()>) -> Result<()> {
    let text = |index| -> Result<_> {
        let bytes = row.get_ref(index)?.as_bytes_or_null();
        let bytes = bytes.map_err(rusqlite::Error::from)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(bytes))
    };
    let (exchange, symbol, json) = (text(0)?, text(1)?, text(2)?);
    each(&State {
        exchange: &exchange,
        symbol: &symbol,
        json: &json,
    })
}
