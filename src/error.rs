//! The one place that makes errors.
//!
//! Every failure carries a stable `code`: `ERR_IPC_…` for rules of this package, Node's own names
//! (`ENOENT`, `EADDRINUSE`) for system calls, SQLite's extended names
//! (`SQLITE_CONSTRAINT_PRIMARYKEY`) for the database. Callers match on the code; the text is for
//! people. `docs/errors.md` has a heading for each code of the first kind, and a test compares
//! that page with [`Code::ALL`].

use std::borrow::Cow;
use std::fmt;
use std::io;

/// What every fallible function of the core returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// The rules of this package that can be broken, each with its stable name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The name that reaches JavaScript as `error.code`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name,)+ }
            }
        }
    };
}

codes! {
    /// An option or argument has the wrong type or lies outside its range.
    InvalidArgument => "ERR_IPC_INVALID_ARGUMENT",
    /// The socket path is longer than the platform's `sun_path`.
    PathTooLong => "ERR_IPC_PATH_TOO_LONG",
    /// The server did not take the connection within `connectTimeout`.
    ConnectTimeout => "ERR_IPC_CONNECT_TIMEOUT",
    /// The connection ended while something still depended on it.
    ConnectionLost => "ERR_IPC_CONNECTION_LOST",
    /// The server already serves `maxConnections` clients.
    MaxConnections => "ERR_IPC_MAX_CONNECTIONS",
    /// The server does not serve the user that the client runs as.
    UidRefused => "ERR_IPC_UID_REFUSED",
    /// A frame is, or claims to be, longer than `maxFrameBytes`.
    FrameTooLarge => "ERR_IPC_FRAME_TOO_LARGE",
    /// A frame was begun and not completed within `frameTimeoutMs`.
    FrameTimeout => "ERR_IPC_FRAME_TIMEOUT",
    /// A complete frame does not hold one JSON value in UTF-8.
    MalformedFrame => "ERR_IPC_MALFORMED_FRAME",
    /// The peer reads too slowly: more than `maxOutboundBytes` would wait for it.
    OutboundFull => "ERR_IPC_OUTBOUND_FULL",
    /// A message breaks the rules of its schema, or cannot be stored as it is.
    InvalidMessage => "ERR_IPC_INVALID_MESSAGE",
    /// Another message is stored under the id of one that was to be stored idempotently.
    IdConflict => "ERR_IPC_ID_CONFLICT",
    /// The queue was used after `close()`.
    QueueClosed => "ERR_IPC_QUEUE_CLOSED",
    /// More asynchronous work waits for the queue's worker than its limits allow.
    QueueFull => "ERR_IPC_QUEUE_FULL",
    /// The file is a database of another application.
    ForeignDatabase => "ERR_IPC_FOREIGN_DATABASE",
    /// The file lies on a network file system, where WAL cannot work.
    NetworkFilesystem => "ERR_IPC_NETWORK_FILESYSTEM",
    /// Another copy of this package in the process has the file open.
    AnotherCopy => "ERR_IPC_ANOTHER_COPY",
    /// A fault of this package; please report it.
    Internal => "ERR_IPC_INTERNAL",
}

/// A failure, as data. The binding turns it into a JavaScript `Error` in one place.
#[derive(Debug)]
pub enum Error {
    /// A rule of this package was broken.
    Rule {
        /// Which rule.
        code: Code,
        /// What happened, in full sentences, with the limit and the value where there is one.
        message: Cow<'static, str>,
    },
    /// A system call failed.
    System {
        /// The call, as Node names it (`connect`, `bind`, …).
        syscall: &'static str,
        /// The path it was about, if any.
        path: Option<String>,
        /// What the kernel said.
        source: io::Error,
    },
    /// SQLite refused.
    Sqlite(rusqlite::Error),
}

impl Error {
    /// A broken rule.
    pub fn rule(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Error::Rule {
            code,
            message: message.into(),
        }
    }

