//! The life of a claim.

use super::*;
use crate::queue::candidates::WALK;
use crate::queue::testing::{Folder, message};
use crate::values::PackageReader;

const LEASE_MS: u64 = 10_000;

fn failure(claimed: &Claimed, attempts_max: u32) -> Failure {
    Failure {
        id: claimed.id.clone(),
        token: claimed.token,
        error: "no luck".to_owned(),
        attempts_max,
        retry_base_ms: 1_000,
        retry_max_ms: 5_000,
    }
}

fn held(claimed: &[Claimed]) -> Vec<(String, i64)> {
    claimed
        .iter()
        .map(|claimed| (claimed.id.clone(), claimed.token))
        .collect()
}

fn ids(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|claimed| claimed.id.as_str()).collect()
}

#[test]
fn a_claimed_message_is_nobody_elses_until_its_lease_runs_out() {
    let folder = Folder::new();
    let (mut store, mut other) = (folder.store(), folder.store());
    let (owner, rival) = (Owner::new(), Owner::new());
    store
        .enqueue_many(&[message("b", 2), message("a", 1), message("c", 3)])
        .expect("new");
    let first = store.claim(2, LEASE_MS, 0, &owner).expect("free");
    assert_eq!(ids(&first), ["a", "b"]);
    assert_eq!(
        (first[0].attempt, first[0].payload.as_str()),
        (1, "{\"x\":1}")
    );
    assert_eq!(
        ids(&other.claim(9, LEASE_MS, 0, &rival).expect("free")),
        ["c"]
    );
    assert_eq!(
        ids(&other.claim(9, LEASE_MS, 0, &rival).expect("none free")),
        [""; 0]
    );

    folder.clock.advance(9_999);
    assert!(
        other
            .claim(9, LEASE_MS, 0, &rival)
            .expect("none free")
            .is_empty()
    );
    folder.clock.advance(1);
    let second = other.claim(9, LEASE_MS, 0, &rival).expect("free");
    assert_eq!(ids(&second), ["a", "b", "c"]);
    assert!(second.iter().all(|claimed| claimed.attempt == 2));

    // The fence: what the first owner still says is refused.
    let stale = held(&first);
    assert_eq!(store.complete(&stale).expect("answers"), [false, false]);
    assert_eq!(store.release(&stale).expect("answers"), [false, false]);
    assert_eq!(
        store.extend(&stale, LEASE_MS).expect("answers"),
        [false, false]
    );
    let outcomes = store.fail(&[failure(&first[0], 1)]).expect("answers");
    assert_eq!(outcomes, [FailOutcome::Stale]);
    assert_eq!(other.complete(&held(&second)).expect("held"), [true; 3]);
    assert_eq!(other.complete(&held(&second)).expect("settled"), [false; 3]);
    assert_eq!(store.stats().expect("readable").processed, 3);
}

#[test]
fn a_lease_that_ran_out_untaken_can_still_be_completed_or_renewed() {
    let folder = Folder::new();
    let (mut store, owner, rival) = (folder.store(), Owner::new(), Owner::new());
    store
        .enqueue_many(&[message("a", 1), message("b", 2)])
        .expect("new");
    let claimed = held(&store.claim(2, LEASE_MS, 0, &owner).expect("free"));
    folder.clock.advance(20_000);
    assert_eq!(store.complete(&claimed[..1]).expect("untaken"), [true]);
    assert_eq!(
        store.extend(&claimed, LEASE_MS).expect("answers"),
        [false, true]
    );
    folder.clock.advance(9_999);
    assert!(
        store
            .claim(2, LEASE_MS, 0, &rival)
            .expect("none free")
            .is_empty()
    );
}

