//! The socket file: length, staleness, ownership, permissions.
//!
//! A path is taken over only if it holds a *socket* on which nobody listens. Looking and removing
//! cannot be one step, so a lock file beside the socket (`<path>.lock`, held as long as the server
//! listens) keeps two servers of this package from doing it at the same time.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::limits;

/// Longest path in bytes: `sun_path` less its terminating zero.
pub const PATH_BYTES_MAX: usize = SUN_PATH_BYTES - 1;
// SAFETY: an all-zero `sockaddr_un` is a valid value of a plain C struct.
const SUN_PATH_BYTES: usize = unsafe { std::mem::zeroed::<libc::sockaddr_un>() }
    .sun_path
    .len();

/// Refuses a path that the kernel would cut off or misread.
///
/// # Errors
/// [`Code::PathTooLong`] with limit and length, [`Code::InvalidArgument`] for an empty path or
/// one with a NUL byte.
pub fn check(path: &str) -> Result<()> {
    if path.is_empty() || path.contains('\0') {
        return Err(Error::rule(
            Code::InvalidArgument,
            "socketPath must be a non-empty string without NUL characters",
        ));
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(Error::rule(
            Code::PathTooLong,
            format!(
                "Socket path is too long: {} bytes, the limit of this platform is \
                 {PATH_BYTES_MAX}: {path}",
                path.len()
            ),
        ));
    }
    Ok(())
}

/// Starts a connection without waiting. The kernel completes it at once or says why not;
/// `EAGAIN` means that the server's backlog is full.
///
/// # Errors
/// The kernel's.
pub fn connect(path: &str) -> io::Result<UnixStream> {
    let fd = new_socket()?;
    let (address, length) = address_of(path)?;
    // SAFETY: `address` outlives the call and `length` is its initialised size.
    let result = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(UnixStream::from(fd))
}

/// A listening socket and the file that stands for it; both go when it is dropped.
#[derive(Debug)]
pub struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our own socket file: a successor's file has another one.
    /// `None` once the path was given up.
    identity: Option<(u64, u64)>,
    lock: Option<Lock>,
}

impl BoundSocket {
    /// Takes the path and listens, replacing a stale socket and nothing else. The file has
    /// `mode` from its first instant.
    ///
    /// # Errors
    /// `EADDRINUSE` when a live server has the path, or when something that is not a socket
    /// stands there; otherwise the kernel's error.
    pub fn bind(path: &str, mode: u32) -> Result<Self> {
        check(path)?;
        let lock = Lock::acquire(path)?;
        remove_stale(path)?;
        let listener =
            listen(path, mode).map_err(|error| Error::system("listen", path.to_owned(), error))?;
        let file = fs::symlink_metadata(path)
            .map_err(|error| Error::system("listen", path.to_owned(), error))?;
        let identity = Some((file.dev(), file.ino()));
        Ok(BoundSocket {
            listener,
            path: PathBuf::from(path),
            identity,
            lock: Some(lock),
        })
    }

    /// A second handle on the listening socket, for the reactor.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Removes the file, if it is still ours, and lets others have the path. The listening socket
    /// stays: connections that were made before can still be accepted.
    pub fn give_path_up(&mut self) {
        // The identity is safe to compare as long as our socket is open: the kernel keeps its
        // inode, so that no other file can have the same number.
        let Some(identity) = self.identity.take() else {
            return;
        };
        if fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == identity) {
            let _ = fs::remove_file(&self.path);
        }
        self.lock = None;
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        self.give_path_up();
    }
}

