//! What stands in front of the remembered place is found when it is free.

use super::*;
use crate::queue::testing::{Folder, message, plan};
use crate::queue::{Claimed, Failure, NewMessage, Owner, Selection, Store};

const LEASE_MS: u64 = 10_000;
/// Enough for a place to be remembered.
const MANY: u32 = PASSED_MIN as u32 * 2;

fn held(claimed: &[Claimed]) -> Vec<(String, i64)> {
    claimed
        .iter()
        .map(|claimed| (claimed.id.clone(), claimed.token))
        .collect()
}

/// Stores `MANY` messages at even timestamps, and claims them for the owner.
fn hold(store: &mut Store, owner: &Owner) -> Vec<Claimed> {
    let ids: Vec<String> = (1..=MANY).map(|index| format!("h{index}")).collect();
    let messages: Vec<NewMessage<'_>> = (1..)
        .zip(&ids)
        .map(|(index, id)| message(id, index * 2))
        .collect();
    store.enqueue_many(&messages).expect("new");
    store.claim(MANY, LEASE_MS, 0, owner).expect("free")
}

/// A store with a place behind many held messages, of which `owner` holds all.
struct Scene {
    folder: Folder,
    store: Store,
    heir: Owner,
    claimed: Vec<Claimed>,
}

fn scene(owner: &Owner) -> Scene {
    let folder = Folder::new();
    let (mut other, mut store) = (folder.store(), folder.store());
    let claimed = hold(&mut other, owner);
    let mut scene = {
        let heir = Owner::new();
        assert!(
            store
                .claim(9, LEASE_MS, 0, &heir)
                .expect("none free")
                .is_empty()
        );
        Scene {
            folder,
            store,
            heir,
            claimed,
        }
    };
    assert!(scene.next(9).is_empty());
    assert_eq!(scene.passed(), MANY as usize);
    scene
}

impl Scene {
    fn next(&mut self, limit: u32) -> Vec<String> {
        let claimed = self.store.claim(limit, LEASE_MS, 0, &self.heir);
        claimed
            .expect("readable")
            .into_iter()
            .map(|claimed| claimed.id)
            .collect()
    }

    fn passed(&self) -> usize {
        self.store.place.as_ref().map_or(0, |place| place.passed)
    }
}

#[test]
fn new_messages_are_found_behind_the_place_and_in_front_of_it() {
    let owner = Owner::new();
    let mut scene = scene(&owner);
    let mut other = scene.folder.store();
    other
        .enqueue(&message("behind", MANY * 2 + 1))
        .expect("new");
    assert_eq!(scene.next(1), ["behind"]);
    let new = [
        message("old", 7),
        message("older", 3),
        message("equal", 2),
        message("first", 1),
    ];
    other.enqueue_many(&new).expect("new");
    other.enqueue(&message("last", MANY * 2 + 2)).expect("new");
    assert_eq!(scene.next(2), ["first", "equal"]);
    assert_eq!(scene.next(9), ["older", "old", "last"]);
    assert!(scene.next(9).is_empty());
    // Its timestamp is that of the row at which the place is.
    other.enqueue(&message("same", MANY * 2 + 2)).expect("new");
    assert_eq!(scene.next(9), ["same"]);
    assert!(scene.next(9).is_empty());
    let passed = scene.passed();
    assert!(scene.next(9).is_empty());
    assert_eq!(scene.passed(), passed, "nothing is passed twice");
}