#[test]
fn failures_back_off_and_end_as_dead_letters() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    store.enqueue(&message("a", 1)).expect("new");
    for (attempt, full) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 5_000), (5, 5_000)] {
        let claimed = store.claim(1, LEASE_MS, 0, &owner).expect("free");
        assert_eq!(claimed[0].attempt, attempt);
        let outcome = store.fail(&[failure(&claimed[0], 6)]).expect("held")[0];
        let FailOutcome::Retry { delay_ms } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(
            (full / 2..=full).contains(&delay_ms),
            "{delay_ms} of {full}"
        );
        let stats = store.stats().expect("readable");
        assert_eq!((stats.pending, stats.claimed, stats.waiting), (1, 0, 1));
        folder.clock.advance(delay_ms as i64 - 1);
        assert!(
            store
                .claim(1, LEASE_MS, 0, &owner)
                .expect("none free")
                .is_empty()
        );
        folder.clock.advance(1);
    }
    let claimed = store.claim(1, LEASE_MS, 0, &owner).expect("free");
    let outcomes = store.fail(&[failure(&claimed[0], 6)]).expect("held");
    assert_eq!(outcomes, [FailOutcome::Dead]);
    assert_eq!(store.stats().expect("readable").dead, 1);
}

/// Claims for a consumer that is ended before it can settle anything; returns the ids.
fn cut_short(store: &mut Store, folder: &Folder, limit: u32, attempts_max: u32) -> Vec<String> {
    let claimed = store
        .claim(limit, LEASE_MS, attempts_max, &Owner::new())
        .expect("free");
    folder.clock.advance(LEASE_MS as i64);
    claimed.into_iter().map(|claimed| claimed.id).collect()
}

fn letters(store: &mut Store) -> Vec<serde_json::Value> {
    serde_json::from_str(&store.dead_letters(9, 0).expect("readable")).expect("valid JSON")
}

#[test]
fn what_ends_its_consumers_by_itself_ends_as_a_dead_letter() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    store
        .enqueue_many(&[message("a", 1), message("b", 2)])
        .expect("new");
    for _ in 0..2 {
        assert_eq!(cut_short(&mut store, &folder, 9, 2), ["a", "b"]);
    }
    // Now both are suspected. Without a limit they would not be.
    assert_eq!(cut_short(&mut store, &folder, 9, 0), ["a", "b"]);
    for _ in 0..limits::CUT_SHORT_ALONE_MAX {
        assert_eq!(cut_short(&mut store, &folder, 9, 2), ["a"]);
    }
    let claimed = store.claim(9, LEASE_MS, 2, &owner).expect("free");
    assert_eq!(ids(&claimed), ["b"], "the next suspect, by itself too");
    assert_eq!(claimed[0].attempt, 4);
    let attempts = 3 + limits::CUT_SHORT_ALONE_MAX;
    let letters = letters(&mut store);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["id"], "a");
    assert_eq!(letters[0]["attempts"], attempts);
    assert_eq!(letters[0]["reason"], "attempts");
    assert_eq!(letters[0]["error"], CUT_SHORT);
    assert_eq!(store.complete(&held(&claimed)).expect("held"), [true]);
    assert_eq!(
        store.redrive(crate::queue::Selection::All).expect("free"),
        1
    );
    let claimed = store.claim(1, LEASE_MS, 2, &owner).expect("free");
    assert_eq!((ids(&claimed), claimed[0].attempt), (vec!["a"], 1));
}

#[test]
fn a_suspect_is_claimed_by_itself_and_only_by_whoever_says_so() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    store.enqueue(&message("b", 2)).expect("new");
    assert_eq!(cut_short(&mut store, &folder, 9, 1), ["b"]);
    store
        .enqueue_many(&[message("a", 1), message("c", 3)])
        .expect("new");
    let mut reader = PackageReader::default();
    let mut claim = |alone: bool| {
        let terms = Terms {
            lease_ms: LEASE_MS,
            attempts_max: 1,
            owner: &owner,
            alone,
            least_tried: false,
        };
        let claimed = store.claim_package(9, &terms).expect("free");
        let (json, _) = reader.read(&claimed.bytes);
        (json.matches("\"id\"").count() as u32 == claimed.count)
            .then_some((claimed.count, claimed.suspects))
    };
    assert_eq!(claim(false), Some((1, true)), "it ends in front of it");
    assert_eq!(claim(false), Some((0, true)));
    assert_eq!(claim(true), Some((1, true)), "the suspect");
    assert_eq!(claim(false), Some((1, false)), "the rest");
    assert_eq!(claim(true), Some((0, false)));
    assert_eq!(store.stats().expect("readable").claimed, 3);
}

