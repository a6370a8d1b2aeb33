//! What an open runtime database can do beside the queue: more methods of `NativeQueue`.
//!
//! States cross the boundary as one flat array of strings, three for each. A state is a JSON text
//! already: inside another one it would be escaped and parsed once more, and the longest string
//! of V8 would limit what can be loaded. Gaps are small and cross as one JSON text.

use std::ptr;

use napi::bindgen_prelude::*;
use napi::{JsString, JsValue, sys};
use napi_derive::napi;

use super::answers::from_json;
use super::errors::{self, exception};
use super::queue::{NativeQueue, closed, utf8};
use super::text::{check, read_utf8, write_utf8};
use crate::error::{Code, Error};
use crate::queue::{Options, Store};
use crate::runtime::{GapFilter, NewGap, RuntimeStore, State};

/// Strings per state: exchange, symbol, JSON.
const STATE_STRINGS: u32 = 3;

/// An open file, as what it was opened.
pub enum Opened {
    Queue(Store),
    Runtime(RuntimeStore),
}

impl Opened {
    pub fn open(options: &Options, runtime: bool) -> crate::Result<Self> {
        Ok(match runtime {
            true => Opened::Runtime(RuntimeStore::open(options)?),
            false => Opened::Queue(Store::open(options)?),
        })
    }

    pub fn queue(&mut self) -> &mut Store {
        match self {
            Opened::Queue(store) => store,
            Opened::Runtime(store) => store.queue(),
        }
    }

    pub fn close(self) -> crate::Result<()> {
        match self {
            Opened::Queue(store) => store.close(),
            Opened::Runtime(store) => store.close(),
        }
    }
}

