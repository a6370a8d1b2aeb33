//! Taking JSON apart and printing it, per shape of message.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flowtrace_ipc::values::{Around, Scanner, print};

/// What services send: many numbers, many texts in several scripts, and many short objects.
fn messages() -> [(&'static str, String); 3] {
    let level = "{\"tp\":60123.5,\"bv\":1.251387,\"sv\":0.75,\"n\":12}";
    let line = "{\"at\":17,\"text\":\"Lücke обновление 価格 \\\"quoted\\\" 📈\",\"ok\":true}";
    let trade = "{\"id\":\"trade-1700000000\",\"s\":\"BTCUSDT\",\"p\":59980.1,\"m\":false}";
    let list = |item: &str, count| {
        format!(
            "{{\"id\":\"m\",\"list\":[{}]}}",
            vec![item; count].join(",")
        )
    };
    [
        ("numbers", list(level, 40)),
        ("text", list(line, 25)),
        ("trades", list(trade, 30)),
    ]
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    for (name, json) in messages() {
        group.throughput(Throughput::Bytes(json.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &json, |b, json| {
            let mut scanner = Scanner::default();
            let mut notes = Vec::new();
            b.iter(|| {
                notes.clear();
                scanner.message(json.as_bytes(), &mut notes);
                black_box(notes.len())
            });
        });
    }
    group.finish();
}

fn printing(c: &mut Criterion) {
    let mut group = c.benchmark_group("print");
    for (name, json) in messages() {
        let mut scanner = Scanner::default();
        let mut notes = Vec::new();
        scanner.message(json.as_bytes(), &mut notes);
        let shapes = scanner.take_definitions();
        group.throughput(Throughput::Bytes(json.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &notes, |b, notes| {
            let mut text = Vec::new();
            b.iter(|| {
                text.clear();
                print(notes, &shapes, Around::default(), &mut text).expect("well formed");
                assert_eq!(text.len(), json.len());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scan, printing);
criterion_main!(benches);
