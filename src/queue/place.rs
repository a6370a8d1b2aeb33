//! The file a queue lives in: which kinds are refused, and how a new one comes into being.
//!
//! Nothing here opens a database file that exists. Closing *any* descriptor of a file drops every
//! POSIX lock that this process holds on it, so a look by hand would break other connections.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
#[cfg(target_os = "linux")]
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::ffi;

use crate::error::{Code, Error, Result};

/// Judges the path, creates what is missing (folders 0700, the file 0600), and returns the path
/// in absolute form, so that SQLite cannot take it for a URI and a later change of the working
/// directory does not matter.
pub(super) fn prepare(path: &Path) -> Result<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    let refusal = if bytes.is_empty() {
        Some("The path of the queue's file is empty.")
    } else if bytes.contains(&0) {
        Some("The path of the queue's file contains a NUL character.")
    } else if bytes == b":memory:" {
        Some("A queue needs a file: `:memory:` is neither durable nor shared.")
    } else if bytes.ends_with(b"/") || path.file_name().is_none() {
        Some("The path of the queue's file names a folder.")
    } else {
        None
    };
    if let Some(text) = refusal {
        return Err(Error::rule(Code::InvalidArgument, text));
    }
    let path = std::path::absolute(path).map_err(|error| system("open", path, error))?;

    // Creating closes a descriptor of the new file. The lock keeps the other threads of this
    // process from having a connection on it by then.
    static CREATION: Mutex<()> = Mutex::new(());
    let _creation = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_there(&path)? {
        refuse_network(nearest_existing(&path))?;
        create(&path)?;
        is_there(&path)?;
    }
    refuse_network(&path)?;
    Ok(path)
}

/// As [`prepare`], of a file that has to be there, by a path that is absolute already.
pub(super) fn require(path: &Path) -> Result<PathBuf> {
    if !path.is_absolute() || !is_there(path)? {
        return Err(gone(path));
    }
    refuse_network(path)?;
    Ok(path.to_owned())
}

/// The error for a file that was opened and is not there any more.
pub(super) fn gone(path: &Path) -> Error {
    sqlite(
        ffi::SQLITE_CANTOPEN,
        format!("{} is no longer the queue that was opened", path.display()),
    )
}

pub(super) fn moved(path: &Path) -> Error {
    sqlite(
        ffi::SQLITE_READONLY_DBMOVED,
        format!(
            "{} was moved or deleted while it was open, and nobody would find what is stored in it",
            path.display()
        ),
    )
}

/// Whether a regular file is there, by name or by symbolic link.
fn is_there(path: &Path) -> Result<bool> {
    let kind = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A link that leads nowhere: SQLite would create a file at its other end.
            return match fs::symlink_metadata(path) {
                Ok(link) if link.is_symlink() => Err(system("open", path, error)),
                // Another process has created it between the two looks.
                Ok(_) => is_there(path),
                Err(_) => Ok(false),
            };
        }
        Err(error) => return Err(system("open", path, error)),
    };
    if kind.is_file() {
        return Ok(true);
    }
    if kind.is_dir() {
        return Err(system(
            "open",
            path,
            io::Error::from_raw_os_error(libc::EISDIR),
        ));
    }
    let name = if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(Error::rule(
        Code::InvalidArgument,
        format!("{} is {name}, not a regular file.", path.display()),
    ))
}

/// Refuses a file that SQLite would misjudge or could not write. Where SQLite may only read, it
/// still makes a log, which would then belong to the wrong user and lock the right one out.
pub(super) fn require_access(path: &Path) -> Result<()> {
    // For the sake of an old file system SQLite takes a file of one byte for an empty one.
    if fs::metadata(path)
        .map_err(|error| system("stat", path, error))?
        .len()
        == 1
    {
        return Err(sqlite(
            ffi::SQLITE_NOTADB,
            format!("{} is not a database", path.display()),
        ));
    }
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|error| system("access", path, error.into()))?;
    // SAFETY: the name ends with NUL; the call only looks.
    let may = |what| unsafe {
        libc::faccessat(libc::AT_FDCWD, name.as_ptr(), what, libc::AT_EACCESS) == 0
    };
    if may(libc::R_OK | libc::W_OK) {
        return Ok(());
    }
    if may(libc::R_OK) {
        return Err(read_only(path));
    }
    Err(sqlite(
        ffi::SQLITE_CANTOPEN,
        format!("{} may not be read", path.display()),
    ))
}

/// The error for a file that may only be read.
pub(super) fn read_only(path: &Path) -> Error {
    sqlite(
        ffi::SQLITE_READONLY,
        format!("{} may not be written", path.display()),
    )
}