/// An exclusive `flock` on `<socket path>.lock`, until it is dropped.
#[derive(Debug)]
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn acquire(socket_path: &str) -> Result<Self> {
        let path = PathBuf::from(format!("{socket_path}.lock"));
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
                .open(&path)
                .map_err(|error| {
                    // What stands in the way of both is told of the path that the user gave.
                    let about = match error.kind() {
                        io::ErrorKind::NotFound
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::ReadOnlyFilesystem => socket_path.to_owned(),
                        _ => path.display().to_string(),
                    };
                    Error::system("listen", about, error)
                })?;
            // SAFETY: plain system call on a descriptor that `file` owns.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == -1 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::WouldBlock {
                    return Err(in_use(socket_path));
                }
                return Err(Error::system("flock", path.display().to_string(), error));
            }
            // The previous holder removes the file before it lets go; a lock on a removed file
            // guards nothing, so try again with the file that is there now.
            let locked = file.metadata().map(|file| (file.dev(), file.ino()));
            let there = fs::symlink_metadata(&path).map(|file| (file.dev(), file.ino()));
            if let (Ok(locked), Ok(there)) = (locked, there)
                && locked == there
            {
                return Ok(Lock { file, path });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file with content was not made here; it is only borrowed.
        if self.file.metadata().is_ok_and(|file| file.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
        // Closing the file ends the lock, after its name is gone.
    }
}

fn in_use(path: &str) -> Error {
    Error::system(
        "listen",
        path.to_owned(),
        io::Error::from_raw_os_error(libc::EADDRINUSE),
    )
}

fn remove_stale(path: &str) -> Result<()> {
    let file = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::system("listen", path.to_owned(), error)),
        Ok(file) => file,
    };
    if !file.file_type().is_socket() {
        return Err(in_use(path));
    }
    match connect(path) {
        // Only "nobody listens" proves that the socket is stale. Success and a full backlog mean
        // a live server; anything else (no permission, not a stream) means somebody else's.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            match fs::remove_file(Path::new(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(Error::system("unlink", path.to_owned(), error))
                }
                _ => Ok(()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(in_use(path)),
    }
}

fn listen(path: &str, mode: u32) -> io::Result<UnixListener> {
    let fd = new_socket()?;
    // The file that `bind` makes takes its permissions from the socket's own, less the umask, so
    // this leaves no instant in which the file is more open than `mode`.
    // SAFETY: plain system call on a descriptor that `fd` owns.
    let narrowed = unsafe { libc::fchmod(fd.as_raw_fd(), mode as libc::mode_t) } == 0;
    let (address, length) = address_of(path)?;
    // SAFETY: `address` outlives the call and `length` is its initialised size.
    if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let permissions = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode);
    // Adds what the umask took; where the system ignores `fchmod` on sockets it also narrows.
    if let Err(error) = fs::set_permissions(path, permissions)
        && !narrowed
    {
        let _ = fs::remove_file(path);
        return Err(error);
    }
    // SAFETY: plain system call on a descriptor that `fd` owns.
    if unsafe { libc::listen(fd.as_raw_fd(), limits::LISTEN_BACKLOG) } == -1 {
        let error = io::Error::last_os_error();
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(UnixListener::from(fd))
}

/// A non-blocking stream socket that children do not inherit.
fn new_socket() -> io::Result<OwnedFd> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let kind = libc::SOCK_STREAM;
    // SAFETY: plain system call.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        // SAFETY: plain system calls on a descriptor that `fd` owns.
        unsafe {
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC);
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
            let on: libc::c_int = 1;
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NOSIGPIPE,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }
    Ok(fd)
}

fn address_of(path: &str) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    if path.len() > PATH_BYTES_MAX || path.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    // SAFETY: an all-zero `sockaddr_un` is a valid value of a plain C struct.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (place, byte) in address.sun_path.iter_mut().zip(path.bytes()) {
        *place = byte as libc::c_char;
    }
    let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + path.len() + 1;
    Ok((address, length as libc::socklen_t))
}

/// Who is at the other end of a connection, as the kernel saw it when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Effective user id.
    pub uid: u32,
    /// Process id; 0 where the system does not tell.
    pub pid: u32,
}

/// Asks the kernel for the peer's credentials.
///
/// # Errors
/// The kernel's.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn peer_credentials(stream: &impl AsRawFd) -> io::Result<PeerCredentials> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `credentials`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(PeerCredentials {
        uid: credentials.uid,
        pid: credentials.pid.unsigned_abs(),
    })
}

