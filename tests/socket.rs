//! The socket side through its public interface: hubs of this process talk to each other and to
//! plain streams.

mod support;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use flowtrace_ipc::frame;
use flowtrace_ipc::reactor::Key;
use flowtrace_ipc::socket::Event;
use support::{DEADLINE, Rig, text, texts, wire};

#[test]
fn frames_travel_both_ways_and_are_counted() {
    let mut rig = Rig::new();
    let server = rig.server(|_| {});
    let client = rig.client(|_| {});
    rig.hub.set_listening(client, true);
    rig.hub.connect(client).unwrap();
    rig.next("the connection", |event| {
        matches!(event, Event::Connected { .. }).then_some(())
    });
    assert_eq!(
        rig.hub
            .write(client, &mut text(&["1", "{}", "\"ä\""]))
            .unwrap(),
        None
    );
    let peer = rig.next("the frames", |event| match event {
        Event::Frames { owner, frames } if *owner == server => {
            assert_eq!(frames.runs[0].count, 3);
            Some(frames.runs[0].connection)
        }
        _ => None,
    });
    assert_eq!(rig.hub.server_stats(server).unwrap().in_flight, 3);
    rig.hub.settle(server, peer, 3);
    rig.hub.write(peer, &mut text(&["[]"])).unwrap();
    rig.next("the reply", |event| match event {
        Event::Frames { owner, frames } if *owner == client => {
            (texts(frames, &[]) == ["[]"]).then_some(())
        }
        _ => None,
    });
    let stats = rig.hub.server_stats(server).unwrap();
    assert_eq!(
        (stats.connections, stats.frames_received, stats.frames_sent),
        (1, 3, 1)
    );
    assert_eq!((stats.in_flight, stats.bytes_received), (0, 12 + 1 + 2 + 4));
    let stats = rig.hub.client_stats(client).unwrap();
    assert_eq!(
        (stats.connections, stats.frames_sent, stats.frames_received),
        (1, 3, 1)
    );
    assert!(rig.hub.is_connected(client));
    rig.hub.disconnect(client);
    assert!(!rig.hub.is_connected(client));
    assert_eq!(
        rig.hub.write(client, &mut text(&["1"])).unwrap_err().code(),
        "ERR_IPC_CONNECTION_LOST"
    );
    rig.next("the end", |event| {
        matches!(event, Event::PeerClosed { error: None, .. }).then_some(())
    });
}

#[cfg(target_os = "linux")]
#[test]
fn what_most_likely_has_something_is_read_without_asking() {
    let mut rig = Rig::new();
    let server = rig.server(|_| {});
    let mut streams: Vec<_> = (0..2)
        .map(|_| UnixStream::connect(rig.path()).unwrap())
        .collect();
    let told = |rig: &mut Rig| {
        let mut events = Vec::new();
        rig.hub.poll_likely(&mut events);
        rig.bodies(&events)
            .into_iter()
            .map(|(_, body)| body)
            .collect::<Vec<_>>()
    };
    rig.until("both connections", |rig| {
        rig.hub.server_stats(server).unwrap().connections == 2
    });
    // Nobody was ever heard of.
    streams[0].write_all(&wire(&["1"])).unwrap();
    assert!(told(&mut rig).is_empty());
    rig.until("the first message", |rig| {
        !rig.bodies(&rig.events).is_empty()
    });
    // The same one again, any number of times, and also when it has nothing to say.
    assert!(told(&mut rig).is_empty());
    for body in ["2", "3"] {
        streams[0].write_all(&wire(&[body])).unwrap();
        assert_eq!(told(&mut rig), [body]);
        rig.events.clear();
        rig.poll();
        assert!(rig.bodies(&rig.events).is_empty());
    }
    // The other one is found by the poll that follows, and then is the likely one.
    streams[1].write_all(&wire(&["4"])).unwrap();
    assert!(told(&mut rig).is_empty());
    rig.until("the other message", |rig| {
        !rig.bodies(&rig.events).is_empty()
    });
    streams[1].write_all(&wire(&["5"])).unwrap();
    assert_eq!(told(&mut rig), ["5"]);
    // Its end.
    streams.pop();
    rig.events.clear();
    rig.poll();
    assert!(matches!(rig.events[..], [Event::PeerClosed { .. }]));
    assert!(told(&mut rig).is_empty());
}