#[test]
fn what_is_released_or_due_again_is_found_in_the_order_of_timestamps() {
    let owner = Owner::new();
    let mut scene = scene(&owner);
    let mut other = scene.folder.store();
    let claims = held(&scene.claimed);
    other
        .release(&[claims[9].clone(), claims[3].clone()])
        .expect("held");
    let failure = |index: usize| Failure {
        id: claims[index].0.clone(),
        token: claims[index].1,
        error: String::new(),
        attempts_max: 9,
        retry_base_ms: 500,
        retry_max_ms: 500,
    };
    other.fail(&[failure(5), failure(2)]).expect("held");
    other.enqueue(&message("behind", MANY * 9)).expect("new");
    assert_eq!(scene.next(3), ["h4", "h10", "behind"]);
    scene.folder.clock.advance(500);
    assert_eq!(scene.next(1), ["h3"]);
    assert_eq!(scene.next(9), ["h6"]);
    assert!(scene.passed() >= MANY as usize, "the place was kept");
    // Settled by an old process while it waits.
    scene
        .store
        .conn
        .execute_batch("UPDATE message_claim SET leased = 0")
        .expect("ours");
    scene.store.mark_processed("h1").expect("there");
    let sql = "UPDATE message_queue SET processed = 1 WHERE message_id = 'h2'";
    scene
        .store
        .conn
        .execute_batch(sql)
        .expect("as an old process does");
    scene.folder.clock.advance(LEASE_MS as i64);
    assert_eq!(scene.next(2), ["h3", "h4"]);
}

#[test]
fn a_held_row_whose_timestamp_is_not_text_that_can_be_read_stops_nobody() {
    let owner = Owner::new();
    let mut scene = scene(&owner);
    let sql = "UPDATE message_queue SET timestamp = CAST(x'fffe' AS TEXT) WHERE message_id = 'h5'";
    scene
        .store
        .conn
        .execute_batch(sql)
        .expect("as somebody does by hand");
    scene.store.place = None;
    assert!(scene.next(9).is_empty());
    // Text comes behind every number, and so does the place now.
    let mut other = scene.folder.store();
    other.enqueue(&message("late", MANY * 9)).expect("new");
    assert_eq!(scene.next(9), ["late"]);
    let sql = "INSERT INTO message_queue (message_id, type, payload, timestamp)
               VALUES ('unreadable', 't', '1', CAST(x'fffd' AS TEXT))";
    other
        .conn
        .execute_batch(sql)
        .expect("as somebody does by hand");
    assert!(scene.next(9).is_empty());
    assert_eq!(other.stats().expect("readable").dead, 1);
}

#[test]
fn leases_that_run_out_and_those_of_the_dead_are_free() {
    let owner = Owner::new();
    let mut scene_of_time = scene(&owner);
    scene_of_time.folder.clock.advance(LEASE_MS as i64 - 1);
    assert!(scene_of_time.next(9).is_empty());
    scene_of_time.folder.clock.advance(1);
    assert_eq!(scene_of_time.next(2), ["h1", "h2"]);

    let mut scene_of_death = scene(&owner);
    drop(owner);
    assert_eq!(scene_of_death.next(2), ["h1", "h2"]);
}

/// Gives the fourth message back, and lets somebody else claim it.
fn retake(scene: &mut Scene, lease_ms: u64, owner: &Owner) -> Vec<(String, i64)> {
    let mut other = scene.folder.store();
    other.release(&held(&scene.claimed[3..4])).expect("held");
    let claimed = other.claim(1, lease_ms, 0, owner).expect("free");
    assert_eq!(claimed[0].id, "h4");
    assert!(scene.next(9).is_empty());
    held(&claimed)
}

#[test]
fn what_changed_hands_in_front_of_the_place_is_free_when_its_new_owner_dies() {
    let (owner, second) = (Owner::new(), Owner::new());
    let mut scene = scene(&owner);
    retake(&mut scene, LEASE_MS, &second);
    drop(second);
    assert_eq!(scene.next(9), ["h4"]);
    assert_eq!(scene.passed(), MANY as usize, "the place was kept");
}

#[test]
fn what_changed_hands_in_front_of_the_place_is_free_when_its_new_lease_ends() {
    let (owner, second) = (Owner::new(), Owner::new());
    let mut scene = scene(&owner);
    retake(&mut scene, 500, &second);
    scene.folder.clock.advance(499);
    assert!(scene.next(9).is_empty());
    scene.folder.clock.advance(1);
    assert_eq!(scene.next(9), ["h4"]);
}

