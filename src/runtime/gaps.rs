//! Gap records: stretches of trades that were missed, until somebody has fetched them.

use rusqlite::{ToSql, params};
use serde::{Deserialize, Serialize};

use super::RuntimeStore;
use crate::error::Result;

/// A gap that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGap {
    /// The exchange.
    pub exchange: String,
    /// The symbol.
    pub symbol: String,
    /// The last trade before the gap.
    pub from_trade_id: i64,
    /// The first trade after it.
    pub to_trade_id: i64,
    /// How many trades are missing.
    pub gap_size: i64,
    /// When it was found, in milliseconds since 1970.
    pub detected_at: i64,
}

/// A gap as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Number of the record; never given again.
    pub id: i64,
    /// See [`NewGap`].
    pub exchange: String,
    /// See [`NewGap`].
    pub symbol: String,
    /// See [`NewGap`].
    pub from_trade_id: i64,
    /// See [`NewGap`].
    pub to_trade_id: i64,
    /// See [`NewGap`].
    pub gap_size: i64,
    /// See [`NewGap`].
    pub detected_at: i64,
    /// Whether its trades were fetched.
    pub synced: bool,
    /// When that was recorded, in milliseconds since 1970.
    pub synced_at: Option<i64>,
}

/// Which gaps to load: those that meet every condition given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GapFilter {
    /// Of this exchange.
    pub exchange: Option<String>,
    /// Of this symbol.
    pub symbol: Option<String>,
    /// Synced ones only, or with `false` those that are not.
    pub synced_only: Option<bool>,
}

impl RuntimeStore {
    /// Records gaps, all or none. One whose exchange, symbol and both trades are recorded already
    /// is left as it is: found once more, a gap keeps the time it was first found, and one that
    /// was synced is not synced again.
    pub fn save_gaps(&mut self, gaps: &[NewGap]) -> Result<()> {
        if gaps.is_empty() {
            return Ok(());
        }
        self.queue.write_durably(|writing| {
            let mut insert = writing.conn.prepare_cached(
                "INSERT INTO gap_records
                   (exchange, symbol, from_trade_id, to_trade_id, gap_size, detected_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            )?;
            for gap in gaps {
                insert.execute(params![
                    gap.exchange,
                    gap.symbol,
                    gap.from_trade_id,
                    gap.to_trade_id,
                    gap.gap_size,
                    gap.detected_at
                ])?;
            }
            Ok(())
        })
    }

    /// The gaps that the filter lets through, the last one found first.
    pub fn load_gaps(&self, filter: &GapFilter) -> Result<Vec<Gap>> {
        let conditions: [(&str, Option<&dyn ToSql>); 3] = [
            ("exchange = ?", filter.exchange.as_ref().map(|it| it as _)),
            ("symbol = ?", filter.symbol.as_ref().map(|it| it as _)),
            (
                "(coalesce(synced, 0) <> 0) = ?",
                filter.synced_only.as_ref().map(|it| it as _),
            ),
        ];
        let (mut sql, mut values) = (String::new(), Vec::new());
        for (condition, value) in conditions {
            if let Some(value) = value {
                sql.push_str(" AND ");
                sql.push_str(condition);
                values.push(value);
            }
        }
        // Cast: a process that is not strict about types may have written anything.
        let sql = format!(
            "SELECT id, CAST(exchange AS TEXT), CAST(symbol AS TEXT),
               CAST(from_trade_id AS INTEGER), CAST(to_trade_id AS INTEGER),
               CAST(gap_size AS INTEGER), CAST(detected_at AS INTEGER),
               coalesce(synced, 0) <> 0, CAST(synced_at AS INTEGER)
             FROM gap_records WHERE true{sql} ORDER BY detected_at DESC, id DESC"
        );
        let mut statement = self.conn().prepare_cached(&sql)?;
        let gaps = statement.query_map(values.as_slice(), |row| {
            let text = |index| -> rusqlite::Result<String> {
                let bytes = row.get_ref(index)?.as_bytes_or_null()?.unwrap_or_default();
                Ok(String::from_utf8_lossy(bytes).into_owned())
            };
            Ok(Gap {
                id: row.get(0)?,
                exchange: text(1)?,
                symbol: text(2)?,
                from_trade_id: row.get(3)?,
                to_trade_id: row.get(4)?,
                gap_size: row.get(5)?,
                detected_at: row.get(6)?,
                synced: row.get(7)?,
                synced_at: row.get(8)?,
            })
        })?;
        Ok(gaps.collect::<rusqlite::Result<_>>()?)
    }

    /// Records that the trades of these gaps were fetched. Unknown ids are passed over, and a gap
    /// that was synced before keeps its time.
    pub fn mark_gaps_synced(&mut self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.queue.write_durably(|writing| {
            let mut mark = writing.conn.prepare_cached(
                "UPDATE gap_records SET synced = 1, synced_at = ?2
                 WHERE id = ?1 AND coalesce(synced, 0) = 0",
            )?;
            for id in ids {
                mark.execute(params![id, writing.unix_ms])?;
            }
            Ok(())
        })
    }
}
