//! How bytes that have to wait for a peer leave: by the event loop, by the next write, by a thread.

mod support;

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};

use flowtrace_ipc::reactor::Key;
use flowtrace_ipc::socket::Event;
use support::{DEADLINE, Rig, text};

/// A client that writes without a pause does not come to its event loop; what the peer has read
/// meanwhile makes room all the same, and is told.
#[test]
fn writing_on_uses_the_room_that_the_peer_has_made() {
    let mut rig = Rig::new();
    let listener = UnixListener::bind(rig.path()).unwrap();
    let client = rig.client(|_| {});
    rig.hub.connect(client).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    rig.next("the connection", |event| {
        matches!(event, Event::Connected { .. }).then_some(())
    });
    let body = format!("\"{}\"", "x".repeat(1_000_000));
    let waits = rig.hub.write(client, &mut text(&[&body])).unwrap();
    let first = waits.expect("more than the kernel takes at once");
    let mut received = vec![0; 1_000_000];
    let mut count = 0;
    while rig.hub.client_stats(client).unwrap().outbound_bytes > 0 {
        count += peer.read(&mut received).unwrap();
        rig.hub.write(client, &mut text(&["1"])).unwrap();
    }
    assert!(count > 0);
    rig.next("the news of all", |event| {
        matches!(event, Event::Flushed { written, .. } if *written >= first).then_some(())
    });
}

/// A client with a connection to a plain listener, and the listener's side of it.
fn connected_to_plain(rig: &mut Rig) -> (Key, UnixStream) {
    let listener = UnixListener::bind(rig.path()).unwrap();
    let client = rig.client(|options| options.reconnect_delay = None);
    rig.hub.connect(client).unwrap();
    rig.next("the connection", |event| {
        matches!(event, Event::Connected { .. }).then_some(())
    });
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    (client, stream)
}

/// More than a socket holds, and than a thread is sought for.
const LONG_BYTES: usize = 4_000_000;

fn long_text() -> Vec<u8> {
    text(&[&format!("\"{}\"", "x".repeat(LONG_BYTES - 2))])
}

#[test]
fn much_that_waits_leaves_also_while_nobody_polls() {
    let mut rig = Rig::new();
    let (client, mut stream) = connected_to_plain(&mut rig);
    // Again and again: the threads end, and another one begins.
    for round in 1..=10 {
        let until = rig.hub.write(client, &mut long_text()).unwrap();
        assert_eq!(
            until,
            Some((LONG_BYTES as u64 + 4) * round + 5 * ((round - 1) / 2))
        );
        // Nobody but a thread can write what is read here.
        let mut received = vec![0; LONG_BYTES + 4];
        stream.read_exact(&mut received).unwrap();
        assert_eq!(received[..4], (LONG_BYTES as u32).to_be_bytes());
        assert!(received[5..LONG_BYTES + 3].iter().all(|byte| *byte == b'x'));
        if round % 2 == 0 {
            // What follows at once does not hide the news of it.
            assert_eq!(rig.hub.write(client, &mut text(&["1"])).unwrap(), None);
            stream.read_exact(&mut received[..5]).unwrap();
        }
        rig.until("word of the last byte", |rig| {
            rig.events.iter().any(
                |event| matches!(event, Event::Flushed { written, .. } if Some(*written) >= until),
            )
        });
        rig.events.clear();
        assert_eq!(rig.hub.client_stats(client).unwrap().outbound_bytes, 0);
        assert_eq!(rig.hub.next_deadline(), None);
    }
}

#[test]
fn a_peer_learns_of_the_end_although_a_thread_has_the_connection_too() {
    let mut rig = Rig::new();
    let (client, mut stream) = connected_to_plain(&mut rig);
    assert!(rig.hub.write(client, &mut long_text()).unwrap().is_some());
    rig.hub.disconnect(client);
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received.len() < LONG_BYTES);
}

#[test]
fn a_peer_that_is_gone_is_noticed_whoever_writes() {
    for polls in [0, 3] {
        let mut rig = Rig::new();
        let (client, mut stream) = connected_to_plain(&mut rig);
        assert!(rig.hub.write(client, &mut long_text()).unwrap().is_some());
        stream.read_exact(&mut vec![0; 100_000]).unwrap();
        for _ in 0..polls {
            rig.poll();
        }
        drop(stream);
        rig.next("the loss", |event| {
            matches!(event, Event::Disconnected { .. }).then_some(())
        });
        let error = rig.hub.write(client, &mut text(&["1"])).unwrap_err();
        assert_eq!(error.code(), "ERR_IPC_CONNECTION_LOST");
    }
}
