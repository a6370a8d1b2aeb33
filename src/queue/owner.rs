//! Who holds a claim, and whether that one is still alive.
//!
//! A claimer writes its identity beside the claim, so that messages of a killed process are
//! delivered again at once instead of when their lease runs out. The judgement errs on one side
//! only: in doubt the owner is alive, and the lease decides.
//!
//! The text is `boot/namespace/pid/start/image/instance`: the boot of the machine, the pid
//! namespace (pids of another container mean nothing here), the process and its start time (pids
//! are used again), the loaded copy of this library (two copies in one process know nothing of
//! each other's instances), and the instance within it (a worker thread may end while its process
//! lives on). A name that the claimer gave itself may follow after another `/`; it is for people.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A living claimer. Dropping it makes its claims free for others.
#[derive(Debug)]
pub struct Owner {
    /// What ends with this value; a name for another one ends nothing.
    instance: Option<u64>,
    text: String,
}

impl Owner {
    /// A new claimer in this process.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let instance = NEXT.fetch_add(1, Ordering::Relaxed);
        instances().insert(instance);
        Owner {
            instance: Some(instance),
            text: format!("{}/{instance}", process().text),
        }
    }

    /// The same claimer with a name, which is written beside its claims.
    pub fn named(&self, name: &str) -> Self {
        Owner {
            instance: None,
            text: format!("{}/{name}", self.text),
        }
    }

    /// The identity, as it is written beside a claim.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Default for Owner {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(instance) = self.instance {
            instances().remove(&instance);
        }
    }
}

/// The boot of this machine: the beginning of every owner's text, up to the first `/`.
pub(super) fn boot() -> &'static str {
    &process().boot
}

/// The SQL condition that the owner of the claim `c` is known to be of another boot than `?2`,
/// which is [`boot`]. Where either is unknown they may be the same.
macro_rules! of_another_boot {
    () => {
        "(?2 <> '-' AND substr(c.owner, 1, 2) <> '-/' \
          AND substr(c.owner, 1, length(?2)) <> ?2)"
    };
}
pub(super) use of_another_boot;

/// Whether the owner with this text is known to be gone.
pub fn is_dead(text: &str) -> bool {
    is_dead_for(process(), text)
}

fn is_dead_for(own: &Process, text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(7, '/').collect();
    let &[boot, namespace, pid, start, image, instance, ..] = parts.as_slice() else {
        return false;
    };
    // Then the pid may be that of another boot as well, and says nothing.
    if boot == UNKNOWN || own.boot == UNKNOWN {
        return false;
    }
    if boot != own.boot {
        return true;
    }
    if namespace != own.namespace || namespace == UNKNOWN {
        return false;
    }
    let (Ok(pid), Ok(instance)) = (pid.parse::<i32>(), instance.parse::<u64>()) else {
        return false;
    };
    if pid == own.pid && start == own.start {
        return image == own.image && !instances().contains(&instance);
    }
    !runs(pid, start)
}

/// What is known of a process that cannot be asked. [`of_another_boot`] names it too.
const UNKNOWN: &str = "-";

struct Process {
    boot: String,
    namespace: String,
    pid: i32,
    start: String,
    image: String,
    text: String,
}

fn process() -> &'static Process {
    static PROCESS: OnceLock<Process> = OnceLock::new();
    PROCESS.get_or_init(|| {
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        let boot = boot_id().unwrap_or_else(|| UNKNOWN.to_owned());
        let namespace = namespace().unwrap_or_else(|| UNKNOWN.to_owned());
        let start = match state_of(pid) {
            State::Running { start } => start,
            _ => UNKNOWN.to_owned(),
        };
        // The hasher's keys are random, which makes this number differ between two copies of
        // the library in one process.
        let image = format!("{:x}", RandomState::new().build_hasher().finish());
        let text = format!("{boot}/{namespace}/{pid}/{start}/{image}");
        Process {
            boot,
            namespace,
            pid,
            start,
            image,
            text,
        }
    })
}

fn instances() -> MutexGuard<'static, BTreeSet<u64>> {
    static INSTANCES: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
    INSTANCES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a process with this pid and this start time may still do something.
fn runs(pid: i32, start: &str) -> bool {
    match state_of(pid) {
        State::Running { start: found } => start == UNKNOWN || found == UNKNOWN || start == found,
        State::Gone => false,
        State::Unknown => true,
    }
}

enum State {
    Running { start: String },
    Gone,
    Unknown,
}

