//! States and gaps: what goes in comes out.

use super::*;
use crate::error::{Code, Error};
use crate::queue::testing::{Folder, message};

fn open(folder: &Folder) -> RuntimeStore {
    RuntimeStore::open_with_clock(&folder.options(), folder.clock.clone()).expect("a new file")
}

fn state<'a>(exchange: &'a str, symbol: &'a str, json: &'a str) -> State<'a> {
    State {
        exchange,
        symbol,
        json,
    }
}

fn save(store: &mut RuntimeStore, states: &[State<'_>]) {
    store
        .save_states(|save| states.iter().try_for_each(save))
        .expect("free");
}

type Row = (String, String, String);

/// Collects what `load` passes on.
fn collect(load: impl FnOnce(&mut dyn FnMut(&State<'_>) -> Result<()>) -> Result<()>) -> Vec<Row> {
    let mut rows = Vec::new();
    load(&mut |state| {
        rows.push((
            state.exchange.to_owned(),
            state.symbol.to_owned(),
            state.json.to_owned(),
        ));
        Ok(())
    })
    .expect("readable");
    rows
}

fn row(exchange: &str, symbol: &str, json: &str) -> Row {
    (exchange.to_owned(), symbol.to_owned(), json.to_owned())
}

fn gap(exchange: &str, from: i64, detected_at: i64) -> NewGap {
    NewGap {
        exchange: exchange.to_owned(),
        symbol: "S".to_owned(),
        from_trade_id: from,
        to_trade_id: from + 10,
        gap_size: 9,
        detected_at,
    }
}

#[test]
fn the_newest_state_of_each_symbol_is_kept() {
    let folder = Folder::new();
    let mut store = open(&folder);
    assert_eq!(store.load_state("a", "S").expect("readable"), None);
    for json in ["{\"x\":1}", "", "é\0😀\"", "{\"x\":2}"] {
        store.save_state(&state("a", "S", json)).expect("free");
        assert_eq!(
            store.load_state("a", "S").expect("readable").as_deref(),
            Some(json)
        );
    }
    folder.clock.advance(5);
    let batch = [
        state("b", "S", "1"),
        state("a", "T", "2"),
        state("b", "S", "3"),
    ];
    save(&mut store, &batch);
    let all = [
        row("a", "S", "{\"x\":2}"),
        row("b", "S", "3"),
        row("a", "T", "2"),
    ];
    assert_eq!(collect(|each| store.load_all_states(each)), all);
    assert_eq!(
        collect(|each| store.load_states_of("b", each)),
        [row("b", "S", "3")]
    );
    assert_eq!(
        collect(|each| store.load_states("a", &["T", "none", "S"], each)),
        [row("a", "T", "2"), row("a", "S", "{\"x\":2}")]
    );
    let kinds: Vec<(String, i64)> = store
        .conn()
        .prepare("SELECT typeof(state_json), updated_at FROM candle_state ORDER BY updated_at")
        .and_then(|mut s| {
            s.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .expect("readable");
    let now = 1_700_000_000_000;
    assert_eq!(kinds[0], ("text".to_owned(), now));
    assert_eq!(kinds[2], ("text".to_owned(), now + 5));
}

#[test]
fn a_batch_of_states_is_stored_as_a_whole_or_not_at_all() {
    let folder = Folder::new();
    let mut store = open(&folder);
    store.save_state(&state("a", "S", "1")).expect("free");
    let error = store.save_states(|save| {
        save(&state("a", "S", "2"))?;
        save(&state("a", "T", "2"))?;
        Err(Error::rule(Code::Internal, "as asked"))
    });
    assert_eq!(error.expect_err("as asked").to_string(), "as asked");
    assert_eq!(
        collect(|each| store.load_all_states(each)),
        [row("a", "S", "1")]
    );
    save(&mut store, &[]);
}

#[test]
fn any_number_of_states_is_saved_and_loaded() {
    let folder = Folder::new();
    let mut store = open(&folder);
    let symbols: Vec<String> = (0..40_000).map(|index| format!("S{index}")).collect();
    let states: Vec<State<'_>> = symbols.iter().map(|it| state("a", it, it)).collect();
    save(&mut store, &states);
    let loaded = collect(|each| store.load_states("a", &symbols, each));
    assert!(loaded.iter().map(|(_, symbol, _)| symbol).eq(&symbols));
    assert_eq!(
        collect(|each| store.load_states_of("a", each)).len(),
        symbols.len()
    );
}

#[test]
fn a_failing_reader_leaves_nothing_open() {
    let folder = Folder::new();
    let mut store = open(&folder);
    store.save_state(&state("a", "S", "1")).expect("free");
    let error = store.load_states("a", &["S"], |_| Err(Error::rule(Code::Internal, "enough")));
    assert_eq!(error.expect_err("as asked").to_string(), "enough");
    store.save_state(&state("a", "S", "2")).expect("free");
}

#[test]
fn states_of_any_process_are_read_as_text() {
    let folder = Folder::new();
    let store = open(&folder);
    store
        .conn()
        .execute_batch(
            "INSERT INTO candle_state (symbol, state_json, updated_at) VALUES
               ('blob', CAST('{}' AS BLOB), 1), ('number', 1.5, 1), ('broken', x'22ff22', 1)",
        )
        .expect("as other processes may write");
    assert_eq!(
        collect(|each| store.load_states_of("binance", each)),
        [
            row("binance", "blob", "{}"),
            row("binance", "broken", "\"\u{fffd}\""),
            row("binance", "number", "1.5"),
        ]
    );
}

#[test]
fn a_gap_is_recorded_once_and_stays_synced() {
    let folder = Folder::new();
    let mut store = open(&folder);
    let gaps = [gap("a", 1, 100), gap("b", 1, 300), gap("a", 2, 200)];
    store.save_gaps(&gaps).expect("free");
    let load = |store: &RuntimeStore, filter: &GapFilter| -> Vec<(i64, String, i64)> {
        let gaps = store.load_gaps(filter).expect("readable");
        gaps.into_iter()
            .map(|gap| (gap.id, gap.exchange, gap.from_trade_id))
            .collect()
    };
    let all = GapFilter::default();
    let (a1, b1, a2) = (
        (1, "a".to_owned(), 1),
        (2, "b".to_owned(), 1),
        (3, "a".to_owned(), 2),
    );
    assert_eq!(
        load(&store, &all),
        [b1.clone(), a2.clone(), a1.clone()],
        "the last one found first"
    );
    store.mark_gaps_synced(&[1, 99]).expect("free");
    folder.clock.advance(1_000);
    store.mark_gaps_synced(&[1]).expect("free");
    store.mark_gaps_synced(&[]).expect("nothing to do");
    store
        .save_gaps(&[gap("a", 1, 999)])
        .expect("found once more");
    store.save_gaps(&[]).expect("nothing to do");
    let cases = [
        (all, vec![b1.clone(), a2.clone(), a1.clone()]),
        (
            GapFilter {
                exchange: Some("a".into()),
                ..GapFilter::default()
            },
            vec![a2.clone(), a1.clone()],
        ),
        (
            GapFilter {
                synced_only: Some(true),
                ..GapFilter::default()
            },
            vec![a1],
        ),
        (
            GapFilter {
                synced_only: Some(false),
                symbol: Some("S".into()),
                exchange: None,
            },
            vec![b1, a2],
        ),
        (
            GapFilter {
                symbol: Some("none".into()),
                ..GapFilter::default()
            },
            vec![],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(load(&store, &filter), expected, "{filter:?}");
    }
    let synced = GapFilter {
        synced_only: Some(true),
        ..GapFilter::default()
    };
    let [record] = &store.load_gaps(&synced).expect("readable")[..] else {
        panic!("one");
    };
    assert_eq!(
        serde_json::to_value(record).expect("plain"),
        serde_json::json!({
            "id": 1, "exchange": "a", "symbol": "S", "fromTradeId": 1, "toTradeId": 11,
            "gapSize": 9, "detectedAt": 100, "synced": true, "syncedAt": 1_700_000_000_000_i64,
        })
    );
}

#[test]
fn the_queue_is_the_same_one() {
    let folder = Folder::new();
    let mut store = open(&folder);
    store.queue().enqueue(&message("a", 1)).expect("new");
    assert_eq!(folder.ids(&mut folder.store()), ["a"]);
    assert_eq!(store.schema_version().expect("readable"), 5);
    store.close().expect("the last one");
}