#[test]
fn failures_and_deliveries_cut_short_are_counted_apart() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    store.enqueue(&message("a", 1)).expect("new");
    let fail = |store: &mut Store, attempts_max| {
        let claimed = store.claim(1, LEASE_MS, 3, &owner).expect("free");
        let outcome = store
            .fail(&[failure(&claimed[0], attempts_max)])
            .expect("held")[0];
        folder.clock.advance(5_000);
        (claimed[0].attempt, outcome)
    };
    for attempt in [1, 3, 5] {
        let (begun, outcome) = fail(&mut store, 4);
        assert_eq!(begun, attempt);
        let FailOutcome::Retry { delay_ms } = outcome else {
            panic!("{outcome:?}")
        };
        let full = 1_000 << (attempt / 2);
        assert!(
            (full / 2..=full).contains(&delay_ms),
            "{delay_ms} of {full}"
        );
        if attempt < 5 {
            assert_eq!(cut_short(&mut store, &folder, 1, 3), ["a"]);
        }
    }
    // Whoever claims allows fewer than whoever reported: it has failed three times.
    assert!(
        store
            .claim(1, LEASE_MS, 3, &owner)
            .expect("free")
            .is_empty()
    );
    let letters = letters(&mut store);
    assert_eq!(letters[0]["attempts"], 5);
    assert_eq!(letters[0]["error"], "no luck");
}

#[test]
fn a_suspect_that_is_released_or_fails_was_not_cut_short() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    store.enqueue(&message("a", 1)).expect("new");
    for _ in 0..2 {
        assert_eq!(cut_short(&mut store, &folder, 9, 2), ["a"]);
    }
    for _ in 0..2 * limits::CUT_SHORT_ALONE_MAX {
        let claimed = store.claim(9, LEASE_MS, 2, &owner).expect("free");
        assert_eq!(claimed[0].attempt, 3);
        assert_eq!(store.release(&held(&claimed)).expect("held"), [true]);
    }
    let claimed = store.claim(9, LEASE_MS, 2, &owner).expect("free");
    store.fail(&[failure(&claimed[0], 2)]).expect("held");
    folder.clock.advance(1_000);
    for _ in 0..limits::CUT_SHORT_ALONE_MAX {
        assert_eq!(cut_short(&mut store, &folder, 9, 2), ["a"]);
    }
    assert!(
        store
            .claim(9, LEASE_MS, 2, &owner)
            .expect("none")
            .is_empty()
    );
    assert_eq!(letters(&mut store)[0]["error"], CUT_SHORT);
}

#[test]
fn a_release_does_not_count_as_an_attempt() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    store.enqueue(&message("a", 1)).expect("new");
    for _ in 0..3 {
        let claimed = store.claim(1, LEASE_MS, 0, &owner).expect("free");
        assert_eq!(claimed[0].attempt, 1);
        assert_eq!(store.release(&held(&claimed)).expect("held"), [true]);
        assert_eq!(store.release(&held(&claimed)).expect("released"), [false]);
    }
    let claimed = store.claim(1, LEASE_MS, 0, &owner).expect("free");
    store.fail(&[failure(&claimed[0], 9)]).expect("held");
    folder.clock.advance(1_000);
    for _ in 0..2 {
        let claimed = store.claim(1, LEASE_MS, 0, &owner).expect("free");
        assert_eq!(claimed[0].attempt, 2);
        store.release(&held(&claimed)).expect("held");
    }
}

