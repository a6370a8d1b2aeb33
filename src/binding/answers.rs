//! What the queue's worker is asked and answers, as JSON.

use serde::Deserialize;
use serde_json::json;

use super::errors::{self, exception};
use crate::error::{Code, Error};
use crate::queue::{ClaimedPackage, FailOutcome, Failure, Refused, Reply, Settled, Settlement};

/// `NativeQueue.settleLater` reads this; claims are `[id, token]`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SettleRequest {
    completed: Vec<(String, i64)>,
    released: Vec<(String, i64)>,
    /// `[id, token, error]`
    failed: Vec<(String, i64, String)>,
    attempts_max: u32,
    retry_delay_ms: u64,
    retry_delay_ms_max: u64,
}

/// What a completed request resolves with.
pub enum Answer {
    Json(String),
    /// Messages.
    Claimed(ClaimedPackage),
}

/// The answer for a reply of the worker.
pub fn answer(reply: Reply) -> Answer {
    Answer::Json(match reply {
        Reply::Claimed(claimed) => return Answer::Claimed(claimed),
        Reply::Enqueued(refused) => refused_json(&refused),
        Reply::Handled | Reply::Released => "null".to_owned(),
        Reply::Settled(settled) => settled_json(&settled),
        Reply::Extended(held) => json!(held).to_string(),
        Reply::Cleaned(count) => json!(count).to_string(),
    })
}

/// `[[place, code, text], …]` of the messages that were not stored.
fn refused_json(refused: &[Refused]) -> String {
    if refused.is_empty() {
        return "[]".to_owned();
    }
    let refused: Vec<_> = refused
        .iter()
        .map(|refused| json!([refused.place, refused.code, refused.text]))
        .collect();
    json!(refused).to_string()
}

/// `stale` holds places in the sequence of completed, failed and released claims, `handled` ids.
pub fn settled_json(settled: &Settled) -> String {
    let failed = settled
        .failed
        .iter()
        .map(|outcome| *outcome != FailOutcome::Stale);
    let held = settled
        .completed
        .iter()
        .copied()
        .chain(failed)
        .chain(settled.released.iter().copied());
    let stale: Vec<usize> = held
        .enumerate()
        .filter(|(_, held)| !held)
        .map(|(place, _)| place)
        .collect();
    let failed: Vec<_> = settled
        .failed
        .iter()
        .map(|outcome| match outcome {
            FailOutcome::Retry { delay_ms } => json!({ "dead": false, "retryInMs": delay_ms }),
            FailOutcome::Dead => json!({ "dead": true, "retryInMs": 0 }),
            FailOutcome::Stale => json!({ "dead": false, "retryInMs": 0 }),
        })
        .collect();
    json!({ "stale": stale, "handled": settled.handled, "failed": failed }).to_string()
}

pub fn settlement(request: &str) -> errors::Result<Settlement> {
    let request: SettleRequest = from_json(request)?;
    let attempts_max = unlimited(request.attempts_max);
    let fail = request
        .failed
        .into_iter()
        .map(|(id, token, error)| Failure {
            id,
            token,
            error,
            attempts_max,
            retry_base_ms: request.retry_delay_ms,
            retry_max_ms: request.retry_delay_ms_max,
        });
    Ok(Settlement {
        fail: fail.collect(),
        complete: request.completed,
        release: request.released,
    })
}

pub fn unlimited(attempts_max: u32) -> u32 {
    if attempts_max == 0 {
        u32::MAX
    } else {
        attempts_max
    }
}

pub fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> errors::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| exception(Error::rule(Code::Internal, error.to_string())))
}