/// Only Linux tells what [`Hub::poll_likely`] goes by.
#[cfg(target_os = "linux")]
#[test]
fn after_short_messages_of_one_connection_the_others_are_asked_for_now_and_then() {
    let mut rig = Rig::new();
    let server = rig.server(|_| {});
    let mut stream = UnixStream::connect(rig.path()).unwrap();
    rig.until("the connection", |rig| {
        rig.hub.server_stats(server).unwrap().connections == 1
    });
    let mut told = 0;
    let mut is_done_after = |rig: &mut Rig, body: &str, handling: Duration| {
        stream.write_all(&wire(&[body])).unwrap();
        told += 1;
        rig.hub.poll_likely(&mut rig.events);
        std::thread::sleep(handling);
        let is_done = rig.hub.is_done();
        if !is_done {
            rig.until("all of it", |rig| rig.bodies(&rig.events).len() == told);
            rig.hub
                .poll(Some(Duration::ZERO), &mut rig.events, &mut Vec::new())
                .unwrap();
        }
        assert_eq!(rig.bodies(&rig.events).len(), told);
        is_done
    };
    let at_once = Duration::ZERO;
    // Nobody was ever heard of.
    assert!(!is_done_after(&mut rig, "0", at_once));
    assert!((0..1_000).any(|_| is_done_after(&mut rig, "1", at_once)));
    let in_row = (0..1_000)
        .take_while(|_| is_done_after(&mut rig, "1", at_once))
        .count();
    assert!(in_row < 100, "{in_row}");
    // What follows a long message is likely there already.
    assert!((0..1_000).any(|_| is_done_after(&mut rig, "1", at_once)));
    assert!(!is_done_after(&mut rig, &"2".repeat(5_000), at_once));
    // Who takes long with a message must not do so with several.
    assert!((0..1_000).any(|_| is_done_after(&mut rig, "1", at_once)));
    assert!(!is_done_after(&mut rig, "3", Duration::from_millis(1)));
    // Nothing to be read.
    rig.hub.poll_likely(&mut rig.events);
    assert!(!rig.hub.is_done());
}

#[test]
fn no_more_than_the_high_water_mark_is_handed_over() {
    let mut rig = Rig::new();
    let server = rig.server(|options| options.high_water_mark = 2);
    let mut streams: Vec<_> = (0..3)
        .map(|_| UnixStream::connect(rig.path()).unwrap())
        .collect();
    for stream in &mut streams {
        stream.write_all(&wire(&["1", "2", "3"])).unwrap();
    }
    drop(streams);
    let mut seen = Vec::new();
    while seen.len() < 9 {
        rig.until("frames", |rig| {
            rig.hub.server_stats(server).unwrap().in_flight > 0
        });
        rig.poll();
        let in_flight = rig.hub.server_stats(server).unwrap().in_flight;
        let bodies = rig.bodies(&rig.events);
        assert_eq!(bodies.len(), in_flight as usize);
        assert!(in_flight <= 2, "{in_flight} in flight");
        rig.events.clear();
        for (peer, body) in bodies {
            seen.push((peer, body));
            rig.hub.settle(server, peer, 1);
        }
    }
    seen.sort_by_key(|(peer, _)| *peer);
    let bodies: Vec<_> = seen.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(bodies, ["1", "2", "3"].repeat(3));
    rig.until("the end of all", |rig| {
        rig.hub.server_stats(server).unwrap().connections == 0
    });
}