fn sqlite(code: i32, text: String) -> Error {
    Error::Sqlite(rusqlite::Error::SqliteFailure(
        ffi::Error::new(code),
        Some(text),
    ))
}

fn create(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| system("mkdir", folder, error))?;
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => {}
        // Another process was faster; its file is as good.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(system("open", path, error)),
    }
    // A file survives power loss only if its name does.
    for folder in missing
        .iter()
        .filter_map(|folder| folder.parent())
        .chain([folder])
    {
        synchronise(folder)?;
    }
    Ok(())
}

fn synchronise(folder: &Path) -> Result<()> {
    // A folder that may not be read cannot be synchronised; using it is still legitimate.
    let Ok(handle) = File::open(folder) else {
        return Ok(());
    };
    match handle.sync_all() {
        // Some file systems know no such operation on folders.
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
            Err(system("fsync", folder, error))
        }
        _ => Ok(()),
    }
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("/"))
}

/// WAL needs memory that every process with the file shares, which no network gives.
fn refuse_network(path: &Path) -> Result<()> {
    let Some(name) = network_name(path)? else {
        return Ok(());
    };
    Err(Error::rule(
        Code::NetworkFilesystem,
        format!(
            "{} lies on a network file system ({name}), where SQLite's write-ahead log cannot \
             work. Use a local disk.",
            path.display()
        ),
    ))
}

#[cfg(target_os = "linux")]
fn network_name(path: &Path) -> Result<Option<&'static str>> {
    let status = statfs(path)?;
    // The type of the field differs between architectures; the numbers are 32 bits wide.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let magic = status.f_type as u32;
    if magic != FUSE {
        return Ok(network_magic(magic));
    }
    let device = fs::metadata(path)
        .map_err(|error| system("stat", path, error))?
        .dev();
    // Where it cannot be read the file system counts as local: most of this kind are.
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let device = (libc::major(device), libc::minor(device));
    Ok(fuse_network(&String::from_utf8_lossy(&mounts), device))
}

/// What `statfs(2)` gives for every file system that is a program (FUSE), be it a local one such as
/// NTFS or an encrypted folder, or one that keeps its files elsewhere.
#[cfg(target_os = "linux")]
const FUSE: u32 = 0x6573_5546;

/// File systems over FUSE that keep their files on other machines, by the name that follows `fuse.`
/// in the list of mounts. Those that do not give their name are not known.
#[cfg(any(target_os = "linux", test))]
const FUSE_NETWORKS: [&str; 22] = [
    "afp_fuse",
    "blobfuse",
    "blobfuse2",
    "ceph",
    "ceph-fuse",
    "curlftpfs",
    "davfs",
    "fuse_dfs",
    "gcsfuse",
    "glusterfs",
    "goofys",
    "gvfsd-fuse",
    "juicefs",
    "mfs",
    "mount-s3",
    "mountpoint-s3",
    "rclone",
    "s3fs",
    "s3ql",
    "seaweedfs",
    "smbnetfs",
    "sshfs",
];

/// Which of them is mounted as this device, by the text of `/proc/self/mountinfo`.
#[cfg(any(target_os = "linux", test))]
fn fuse_network(mounts: &str, (major, minor): (u32, u32)) -> Option<&'static str> {
    let device = format!("{major}:{minor}");
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if mount.split(' ').nth(2) != Some(&device) {
            return None;
        }
        let name = kind.split(' ').next()?.strip_prefix("fuse.")?;
        FUSE_NETWORKS.into_iter().find(|known| *known == name)
    })
}

/// Network and cluster file systems by the number that `statfs(2)` gives.
#[cfg(any(target_os = "linux", test))]
fn network_magic(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x0102_1997 => "9P",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x564c => "NCP",
        0x00c3_6400 => "Ceph",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x1983_0326 => "BeeGFS",
        _ => return None,
    })
}

#[cfg(any(target_os = "macos", target_os = "ios"))]
fn network_name(path: &Path) -> Result<Option<&'static str>> {
    let status = statfs(path)?;
    let local = status.f_flags & (libc::MNT_LOCAL as u32) != 0;
    Ok((!local).then_some("not mounted as local"))
}

#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "ios")))]
fn network_name(_: &Path) -> Result<Option<&'static str>> {
    Ok(None)
}

#[cfg(any(target_os = "linux", target_os = "macos", target_os = "ios"))]
fn statfs(path: &Path) -> Result<libc::statfs> {
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|error| system("statfs", path, error.into()))?;
    let mut status = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the name ends with NUL and `status` has room for the answer.
    if unsafe { libc::statfs(name.as_ptr(), status.as_mut_ptr()) } != 0 {
        return Err(system("statfs", path, io::Error::last_os_error()));
    }
    // SAFETY: the call succeeded, so it filled `status`.
    Ok(unsafe { status.assume_init() })
}

