//! Cutting frames, completing headers, and a batch on its way through a hub.

use std::hint::black_box;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flowtrace_ipc::frame::{self, Front, HEADER_BYTES, HEADER_PLACE};
use flowtrace_ipc::socket::{Event, Hub, ServerOptions};

const FRAME_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Frames of one batch: what a client sends in one window.
const FRAMES: usize = 256;
const BODY_BYTES: [usize; 3] = [200, 2_000, 20_000];

/// A JSON text of about `bytes`, all ASCII like a candle.
fn body(bytes: usize) -> String {
    let levels = (bytes / 40).max(1);
    let level = "{\"tp\":60123.5,\"bv\":1.25,\"sv\":0.75}";
    format!(
        "{{\"id\":\"m\",\"aggs\":[{}]}}",
        vec![level; levels].join(",")
    )
}

fn wire(bytes: usize) -> Vec<u8> {
    frame::encode(body(bytes).as_bytes()).repeat(FRAMES)
}

fn cut(c: &mut Criterion) {
    let mut group = c.benchmark_group("cut_frames");
    for bytes in BODY_BYTES {
        let wire = wire(bytes);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &wire, |b, wire| {
            b.iter(|| {
                let mut rest = wire.as_slice();
                let mut count = 0;
                while let Ok(Front::Frame(body)) = frame::front(rest, FRAME_BYTES_MAX) {
                    rest = &rest[HEADER_BYTES + body.len()..];
                    count += 1;
                }
                assert_eq!(black_box(count), FRAMES);
            });
        });
    }
    group.finish();
}

fn patch(c: &mut Criterion) {
    let mut group = c.benchmark_group("patch_headers");
    for bytes in BODY_BYTES {
        let one = [HEADER_PLACE.as_slice(), body(bytes).as_bytes()].concat();
        let text = one.repeat(FRAMES);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &text, |b, text| {
            b.iter_batched_ref(
                || text.clone(),
                |text| frame::patch_headers(text, FRAME_BYTES_MAX).expect("well formed"),
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Bytes that a plain stream has written, read by a hub and joined into batches.
fn join(c: &mut Criterion) {
    /// Fits the kernel's buffer of a socket, so that one thread can write and read.
    const ROUND_BYTES: usize = 64 * 1024;

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let mut hub = Hub::new().expect("file descriptors");
    let options = ServerOptions::new(path.to_str().expect("UTF-8").to_owned());
    let server = hub.listen(options).expect("a free path");
    let mut stream = UnixStream::connect(&path).expect("a listening server");

    let mut group = c.benchmark_group("join_batch");
    for bytes in &BODY_BYTES[..2] {
        let one = frame::encode(body(*bytes).as_bytes());
        let frames = ROUND_BYTES / one.len();
        let wire = one.repeat(frames);
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &wire, |b, wire| {
            let (mut events, mut foreign) = (Vec::new(), Vec::new());
            b.iter(|| {
                stream.write_all(wire).expect("room in the kernel");
                let mut handled = 0;
                while handled < frames {
                    let wait = Some(Duration::from_secs(1));
                    hub.poll(wait, &mut events, &mut foreign)
                        .expect("readiness");
                    for event in events.drain(..) {
                        if let Event::Frames { frames, .. } = event {
                            for run in &frames.runs {
                                hub.settle(server, run.connection, run.count);
                                handled += run.count as usize;
                            }
                        }
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(frames, cut, patch, join);
criterion_main!(frames);