/// Connections that always have more to read than may be in flight do not keep the others from
/// being read: whatever the order in which they came, each has its turn in one of few rounds.
#[test]
fn busy_connections_leave_room_for_the_others() {
    for (busy, high_water_mark, settled_at_once) in [
        (1, 4, 4),
        (3, 400, 400),
        (1, 64, 64),
        (1, 64, 1),
        (5, 16, 16),
        (5, 2, 1),
        (20, 8, 3),
    ] {
        let mut rig = Rig::new();
        let server = rig.server(|options| options.high_water_mark = high_water_mark);
        let connect = |count| -> Vec<_> {
            (0..count)
                .map(|_| UnixStream::connect(rig.path()).unwrap())
                .collect()
        };
        let mut floods = connect(busy);
        let mut quiet = connect(2);
        for flood in &mut floods {
            flood.write_all(&wire(&["0"; 6_000])).unwrap();
        }
        rig.until("all to be full", |rig| {
            let stats = rig.hub.server_stats(server).unwrap();
            stats.in_flight == high_water_mark && stats.connections == busy + 2
        });
        let mut in_flight: VecDeque<Key> = VecDeque::new();
        let mut seen = 0;
        for round in 1..=3 {
            for stream in &mut quiet {
                stream.write_all(&wire(&["1"])).unwrap();
            }
            let mut settlements = 0;
            while seen < 2 * round {
                rig.poll();
                for (peer, body) in rig.bodies(&rig.events) {
                    in_flight.push_back(peer);
                    seen += usize::from(body == "1");
                }
                rig.events.clear();
                for _ in 0..settled_at_once {
                    if let Some(peer) = in_flight.pop_front() {
                        rig.hub.settle(server, peer, 1);
                    }
                }
                settlements += 1;
                let most = 2 + 2 * (busy as usize + 2);
                assert!(settlements <= most, "{busy} busy ones starve the others");
            }
        }
        assert_eq!(seen, 6);
    }
}

/// What is answered to a frame that was not accepted finds its connection, and a flood of such
/// frames is stopped as any other.
#[test]
fn frames_that_are_not_accepted_are_in_flight_until_they_are_settled() {
    let mut rig = Rig::new();
    let server = rig.server(|options| options.high_water_mark = 2);
    let mut stream = UnixStream::connect(rig.path()).unwrap();
    stream.write_all(&wire(&["", "", ""])).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    for in_flight in [2, 1] {
        rig.until("bad frames", |rig| {
            rig.hub.server_stats(server).unwrap().in_flight == in_flight
        });
        assert_eq!(rig.hub.server_stats(server).unwrap().connections, 1);
        let told = std::mem::take(&mut rig.events);
        for event in told {
            if let Event::BadFrame { connection, .. } = event {
                rig.hub.write(connection, &mut text(&["1"])).unwrap();
                rig.hub.settle(server, connection, 1);
            }
        }
    }
    rig.until("the end", |rig| {
        rig.hub.server_stats(server).unwrap().connections == 0
    });
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).unwrap();
    assert_eq!(replies, wire(&["1", "1", "1"]));
    assert_eq!(rig.hub.server_stats(server).unwrap().bad_frames, 3);
}

/// Bytes of a stream that its peer has not read.
#[cfg(target_os = "linux")]
fn unread(stream: &UnixStream) -> i32 {
    use std::os::fd::AsRawFd;
    let mut held = 0;
    // SAFETY: `SIOCOUTQ`, the same number as `TIOCOUTQ`, writes one int.
    let status = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut held) };
    assert_eq!(status, 0);
    held
}

/// The next frame of a stream that does not block, as soon as it is there.
#[cfg(target_os = "linux")]
fn try_frame(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Ok(frame::Front::Frame(body)) = frame::front(buffer, u32::MAX) {
            let body = body.to_vec();
            buffer.drain(..frame::HEADER_BYTES + body.len());
            return Some(body);
        }
        let mut chunk = [0; 8_192];
        match stream.read(&mut chunk) {
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
            Err(_) => return None,
        }
    }
}

