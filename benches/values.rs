//! Taking JSON apart and printing it, per shape of message.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flowtrace_ipc::values::{Around, Draft, Scanner, print};

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
            let mut draft = Draft::default();
            b.iter(|| {
                scanner.message(json.as_bytes(), &mut draft);
                black_box(draft.finish().len())
            });
        });
    }
    group.finish();
}

fn printing(c: &mut Criterion) {
    let mut group = c.benchmark_group("print");
    for (name, json) in messages() {
        // JavaScript does not note texts as the scanner does.
        if name == "text" {
            continue;
        }
        let (mut scanner, mut draft) = (Scanner::default(), Draft::default());
        scanner.message(json.as_bytes(), &mut draft);
        let notes = draft.finish();
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