    /// A failed system call, with the path it was about.
    pub fn system(
        syscall: &'static str,
        path: impl Into<Option<String>>,
        source: io::Error,
    ) -> Self {
        Error::System {
            syscall,
            path: path.into(),
            source,
        }
    }

    /// The stable name that callers match on.
    pub fn code(&self) -> Cow<'static, str> {
        match self {
            Error::Rule { code, .. } => Cow::Borrowed(code.as_str()),
            Error::System { source, .. } => errno_name(source),
            Error::Sqlite(error) => Cow::Borrowed(sqlite_name(error)),
        }
    }

    /// The call that failed, for system errors.
    pub fn syscall(&self) -> Option<&'static str> {
        match self {
            Error::System { syscall, .. } => Some(syscall),
            _ => None,
        }
    }

    /// Whether SQLite found no room on the disk.
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) if matches!(
            failure.extended_code,
            rusqlite::ffi::SQLITE_FULL | rusqlite::ffi::SQLITE_IOERR_SHMSIZE
        ))
    }

    /// Whether the file of a queue is not where it was opened any more.
    pub fn is_moved(&self) -> bool {
        matches!(self, Error::Sqlite(rusqlite::Error::SqliteFailure(failure, _))
            if failure.extended_code == rusqlite::ffi::SQLITE_READONLY_DBMOVED)
    }

    /// Whether another connection holds a lock that we waited for in vain.
    pub fn is_busy(&self) -> bool {
        matches!(self, Error::Sqlite(error) if matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        ))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Rule { message, .. } => f.write_str(message),
            Error::System {
                syscall,
                path,
                source,
            } => {
                // The form of Node's own errors: `connect ENOENT /run/ipc.sock`.
                write!(f, "{syscall} {}", errno_name(source))?;
                match path {
                    Some(path) => write!(f, " {path}"),
                    None => Ok(()),
                }
            }
            Error::Sqlite(error) => match error {
                rusqlite::Error::SqliteFailure(_, Some(message)) => f.write_str(message),
                other => write!(f, "{other}"),
            },
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Rule { .. } => None,
            Error::System { source, .. } => Some(source),
            Error::Sqlite(error) => Some(error),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Error::Sqlite(error)
    }
}

/// Node's name of an errno, as in `error.code`.
fn errno_name(error: &io::Error) -> Cow<'static, str> {
    let Some(errno) = error.raw_os_error() else {
        return Cow::Borrowed("EIO");
    };
    let name = match errno {
        libc::EACCES => "EACCES",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EAGAIN => "EAGAIN",
        libc::EBADF => "EBADF",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ECONNRESET => "ECONNRESET",
        libc::EDQUOT => "EDQUOT",
        libc::EEXIST => "EEXIST",
        libc::EINTR => "EINTR",
        libc::EINVAL => "EINVAL",
        libc::EIO => "EIO",
        libc::EISDIR => "EISDIR",
        libc::ELOOP => "ELOOP",
        libc::EMFILE => "EMFILE",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
        libc::ENFILE => "ENFILE",
        libc::ENOBUFS => "ENOBUFS",
        libc::ENOENT => "ENOENT",
        libc::ENOMEM => "ENOMEM",
        libc::ENOSPC => "ENOSPC",
        libc::ENOTCONN => "ENOTCONN",
        libc::ENOTDIR => "ENOTDIR",
        libc::ENOTSOCK => "ENOTSOCK",
        libc::EPERM => "EPERM",
        libc::EPIPE => "EPIPE",
        libc::EPROTOTYPE => "EPROTOTYPE",
        libc::EROFS => "EROFS",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ETXTBSY => "ETXTBSY",
        other => return Cow::Owned(format!("ERRNO_{other}")),
    };
    Cow::Borrowed(name)
}