#[test]
fn claims_of_the_dead_and_of_another_boot_are_free_at_once() {
    let folder = Folder::new();
    let (mut store, owner, heir) = (folder.store(), Owner::new(), Owner::new());
    store
        .enqueue_many(&[message("a", 1), message("b", 2), message("c", 3)])
        .expect("new");
    store.claim(3, LEASE_MS, 0, &owner).expect("free");
    assert_eq!(store.stats().expect("readable").claimed, 3);
    drop(owner);
    assert_eq!(store.stats().expect("readable").claimed, 0);
    assert_eq!(store.claim(3, LEASE_MS, 0, &heir).expect("free").len(), 3);
    // One lease and one retry of another boot, far in the future of another clock.
    store
        .conn
        .execute_batch(
            "UPDATE message_claim SET owner = 'before' || substr(owner, 7),
               available_at_ms = 1 << 60 WHERE message_id <> 'c';
             UPDATE message_claim SET leased = 0 WHERE message_id = 'b'",
        )
        .expect("ours");
    assert_eq!(
        ids(&store.claim(3, LEASE_MS, 0, &heir).expect("free")),
        ["a", "b"]
    );
}

#[test]
fn of_an_unknown_boot_the_lease_decides() {
    let folder = Folder::new();
    let (mut store, owner, heir) = (folder.store(), Owner::new(), Owner::new());
    store
        .enqueue_many(&[message("a", 1), message("b", 2)])
        .expect("new");
    store.claim(2, LEASE_MS, 0, &owner).expect("free");
    // A lease, and a retry.
    store
        .conn
        .execute_batch(
            "UPDATE message_claim SET owner = '-' || substr(owner, instr(owner, '/'));
             UPDATE message_claim SET leased = 0 WHERE message_id = 'b'",
        )
        .expect("ours");
    assert_eq!(
        ids(&store.claim(2, LEASE_MS, 0, &heir).expect("none free")),
        [""; 0]
    );
    let stats = store.stats().expect("readable");
    assert_eq!((stats.claimed, stats.waiting), (1, 1));
    // The other side: whoever does not know its own boot.
    let of_known = |boot: &str| {
        store
            .conn
            .execute(
                "UPDATE message_claim SET owner = ?1 || '/0/0/0/0/0' WHERE message_id = 'b'",
                ["known"],
            )
            .expect("ours");
        store
            .conn
            .prepare(&format!(
                "SELECT another_boot FROM ({WALK}) WHERE rowid = 2"
            ))
            .and_then(|mut s| s.query_row(params![0, boot], |row| row.get::<_, i64>(0)))
            .expect("readable")
    };
    assert_eq!((of_known("-"), of_known("other")), (0, 1));
    folder.clock.advance(LEASE_MS as i64);
    assert_eq!(
        ids(&store.claim(2, LEASE_MS, 0, &heir).expect("free")),
        ["a", "b"]
    );
}

#[test]
fn old_processes_may_settle_and_delete_what_we_claimed() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    let names = ["marked", "deleted", "failed"];
    for (index, name) in (1..).zip(names) {
        store.enqueue(&message(name, index)).expect("new");
    }
    let claimed = store.claim(9, LEASE_MS, 0, &owner).expect("free");
    store
        .conn
        .execute_batch(
            "UPDATE message_queue SET processed = 1, processed_at = 7;
             DELETE FROM message_queue WHERE message_id = 'deleted'",
        )
        .expect("as an old process does");
    assert_eq!(
        store.complete(&held(&claimed)[..2]).expect("held"),
        [true, true]
    );
    let outcomes = store.fail(&[failure(&claimed[2], 1)]).expect("held");
    assert_eq!(outcomes, [FailOutcome::Stale], "it was delivered");
    let stats = store.stats().expect("readable");
    assert_eq!((stats.processed, stats.dead, stats.claimed), (2, 0, 0));
    let left: i64 = store
        .conn
        .query_row("SELECT count(*) FROM message_claim", [], |row| row.get(0))
        .expect("readable");
    assert_eq!(left, 0);
}

#[test]
fn a_new_message_inherits_no_claim() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    store.enqueue(&message("a", 1)).expect("new");
    let claimed = store.claim(1, LEASE_MS, 0, &owner).expect("free");
    store
        .conn
        .execute_batch("DELETE FROM message_queue")
        .expect("as an old process does");
    store
        .enqueue(&message("a", 1))
        .expect("the id is free again");
    assert_eq!(store.complete(&held(&claimed)).expect("answers"), [false]);
    assert_eq!(
        store.claim(1, LEASE_MS, 0, &owner).expect("free")[0].attempt,
        1
    );
}

