//! What the thread answers, and when.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::queue::testing::{Folder, message};
use crate::queue::{ClaimedPackage, Idempotence, Records, Settlement};
use crate::validate::Dialect;
use crate::values::PackageReader;

/// A worker whose completions are collected as its caller would.
struct Desk {
    worker: Worker,
    woken: Receiver<()>,
}

impl Desk {
    /// On a queue that is there.
    fn open(options: Options) -> Self {
        drop(Store::open(&options).expect("a file of our own"));
        Self::reopen(options)
    }

    fn reopen(options: Options) -> Self {
        let (ring, woken) = channel();
        let wake: Wake = Arc::new(move || ring.send(()).unwrap_or(()));
        let worker = Worker::spawn(options, Arc::new(Owner::new()), wake).expect("a thread");
        Desk { worker, woken }
    }

    fn ask(&self, ticket: u64, request: Request) {
        self.worker.submit(ticket, request).expect("room");
    }

    /// The next completions, at least one.
    fn wait(&self) -> Vec<Completion> {
        self.woken.recv().expect("the worker lives");
        self.worker.take()
    }

    fn answer(&self, request: Request) -> Result<Reply> {
        self.ask(0, request);
        self.wait().remove(0).result
    }
}

/// A worker that stands still in its first wake-up, until told to go on.
fn held_up(folder: &Folder) -> (Desk, impl FnOnce() + use<>) {
    drop(folder.store());
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let (ring, woken) = channel();
    let wake: Wake = Arc::new(move || {
        ring.send(()).unwrap_or(());
        // Fails at once when the gate is open for good.
        lock(&gate).recv().unwrap_or(());
    });
    let worker = Worker::spawn(folder.options(), Arc::new(Owner::new()), wake).expect("thread");
    let desk = Desk { worker, woken };
    desk.ask(0, nothing());
    desk.wait();
    (desk, move || drop(go))
}