/// SQLite's name of an extended result code, as better-sqlite3 puts it into `error.code`.
/// Source: <https://www.sqlite.org/rescode.html>.
fn sqlite_name(error: &rusqlite::Error) -> &'static str {
    use rusqlite::ffi;
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return "SQLITE_ERROR";
    };
    match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "SQLITE_CONSTRAINT_PRIMARYKEY",
        ffi::SQLITE_CONSTRAINT_UNIQUE => "SQLITE_CONSTRAINT_UNIQUE",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "SQLITE_CONSTRAINT_NOTNULL",
        ffi::SQLITE_CONSTRAINT_CHECK => "SQLITE_CONSTRAINT_CHECK",
        ffi::SQLITE_BUSY_RECOVERY => "SQLITE_BUSY_RECOVERY",
        ffi::SQLITE_BUSY_SNAPSHOT => "SQLITE_BUSY_SNAPSHOT",
        ffi::SQLITE_READONLY_DBMOVED => "SQLITE_READONLY_DBMOVED",
        ffi::SQLITE_READONLY_DIRECTORY => "SQLITE_READONLY_DIRECTORY",
        ffi::SQLITE_CANTOPEN_ISDIR => "SQLITE_CANTOPEN_ISDIR",
        ffi::SQLITE_CORRUPT_VTAB => "SQLITE_CORRUPT_VTAB",
        ffi::SQLITE_IOERR_FSYNC => "SQLITE_IOERR_FSYNC",
        ffi::SQLITE_IOERR_READ => "SQLITE_IOERR_READ",
        ffi::SQLITE_IOERR_SHORT_READ => "SQLITE_IOERR_SHORT_READ",
        ffi::SQLITE_IOERR_WRITE => "SQLITE_IOERR_WRITE",
        ffi::SQLITE_IOERR_TRUNCATE => "SQLITE_IOERR_TRUNCATE",
        ffi::SQLITE_IOERR_SHMOPEN => "SQLITE_IOERR_SHMOPEN",
        ffi::SQLITE_IOERR_SHMSIZE => "SQLITE_IOERR_SHMSIZE",
        ffi::SQLITE_IOERR_SHMMAP => "SQLITE_IOERR_SHMMAP",
        ffi::SQLITE_IOERR_LOCK => "SQLITE_IOERR_LOCK",
        extended => match extended & 0xff {
            ffi::SQLITE_PERM => "SQLITE_PERM",
            ffi::SQLITE_ABORT => "SQLITE_ABORT",
            ffi::SQLITE_BUSY => "SQLITE_BUSY",
            ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
            ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
            ffi::SQLITE_READONLY => "SQLITE_READONLY",
            ffi::SQLITE_INTERRUPT => "SQLITE_INTERRUPT",
            ffi::SQLITE_IOERR => "SQLITE_IOERR",
            ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
            ffi::SQLITE_FULL => "SQLITE_FULL",
            ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
            ffi::SQLITE_PROTOCOL => "SQLITE_PROTOCOL",
            ffi::SQLITE_SCHEMA => "SQLITE_SCHEMA",
            ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
            ffi::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
            ffi::SQLITE_MISMATCH => "SQLITE_MISMATCH",
            ffi::SQLITE_MISUSE => "SQLITE_MISUSE",
            ffi::SQLITE_NOLFS => "SQLITE_NOLFS",
            ffi::SQLITE_AUTH => "SQLITE_AUTH",
            ffi::SQLITE_RANGE => "SQLITE_RANGE",
            ffi::SQLITE_NOTADB => "SQLITE_NOTADB",
            _ => "SQLITE_ERROR",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_as_nodes_own() {
        let cases = [
            (libc::ENOENT, "connect ENOENT /run/a.sock", "ENOENT"),
            (
                libc::ECONNREFUSED,
                "connect ECONNREFUSED /run/a.sock",
                "ECONNREFUSED",
            ),
            (libc::EACCES, "connect EACCES /run/a.sock", "EACCES"),
        ];
        for (errno, text, code) in cases {
            let error = Error::system(
                "connect",
                "/run/a.sock".to_owned(),
                io::Error::from_raw_os_error(errno),
            );
            assert_eq!(error.to_string(), text);
            assert_eq!(error.code(), code);
        }
    }

    #[test]
    fn every_code_has_its_own_name() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| name.starts_with("ERR_IPC_")));
    }
}