#[test]
fn the_least_tried_are_found_behind_any_number_of_others() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    let all: Vec<_> = (0..200).map(|n| message(&format!("m{n}"), n + 1)).collect();
    store.enqueue_many(&all).expect("new");
    let mut claimed = store.claim(130, LEASE_MS, 0, &owner).expect("free");
    let released = claimed.split_off(125);
    let failures: Vec<_> = claimed.iter().map(|one| failure(one, 9)).collect();
    store.fail(&failures).expect("held");
    store.release(&held(&released)).expect("held");
    folder.clock.advance(5_000);
    // A claim that takes all it asks for makes the next one sure that there are more.
    let again = store.claim(2, LEASE_MS, 0, &owner).expect("due");
    assert_eq!(ids(&again), ["m0", "m1"]);
    store.fail(&[failure(&again[0], 9)]).expect("held");
    folder.clock.advance(5_000);
    let terms = Terms {
        lease_ms: LEASE_MS,
        attempts_max: 0,
        owner: &owner,
        alone: false,
        least_tried: true,
    };
    let mut reader = PackageReader::default();
    let mut claim = |limit| {
        let claimed = store.claim_package(limit, &terms).expect("readable");
        let (json, _) = reader.read(&claimed.bytes);
        let ids = json.split("\"id\":\"").skip(1);
        let ids = ids.map(|rest| rest.split('"').next().expect("an id").to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(claim(1), ["m125"], "released untried");
    assert_eq!(
        claim(75).join(","),
        (126..=199)
            .map(|n| format!("m{n}"))
            .chain(["m2".to_owned()])
            .collect::<Vec<_>>()
            .join(",")
    );
    let others = claim(999);
    assert_eq!(
        (others.len(), others.last()),
        (123, Some(&"m0".to_owned())),
        "m1 is held"
    );
    assert!(claim(1).is_empty());
}

#[test]
fn a_package_carries_the_claims_and_skips_corrupt_rows() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    store
        .conn
        .execute_batch(
            "INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES
             (NULL, 't', '1', 1), ('x', 't', '1},{', 2)",
        )
        .expect("as an old process may write");
    store
        .enqueue_many(&[message("a", 3), message("b", 4)])
        .expect("new");
    let terms = Terms {
        lease_ms: LEASE_MS,
        attempts_max: 0,
        owner: &owner,
        alone: false,
        least_tried: false,
    };
    let claimed = store.claim_package(2, &terms).expect("free");
    assert_eq!((claimed.count, claimed.suspects), (2, false));
    let mut reader = PackageReader::default();
    assert_eq!(
        reader.read(&claimed.bytes).0,
        concat!(
            r#"[{"message":{"id":"a","type":"t","payload":{"x":1},"timestamp":3},"#,
            r#""token":1,"attempt":1},"#,
            r#"{"message":{"id":"b","type":"t","payload":{"x":1},"timestamp":4},"#,
            r#""token":1,"attempt":1}]"#
        )
    );
    let claimed = store.claim_package(2, &terms).expect("none");
    assert_eq!(reader.read(&claimed.bytes).0, "[]");
    assert_eq!(store.stats().expect("readable").dead, 2);
}

#[test]
fn a_payload_that_was_spoilt_is_what_is_wrong_whatever_happened_before() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    store.enqueue(&message("a", 1)).expect("new");
    let claimed = store.claim(1, LEASE_MS, 0, &owner).expect("free").remove(0);
    store.fail(&[failure(&claimed, 9)]).expect("held");
    folder.clock.advance(5_000);
    let sql = "UPDATE message_queue SET payload = '{'";
    store.conn.execute_batch(sql).expect("as anybody may");
    // It has used up its failures, too.
    assert!(
        store
            .claim(1, LEASE_MS, 1, &owner)
            .expect("readable")
            .is_empty()
    );
    let letters = store.dead_letters(9, 0).expect("readable");
    assert!(letters.contains(r#""reason":"corrupt""#), "{letters}");
}

#[test]
fn a_claim_without_limits_takes_everything_once() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    let count = limits::CHUNK_ROWS * 2 + 1;
    let messages: Vec<_> = (0..count)
        .map(|index| message(&index.to_string(), 1))
        .collect();
    store.enqueue_many(&messages).expect("new");
    let claimed = store.claim(u32::MAX, 0, 0, &owner).expect("free");
    assert_eq!(claimed.len(), count);
    assert!(claimed.iter().all(|claimed| claimed.attempt == 1));
}

