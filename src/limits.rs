//! Every default and every bound that a user can meet, once. What only tunes the code stands
//! beside the code. The JavaScript face reads them from here through the
//! binding (`limits()`), the documentation quotes them, and a test compares the three.
//!
//! The unit ends the name. A limit counts memory that is pinned, not bytes that went through.

macro_rules! limits {
    ($($(#[$doc:meta])* pub const $name:ident: $kind:ty = $value:expr;)+) => {
        $($(#[$doc])* pub const $name: $kind = $value;)+

        /// Every constant of this module by its name.
        const TABLE: &[(&str, f64)] = &[$((stringify!($name), $name as f64),)+];
    };
}

limits! {
    /// Longest frame body a peer may send, in bytes. Room for the largest messages in use (16 MB)
    /// with a margin, and far below what the first four letters of a text protocol claim
    /// (`GET ` read as a length is 1.2 GB).
    pub const FRAME_BYTES_MAX: u32 = 64 * 1024 * 1024;

    /// Largest `maxFrameBytes`: a little less than the longest string that V8 holds (2^29 - 24
    /// units), because messages travel to JavaScript as text.
    pub const TEXT_BYTES_MAX: u32 = 511 * 1024 * 1024;

    /// Deepest nesting of arrays and objects in a received message. V8 parses any depth, but takes
    /// seconds and hundreds of megabytes for a few million levels, which every other connection
    /// would wait for; `JSON.stringify` gives up at some thousands.
    pub const NESTING_MAX: usize = 100_000;

    /// Bytes of replies that may wait in memory for a client that does not read, per connection.
    pub const SERVER_OUTBOUND_BYTES_MAX: u32 = 64 * 1024 * 1024;

    /// Bytes of messages that may wait in memory of a client whose server does not read. Larger than
    /// the server's, because a burst that nobody awaits is legitimate and is the caller's own memory.
    pub const CLIENT_OUTBOUND_BYTES_MAX: u32 = 256 * 1024 * 1024;

    /// Milliseconds within which a frame that was begun has to be complete.
    pub const FRAME_TIMEOUT_MS: u32 = 30_000;

    /// Handlers of one server that may be unfinished before it stops reading.
    pub const HIGH_WATER_MARK: u32 = 1024;

    /// Clients that one server serves at once.
    pub const CONNECTIONS_MAX: u32 = 100;

    /// Permission bits of a socket file.
    pub const SOCKET_MODE: u32 = 0o600;

    /// Connections the kernel may hold for a server that has not accepted them yet (`listen(2)`;
    /// the kernel caps it at `net.core.somaxconn`).
    pub const LISTEN_BACKLOG: i32 = 511;

    /// Milliseconds a connection attempt may take.
    pub const CONNECT_TIMEOUT_MS: u32 = 5_000;

    /// Milliseconds that a new connection waits for a refusal (`maxConnections`, `allowedUids`)
    /// before `connect()` resolves. The kernel completes a connection before the server looks at it,
    /// so this wait is the only way for `connect()` itself to report a refusal.
    pub const REFUSAL_GRACE_MS: u32 = 10;

    /// Base of the reconnection backoff, in milliseconds: the first wait is random in `0..=base`.
    pub const RECONNECT_DELAY_MS: u32 = 1_000;

    /// Longest reconnection wait, in milliseconds.
    pub const RECONNECT_DELAY_MS_MAX: u32 = 30_000;

    /// Milliseconds that `stop()` and `close()` wait for running work, and that the end of a process
    /// waits for a commit that has begun.
    pub const DEADLINE_MS: u32 = 5_000;

    /// Milliseconds that closing a hybrid publisher or consumer leaves its queue at least, also when
    /// the deadline has passed: for a file that nobody else holds it is enough.
    pub const CLOSE_GRACE_MS: u32 = 250;

    /// Base of the wait before `client.request()` is sent again, in milliseconds.
    pub const REQUEST_RETRY_DELAY_MS: u32 = 100;

    /// Requests whose late reply a client recognises and drops, at least; older ones come as messages.
    pub const LATE_REPLIES_MAX: u32 = 10_000;

    /// Messages that a client sends without an acknowledgement, until the server has told its own
    /// window (its `highWaterMark`).
    pub const ACK_WINDOW: u32 = HIGH_WATER_MARK;

    /// Length of the JSON texts of such messages together, about, in UTF-16 units.
    pub const ACK_WINDOW_LENGTH: u32 = 16 * 1024 * 1024;

    /// Milliseconds after which a server that has read marked messages, of which nothing arrives and
    /// which has not said that it acknowledges them, is taken for one that does not. Servers that do
    /// say so at once.
    pub const HELLO_TIMEOUT_MS: u32 = 250;

    /// The same where the silence proves less: the server has acknowledged on an earlier connection of
    /// the same client and may have been stopped in the middle of its greeting, or it sends other
    /// things all the time, behind which the greeting may be. Much longer than a publisher waits
    /// before it stores a message, and short enough that a service which goes back to an old version
    /// of its server works again by itself.
    pub const HELLO_PATIENCE_MS: u32 = 10_000;

    /// Milliseconds between two looks whether such a server has read everything.
    pub const HELLO_POLL_MS: u32 = 10;

    /// The same once it is known that the server acknowledges nothing.
    pub const LEGACY_POLL_MS: u32 = 1;

    /// Milliseconds that a message waits for the reply of such a server, if it is one that replies,
    /// after it was read. Its handlers may reply to some messages and not to others; what they have
    /// not replied to by then counts as received. Longer than a publisher waits before it stores.
    pub const LEGACY_REPLY_MS: u32 = 5_000;

    /// Messages of a connection that such a server has read and not replied to, by whose late reply it
    /// is recognised as one that does reply, at least; and plain messages whose replies are told from
    /// those to acknowledged ones with the same id.
    pub const UNANSWERED_IDS_MAX: u32 = 8_192;

    /// Milliseconds that `client.send(message, { ack: true })` waits for the acknowledgement.
    pub const ACK_TIMEOUT_MS: u32 = 30_000;

    /// Longest control frame that a server sends, in bytes of JSON: far below every sensible
    /// `maxFrameBytes` of a client, which would end the connection over a longer one. News that do
    /// not fit into one frame take several.
    pub const CONTROL_BYTES_MAX: u32 = 2_048;

    /// Longest text of a refusal in a control frame, in UTF-16 units. However it is escaped, which
    /// takes at most six bytes a unit, it fits into one frame.
    pub const REFUSAL_TEXT_LENGTH_MAX: u32 = 256;

    /// Milliseconds that a published message waits for its acknowledgement before it is stored.
    pub const SPILL_AFTER_MS: u32 = 1_000;

    /// Milliseconds within which `publish()` settles.
    pub const PUBLISH_TIMEOUT_MS: u32 = 10_000;

    /// Messages of one publisher that may be neither handled nor stored; as many may wait for room.
    pub const PUBLISHED_MAX: u32 = 65_536;

    /// Length of their JSON texts together, about, in UTF-16 units.
    pub const PUBLISHED_LENGTH_MAX: u32 = 64 * 1024 * 1024;

    /// Wait before a message is stored again after that failed, in milliseconds; it doubles with
    /// every failure in a row.
    pub const SPILL_RETRY_DELAY_MS: u32 = 50;

    /// Longest such wait, in milliseconds.
    pub const SPILL_RETRY_DELAY_MS_MAX: u32 = 1_000;

    /// Base of the wait of a publisher before it connects again, in milliseconds. A message that is
    /// published meanwhile costs a commit, so it is short.
    pub const PUBLISHER_RECONNECT_DELAY_MS: u32 = 50;

    /// Longest such wait, in milliseconds.
    pub const PUBLISHER_RECONNECT_DELAY_MS_MAX: u32 = 1_000;

    /// Milliseconds between two looks at the queue for keys whose order is kept, while something
    /// happens: the wait doubles with every look that finds all as it was.
    pub const ORDER_POLL_MS: u32 = 20;

    /// Longest such wait, in milliseconds.
    pub const ORDER_POLL_MS_MAX: u32 = 1_000;

    /// Keys that one such look asks for, and messages of keys that have moved on.
    pub const ORDER_POLL_KEYS: u32 = 128;

    /// Stored messages whose ids a publisher with `orderKey` keeps. With more, every key counts as
    /// having messages in the queue until those that are there are handled.
    pub const ORDER_IDS_MAX: u32 = 65_536;

    /// Handlers of a hybrid consumer that run at once.
    pub const CONSUMER_CONCURRENCY: u32 = 64;

    /// Newest ids that the duplicate gate of a consumer remembers at least.
    pub const DEDUP_WINDOW: u32 = 100_000;

    /// Longest id that the gate keeps as it is, in UTF-16 units; longer ones become a digest.
    pub const GATE_ID_LENGTH_MAX: u32 = 128;

    /// Items that a batch sender sends together.
    pub const SEND_BATCH_SIZE: u32 = 100;

    /// Milliseconds that an item of a batch sender waits for others.
    pub const FLUSH_INTERVAL_MS: u32 = 100;

    /// Items that may wait in a batch sender.
    pub const BUFFERED_ITEMS_MAX: u32 = 10_000;

    /// Pending messages from which on a queue counts as degraded.
    pub const HEALTH_PENDING_MAX: u32 = 10_000;

    /// Age of the oldest pending message from which on a queue counts as degraded, in milliseconds.
    pub const HEALTH_PENDING_AGE_MS_MAX: u32 = 60_000;

    /// Failures in a row from which on a poller counts as degraded.
    pub const HEALTH_FAILURES_IN_ROW_MAX: u32 = 5;

    /// Milliseconds until `client.request()` gives up.
    pub const REQUEST_TIMEOUT_MS: u32 = 30_000;

    /// Bytes read from one connection before the next one has its turn.
    pub const READ_TURN_BYTES: usize = 256 * 1024;

    /// Milliseconds before accepting again after the process ran out of file descriptors.
    pub const ACCEPT_PAUSE_MS: u32 = 100;

    /// Hours that processed messages stay in the queue.
    pub const RETENTION_HOURS: f64 = 24.0;

    /// Messages that one `dequeue` or one poll takes.
    pub const BATCH_SIZE: u32 = 50;

    /// Milliseconds between two polls that no notification brought forward.
    pub const POLL_INTERVAL_MS: u32 = 1_000;

    /// Milliseconds that a synchronous queue call waits for another process's lock. It blocks the
    /// event loop, so it is short.
    pub const BUSY_TIMEOUT_MS: u32 = 250;

    /// Milliseconds that the queue's worker thread waits for another process's lock.
    pub const WORKER_BUSY_TIMEOUT_MS: u32 = 5_000;

    /// Bytes that may wait for the queue's worker thread.
    pub const PENDING_BYTES_MAX: u32 = 64 * 1024 * 1024;

    /// Requests that may wait for the queue's worker thread.
    pub const PENDING_REQUESTS_MAX: usize = 65_536;

    /// Longest payload of one queued message, in bytes of JSON. SQLite's own limit is 1 GB.
    pub const PAYLOAD_BYTES_MAX: u32 = 256 * 1024 * 1024;

    /// Reported failures after which a message is set aside as a dead letter; also deliveries that
    /// were cut short, after which it is delivered with nothing beside it.
    pub const ATTEMPTS_MAX: u32 = 10;

    /// Deliveries with nothing beside it that are cut short until a message is taken for what ends
    /// its consumers, and is set aside. More than one, because a process may also be killed by others.
    pub const CUT_SHORT_ALONE_MAX: u32 = 5;

    /// Milliseconds that a poller waits for running handlers before it delivers a message with nothing
    /// beside it, and for its handler before it starts others. One that runs longer may never end.
    pub const QUIET_MS: u32 = 30_000;

    /// Base of the wait before a failed message is delivered again, in milliseconds; it doubles with
    /// every attempt.
    pub const RETRY_DELAY_MS: u32 = 1_000;

    /// Longest wait before a failed message is delivered again, in milliseconds.
    pub const RETRY_DELAY_MS_MAX: u32 = 300_000;

    /// Longest name that a claimer gives itself, in UTF-16 units.
    pub const OWNER_NAME_LENGTH_MAX: u32 = 200;

    /// Milliseconds a claim is held before others may take the message.
    pub const LEASE_MS: u32 = 60_000;

    /// Milliseconds between two cleanups by one running poller.
    pub const CLEANUP_INTERVAL_MS: u32 = 3_600_000;

    /// Milliseconds that a handled message may wait for others to be settled together with it.
    pub const SETTLE_DELAY_MS: u32 = 20;

    /// Handled messages after which they are settled at once; those that come meanwhile follow together.
    pub const SETTLE_COUNT_MAX: u32 = 64;

    /// Different messages that may fail one after the other before the poller takes it for a failure
    /// of what all handlers depend on, and pauses. At least twice the batch size, so that a batch of
    /// poison messages alone never stops the others.
    pub const FAILURES_IN_ROW_MAX: u32 = 100;

    /// Longest pause of a poller, in milliseconds, after its queue or every handler failed. After an
    /// outage everything may wait as long, and so may a new message where the failures were the fault
    /// of those before it.
    pub const PAUSE_MS_MAX: u32 = 5_000;

    /// Longest pause of a poller, in milliseconds, after a message failed that was tried for the first
    /// time to find out whether handlers work again. It has most of its attempts left, and behind it
    /// may be others that can be handled: they should not wait for long.
    pub const UNTRIED_PAUSE_MS_MAX: u32 = 500;

    /// Messages whose failures a poller remembers when its queue cannot do that itself.
    pub const REMEMBERED_MESSAGES_MAX: u32 = 10_000;

    /// Milliseconds that a poller with continuous work runs before the event loop has its turn.
    pub const TURN_MS: u32 = 8;

    /// Messages that a poller handles before the event loop has its turn, whatever the clock says:
    /// under fake timers it may stand still.
    pub const TURN_MESSAGES_MAX: u32 = 10_000;

    /// Size of the write-ahead log from which on whoever notices makes it begin anew, in bytes, and
    /// which its file keeps then. SQLite begins it anew only when nobody reads, which several busy
    /// processes may not let happen for minutes.
    pub const WAL_BYTES_MAX: u32 = 16 * 1024 * 1024;

    /// Milliseconds that this waits for readers. Writers of other processes wait meanwhile, so it is
    /// a fraction of [`BUSY_TIMEOUT_MS`].
    pub const WAL_RESTART_WAIT_MS: u32 = 20;

    /// Broken rules that one refusal lists. The verdict needs only the first; the list is for people,
    /// and without a bound a frame of wrong array elements would cost many times its size in memory.
    pub const ISSUES_MAX: usize = 100;

    /// Longest id and longest type of a queued message, in bytes of UTF-8.
    pub const NAME_BYTES_MAX: usize = 64 * 1024;

    /// Bytes of messages that one `dequeue` or one claim returns; one message is always returned,
    /// however long it is. It keeps the answer well below the longest string V8 can hold (512 MB).
    pub const DEQUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

    /// Messages of a state that `stats()` counts one by one; of more it says that it did not.
    pub const STATS_COUNT_MAX: u32 = 20_000;

    /// Claims that `stats()` looks at one by one: each of them takes longer than a message.
    pub const STATS_CLAIMS_MAX: u32 = 4_000;

    /// Longest error text kept with a failed message, in bytes.
    pub const ERROR_TEXT_BYTES_MAX: usize = 8 * 1024;

    /// Milliseconds that opening a queue waits for other processes that open or write the same file.
    /// It is what the original waited for any lock; opening happens once.
    pub const OPEN_TIMEOUT_MS: u32 = 5_000;

    /// Rows that one transaction of cleanup, redrive or purge touches, so that writers of other
    /// processes get their turn in between.
    pub const CHUNK_ROWS: usize = 1_000;

    /// Pages that one step of the incremental vacuum gives back.
    pub const VACUUM_STEP_PAGES: u32 = 2_048;

    /// Pages in the write-ahead log after which a commit moves them into the database file.
    pub const WAL_CHECKPOINT_PAGES: u32 = 1_000;

    /// Size of the reserve file beside a queue's file, whose room is given back so that messages can
    /// be settled and deleted while the disk is full. It takes at most a quarter of a small disk.
    pub const RESERVE_BYTES: u32 = 1024 * 1024;

    /// Page cache of one connection, in KiB.
    pub const CACHE_KIB: u32 = 8 * 1024;

    /// Requests that the queue's worker takes at once, and messages that share one commit.
    pub const GROUP_REQUESTS_MAX: usize = 1_024;

    /// Bytes of messages that share one commit, so that other writers wait milliseconds for it. A
    /// message that is larger by itself has a commit of its own.
    pub const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
}

/// Every constant of this module as a JSON object, its name in camel case: how the JavaScript
/// face gets them.
pub fn to_json() -> String {
    let camel_case = |name: &str| {
        let mut upper = false;
        let mut camel = String::with_capacity(name.len());
        for letter in name.chars() {
            match letter {
                '_' => upper = true,
                _ if std::mem::take(&mut upper) => camel.push(letter),
                _ => camel.push(letter.to_ascii_lowercase()),
            }
        }
        camel
    };
    let table: serde_json::Map<_, _> = TABLE
        .iter()
        .map(|(name, value)| (camel_case(name), (*value).into()))
        .collect();
    serde_json::Value::Object(table).to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_limit_reaches_javascript() {
        let table: serde_json::Value = serde_json::from_str(&super::to_json()).unwrap();
        assert_eq!(table["frameBytesMax"], f64::from(super::FRAME_BYTES_MAX));
        assert_eq!(table["retentionHours"], super::RETENTION_HOURS);
        assert_eq!(table.as_object().unwrap().len(), super::TABLE.len());
    }
}