#[cfg(target_os = "linux")]
fn state_of(pid: i32) -> State {
    let stat = match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => String::from_utf8_lossy(&stat).into_owned(),
        // With `hidepid` the processes of other users have no folder: ask in another way too.
        Err(_) => {
            return if exists(pid) {
                State::Unknown
            } else {
                State::Gone
            };
        }
    };
    // The name of the program comes second, in parentheses, and may hold spaces and parentheses.
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return State::Unknown;
    };
    let mut fields = rest.split_ascii_whitespace();
    match (fields.next(), fields.nth(18)) {
        // A zombie has ended; only its parent has not looked yet.
        (Some("Z" | "X" | "x"), _) => State::Gone,
        (Some(_), Some(start)) => State::Running {
            start: start.to_owned(),
        },
        _ => State::Unknown,
    }
}

#[cfg(not(target_os = "linux"))]
fn state_of(pid: i32) -> State {
    if exists(pid) {
        State::Running {
            start: UNKNOWN.to_owned(),
        }
    } else {
        State::Gone
    }
}

fn exists(pid: i32) -> bool {
    if pid <= 0 {
        return false;
    }
    // SAFETY: signal 0 is sent to nobody; the call only looks.
    let answer = unsafe { libc::kill(pid, 0) };
    answer == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

#[cfg(target_os = "linux")]
fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let text = text.trim();
    (!text.is_empty() && !text.contains('/')).then(|| text.to_owned())
}

#[cfg(target_os = "linux")]
fn namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    let digits: String = link
        .to_str()?
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    (!digits.is_empty()).then_some(digits)
}

#[cfg(target_os = "macos")]
fn boot_id() -> Option<String> {
    let mut text = [0_u8; 64];
    let mut len = text.len();
    // SAFETY: the name ends with NUL, `text` has room for `len` bytes, nothing is set.
    let answer = unsafe {
        libc::sysctlbyname(
            c"kern.bootsessionuuid".as_ptr(),
            text.as_mut_ptr().cast(),
            &mut len,
            std::ptr::null_mut(),
            0,
        )
    };
    let text = std::str::from_utf8(text.get(..len)?)
        .ok()?
        .trim_end_matches('\0');
    (answer == 0 && !text.is_empty() && !text.contains('/')).then(|| text.to_owned())
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn boot_id() -> Option<String> {
    None
}

/// Without pid namespaces every process sees the same pids.
#[cfg(not(target_os = "linux"))]
fn namespace() -> Option<String> {
    Some("0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(part: usize, value: &str) -> String {
        let owner = Owner::new();
        let mut parts: Vec<&str> = owner.text().split('/').collect();
        parts[part] = value;
        let text = parts.join("/");
        // The instance must outlive the question, or it would be its death that is seen.
        std::mem::forget(owner);
        text
    }

    #[test]
    fn a_name_changes_nothing_about_life_and_death() {
        let owner = Owner::new();
        let named = owner.named("worker/7").text().to_owned();
        assert_eq!(named, format!("{}/worker/7", owner.text()));
        assert!(!is_dead(&named), "a name that ends is not its owner");
        drop(owner);
        assert!(is_dead(&named));
    }

    #[test]
    fn a_dropped_owner_is_dead_and_a_living_one_is_not() {
        let owner = Owner::new();
        let text = owner.text().to_owned();
        assert_eq!(text.split('/').next(), Some(boot()));
        assert!(!is_dead(&text));
        drop(owner);
        assert!(is_dead(&text));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn in_doubt_the_owner_is_alive() {
        let cases = [
            (with(0, "another-boot"), true),
            (with(0, UNKNOWN), false),
            (with(1, "1"), false),
            (with(2, "2147483647"), true),
            (with(2, "x"), false),
            (with(3, "1"), true),
            (with(4, "another-copy"), false),
            (with(5, "18446744073709551615"), true),
            (String::new(), false),
            ("a/b".to_owned(), false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_dead(&text), expected, "{text}");
        }
    }

    #[test]
    fn without_a_boot_of_its_own_it_knows_of_no_death() {
        let own = process();
        let unknown = Process {
            boot: UNKNOWN.to_owned(),
            namespace: own.namespace.clone(),
            pid: own.pid,
            start: own.start.clone(),
            image: own.image.clone(),
            text: String::new(),
        };
        for part in [0, 2, 3, 5] {
            assert!(!is_dead_for(&unknown, &with(part, "2147483647")), "{part}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_killed_child_is_dead_even_while_it_is_a_zombie() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat is everywhere");
        let pid = i32::try_from(child.id()).expect("pids are small");
        let State::Running { start } = state_of(pid) else {
            panic!("the child runs");
        };
        assert!(runs(pid, &start));
        assert!(!runs(pid, "1"), "another start time is another process");
        child.kill().expect("ours");
        let own = process();
        let text = format!("{}/{}/{pid}/{start}/0/1", own.boot, own.namespace);
        // Not reaped yet: the kernel keeps the zombie until `wait`. Its death takes a moment.
        while !is_dead(&text) {
            std::thread::yield_now();
        }
        child.wait().expect("ours");
        assert!(is_dead(&text));
    }
}