#[test]
fn an_idle_claim_takes_no_lock() {
    let folder = Folder::new();
    let (mut store, other, owner) = (folder.store(), folder.store(), Owner::new());
    other.conn.execute_batch("BEGIN IMMEDIATE").expect("free");
    assert!(
        store
            .claim(9, LEASE_MS, 0, &owner)
            .expect("not waiting")
            .is_empty()
    );
}

#[test]
fn long_errors_are_cut_between_characters() {
    let text = "é".repeat(limits::ERROR_TEXT_BYTES_MAX);
    let short = shorten(&text[..]);
    assert!(short.len() <= limits::ERROR_TEXT_BYTES_MAX && short.ends_with('é'));
    assert_eq!(shorten("x"), "x");
    let extremes = [
        (0, 0, 0),
        (u32::MAX, u64::MAX, u64::MAX),
        (u32::MAX, 1, 7),
        (1, 0, 9),
    ];
    for (attempt, base, max) in extremes {
        assert!(retry_delay_ms(attempt, base, max) <= max);
    }
}

#[test]
fn all_that_an_owner_holds_is_given_back() {
    let folder = Folder::new();
    let mut store = folder.store();
    let (owner, rival) = (Owner::new(), Owner::new());
    let messages: Vec<_> = (0..4).map(|n| message(&format!("m{n}"), n)).collect();
    store.enqueue_many(&messages).expect("new");
    assert_eq!(store.release_all(&owner).expect("nothing held"), 0);
    let mine = store.claim(3, LEASE_MS, 0, &owner).expect("free");
    let theirs = store.claim(9, LEASE_MS, 0, &rival).expect("free");
    assert_eq!(store.complete(&held(&mine[..1])).expect("writable"), [true]);
    assert_eq!(store.release_all(&owner).expect("writable"), 2);
    assert_eq!(
        store.complete(&held(&mine[1..])).expect("writable"),
        [false, false],
        "they are no longer held"
    );
    let again = store.claim(9, LEASE_MS, 0, &rival).expect("free");
    assert_eq!(ids(&again), ["m1", "m2"]);
    assert_eq!(again[0].attempt, 2, "the deliveries count");
    assert_eq!(
        store.complete(&held(&theirs)).expect("writable"),
        [true],
        "others keep theirs"
    );
}

#[test]
fn halves_of_a_settlement_keep_its_claims_in_order() {
    let claim = |id: u32| (id.to_string(), 1);
    let failure = |id: u32| Failure {
        id: id.to_string(),
        token: 1,
        error: String::new(),
        attempts_max: 1,
        retry_base_ms: 1,
        retry_max_ms: 1,
    };
    for (complete, fail, release) in [(0, 1, 1), (3, 0, 0), (1, 2, 2), (0, 0, 2), (5, 1, 0)] {
        let all = Settlement {
            complete: (0..complete).map(claim).collect(),
            fail: (0..fail).map(failure).collect(),
            release: (0..release).map(claim).collect(),
        };
        let (first, second) = all.halves().expect("more than one");
        assert_eq!(first.len(), all.len() / 2);
        let joined = Settlement {
            complete: [first.complete, second.complete].concat(),
            fail: [first.fail, second.fail].concat(),
            release: [first.release, second.release].concat(),
        };
        assert_eq!(joined, all);
    }
    let single = Settlement {
        fail: vec![failure(1)],
        ..Settlement::default()
    };
    assert!(single.halves().is_none());
}