fn system(syscall: &'static str, path: &Path, source: io::Error) -> Error {
    Error::system(syscall, path.display().to_string(), source)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path)
            .expect("it was created")
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn what_is_missing_is_created_for_the_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let path = folder.path().join("a/b/queue.db");
        assert_eq!(prepare(&path).expect("creatable"), path);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("a")), 0o700);
        assert_eq!(mode(&folder.path().join("a/b")), 0o700);
        assert_eq!(
            mode(folder.path()),
            0o755,
            "folders that were there are left alone"
        );
        prepare(&path).expect("it is there already");
    }

    #[test]
    fn unusable_places_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let pipe = std::ffi::CString::new(at("pipe").as_os_str().as_bytes()).expect("no NUL");
        // SAFETY: the name ends with NUL.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        let _listener = UnixListener::bind(at("socket")).expect("a socket");
        symlink(at("nowhere"), at("dangling")).expect("a link");
        symlink(at("loop"), at("loop")).expect("a link");
        fs::write(at("file"), "").expect("a file");
        let cases = [
            (PathBuf::new(), "ERR_IPC_INVALID_ARGUMENT"),
            (PathBuf::from(":memory:"), "ERR_IPC_INVALID_ARGUMENT"),
            (PathBuf::from("a\0b"), "ERR_IPC_INVALID_ARGUMENT"),
            (PathBuf::from("/"), "ERR_IPC_INVALID_ARGUMENT"),
            (at("folder/"), "ERR_IPC_INVALID_ARGUMENT"),
            (folder.path().to_owned(), "EISDIR"),
            (at("pipe"), "ERR_IPC_INVALID_ARGUMENT"),
            (at("socket"), "ERR_IPC_INVALID_ARGUMENT"),
            (PathBuf::from("/dev/null"), "ERR_IPC_INVALID_ARGUMENT"),
            (at("dangling"), "ENOENT"),
            (at("dangling/queue.db"), "EEXIST"),
            (at("loop"), "ELOOP"),
            (at("file/queue.db"), "ENOTDIR"),
        ];
        for (path, code) in cases {
            let error = prepare(&path).expect_err(code);
            assert_eq!(error.code(), code, "{}: {error}", path.display());
        }
        assert!(!at("nowhere").exists());
    }

    #[test]
    fn a_file_of_one_byte_is_not_an_empty_database() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queue.db");
        for (content, code) in [("", None), ("x", Some("SQLITE_NOTADB"))] {
            fs::write(&path, content).expect("a file");
            let outcome = require_access(&path).map_err(|error| error.code().into_owned());
            assert_eq!(outcome.err().as_deref(), code);
        }
    }

    #[test]
    fn a_link_to_a_file_is_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("real"), "").expect("a file");
        symlink(folder.path().join("real"), folder.path().join("link")).expect("a link");
        prepare(&folder.path().join("link")).expect("as SQLite does");
    }

    #[test]
    fn network_file_systems_are_known_by_number() {
        let cases = [
            (0x6969, Some("NFS")),
            (0xff53_4d42, Some("CIFS")),
            (0x1983_0326, Some("BeeGFS")),
            (0xef53, None),
            (0, None),
        ];
        for (magic, expected) in cases {
            assert_eq!(network_magic(magic), expected);
        }
    }

    #[test]
    fn network_file_systems_over_fuse_are_known_by_name() {
        let mounts = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
40 27 0:45 / /mnt/a\\040b rw,nosuid shared:5 - fuse.sshfs me@host:/srv rw,user_id=0
41 27 0:46 / /mnt/ntfs rw master:1 shared:6 - fuseblk /dev/sda1 rw,user_id=0
42 27 0:47 / /mnt/vault rw - fuse.gocryptfs /home/me/vault rw
43 27 0:48 / /mnt/host rw - virtiofs host rw
44 27 0:49 / /mnt/gluster rw - fuse.glusterfs server:/volume rw
45 27 0:50 /sub /mnt/bucket ro - fuse.rclone remote: ro
46 27 0:51 / /mnt/unnamed rw - fuse somewhere rw
";
        let cases = [
            (45, Some("sshfs")),
            (46, None),
            (47, None),
            (48, None),
            (49, Some("glusterfs")),
            (50, Some("rclone")),
            (51, None),
            (52, None),
        ];
        for (minor, expected) in cases {
            assert_eq!(fuse_network(mounts, (0, minor)), expected, "{minor}");
        }
    }
}