#[napi]
impl NativeQueue {
    #[napi(catch_unwind)]
    pub fn save_state(
        &mut self,
        env: Env,
        exchange: String,
        symbol: String,
        json: JsString<'_>,
    ) -> errors::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        read_utf8(env.raw(), json.raw(), &mut scratch)?;
        let state = State {
            exchange: &exchange,
            symbol: &symbol,
            json: utf8(&scratch)?,
        };
        let outcome = self.runtime()?.save_state(&state).map_err(exception);
        self.scratch = scratch;
        outcome
    }

    /// `[exchange, symbol, json, exchange, symbol, json, …]`: all or none.
    #[napi(catch_unwind)]
    pub fn save_states(&mut self, env: Env, states: Unknown<'_>) -> errors::Result<()> {
        let (env, states) = (env.raw(), states.raw());
        let mut length = 0;
        // SAFETY: both handles are those of this call.
        check(unsafe { sys::napi_get_array_length(env, states, &raw mut length) })?;
        let mut texts = [Vec::new(), Vec::new(), Vec::new()];
        let read = |place: u32, text: &mut Vec<u8>| {
            let mut value = ptr::null_mut();
            // SAFETY: as above; `value` is written when the call succeeds.
            check(unsafe { sys::napi_get_element(env, states, place, &raw mut value) })?;
            read_utf8(env, value, text)
        };
        self.runtime()?
            .save_states(|save| {
                for first in (0..length).step_by(STATE_STRINGS as usize) {
                    for (place, text) in (first..).zip(&mut texts) {
                        read(place, text).map_err(internal)?;
                    }
                    let [exchange, symbol, json] = &texts;
                    save(&State {
                        exchange: utf8(exchange).map_err(internal)?,
                        symbol: utf8(symbol).map_err(internal)?,
                        json: utf8(json).map_err(internal)?,
                    })?;
                }
                Ok(())
            })
            .map_err(exception)
    }

    /// The states of these symbols, in the form of `save_states`.
    #[napi(catch_unwind)]
    pub fn load_states(
        &mut self,
        env: Env,
        exchange: String,
        symbols: Vec<String>,
    ) -> errors::Result<Unknown<'static>> {
        let store = self.runtime()?;
        flat(env, |each| store.load_states(&exchange, &symbols, each))
    }

    /// The states of an exchange or of all, in the form of `save_states`.
    #[napi(catch_unwind)]
    pub fn load_all_states(
        &mut self,
        env: Env,
        exchange: Option<String>,
    ) -> errors::Result<Unknown<'static>> {
        let store = self.runtime()?;
        flat(env, |each| match &exchange {
            Some(exchange) => store.load_states_of(exchange, each),
            None => store.load_all_states(each),
        })
    }

    /// `[[exchange, symbol, fromTradeId, toTradeId, gapSize, detectedAt], …]`: all or none.
    #[napi(catch_unwind)]
    pub fn save_gaps(&mut self, gaps: String) -> errors::Result<()> {
        let gaps: Vec<(String, String, i64, i64, i64, i64)> = from_json(&gaps)?;
        let gaps: Vec<NewGap> = gaps
            .into_iter()
            .map(
                |(exchange, symbol, from_trade_id, to_trade_id, gap_size, detected_at)| NewGap {
                    exchange,
                    symbol,
                    from_trade_id,
                    to_trade_id,
                    gap_size,
                    detected_at,
                },
            )
            .collect();
        self.runtime()?.save_gaps(&gaps).map_err(exception)
    }

    /// From `{ exchange?, symbol?, syncedOnly? }` to an array of gap records.
    #[napi(catch_unwind)]
    pub fn load_gaps(&mut self, filter: String) -> errors::Result<String> {
        let filter: GapFilter = from_json(&filter)?;
        let gaps = self.runtime()?.load_gaps(&filter).map_err(exception)?;
        serde_json::to_string(&gaps)
            .map_err(|error| exception(Error::rule(Code::Internal, error.to_string())))
    }

    /// `ids` is the JSON text of an array.
    #[napi(catch_unwind)]
    pub fn mark_gaps_synced(&mut self, ids: String) -> errors::Result<()> {
        let ids: Vec<i64> = from_json(&ids)?;
        self.runtime()?.mark_gaps_synced(&ids).map_err(exception)
    }

    #[napi(catch_unwind)]
    pub fn schema_version(&mut self) -> errors::Result<i64> {
        self.runtime()?.schema_version().map_err(exception)
    }

    fn runtime(&mut self) -> errors::Result<&mut RuntimeStore> {
        match self.store.as_mut().ok_or_else(closed)? {
            Opened::Runtime(store) => Ok(store),
            Opened::Queue(_) => {
                let text = "The file was opened as a queue only.";
                Err(exception(Error::rule(Code::Internal, text)))
            }
        }
    }
}

/// The states that `load` passes on, as one flat array. Each string is copied once, from
/// the database's memory to V8's.
fn flat(
    env: Env,
    load: impl FnOnce(&mut dyn FnMut(&State<'_>) -> crate::Result<()>) -> crate::Result<()>,
) -> errors::Result<Unknown<'static>> {
    let env = env.raw();
    let mut array = ptr::null_mut();
    // SAFETY: `array` is written when the call succeeds.
    check(unsafe { sys::napi_create_array(env, &raw mut array) })?;
    let mut place = 0;
    let mut push = |text: &str| {
        let value = write_utf8(env, text.as_bytes(), text.is_ascii())?;
        // SAFETY: both handles were made in this call.
        check(unsafe { sys::napi_set_element(env, array, place, value) })?;
        place += 1;
        Ok(())
    };
    load(&mut |state| {
        [state.exchange, state.symbol, state.json]
            .into_iter()
            .try_for_each(&mut push)
            .map_err(internal)
    })
    .map_err(exception)?;
    // SAFETY: the array was made in this environment.
    Ok(unsafe { Unknown::from_raw_unchecked(env, array) })
}

/// An error of Node-API on its way through the core.
fn internal(error: napi::Error<String>) -> Error {
    Error::rule(Code::Internal, error.reason.to_string())
}