fn batch(ids: &[&str]) -> Request {
    enqueue(
        ids.iter()
            .map(|id| format!(r#"{{"id":"{id}","type":"t","timestamp":1,"payload":null}}"#))
            .collect(),
    )
}

fn enqueue(messages: Records) -> Request {
    Request::Enqueue(Batch {
        messages,
        idempotence: Idempotence::None,
        validate: None,
    })
}

/// The places of messages that were not stored, with their codes.
fn refused(completion: &Completion) -> Vec<(usize, &str)> {
    match &completion.result {
        Ok(Reply::Enqueued(refused)) => refused
            .iter()
            .map(|refused| (refused.place, refused.code.as_ref()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// A request that changes nothing.
fn nothing() -> Request {
    claim(0)
}

fn claim(limit: u32) -> Request {
    Request::Claim {
        limit,
        lease_ms: 60_000,
        attempts_max: 0,
        alone: false,
        least_tried: false,
        forget_shapes: false,
    }
}

fn codes(completions: &[Completion]) -> Vec<(u64, String)> {
    completions
        .iter()
        .map(|completion| match &completion.result {
            Ok(_) => (completion.ticket, "ok".to_owned()),
            Err(error) => (completion.ticket, error.code().into_owned()),
        })
        .collect()
}

fn named<const N: usize>(expected: [(u64, &str); N]) -> Vec<(u64, String)> {
    expected
        .map(|(ticket, code)| (ticket, code.to_owned()))
        .to_vec()
}

#[test]
fn enqueues_that_wait_share_a_commit_and_keep_their_own_outcomes() {
    let folder = Folder::new();
    let (desk, go_on) = held_up(&folder);
    desk.ask(1, batch(&["a"]));
    desk.ask(2, batch(&["b", "c"]));
    desk.ask(3, batch(&["d", "a", "e"]));
    desk.ask(4, enqueue(Records::from_iter(["{}", "7"])));
    desk.ask(5, batch(&["a"]));
    desk.ask(6, batch(&[]));
    desk.ask(7, batch(&["f"]));
    desk.ask(8, claim(9));
    go_on();
    let mut answers = desk.wait();
    assert!(answers.len() >= 7, "answered together");
    while answers.len() < 8 {
        answers.extend(desk.wait());
    }
    let duplicate = "SQLITE_CONSTRAINT_PRIMARYKEY";
    let invalid = "ERR_IPC_INVALID_MESSAGE";
    let tickets: Vec<u64> = answers.iter().map(|answer| answer.ticket).collect();
    assert_eq!(tickets, [1, 2, 3, 4, 5, 6, 7, 8]);
    let expected: [&[(usize, &str)]; 7] = [
        &[],
        &[],
        &[(1, duplicate)],
        &[(0, invalid), (1, invalid)],
        &[(0, duplicate)],
        &[],
        &[],
    ];
    for (answer, expected) in answers.iter().zip(expected) {
        assert_eq!(refused(answer), expected, "{}", answer.ticket);
    }
    assert!(
        matches!(
            answers[7].result,
            Ok(Reply::Claimed(ClaimedPackage { count: 6, .. }))
        ),
        "{answers:?}"
    );
    assert_eq!(desk.worker.shared.pending.load(Ordering::Acquire), 0);
    assert_eq!(desk.worker.shared.pending_bytes.load(Ordering::Acquire), 0);
}

#[test]
fn a_message_goes_its_whole_way() {
    let folder = Folder::new();
    let desk = Desk::open(folder.options());
    desk.answer(batch(&["a", "b", "c"])).expect("new");
    let Ok(Reply::Claimed(ClaimedPackage {
        bytes, count: 3, ..
    })) = desk.answer(claim(9))
    else {
        panic!("three are free")
    };
    let (json, _) = PackageReader::default().read(&bytes);
    assert!(json.starts_with(r#"[{"message":{"id":"a","#), "{json}");
    let Ok(Reply::Claimed(ClaimedPackage { count: 0, .. })) = desk.answer(claim(9)) else {
        panic!("none is free")
    };
    let held = |id: &str| (id.to_owned(), 1);
    let extended = desk.answer(Request::Extend {
        claims: vec![held("a"), (String::new(), 1)],
        lease_ms: 1,
    });
    assert_eq!(
        extended.expect("answers"),
        Reply::Extended(vec![true, false])
    );
    let settled = desk.answer(Request::Settle(Settlement {
        complete: vec![held("a"), held("x")],
        release: vec![held("c")],
        ..Settlement::default()
    }));
    let Ok(Reply::Settled(settled)) = settled else {
        panic!("{settled:?}")
    };
    assert_eq!(
        (settled.completed, settled.released),
        (vec![true, false], vec![true])
    );
    let cleaned = desk.answer(Request::Cleanup {
        retention_hours: 0.0,
    });
    assert_eq!(cleaned.expect("free"), Reply::Cleaned(1));
    let refused = desk.answer(Request::Cleanup {
        retention_hours: -1.0,
    });
    assert_eq!(
        refused.expect_err("negative").code(),
        "ERR_IPC_INVALID_ARGUMENT"
    );
}

#[test]
fn shapes_are_defined_once_and_anew_when_asked() {
    let folder = Folder::new();
    let desk = Desk::open(folder.options());
    let known_shapes = |forget_shapes| {
        let request = Request::Claim {
            limit: 1,
            lease_ms: 60_000,
            attempts_max: 0,
            alone: false,
            least_tried: false,
            forget_shapes,
        };
        match desk.answer(request) {
            Ok(Reply::Claimed(ClaimedPackage {
                bytes, count: 1, ..
            })) => bytes[0],
            other => panic!("{other:?}"),
        }
    };
    desk.answer(batch(&["a", "b", "c", "d"])).expect("new");
    // Of a claim and of the message in it.
    let known = [false, false, true, false].map(known_shapes);
    assert_eq!(known, [0, 2, 0, 2]);
}

#[test]
fn a_claim_that_finds_corrupt_rows_alone_loses_no_shapes() {
    let folder = Folder::new();
    let mut reader = PackageReader::default();
    let desk = Desk::open(folder.options());
    let mut claimed = || match desk.answer(claim(9)) {
        Ok(Reply::Claimed(ClaimedPackage { bytes, .. })) => reader.read(&bytes).0,
        other => panic!("{other:?}"),
    };
    let corrupt = |id: &str| {
        let sql = "INSERT INTO message_queue (message_id, type, payload, timestamp)
                   VALUES (?1, 't', '{', 1)";
        let store = folder.store();
        store
            .conn
            .execute(sql, [id])
            .expect("as an old process may");
    };
    corrupt("x");
    // It looks twice, because the doorbell may have rung for what cannot be seen yet.
    assert_eq!(claimed(), "[]");
    corrupt("y");
    desk.answer(batch(&["a"])).expect("new");
    assert!(claimed().contains("\"id\":\"a\""));
}

#[test]
fn a_cleanup_gives_way_and_leases_come_first() {
    let folder = Folder::new();
    let mut store = folder.store();
    let count = limits::CHUNK_ROWS * 2 + 1;
    let ids: Vec<String> = (0..count).map(|index| index.to_string()).collect();
    let messages: Vec<_> = ids.iter().map(|id| message(id, 1)).collect();
    store.enqueue_many(&messages).expect("new");
    store.mark_processed_many(&ids).expect("there");
    let (desk, go_on) = held_up(&folder);
    let retention_hours = 0.0;
    desk.ask(1, Request::Cleanup { retention_hours });
    desk.ask(2, batch(&["new"]));
    desk.ask(3, claim(1));
    desk.ask(
        4,
        Request::Extend {
            claims: Vec::new(),
            lease_ms: 1,
        },
    );
    desk.ask(5, Request::Settle(Settlement::default()));
    go_on();
    let mut answers = Vec::new();
    while answers.len() < 5 {
        answers.extend(desk.wait());
    }
    let tickets: Vec<u64> = answers.iter().map(|answer| answer.ticket).collect();
    assert_eq!(tickets, [4, 5, 2, 3, 1]);
    let cleaned = answers.pop().expect("five").result;
    assert_eq!(cleaned.expect("free"), Reply::Cleaned(count as u64));
}

#[test]
fn a_commit_is_bounded_and_a_batch_is_not_divided() {
    let of = |count: usize, bytes: usize| {
        let empty = std::iter::repeat_n(String::new(), count - 1);
        enqueue(empty.chain([" ".repeat(bytes)]).collect())
    };
    let handled = |remember| Request::Handled {
        ids: vec!["a".to_owned()],
        remember,
    };
    let (most, half) = (limits::GROUP_REQUESTS_MAX, limits::GROUP_BYTES_MAX / 2);
    let requests = [
        of(most, 1),
        of(1, 1),
        of(most - 2, 1),
        of(2, 1),
        of(1, half),
        of(1, half * 3),
        handled(true),
        handled(true),
        handled(false),
        nothing(),
        nothing(),
    ];
    let mut waiting: VecDeque<Envelope> = requests
        .into_iter()
        .map(|request| Envelope {
            ticket: 0,
            weight: request.weight(),
            bytes: request.bytes(),
            request,
            progress: CleanupProgress::default(),
        })
        .collect();
    let mut sizes = Vec::new();
    while let Some(group) = next_group(&mut waiting) {
        sizes.push(group.len());
    }
    assert_eq!(sizes, [1, 2, 2, 1, 2, 1, 1, 1]);
}

#[test]
fn what_was_handled_elsewhere_is_settled_after_what_was_stored_before() {
    let folder = Folder::new();
    let (desk, go_on) = held_up(&folder);
    let handled = |ids: &[&str], remember| Request::Handled {
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        remember,
    };
    desk.ask(1, batch(&["a", "b", "c"]));
    desk.ask(2, handled(&["a", "x"], false));
    desk.ask(3, handled(&["b", "y"], true));
    desk.ask(4, claim(9));
    go_on();
    let mut answers = Vec::new();
    while answers.len() < 4 {
        answers.extend(desk.wait());
    }
    assert_eq!(
        codes(&answers),
        named([(1, "ok"), (2, "ok"), (3, "ok"), (4, "ok")])
    );
    let Ok(Reply::Claimed(ClaimedPackage {
        ref bytes,
        count: 1,
        ..
    })) = answers[3].result
    else {
        panic!("{answers:?}")
    };
    let (json, _) = PackageReader::default().read(bytes);
    assert!(json.contains(r#""id":"c""#), "{json}");
    let mut store = folder.store();
    let among = store
        .handled_among(&["a", "b", "c", "x", "y"])
        .expect("readable");
    assert_eq!(among, [0, 1, 4]);
}

#[test]
fn a_batch_that_must_obey_the_schema_is_judged_message_by_message() {
    let folder = Folder::new();
    let desk = Desk::open(folder.options());
    let records = [
        r#"{"id":"a","type":"t","payload":1,"timestamp":1}"#,
        r#"{"id":"b","type":"t","timestamp":-1,"payload":1}"#,
        r#"{"id":"c","type":"t","timestamp":1}"#,
    ];
    desk.ask(
        1,
        Request::Enqueue(Batch {
            messages: records.iter().collect(),
            idempotence: Idempotence::None,
            validate: Some(Dialect::ZOD_4),
        }),
    );
    let invalid = "ERR_IPC_INVALID_MESSAGE";
    assert_eq!(refused(&desk.wait()[0]), [(1, invalid), (2, invalid)]);
}

#[test]
fn a_panic_is_answered_and_survived() {
    let folder = Folder::new();
    let desk = Desk::open(folder.options());
    desk.answer(batch(&["a"])).expect("new");
    let error = desk.answer(Request::Panic).expect_err("a fault");
    assert_eq!(error.code(), "ERR_IPC_INTERNAL");
    desk.answer(batch(&["b"])).expect("new");
}

#[test]
fn a_file_that_cannot_be_opened_is_tried_again() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path()).expect("a folder in its place");
    let desk = Desk::reopen(folder.options());
    assert_eq!(
        desk.answer(batch(&["a"])).expect_err("a folder").code(),
        "EISDIR"
    );
    std::fs::remove_dir(folder.path()).expect("empty");
    drop(folder.store());
    desk.answer(batch(&["a"])).expect("there");
}

#[test]
fn nothing_is_stored_in_a_file_that_nobody_finds() {
    let folder = Folder::new();
    let desk = Desk::open(folder.options());
    let refused = |id| {
        let error = desk.answer(batch(&[id])).expect_err("no queue");
        error.code().into_owned()
    };
    let mut store = folder.store();
    assert!(desk.answer(batch(&["before"])).is_ok());
    std::fs::remove_file(folder.path()).expect("there");
    assert_eq!(refused("a"), "SQLITE_READONLY_DBMOVED");
    assert_eq!(refused("a"), "SQLITE_CANTOPEN");
    let error = store.enqueue(&message("a", 1)).expect_err("moved");
    assert_eq!(error.code(), "SQLITE_READONLY_DBMOVED");
    drop(store);
    // As a consumer makes it that starts again.
    for end in ["-wal", "-shm"] {
        let mut path = folder.path().as_os_str().to_owned();
        path.push(end);
        let _ = std::fs::remove_file(path);
    }
    let mut store = folder.store();
    assert!(desk.answer(batch(&["after"])).is_ok());
    assert_eq!(folder.ids(&mut store), ["after"]);
}

#[test]
fn a_file_that_is_gone_is_not_created_anew() {
    let folder = Folder::new();
    let desk = Desk::reopen(folder.options());
    let refused = || {
        desk.answer(batch(&["a"]))
            .expect_err("no queue")
            .code()
            .into_owned()
    };
    assert_eq!(refused(), "SQLITE_CANTOPEN");
    assert!(!folder.path().exists());
    // Neither is it made of an empty file or of one that lacks tables.
    std::fs::write(folder.path(), "").expect("writable");
    assert_eq!(refused(), "SQLITE_CANTOPEN");
    let entries = || {
        let folder = folder.path().parent().map(std::fs::read_dir);
        folder.expect("inside of one").expect("readable").count()
    };
    assert_eq!(
        (
            entries(),
            std::fs::read(folder.path()).expect("readable").len()
        ),
        (1, 0)
    );
    std::fs::remove_file(folder.path()).expect("there");
    let store = folder.store();
    store
        .conn
        .execute_batch("DROP TABLE message_meta")
        .expect("ours");
    assert_eq!(refused(), "SQLITE_CANTOPEN");
    let mut relative = folder.options();
    relative.path = "queue.db".into();
    let error = Store::reopen(&relative)
        .err()
        .expect("it may lead anywhere");
    assert_eq!(error.code(), "SQLITE_CANTOPEN");
}

#[test]
fn a_lock_that_stays_makes_every_request_of_the_group_busy() {
    let folder = Folder::new();
    let other = folder.store();
    let options = Options {
        busy_timeout_ms: 1,
        ..folder.options()
    };
    let desk = Desk::open(options);
    desk.answer(nothing()).expect("readable");
    other.conn.execute_batch("BEGIN IMMEDIATE").expect("free");
    for id in ["a", "b"] {
        let error = desk.answer(batch(&[id])).expect_err("locked");
        assert_eq!(error.code(), "SQLITE_BUSY");
    }
    other.conn.execute_batch("COMMIT").expect("ours");
    desk.answer(batch(&["a", "b"])).expect("nothing was stored");
}

#[test]
fn what_waits_is_bounded_by_bytes_and_by_number() {
    let folder = Folder::new();
    let (desk, go_on) = held_up(&folder);
    let padded = |bytes: usize| enqueue(Records::from_iter([" ".repeat(bytes)]));
    let max = limits::PENDING_BYTES_MAX as usize;
    desk.ask(1, padded(max + 1));
    let error = desk
        .worker
        .submit(2, padded(1))
        .expect_err("over the limit");
    assert_eq!(error.code(), "ERR_IPC_QUEUE_FULL");
    // The number: whatever is small still fits, until there are too many.
    for ticket in 2..=limits::PENDING_REQUESTS_MAX as u64 {
        desk.ask(ticket, nothing());
    }
    let error = desk
        .worker
        .submit(0, nothing())
        .expect_err("over the limit");
    assert_eq!(error.code(), "ERR_IPC_QUEUE_FULL");
    desk.worker.shared.discard.store(true, Ordering::Release);
    go_on();
    let mut answered = 0;
    while answered < limits::PENDING_REQUESTS_MAX {
        answered += desk.wait().len();
    }
    assert_eq!(desk.worker.shared.pending_bytes.load(Ordering::Acquire), 0);
}

#[test]
fn closing_with_flush_finishes_and_without_it_refuses() {
    for (flush, expected) in [(true, "ok"), (false, "ERR_IPC_QUEUE_CLOSED")] {
        let folder = Folder::new();
        let (mut desk, go_on) = held_up(&folder);
        desk.ask(1, batch(&["a"]));
        desk.ask(2, nothing());
        let outcome = Settlement {
            complete: vec![("handled".to_owned(), 1)],
            ..Settlement::default()
        };
        desk.ask(3, Request::Settle(outcome));
        if flush {
            go_on();
            desk.worker.close(true);
        } else {
            desk.worker.close(false);
            go_on();
        }
        let mut answers = Vec::new();
        while answers.len() < 3 {
            answers.extend(desk.wait());
        }
        answers.sort_by_key(|answer| answer.ticket);
        // What was handled is recorded in any case.
        let expected = named([(1, expected), (2, expected), (3, "ok")]);
        assert_eq!(codes(&answers), expected);
        let error = desk.worker.submit(4, nothing()).expect_err("closed");
        assert_eq!(error.code(), "ERR_IPC_QUEUE_CLOSED");
        desk.worker.close(flush);
    }
}

#[test]
fn finishing_waits_for_what_was_submitted_and_ends_nothing() {
    let folder = Folder::new();
    let desk = Desk::open(folder.options());
    desk.worker.finish();
    let mut store = folder.store();
    for round in 0..20 {
        desk.ask(round, batch(&[&format!("a{round}")]));
        desk.worker.finish();
        assert_eq!(folder.ids(&mut store).len() as u64, round + 1);
    }
}

#[test]
fn a_dropped_worker_wakes_nobody() {
    let folder = Folder::new();
    let Desk { worker, woken } = Desk::open(folder.options());
    worker.submit(1, batch(&["a"])).expect("room");
    drop(worker);
    while woken.try_recv().is_ok() {}
    // The closure is gone with the wish to be woken.
    assert!(woken.recv().is_err());
}

#[test]
fn a_claim_that_finds_nothing_waits_for_the_commit_that_is_under_way() {
    let folder = Folder::new();
    let mut writer = folder.store();
    let desk = Desk::open(Options {
        busy_timeout_ms: limits::WORKER_BUSY_TIMEOUT_MS,
        ..folder.options()
    });
    desk.answer(nothing()).expect("open");
    writer
        .write(crate::queue::Durability::Normal, |writing| {
            writing.conn.execute_batch(
                "INSERT INTO message_queue (message_id, type, payload, timestamp)
                 VALUES ('a', 't', '1', 1)",
            )?;
            desk.ask(1, claim(9));
            // Nothing to be seen until the commit, which the worker waits for.
            assert!(desk.woken.recv_timeout(Duration::from_millis(100)).is_err());
            Ok(())
        })
        .expect("writable");
    let completion = desk.wait().remove(0);
    let Ok(Reply::Claimed(ClaimedPackage { count, .. })) = completion.result else {
        panic!("{completion:?}");
    };
    assert_eq!(count, 1);
}
