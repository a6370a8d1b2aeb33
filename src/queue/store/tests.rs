//! What goes in comes out.

use super::*;
use crate::queue::Owner;
use crate::queue::testing::{Folder, message};

#[test]
fn messages_come_back_oldest_first_with_their_values() {
    let folder = Folder::new();
    let mut store = folder.store();
    let messages = [
        NewMessage::new("c", "t", "[1.0, \"\\ud800\"]", 2.5),
        NewMessage::new("b\"", "é", "null", 2.0),
        NewMessage::new("a", "t", "{}", 2.0),
        NewMessage::new("d", "t", "1", -1e300),
    ];
    for message in messages {
        store.enqueue(&message.expect("valid")).expect("new");
    }
    let all = concat!(
        r#"[{"id":"d","type":"t","payload":1,"timestamp":-1e300},"#,
        r#"{"id":"b\"","type":"é","payload":null,"timestamp":2},"#,
        r#"{"id":"a","type":"t","payload":{},"timestamp":2},"#,
        r#"{"id":"c","type":"t","payload":[1.0, "\ud800"],"timestamp":2.5}]"#
    );
    for _ in 0..2 {
        assert_eq!(store.dequeue(50).expect("readable"), all);
    }
    assert_eq!(store.dequeue(0).expect("readable"), "[]");
    assert_eq!(
        store.dequeue(1).expect("readable"),
        r#"[{"id":"d","type":"t","payload":1,"timestamp":-1e300}]"#
    );
    let kinds: Vec<String> = store
        .conn
        .prepare("SELECT typeof(timestamp) || typeof(created_at) FROM message_queue ORDER BY rowid")
        .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
        .expect("readable");
    assert_eq!(
        kinds,
        [
            "realinteger",
            "integerinteger",
            "integerinteger",
            "realinteger"
        ]
    );
}

#[test]
fn a_duplicate_id_is_refused_with_sqlites_code() {
    let folder = Folder::new();
    let mut store = folder.store();
    store.enqueue(&message("a", 1)).expect("new");
    let error = store.enqueue(&message("a", 2)).expect_err("stored already");
    assert_eq!(error.code(), "SQLITE_CONSTRAINT_PRIMARYKEY");
    assert_eq!(
        error.to_string(),
        "UNIQUE constraint failed: message_queue.message_id"
    );
    let batch = [message("b", 1), message("c", 1), message("a", 1)];
    let error = store.enqueue_many(&batch).expect_err("stored already");
    assert_eq!(error.code(), "SQLITE_CONSTRAINT_PRIMARYKEY");
    assert!(
        error.to_string().ends_with("(at index 2 of 3, id \"a\")"),
        "{error}"
    );
    assert_eq!(folder.ids(&mut store), ["a"], "all or nothing");
    store.enqueue_many(&batch[..2]).expect("new");
    store.enqueue_many(&[]).expect("nothing to do");
    assert_eq!(folder.ids(&mut store), ["a", "b", "c"]);
}

#[test]
fn a_group_commits_around_its_duplicates() {
    let folder = Folder::new();
    let mut store = folder.store();
    store.enqueue(&message("a", 1)).expect("new");
    let other_payload = NewMessage::new("a", "t", "0", 1.0).expect("valid");
    let messages = [
        (message("b", 1), Idempotence::None),
        (message("a", 1), Idempotence::None),
        (message("a", 1), Idempotence::Message),
        (message("a", 2), Idempotence::Message),
        (message("b", 1), Idempotence::Message),
        (message("c", 1), Idempotence::None),
        (message("a", 2), Idempotence::Content),
        (other_payload, Idempotence::Content),
    ];
    let each: Vec<_> = messages.iter().map(|(one, again)| (one, *again)).collect();
    let outcomes = store.enqueue_each(&each).expect("the transaction commits");
    let codes: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map_err(|error| error.code().into_owned()))
        .collect();
    let refused = |code: &str| Err(code.to_owned());
    assert_eq!(
        codes,
        [
            Ok(&()),
            refused("SQLITE_CONSTRAINT_PRIMARYKEY"),
            Ok(&()),
            refused("ERR_IPC_ID_CONFLICT"),
            Ok(&()),
            Ok(&()),
            Ok(&()),
            refused("ERR_IPC_ID_CONFLICT"),
        ]
    );
    assert_eq!(folder.ids(&mut store), ["a", "b", "c"]);
    assert!(store.enqueue_each(&[]).expect("nothing to do").is_empty());
}