/// A client that finds its marked frame read and no greeting takes the server for one without
/// acknowledgements. So its last byte stays unread until the greeting has left, and that leaves
/// before the replies that wait, however many they are.
#[cfg(target_os = "linux")]
#[test]
fn a_greeting_that_has_to_wait_holds_the_marked_frame_back() {
    const OUTBOUND_MAX: u32 = 600_000;
    // How many frames the reply is that waits, whether as many bytes wait as may, and whether
    // further replies are what moves them.
    for (replies, is_full, writes_on) in [
        (1, false, false),
        (3, false, false),
        (1, true, false),
        (3, true, false),
        (3, false, true),
    ] {
        let mut rig = Rig::new();
        let server = rig.server(|options| options.outbound_bytes_max = OUTBOUND_MAX);
        let mut stream = UnixStream::connect(rig.path()).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.write_all(&wire(&["1"])).unwrap();
        rig.until("the plain frame", |rig| rig.bodies(&rig.events).len() == 1);
        let (peer, _) = rig.bodies(&rig.events).remove(0);
        rig.events.clear();
        // More than the kernel takes at once.
        let reply = format!("\"{}\"", "x".repeat(500_000 / replies));
        let batch = vec![reply.as_str(); replies];
        rig.hub.write(peer, &mut text(&batch)).unwrap();
        let waiting = rig.hub.server_stats(server).unwrap().outbound_bytes;
        assert!(waiting > 0);
        if is_full {
            let room = u64::from(OUTBOUND_MAX) - waiting - frame::HEADER_BYTES as u64;
            let filler = "9".repeat(room as usize);
            rig.hub.write(peer, &mut text(&[&filler])).unwrap();
        }
        stream.write_all(&wire(&["2", "3\t \t", "4"])).unwrap();
        rig.until("the frames before", |rig| {
            rig.bodies(&rig.events).len() == 2
        });
        rig.poll();
        assert_eq!(rig.bodies(&rig.events).len(), 2);
        let mut buffer = Vec::new();
        let mut read = 0;
        loop {
            let Some(body) = try_frame(&mut stream, &mut buffer) else {
                assert!(unread(&stream) > 0, "all is read and no greeting came");
                if writes_on {
                    rig.hub.write(peer, &mut text(&["0"])).unwrap();
                } else {
                    rig.poll();
                }
                continue;
            };
            if body.ends_with(frame::MARK) {
                break;
            }
            assert_eq!(body, reply.as_bytes());
            read += 1;
        }
        assert!(read < 3, "{read} replies came before the greeting");
        rig.until("the last frame", |rig| rig.bodies(&rig.events).len() == 3);
        assert_eq!(unread(&stream), 0);
    }
}