/// Asks the kernel for the peer's credentials.
///
/// # Errors
/// The kernel's.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn peer_credentials(stream: &impl AsRawFd) -> io::Result<PeerCredentials> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: both pointers are valid for writes.
    if unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut uid, &raw mut gid) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(PeerCredentials { uid, pid: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ipc.sock").to_str().unwrap().to_owned();
        (folder, path)
    }

    #[test]
    fn long_paths_are_refused_with_limit_and_length() {
        let path = format!("/tmp/{}", "x".repeat(PATH_BYTES_MAX));
        let error = BoundSocket::bind(&path, 0o600).unwrap_err();
        assert_eq!(error.code(), "ERR_IPC_PATH_TOO_LONG");
        assert!(error.to_string().contains(&PATH_BYTES_MAX.to_string()));
        assert!(error.to_string().contains(&path.len().to_string()));
        for path in ["", "a\0b"] {
            assert_eq!(check(path).unwrap_err().code(), "ERR_IPC_INVALID_ARGUMENT");
        }
    }

    #[test]
    fn the_longest_path_works() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().to_str().unwrap();
        let path = format!("{prefix}/{}", "x".repeat(PATH_BYTES_MAX - prefix.len() - 1));
        assert_eq!(path.len(), PATH_BYTES_MAX);
        let _bound = BoundSocket::bind(&path, 0o600).unwrap();
        connect(&path).unwrap();
    }

    #[test]
    fn mode_is_the_one_asked_for() {
        for mode in [0o600, 0o660, 0o666] {
            let (_folder, path) = folder();
            let _bound = BoundSocket::bind(&path, mode).unwrap();
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                mode
            );
        }
    }

    #[test]
    fn a_live_server_keeps_its_path() {
        let (_folder, path) = folder();
        let first = BoundSocket::bind(&path, 0o600).unwrap();
        assert_eq!(
            BoundSocket::bind(&path, 0o600).unwrap_err().code(),
            "EADDRINUSE"
        );
        connect(&path).unwrap();
        drop(first);
        assert!(!Path::new(&path).exists());
        assert!(!Path::new(&format!("{path}.lock")).exists());
        BoundSocket::bind(&path, 0o600).unwrap();
    }

    #[test]
    fn a_live_server_of_another_make_keeps_its_path() {
        let (_folder, path) = folder();
        let _plain = UnixListener::bind(&path).unwrap();
        assert_eq!(
            BoundSocket::bind(&path, 0o600).unwrap_err().code(),
            "EADDRINUSE"
        );
        connect(&path).unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let (_folder, path) = folder();
        drop(UnixListener::bind(&path).unwrap());
        assert!(Path::new(&path).exists());
        let _bound = BoundSocket::bind(&path, 0o600).unwrap();
        connect(&path).unwrap();
    }

    #[test]
    fn anything_else_is_left_alone() {
        let (folder, path) = folder();
        fs::write(&path, "precious").unwrap();
        assert_eq!(
            BoundSocket::bind(&path, 0o600).unwrap_err().code(),
            "EADDRINUSE"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert!(!Path::new(&format!("{path}.lock")).exists());

        fs::remove_file(&path).unwrap();
        let target = folder.path().join("target");
        drop(UnixListener::bind(&target).unwrap());
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert_eq!(
            BoundSocket::bind(&path, 0o600).unwrap_err().code(),
            "EADDRINUSE"
        );
        assert!(target.exists() && Path::new(&path).is_symlink());

        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(
            BoundSocket::bind(&path, 0o600).unwrap_err().code(),
            "EADDRINUSE"
        );

        let lock = format!("{path}2.lock");
        std::os::unix::fs::symlink(&target, &lock).unwrap();
        assert_eq!(
            BoundSocket::bind(&format!("{path}2"), 0o600)
                .unwrap_err()
                .code(),
            "ELOOP"
        );
    }

    #[test]
    fn a_successors_socket_survives() {
        let (_folder, path) = folder();
        let bound = BoundSocket::bind(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(Path::new(&path).exists());
    }

    #[test]
    fn credentials_are_our_own() {
        let (here, _there) = UnixStream::pair().unwrap();
        // SAFETY: plain system call.
        let uid = unsafe { libc::geteuid() };
        let credentials = peer_credentials(&here).unwrap();
        assert_eq!(credentials.uid, uid);
        if cfg!(target_os = "linux") {
            assert_eq!(credentials.pid, std::process::id());
        }
    }
}
