//! The rules of messages, on raw JSON.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flowtrace_ipc::validate::{CANDLE_GROUP, Dialect, QUEUE_MESSAGE, Schema, validate_json};

/// A footprint candle with so many price levels.
fn candle(levels: usize) -> String {
    let level = "{\"tp\":60123.5,\"bv\":1.25,\"sv\":0.75,\"v\":2,\"bq\":75154.4,\"sq\":45092.6,\"q\":120247}";
    format!(
        "{{\"e\":\"footprint\",\"tz\":\"UTC\",\"ex\":\"binance\",\"a\":\"crypto\",\"s\":\"BTCUSDT\",\
         \"i\":\"1m\",\"vi\":60000,\"t\":1700000000000,\"ct\":1700000059999,\"n\":2,\"f\":1,\"ls\":2,\
         \"o\":10.5,\"h\":11,\"l\":10,\"c\":10.75,\"v\":3,\"bv\":3,\"sv\":0,\"q\":32.25,\"bq\":32.25,\
         \"sq\":0,\"d\":3,\"dMax\":3,\"dMin\":-0.25,\"tv\":0.01,\"aggs\":[{}],\"x\":true}}",
        vec![level; levels].join(",")
    )
}

fn judge(c: &mut Criterion, name: &str, schema: &'static Schema, document: fn(usize) -> String) {
    let mut group = c.benchmark_group(name);
    for levels in [1, 20, 200] {
        let json = document(levels);
        validate_json(schema, json.as_bytes(), Dialect::ZOD_3).expect("a valid document");
        group.throughput(Throughput::Bytes(json.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(json.len()), &json, |b, json| {
            b.iter(|| validate_json(schema, black_box(json.as_bytes()), Dialect::ZOD_3).is_ok());
        });
    }
    group.finish();
}

/// The payload is skipped over.
fn queue_message(c: &mut Criterion) {
    judge(c, "validate_queue_message", &QUEUE_MESSAGE, |levels| {
        format!(
            "{{\"id\":\"m-1\",\"type\":\"candle:complete\",\"payload\":{},\"timestamp\":1700000000000}}",
            candle(levels)
        )
    });
}

/// Every number is looked at.
fn candle_group(c: &mut Criterion) {
    judge(c, "validate_candle_group", &CANDLE_GROUP, |levels| {
        format!(
            "{{\"event\":\"candles\",\"typeData\":\"footprint\",\"asset\":\"BTC\",\"contSymbol\":\"BTC\",\
             \"symbol\":\"BTCUSDT\",\"eventTime\":1700000060000,\"data\":[{}]}}",
            candle(levels)
        )
    });
}

criterion_group!(validate, queue_message, candle_group);
criterion_main!(validate);
