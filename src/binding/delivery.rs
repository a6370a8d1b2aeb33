//! What the delivery layer needs of a queue: more methods of `NativeQueue`. Ids cross the boundary
//! as the JSON text of an array.

use napi::JsValue;
use napi::bindgen_prelude::{Array, Env};
use napi_derive::napi;

use super::answers::from_json;
use super::errors::{self, exception};
use super::messages::read_records;
use super::queue::NativeQueue;
use crate::queue::{Idempotence, Request};

#[napi]
impl NativeQueue {
    /// As `enqueueLater`; a message that is stored already counts as stored, whatever its
    /// timestamp.
    #[napi(catch_unwind)]
    pub fn deliver_later(
        &mut self,
        env: Env,
        ticket: f64,
        records: Array<'_>,
    ) -> errors::Result<()> {
        let records = read_records(env.raw(), records.raw())?;
        self.submit_records(ticket, records, Idempotence::Content)
    }

    /// Waits for what the worker has begun, whose lock would stand in the way of `deliverMany`.
    #[napi(catch_unwind)]
    pub fn finish_worker(&self) -> errors::Result<()> {
        self.finish()
    }

    /// As `deliverLater`, now, and all or none.
    #[napi(catch_unwind)]
    pub fn deliver_many(&mut self, env: Env, records: Array<'_>) -> errors::Result<()> {
        let records = read_records(env.raw(), records.raw())?;
        let messages = records.messages().map_err(exception)?;
        self.store()?.deliver_many(&messages).map_err(exception)
    }

    /// Marks the messages with these ids as processed, and remembers the ids if asked to.
    #[napi(catch_unwind)]
    pub fn handled_later(
        &mut self,
        ticket: f64,
        ids: String,
        remember: bool,
    ) -> errors::Result<()> {
        let ids = from_json(&ids)?;
        self.submit(ticket as u64, Request::Handled { ids, remember })
    }

    /// The places of the ids that were handled.
    #[napi(catch_unwind)]
    pub fn handled_among(&mut self, ids: String) -> errors::Result<Vec<u32>> {
        let ids: Vec<String> = from_json(&ids)?;
        let places = self.store()?.handled_among(&ids).map_err(exception)?;
        Ok(numbers(places))
    }

    /// The places of the ids whose message is pending.
    #[napi(catch_unwind)]
    pub fn pending_among(&mut self, ids: String) -> errors::Result<Vec<u32>> {
        let ids: Vec<String> = from_json(&ids)?;
        let places = self.store()?.pending_among(&ids).map_err(exception)?;
        Ok(numbers(places))
    }

    #[napi(catch_unwind)]
    pub fn newest_pending(&mut self) -> errors::Result<i64> {
        self.store()?.newest_pending().map_err(exception)
    }

    #[napi(catch_unwind)]
    pub fn has_pending_up_to(&mut self, number: i64) -> errors::Result<bool> {
        self.store()?.has_pending_up_to(number).map_err(exception)
    }
}

fn numbers(places: Vec<usize>) -> Vec<u32> {
    places.into_iter().map(|place| place as u32).collect()
}
