//! Caps on real connections; the arithmetic itself is tested in virtual time in `protocol/core`.

use std::{sync::Arc, time::Duration};

use dominator_protocol_core::{Get, Message, Method};
use dominator_protocol_quic::{Client, Connection, Pacer, Settings};
use tokio::time::Instant;

use crate::fleet::{ALL, Echo, Fleet, SERVER_NAME, any_port, chunk, connect, serve, soon};

const RATE: u64 = 2_000_000;
const OBJECT_LEN: usize = 50_000;

/// Fetches objects on several streams at once and returns when how many bytes had arrived.
async fn fetch(connections: &[Connection], object_count: usize, stream_count: usize) -> Vec<(Duration, u64)> {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for connection in connections {
        for _ in 0..stream_count {
            let connection = connection.clone();
            tasks.spawn(async move {
                let mut call = connection.call(Method::ObjectGet).await.unwrap();
                call.feed(&Get { ids: (0..object_count).map(chunk).collect() }).await.unwrap();
                call.finish().await.unwrap();
                let mut arrived = Vec::new();
                while let Some(message) = call.recv().await.unwrap() {
                    let Message::Object(object) = message else { panic!("{message:?}") };
                    arrived.push((start.elapsed(), object.0.len() as u64));
                }
                arrived
            });
        }
    }
    let mut arrived: Vec<_> = soon(tasks.join_all()).await.into_iter().flatten().collect();
    arrived.sort();
    arrived
}

fn check_rate(arrived: &[(Duration, u64)], slack_len: u64) {
    let total_len: u64 = arrived.iter().map(|(_, len)| len).sum();
    let took = arrived.last().unwrap().0.as_secs_f64();
    let at_least = (total_len - slack_len) as f64 / (RATE as f64 * 1.03);
    assert!(took >= at_least, "{total_len} bytes in {took} s");
    // How closely a cap is used is tested in virtual time; a busy machine may be late here.
    let at_most = total_len as f64 / (RATE as f64 * 0.5) + 1.0;
    assert!(took <= at_most, "{total_len} bytes took {took} s: the cap is not used");
}

#[tokio::test]
async fn a_receive_cap_holds_over_all_streams_of_a_connection_and_can_be_lifted() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo { object_len: OBJECT_LEN, ..Echo::default() }));
    let connection = connect(&server, &fleet.credentials("client", ALL)).await.unwrap();
    connection.set_receive_rate(Some(RATE));
    check_rate(&fetch(std::slice::from_ref(&connection), 15, 4).await, 0);
    connection.set_receive_rate(None);
    let arrived = fetch(&[connection], 200, 4).await;
    assert!(arrived.last().unwrap().0 < Duration::from_secs(5), "40 MB without a cap");
}

#[tokio::test]
async fn a_cap_asked_of_the_sender_holds_on_the_wire() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo { object_len: OBJECT_LEN, ..Echo::default() }));
    let connection = connect(&server, &fleet.credentials("client", ALL)).await.unwrap();
    connection.set_receive_rate(Some(RATE));
    let fetching = tokio::spawn({
        let connection = connection.clone();
        async move { fetch(&[connection], 60, 1).await }
    });
    // Each look at the counter stands between two looks at the clock, so that a pause of this task makes no rate look high.
    let look = || (Instant::now(), connection.udp_received_len(), Instant::now());
    let mut marks = vec![look()];
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while !fetching.is_finished() {
        ticks.tick().await;
        marks.push(look());
    }
    fetching.await.unwrap();
    let check = |first: &(Instant, u64, Instant), last: &(Instant, u64, Instant)| {
        let (len, took) = (last.1 - first.1, (last.2 - first.0).as_secs_f64());
        assert!(len as f64 <= RATE as f64 * 1.03 * took, "{len} bytes on the wire in {took} s");
    };
    check(&marks[0], &marks[marks.len() - 1]);
    for window in marks.windows(22) {
        check(&window[0], &window[window.len() - 1]);
    }
}

#[tokio::test]
async fn a_send_cap_holds_over_all_connections_of_a_server() {
    let fleet = Fleet::new();
    let settings = Settings { send_rate: Pacer::new(Some(RATE)), ..Settings::default() };
    let echo = Arc::new(Echo { object_len: OBJECT_LEN, ..Echo::default() });
    let server = serve(&fleet.credentials("server", &[]), echo, settings);
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(connect(&server, &fleet.credentials("client", ALL)).await.unwrap());
    }
    check_rate(&fetch(&connections, 10, 2).await, 0);
}

#[tokio::test]
async fn a_receive_cap_holds_over_all_connections_of_a_client() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo { object_len: OBJECT_LEN, ..Echo::default() }));
    let settings = Settings { receive_rate: Pacer::new(Some(RATE)), ..Settings::default() };
    let client = Client::bind(any_port(), &fleet.credentials("client", ALL), settings).unwrap();
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(client.connect(server.local_addr().unwrap(), SERVER_NAME).await.unwrap());
    }
    check_rate(&fetch(&connections, 10, 2).await, 0);
}
