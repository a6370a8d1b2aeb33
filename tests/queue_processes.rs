//! One file, several processes: opened at once, written at once, killed at any time.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use flowtrace_ipc::queue::{NewMessage, Options, Owner, Store};
use rusqlite::Connection;

const PROCESSES: usize = 6;
const MESSAGES: usize = 20;
/// Long enough to wait for all the others.
const BUSY_TIMEOUT_MS: u32 = 20_000;
/// Longer than any test runs.
const LEASE_MS: u64 = 3_600_000;

fn open(path: &Path) -> Store {
    let options = Options {
        busy_timeout_ms: BUSY_TIMEOUT_MS,
        ..Options::new(path)
    };
    Store::open(&options).expect("opens")
}

/// This program once more, in a role, with a pipe in either direction.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(role: &str, path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("known"))
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env("IPC_TEST_ROLE", role)
            .env("IPC_TEST_PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut process = Process {
            child,
            input,
            output,
        };
        process.expect("ready");
        process
    }

    fn tell(&mut self) {
        self.input.write_all(b"go\n").expect("the child reads");
    }

    /// Reads up to this word; the test harness writes lines of its own.
    fn expect(&mut self, word: &str) {
        let mut line = String::new();
        while !line.trim_end().ends_with(word) {
            line.clear();
            let count = self.output.read_line(&mut line).expect("readable");
            assert!(count > 0, "the child ended before it said {word:?}");
        }
    }

    fn finish(mut self) {
        drop(self.input);
        assert!(self.child.wait().expect("ours").success());
    }
}

fn say(word: &str) {
    println!("{word}");
}

fn hear() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("readable");
}

/// What the other processes do; in the first one, nothing.
#[test]
fn child() {
    let (Ok(role), Some(path)) = (
        std::env::var("IPC_TEST_ROLE"),
        std::env::var_os("IPC_TEST_PATH"),
    ) else {
        return;
    };
    let path = PathBuf::from(path);
    let process = std::process::id();
    say("ready");
    hear();
    match role.as_str() {
        "enqueue" => {
            let mut store = open(&path);
            for index in 0..MESSAGES {
                let id = format!("{process}-{index}");
                let message = NewMessage::new(id, "t", "{}", index as f64).expect("valid");
                store.enqueue(&message).expect("new");
            }
        }
        "claim" => {
            let (mut store, owner) = (open(&path), Owner::new());
            let claimed = store.claim(u32::MAX, LEASE_MS, 0, &owner).expect("free");
            assert_eq!(claimed.len(), 3);
            say("claimed");
            hear();
        }
        "drain" => {
            let (mut store, owner) = (open(&path), Owner::new());
            loop {
                let claimed = store.claim(7, LEASE_MS, 0, &owner).expect("free");
                if claimed.is_empty() {
                    break;
                }
                let held: Vec<(String, i64)> = claimed
                    .into_iter()
                    .map(|claimed| (claimed.id, claimed.token))
                    .collect();
                assert!(
                    store
                        .complete(&held)
                        .expect("held")
                        .into_iter()
                        .all(|held| held)
                );
                for (id, _) in held {
                    say(&format!("done {id}"));
                }
            }
        }
        other => panic!("no such role: {other}"),
    }
    say("finished");
}

#[test]
fn processes_that_open_a_file_at_once_all_succeed() {
    let original = "CREATE TABLE message_queue (message_id TEXT PRIMARY KEY, type TEXT NOT NULL,
        payload TEXT NOT NULL, timestamp INTEGER NOT NULL, processed INTEGER DEFAULT 0,
        processed_at INTEGER, created_at INTEGER DEFAULT (strftime('%s', 'now')));
        INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES ('a', 't', '1', 1)";
    for (sql, rows) in [
        (None, 0),
        (Some(original), 1),
        (None, 0),
        (Some(original), 1),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/queue.db");
        if let Some(sql) = sql {
            std::fs::create_dir(folder.path().join("new")).expect("a folder");
            Connection::open(&path)
                .and_then(|conn| conn.execute_batch(sql))
                .expect("valid");
        }
        let mut processes: Vec<Process> = (0..PROCESSES)
            .map(|_| Process::start("enqueue", &path))
            .collect();
        for process in &mut processes {
            process.tell();
        }
        for mut process in processes {
            process.expect("finished");
            process.finish();
        }
        let pending = open(&path).stats().expect("readable").pending;
        assert_eq!(pending as usize, rows + PROCESSES * MESSAGES);
    }
}

#[test]
fn threads_that_open_a_file_at_once_all_succeed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queue.db");
    let start = std::sync::Barrier::new(PROCESSES);
    std::thread::scope(|scope| {
        for thread in 0..PROCESSES {
            let (path, start) = (&path, &start);
            scope.spawn(move || {
                start.wait();
                let mut store = open(path);
                let message = NewMessage::new(thread.to_string(), "t", "1", 1.0).expect("valid");
                store.enqueue(&message).expect("new");
            });
        }
    });
    assert_eq!(
        open(&path).stats().expect("readable").pending as usize,
        PROCESSES
    );
}

#[test]
fn claims_of_a_killed_process_come_back_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queue.db");
    let (mut store, owner) = (open(&path), Owner::new());
    for id in ["a", "b", "c"] {
        store
            .enqueue(&NewMessage::new(id, "t", "1", 1.0).expect("valid"))
            .expect("new");
    }
    let mut process = Process::start("claim", &path);
    process.tell();
    process.expect("claimed");
    assert!(
        store
            .claim(9, LEASE_MS, 0, &owner)
            .expect("none free")
            .is_empty()
    );
    assert_eq!(store.stats().expect("readable").claimed, 3);
    process.child.kill().expect("ours");
    process.child.wait().expect("ours");
    let claimed = store.claim(9, LEASE_MS, 0, &owner).expect("free");
    assert_eq!(claimed.len(), 3);
    assert!(claimed.iter().all(|claimed| claimed.attempt == 2));
}

#[test]
fn processes_that_drain_together_share_the_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queue.db");
    let count = 300;
    let messages: Vec<NewMessage<'_>> = (0..count)
        .map(|index| NewMessage::new(index.to_string(), "t", "1", 1.0).expect("valid"))
        .collect();
    let mut store = open(&path);
    store.enqueue_many(&messages).expect("new");
    let mut processes: Vec<Process> = (0..3).map(|_| Process::start("drain", &path)).collect();
    for process in &mut processes {
        process.tell();
    }
    let mut done: Vec<u32> = Vec::new();
    for mut process in processes {
        let mut line = String::new();
        while !line.trim_end().ends_with("finished") {
            line.clear();
            assert!(process.output.read_line(&mut line).expect("readable") > 0);
            if let Some((_, id)) = line.trim_end().split_once("done ") {
                done.push(id.parse().expect("a number"));
            }
        }
        process.finish();
    }
    done.sort_unstable();
    assert_eq!(done, (0..count).collect::<Vec<u32>>());
    assert_eq!(store.stats().expect("readable").processed, u64::from(count));
}

#[test]
#[cfg(target_os = "linux")]
fn a_doorbell_hears_other_processes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queue.db");
    let store = open(&path);
    let mut bell = flowtrace_ipc::queue::Doorbell::watch(&store.wal_path())
        .expect("watchable")
        .expect("on Linux");
    let mut process = Process::start("enqueue", &path);
    bell.drain().expect("open");
    process.tell();
    process.expect("finished");
    assert!(bell.drain().expect("open"));
    process.finish();
}
