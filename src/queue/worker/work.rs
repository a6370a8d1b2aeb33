//! What becomes of the requests of one group on the store.

use super::Envelope;
use super::request::{Refused, Reply, Request};
use crate::error::{Code, Error, Result};
use crate::queue::claim::Terms;
use crate::queue::message::NewMessage;
use crate::queue::{Idempotence, Owner, Store};

/// One result per request.
pub(super) fn work(store: &mut Store, group: &[Envelope], owner: &Owner) -> Vec<Result<Reply>> {
    match group {
        [first, ..] if matches!(first.request, Request::Enqueue(_)) => {
            return enqueue_all(store, group);
        }
        [first, ..] if matches!(first.request, Request::Handled { .. }) => {
            return handle_all(store, group);
        }
        _ => {}
    }
    group
        .iter()
        .map(|envelope| work_alone(store, &envelope.request, owner))
        .collect()
}

/// One transaction, which all of them share.
fn handle_all(store: &mut Store, group: &[Envelope]) -> Vec<Result<Reply>> {
    let mut all = Vec::new();
    let mut remembers = false;
    for envelope in group {
        if let Request::Handled { ids, remember } = &envelope.request {
            all.extend(ids.iter().map(String::as_str));
            // The same for all of a group.
            remembers = *remember;
        }
    }
    let outcome = match remembers {
        true => store.remember_handled(&all),
        false => store.mark_handled(&all),
    };
    group
        .iter()
        .map(|_| match &outcome {
            Ok(_) => Ok(Reply::Handled),
            Err(error) => Err(repeat(error)),
        })
        .collect()
}

/// Group commit: one transaction, an outcome for each message.
fn enqueue_all(store: &mut Store, group: &[Envelope]) -> Vec<Result<Reply>> {
    let parsed: Vec<Result<Parsed<'_>>> = group.iter().map(parse).collect();
    let messages: Vec<(&NewMessage<'_>, Idempotence)> = parsed
        .iter()
        .flatten()
        .flat_map(|batch| {
            batch
                .messages
                .iter()
                .map(|(_, message)| (message, batch.idempotence))
        })
        .collect();
    let outcomes = store.enqueue_each(&messages);
    let (mut outcomes, failure) = match outcomes {
        Ok(outcomes) => (outcomes.into_iter(), None),
        Err(error) => (Vec::new().into_iter(), Some(error)),
    };
    parsed
        .into_iter()
        .map(|batch| {
            let Parsed {
                messages,
                mut refused,
                ..
            } = batch?;
            match &failure {
                Some(error) if refused.is_empty() => return Err(repeat(error)),
                Some(error) => {
                    refused.extend(
                        messages
                            .iter()
                            .map(|(place, _)| Refused::new(*place, error)),
                    );
                }
                None => {
                    // As many outcomes as messages that could be read.
                    let outcomes = messages.iter().zip(&mut outcomes);
                    refused.extend(outcomes.filter_map(|((place, _), outcome)| {
                        outcome.err().map(|error| Refused::new(*place, &error))
                    }));
                }
            }
            Ok(Reply::Enqueued(refused))
        })
        .collect()
}

/// A batch as its messages, each with its place, and those that cannot be stored.
struct Parsed<'a> {
    messages: Vec<(usize, NewMessage<'a>)>,
    refused: Vec<Refused>,
    idempotence: Idempotence,
}

fn parse(envelope: &Envelope) -> Result<Parsed<'_>> {
    let Request::Enqueue(batch) = &envelope.request else {
        return Err(Error::rule(Code::Internal, "A group holds enqueues only."));
    };
    let mut parsed = Parsed {
        messages: Vec::new(),
        refused: Vec::new(),
        idempotence: batch.idempotence,
    };
    for (place, message) in batch.messages.each_message(batch.validate).enumerate() {
        match message {
            Ok(message) => parsed.messages.push((place, message)),
            Err(error) => parsed.refused.push(Refused::new(place, &error)),
        }
    }
    Ok(parsed)
}

fn work_alone(store: &mut Store, request: &Request, owner: &Owner) -> Result<Reply> {
    Ok(match *request {
        Request::Enqueue(_) | Request::Handled { .. } => {
            return Err(Error::rule(Code::Internal, "Such requests come in groups."));
        }
        Request::Claim {
            limit,
            lease_ms,
            attempts_max,
            alone,
            least_tried,
            forget_shapes,
        } => {
            if forget_shapes {
                store.forget_shapes();
            }
            let terms = Terms {
                lease_ms,
                attempts_max,
                owner,
                alone,
                least_tried,
            };
            let mut claimed = store.claim_package(limit, &terms)?;
            if claimed.count == 0 && !claimed.suspects {
                // The doorbell may have rung for a commit that cannot be seen yet.
                match store.await_writer() {
                    // Its last page will ring again.
                    Err(error) if error.is_busy() => {}
                    outcome => {
                        outcome?;
                        claimed = store.claim_package(limit, &terms)?;
                    }
                }
            }
            Reply::Claimed(claimed)
        }
        Request::Settle(ref settlement) => Reply::Settled(store.settle(settlement)?),
        Request::Extend {
            ref claims,
            lease_ms,
        } => Reply::Extended(store.extend(claims, lease_ms)?),
        Request::Release => {
            store.release_all(owner)?;
            Reply::Released
        }
        Request::Cleanup { .. } => {
            return Err(Error::rule(Code::Internal, "Cleanups come in chunks."));
        }
        #[cfg(test)]
        Request::Panic => panic!("as asked"),
    })
}

/// The same error once more, for another request that it ended.
pub(super) fn repeat(error: &Error) -> Error {
    match error {
        Error::Rule { code, message } => Error::rule(*code, message.clone()),
        Error::System {
            syscall,
            path,
            source,
        } => {
            let source = match source.raw_os_error() {
                Some(errno) => std::io::Error::from_raw_os_error(errno),
                None => source.kind().into(),
            };
            Error::system(syscall, path.clone(), source)
        }
        Error::Sqlite(rusqlite::Error::SqliteFailure(code, text)) => {
            Error::Sqlite(rusqlite::Error::SqliteFailure(*code, text.clone()))
        }
        Error::Sqlite(other) => Error::rule(Code::Internal, other.to_string()),
    }
}