/// Plain clients write frames in pieces of random size, and messages are settled at random: each
/// connection's frames arrive once and in order, and nothing is left over.
#[test]
fn random_pieces_and_random_settling_lose_nothing() {
    for seed in 1..=8u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut rig = Rig::new();
        let high_water_mark = 1 + random(6) as u32;
        let server = rig.server(|options| options.high_water_mark = high_water_mark);
        let mut writers: Vec<_> = (0..4)
            .map(|_| {
                let bodies: Vec<String> = (0..100)
                    .map(|n| format!("\"{n}{}\"", "x".repeat(random(200))))
                    .collect();
                let bytes: Vec<u8> = bodies
                    .iter()
                    .flat_map(|b| frame::encode(b.as_bytes()))
                    .collect();
                (
                    Some(UnixStream::connect(rig.path()).unwrap()),
                    bytes,
                    0,
                    bodies,
                )
            })
            .collect();
        let mut received: Vec<(Key, Vec<String>)> = Vec::new();
        let mut unsettled: Vec<Key> = Vec::new();
        let end = Instant::now() + DEADLINE;
        loop {
            assert!(
                Instant::now() < end,
                "seed {seed}: {:?}",
                rig.hub.server_stats(server)
            );
            let (stream, bytes, at, _) = &mut writers[random(4)];
            if let Some(open) = stream {
                let to = bytes.len().min(*at + 1 + random(300));
                open.write_all(&bytes[*at..to]).unwrap();
                *at = to;
                if to == bytes.len() {
                    *stream = None;
                }
            }
            rig.poll();
            for (peer, body) in rig.bodies(&rig.events) {
                unsettled.push(peer);
                match received.iter_mut().find(|(key, _)| *key == peer) {
                    Some((_, bodies)) => bodies.push(body),
                    None => received.push((peer, vec![body])),
                }
            }
            rig.events.clear();
            assert!(unsettled.len() <= high_water_mark as usize);
            if !unsettled.is_empty() && random(3) > 0 {
                let peer = unsettled.swap_remove(random(unsettled.len()));
                rig.hub.settle(server, peer, 1);
            }
            let stats = rig.hub.server_stats(server).unwrap();
            if stats.accepted == 4 && stats.connections == 0 && unsettled.is_empty() {
                break;
            }
        }
        let mut expected: Vec<_> = writers.into_iter().map(|(.., bodies)| bodies).collect();
        let mut received: Vec<_> = received.into_iter().map(|(_, bodies)| bodies).collect();
        expected.sort();
        received.sort();
        assert!(received == expected, "seed {seed}");
        assert_eq!(rig.hub.next_deadline(), None);
    }
}

#[test]
fn stop_hands_over_what_the_kernel_holds_even_of_clients_not_accepted() {
    let mut rig = Rig::new();
    let server = rig.server(|_| {});
    let mut early = UnixStream::connect(rig.path()).unwrap();
    rig.until("the first client", |rig| {
        rig.hub.server_stats(server).unwrap().connections == 1
    });
    early.write_all(&wire(&["1"])).unwrap();
    let mut late = UnixStream::connect(rig.path()).unwrap();
    late.write_all(&[wire(&["2"]), vec![0, 0, 0, 9]].concat())
        .unwrap();
    rig.events.clear();
    rig.hub.stop(server, Instant::now() + DEADLINE);
    assert!(UnixStream::connect(rig.path()).is_err());
    rig.until("both frames", |rig| rig.bodies(&rig.events).len() == 2);
    let bodies = rig.bodies(&rig.events);
    for (peer, body) in &bodies {
        rig.hub
            .write(*peer, &mut text(&[&format!("{{\"re\":{body}}}")]))
            .unwrap();
        rig.hub.settle(server, *peer, 1);
    }
    rig.next("the end", |event| {
        matches!(event, Event::Stopped { cut: 0, .. }).then_some(())
    });
    // The counters are there until the one who was told has looked at them.
    assert_eq!(rig.hub.server_stats(server).unwrap().frames_sent, 2);
    rig.poll();
    assert!(rig.hub.server_stats(server).is_none());
    for (mut stream, body) in [(early, "{\"re\":1}"), (late, "{\"re\":2}")] {
        let mut reply = Vec::new();
        // Bytes that the server did not read make the kernel report a reset after the reply.
        let _ = stream.read_to_end(&mut reply);
        assert_eq!(reply, frame::encode(body.as_bytes()));
    }
}