#[test]
fn a_lease_that_was_shortened_ends_when_it_says() {
    let (owner, second) = (Owner::new(), Owner::new());
    let mut scene = scene(&owner);
    let claims = retake(&mut scene, LEASE_MS, &second);
    let mut other = scene.folder.store();
    assert_eq!(other.extend(&claims, 200).expect("held"), [true]);
    other
        .extend(&held(&scene.claimed[7..8]), 100)
        .expect("held");
    scene.folder.clock.advance(100);
    assert_eq!(scene.next(9), ["h8"]);
    scene.folder.clock.advance(100);
    assert_eq!(scene.next(9), ["h4"]);
}

#[test]
fn a_new_message_that_has_the_rowid_of_a_deleted_one_is_found() {
    let owner = Owner::new();
    let mut scene = scene(&owner);
    let mut other = scene.folder.store();
    for round in 0..3 {
        let id = format!("n{round}");
        other.enqueue(&message(&id, MANY * 9)).expect("new");
        assert_eq!(scene.next(9), [id.as_str()]);
        other.mark_processed(&id).expect("there");
        assert!(scene.next(9).is_empty());
        other.cleanup(0.0).expect("free");
        let old = format!("old{round}");
        other.enqueue(&message(&old, 1)).expect("new");
        assert_eq!(scene.next(9), [old.as_str()]);
        other.mark_processed(&old).expect("there");
        other.cleanup(0.0).expect("free");
        assert!(scene.next(9).is_empty());
    }
}

#[test]
fn what_the_dead_held_behind_the_place_is_looked_at_once() {
    let (owner, second) = (Owner::new(), Owner::new());
    let mut scene = scene(&owner);
    let mut other = scene.folder.store();
    let ids: Vec<String> = (0..MANY).map(|index| format!("n{index}")).collect();
    let messages: Vec<_> = ids.iter().map(|id| message(id, MANY * 9)).collect();
    other.enqueue_many(&messages).expect("new");
    other.claim(MANY, LEASE_MS, 0, &second).expect("free");
    let name = Raw::Text(second.text().to_owned().into_bytes());
    drop(second);
    assert_eq!(scene.next(1), ["n0"]);
    let place = scene.store.place.as_ref().expect("remembered");
    assert_eq!(place.leased_until.get(&name), Some(&i64::MAX));
    assert_eq!(scene.next(MANY).len(), MANY as usize - 1);
}

#[test]
fn a_lease_that_was_extended_holds_on() {
    let owner = Owner::new();
    let mut scene = scene(&owner);
    let mut other = scene.folder.store();
    scene.folder.clock.advance(LEASE_MS as i64 / 2);
    other.extend(&held(&scene.claimed), LEASE_MS).expect("held");
    scene.folder.clock.advance(LEASE_MS as i64 / 2);
    assert!(scene.next(9).is_empty());
    assert_eq!(scene.passed(), MANY as usize);
}

#[test]
fn a_dead_letter_that_is_revived_is_found() {
    let owner = Owner::new();
    let mut scene = scene(&owner);
    let mut other = scene.folder.store();
    let last = Failure {
        id: "h7".to_owned(),
        token: scene.claimed[6].token,
        error: "no".to_owned(),
        attempts_max: 1,
        retry_base_ms: 1,
        retry_max_ms: 1,
    };
    other.fail(&[last]).expect("held");
    assert!(scene.next(9).is_empty());
    assert_eq!(other.redrive(Selection::All).expect("dead"), 1);
    assert_eq!(scene.next(9), ["h7"]);
}

#[test]
fn what_nothing_tells_of_is_found_when_the_place_is_old() {
    let owner = Owner::new();
    let mut scene = scene(&owner);
    let id = scene.claimed[4].id.clone();
    let sql = "DELETE FROM message_claim WHERE message_id = ?1";
    scene
        .store
        .conn
        .execute(sql, [&id])
        .expect("as somebody does by hand");
    assert!(scene.next(9).is_empty());
    scene.folder.clock.advance(PLACE_MS - 1);
    assert!(scene.next(9).is_empty());
    scene.folder.clock.advance(1);
    assert_eq!(scene.next(9), [id]);
}