#[test]
fn what_is_stored_already_counts_as_stored_whatever_its_state() {
    let one = || NewMessage::new("a", "t", r#"{"x":1}"#, 1.5).expect("valid");
    type Step = fn(&mut Store, &Owner);
    let states: [(&str, Step); 5] = [
        ("pending", |_, _| {}),
        ("claimed", |store, owner| {
            store.claim(1, 60_000, 0, owner).expect("free");
        }),
        ("processed", |store, _| {
            store.mark_processed("a").expect("there");
        }),
        ("dead", |store, _| {
            let sql = "UPDATE message_queue SET processed = 2";
            store.conn.execute_batch(sql).expect("ours");
        }),
        ("payload as a blob, by an old process", |store, _| {
            let sql = "UPDATE message_queue SET payload = CAST(payload AS BLOB)";
            store.conn.execute_batch(sql).expect("ours");
        }),
    ];
    for (state, step) in states {
        let folder = Folder::new();
        let (mut store, owner) = (folder.store(), Owner::new());
        store.enqueue_idempotent(&one()).expect("new");
        step(&mut store, &owner);
        let before = store.stats().expect("readable");
        store.enqueue_idempotent(&one()).expect(state);
        store.enqueue_many_idempotent(&[one(), one()]).expect(state);
        let later = NewMessage::new("a", "t", r#"{"x":1}"#, 2.5).expect("valid");
        store.deliver_many(&[one(), later]).expect(state);
        let after = store.stats().expect("readable");
        assert_eq!(
            (after.pending, after.claimed),
            (before.pending, before.claimed),
            "{state}"
        );
        assert_eq!(
            (after.processed, after.dead),
            (before.processed, before.dead),
            "{state}"
        );
        let others = [
            NewMessage::new("a", "u", r#"{"x":1}"#, 1.5),
            NewMessage::new("a", "t", r#"{"x":2}"#, 1.5),
            NewMessage::new("a", "t", r#"{"x":1}"#, 1.25),
        ];
        for (other, is_other_content) in others.into_iter().zip([true, true, false]) {
            let other = other.expect("valid");
            let delivered = store.deliver_many(std::slice::from_ref(&other));
            assert_eq!(delivered.is_err(), is_other_content, "{state}");
            let error = store.enqueue_idempotent(&other).expect_err(state);
            assert_eq!(error.code(), "ERR_IPC_ID_CONFLICT");
            let error = store
                .enqueue_many_idempotent(&[message("b", 1), other])
                .expect_err(state);
            assert_eq!(error.code(), "ERR_IPC_ID_CONFLICT");
            assert!(
                error.to_string().ends_with("(at index 1 of 2, id \"a\")"),
                "{error}"
            );
        }
        let rows: i64 = store
            .conn
            .query_row("SELECT count(*) FROM message_queue", [], |row| row.get(0))
            .expect("readable");
        assert_eq!(rows, 1, "all or nothing");
    }
}

#[test]
fn the_path_is_that_of_the_file_itself() {
    let folder = Folder::new();
    drop(folder.store());
    let link = folder.path().with_extension("link");
    std::os::unix::fs::symlink(folder.path(), &link).expect("a new name");
    let mut store = Store::open(&Options::new(&link)).expect("a link to a queue");
    std::fs::remove_file(&link).expect("there");
    let again = Options::new(store.path());
    store.enqueue(&message("a", 1)).expect("new");
    let mut again = Store::reopen(&again).expect("the link no longer matters");
    assert_eq!(folder.ids(&mut again), ["a"]);
}

#[test]
fn marking_counts_what_it_changed() {
    let folder = Folder::new();
    let mut store = folder.store();
    store
        .enqueue_many(&[message("a", 1), message("b", 2), message("c", 3)])
        .expect("new");
    assert!(store.mark_processed("a").expect("there"));
    assert!(!store.mark_processed("a").expect("done already"));
    assert!(!store.mark_processed("x").expect("unknown"));
    assert_eq!(
        store
            .mark_processed_many(&["a", "b", "b", "x", "c"])
            .expect("some"),
        2
    );
    assert_eq!(store.mark_processed_many(&[""; 0]).expect("none"), 0);
    assert_eq!(store.dequeue(9).expect("readable"), "[]");
}

#[test]
fn only_enqueue_pays_for_power_loss() {
    let level = |store: &Store| -> i64 {
        store
            .conn
            .query_row("PRAGMA synchronous", [], |row| row.get(0))
            .expect("answers")
    };
    for (durability, enqueue) in [(Durability::Full, 2), (Durability::Normal, 1)] {
        let folder = Folder::new();
        let options = Options {
            durability,
            ..folder.options()
        };
        let mut store = Store::open(&options).expect("a new file");
        for id in ["a", "b"] {
            store.enqueue(&message(id, 1)).expect("new");
            assert_eq!(level(&store), enqueue);
            store.mark_processed(id).expect("there");
            assert_eq!(level(&store), 1);
        }
    }
}

#[test]
fn corrupt_rows_are_set_aside_and_the_rest_is_delivered() {
    let folder = Folder::new();
    let mut store = folder.store();
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    store
        .conn
        .execute_batch(
            "INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES
         (NULL, 't', '1', 1), (NULL, 't', '1', 2), (x'00ff', 't', '1', 3),
         (CAST(x'ff' AS TEXT), 't', '1', 4), ('kind', x'01', '1', 5),
         ('payload', 't', '{', 6), ('empty', 't', '', 7), ('when', 't', '1', 'soon'),
         ('infinite', 't', '1', 9e999), ('utf8', 't', CAST(x'22ff22' AS TEXT), 8),
         ('blob', 't', CAST('[2]' AS BLOB), 9)",
        )
        .expect("as an old process may write");
    store
        .enqueue(&NewMessage::new("deep", "t", deep, 10.0).expect("valid"))
        .expect("new");
    store.enqueue(&message("last", 11)).expect("new");
    let found = store.dequeue(2).expect("readable");
    assert!(found.starts_with(r#"[{"id":"blob","type":"t","payload":[2],"timestamp":9},"#));
    assert!(found.ends_with(r#","timestamp":10}]"#));
    assert_eq!(
        store.stats().expect("readable").dead,
        8,
        "those before the second message"
    );
    store.dequeue(9).expect("readable");
    let stats = store.stats().expect("readable");
    assert_eq!((stats.dead, stats.pending), (10, 3));
}

#[test]
fn bytes_bound_a_batch_but_never_to_nothing() {
    let folder = Folder::new();
    let mut store = folder.store();
    let half = format!("\"{}\"", "x".repeat(limits::DEQUEUE_BYTES_MAX / 2));
    for id in ["a", "b"] {
        let message = NewMessage::new(id, "t", half.as_str(), 1.0).expect("valid");
        store.enqueue(&message).expect("new");
    }
    let found = store.dequeue(50).expect("readable");
    assert_eq!(found.matches("\"id\"").count(), 1);
    let whole = format!("[{half},{half}]");
    let message = NewMessage::new("c", "t", whole, 0.0).expect("valid");
    store.enqueue(&message).expect("new");
    assert!(store.dequeue(50).expect("readable").len() > limits::DEQUEUE_BYTES_MAX);
}

#[test]
fn a_locked_file_is_busy_and_a_dequeue_does_not_mind() {
    let folder = Folder::new();
    let mut store = Store::open(&Options {
        busy_timeout_ms: 1,
        ..folder.options()
    })
    .expect("a new file");
    store.enqueue(&message("a", 2)).expect("new");
    store
        .conn
        .execute_batch(
            "INSERT INTO message_queue (message_id, type, payload, timestamp)
         VALUES ('corrupt', 't', '{', 1)",
        )
        .expect("free");
    let other = Store::open(&folder.options()).expect("shared");
    other.conn.execute_batch("BEGIN IMMEDIATE").expect("free");
    assert_eq!(folder.ids(&mut store), ["a"]);
    let error = store.enqueue(&message("b", 1)).expect_err("locked");
    assert_eq!(error.code(), "SQLITE_BUSY");
    other.conn.execute_batch("COMMIT").expect("ours");
    store.enqueue(&message("b", 1)).expect("free again");
    assert_eq!(folder.ids(&mut store), ["b", "a"]);
}

#[test]
fn a_message_that_is_there_already_is_waited_for_too() {
    let folder = Folder::new();
    let mut store = folder.store();
    let mut log = store.path().as_os_str().to_owned();
    log.push("-wal");
    let log_bytes = || std::fs::metadata(&log).expect("there is a log").len();
    let message = message("a", 1);
    store.enqueue_idempotent(&message).expect("new");
    let before = log_bytes();
    store.enqueue_idempotent(&message).expect("the same");
    assert!(
        log_bytes() > before,
        "a commit without a write does not sync"
    );
    assert_eq!(store.pending_among(&["a"]).expect("readable"), [0]);
}