#[test]
fn stop_is_told_once_and_cuts_at_the_deadline() {
    let mut rig = Rig::new();
    let server = rig.server(|_| {});
    let mut stream = UnixStream::connect(rig.path()).unwrap();
    stream.write_all(&wire(&["1"])).unwrap();
    rig.until("the frame", |rig| rig.bodies(&rig.events).len() == 1);
    let (peer, _) = rig.bodies(&rig.events).remove(0);
    rig.hub.stop(server, Instant::now());
    let cut = rig.next("the end", |event| match event {
        Event::Stopped { cut, .. } => Some(*cut),
        _ => None,
    });
    assert_eq!(cut, 1);
    rig.hub.settle(server, peer, 1);
    rig.hub.stop(server, Instant::now());
    for _ in 0..3 {
        rig.poll();
    }
    assert!(
        rig.events
            .iter()
            .all(|event| !matches!(event, Event::Stopped { .. }))
    );
    assert!(rig.hub.write(peer, &mut text(&["1"])).is_err());
    assert_eq!(rig.hub.next_deadline(), None);
}

#[test]
fn a_frame_that_never_ends_is_cut_also_when_much_of_it_arrives_at_once() {
    let mut rig = Rig::new();
    let server = rig.server(|options| options.frame_timeout = Duration::from_millis(20));
    let mut stream = UnixStream::connect(rig.path()).unwrap();
    let writer = std::thread::spawn(move || {
        stream.write_all(&10_000_000u32.to_be_bytes()).unwrap();
        // More than one turn reads; it ends when the server cuts the connection.
        let _ = stream.write_all(&vec![b'1'; 2_000_000]);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let code = rig.next("the cut", |event| match event {
        Event::PeerClosed {
            error: Some(error), ..
        } => Some(error.code().into_owned()),
        _ => None,
    });
    assert_eq!(code, "ERR_IPC_FRAME_TIMEOUT");
    writer.join().unwrap();
    assert_eq!(rig.hub.server_stats(server).unwrap().connections, 0);
}

#[test]
fn a_lost_connection_is_made_again() {
    let mut rig = Rig::new();
    let first = rig.server(|_| {});
    let client = rig.client(|options| options.reconnect_delay = Some(Duration::from_millis(1)));
    rig.hub.connect(client).unwrap();
    rig.next("the connection", |event| {
        matches!(event, Event::Connected { .. }).then_some(())
    });
    rig.hub.stop(first, Instant::now());
    rig.next("the loss", |event| {
        matches!(event, Event::Disconnected { .. }).then_some(())
    });
    for expected in 1..=3 {
        let attempt = rig.next("an attempt", |event| match event {
            Event::RetryScheduled { attempt, .. } => Some(*attempt),
            _ => None,
        });
        assert_eq!(attempt, expected);
    }
    rig.server(|_| {});
    rig.next("the connection", |event| {
        matches!(event, Event::Connected { .. }).then_some(())
    });
    assert_eq!(rig.hub.client_stats(client).unwrap().connections, 2);
    rig.hub.drop_client(client);
    assert!(rig.hub.client_stats(client).is_none());
}

#[test]
fn words_are_forgotten_when_there_are_too_many_and_nothing_refers_to_them() {
    let mut rig = Rig::new();
    let server = rig.server(|_| {});
    let mut streams = [(); 2].map(|()| UnixStream::connect(rig.path()).unwrap());
    let usual = "\"buy\",".repeat(62);
    for first in (0..6_000).step_by(50) {
        let sent: Vec<_> = (first..first + 50)
            .map(|number| format!("[{usual}\"word {number} of many\",\"word {number} of many\"]"))
            .collect();
        let bodies: Vec<_> = sent.iter().map(String::as_str).collect();
        for stream in &mut streams {
            stream.write_all(&wire(&bodies)).unwrap();
        }
        let mut received = 0;
        while received < 2 * sent.len() {
            rig.until("frames", |rig| {
                rig.hub.server_stats(server).unwrap().in_flight > 0
            });
            // Only now, when all definitions of this wake-up are known.
            let events = std::mem::take(&mut rig.events);
            for (peer, body) in rig.bodies(&events) {
                assert!(sent.contains(&body), "{body}");
                rig.hub.settle(server, peer, 1);
                received += 1;
            }
        }
    }
    assert_eq!(rig.forgotten(), 1);
}
