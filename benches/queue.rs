//! The queue on a file: inserts of one and of a hundred, a peek, and a claim with its completion.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowtrace_ipc::queue::{NewMessage, Options, Owner, Store};

const PAYLOAD_BYTES: usize = 2_000;
const BATCH: usize = 100;
const CLAIMED: u32 = 50;
const LEASE_MS: u64 = 60_000;

/// Messages with ids that no other batch has.
struct Source {
    payload: String,
    next: u64,
}

impl Source {
    fn new() -> Self {
        let level = "{\"tp\":60123.5,\"bv\":1.25,\"sv\":0.75}";
        let levels = vec![level; PAYLOAD_BYTES / (level.len() + 1)];
        Source {
            payload: format!("[{}]", levels.join(",")),
            next: 0,
        }
    }

    fn batch(&mut self, count: usize) -> Vec<NewMessage<'static>> {
        (0..count)
            .map(|_| {
                self.next += 1;
                let timestamp = 1.7e12 + self.next as f64;
                let id = format!("m-{}", self.next);
                NewMessage::new(id, "candle:complete", self.payload.clone(), timestamp)
                    .expect("a valid message")
            })
            .collect()
    }
}

fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&Options::new(folder.path().join("q.db"))).expect("a new file")
}

fn insert(c: &mut Criterion) {
    let mut group = c.benchmark_group("insert");
    for count in [1, BATCH] {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut store, mut source) = (store(&folder), Source::new());
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(count.to_string(), |b| {
            b.iter_batched_ref(
                || source.batch(count),
                |batch| store.enqueue_many(batch).expect("room on the disk"),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn take(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, mut source) = (store(&folder), Source::new());
    let owner = Owner::new();
    store.enqueue_many(&source.batch(1_000)).expect("room");

    let mut group = c.benchmark_group("take");
    group.throughput(Throughput::Elements(u64::from(CLAIMED)));
    group.bench_function("dequeue", |b| {
        b.iter(|| store.dequeue_package(CLAIMED).expect("readable").len());
    });
    group.bench_function("claim_and_complete", |b| {
        b.iter(|| {
            // As many come as go.
            store
                .enqueue_many(&source.batch(CLAIMED as usize))
                .expect("room");
            let claims = store.claim(CLAIMED, LEASE_MS, 0, &owner).expect("readable");
            let held: Vec<_> = claims.into_iter().map(|one| (one.id, one.token)).collect();
            assert_eq!(held.len(), CLAIMED as usize);
            store.complete(&held).expect("held")
        });
    });
    group.finish();
}

criterion_group!(queue, insert, take);
criterion_main!(queue);