#[test]
fn a_place_behind_many_rows_is_believed_longer() {
    let cases = [
        (0, 1_000),
        (19_999, 1_000),
        (20_000, 2_000),
        (usize::MAX, PLACE_MS_MAX),
    ];
    for (passed, expected) in cases {
        assert_eq!(believed_ms(passed), expected, "{passed}");
    }
}

#[test]
fn very_many_new_rows_begin_the_walk_anew() {
    let owner = Owner::new();
    let mut scene = scene(&owner);
    let ids: Vec<String> = (0..=NEW_ROWS_MAX)
        .map(|index| format!("n{index}"))
        .collect();
    let mut messages: Vec<_> = ids.iter().map(|id| message(id, MANY * 9)).collect();
    messages.push(message("old", 1));
    scene.folder.store().enqueue_many(&messages).expect("new");
    assert_eq!(scene.next(1), ["old"]);
}

#[test]
fn few_that_are_held_are_not_worth_a_place() {
    let folder = Folder::new();
    let (mut store, owner) = (folder.store(), Owner::new());
    store
        .enqueue_many(&[message("a", 1), message("b", 2)])
        .expect("new");
    store.claim(1, LEASE_MS, 0, &owner).expect("free");
    store.claim(1, LEASE_MS, 0, &owner).expect("free");
    assert!(store.place.is_none());
}

#[test]
fn every_part_of_the_walk_is_a_search_of_an_index_in_its_order() {
    let queue = "SEARCH q USING INDEX idx_message_queue_processed (processed=?";
    let claim = "SEARCH c USING PRIMARY KEY (message_id=?)";
    let cases: [(&str, &[&str]); 8] = [
        (WALK, &[queue, claim]),
        (
            WALK_SAME,
            &["(processed=? AND timestamp=? AND rowid>?)", claim],
        ),
        (WALK_LATER, &["(processed=? AND timestamp>?)", claim]),
        (WALK_UNTRIED, &[queue, claim]),
        (ADDED, &["(processed=? AND processed_at=? AND rowid>?)"]),
        (DUE, &["idx_message_claim_waiting (available_at_ms<?)"]),
        (
            LEFT,
            &["idx_message_claim_leased (owner=? AND available_at_ms>? AND available_at_ms<?)"],
        ),
        (
            NEXT_OWNER,
            &["COVERING INDEX idx_message_claim_leased (owner>?)"],
        ),
    ];
    for folder in [Folder::new(), Folder::with_original()] {
        let store = folder.store();
        for (sql, expected) in cases {
            let plan = plan(&store, sql);
            for part in expected {
                assert!(
                    plan.iter()
                        .any(|step| step.starts_with("SEARCH") && step.contains(part)),
                    "{sql}: {plan:?}"
                );
            }
            assert!(
                !plan.iter().any(|step| step.contains("TEMP B-TREE")),
                "{sql}: {plan:?}"
            );
        }
    }
}

#[test]
fn no_part_of_the_walk_is_prepared_anew_for_other_values() {
    let folder = Folder::new();
    let store = folder.store();
    for sql in [WALK, WALK_SAME, WALK_LATER, DUE, LEFT, NEXT_OWNER, ADDED] {
        let mut statement = store.conn.prepare(sql).expect("a statement");
        for value in 1..9 {
            let values = vec![value; statement.parameter_count()];
            let mut rows = statement
                .query(rusqlite::params_from_iter(values))
                .expect("readable");
            while rows.next().expect("readable").is_some() {}
        }
        let count = statement.get_status(rusqlite::StatementStatus::RePrepare);
        assert_eq!(count, 0, "{sql}");
    }
}
