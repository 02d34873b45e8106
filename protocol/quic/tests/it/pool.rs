//! Pools over the loopback interface; what they are for is shown in `weather`.

use std::{sync::Arc, time::Duration};

use dominator_protocol_core::{Get, Method, Poll, Unchanged};
use dominator_protocol_quic::{Client, Error, Settings};
use tokio::time::Instant;

use crate::fleet::{ALL, Echo, Fleet, SERVER_NAME, any_port, chunk, soon};

async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn calls_are_spread_and_counted() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo::default()));
    let client = Client::bind(any_port(), &fleet.credentials("client", ALL), Settings::default()).unwrap();
    let pool = client.connect_pool(server.local_addr().unwrap(), SERVER_NAME, 4).await.unwrap();
    until(|| pool.connections().len() == 4).await;
    let mut calls = Vec::new();
    for _ in 0..12 {
        calls.push(pool.call(Method::ObjectGet).await.unwrap());
    }
    assert!(pool.connections().iter().all(|connection| connection.call_count() == 3));
    let (sender, receiver) = calls.pop().unwrap().split();
    drop(sender);
    assert_eq!(pool.connections().iter().map(|connection| connection.call_count()).sum::<usize>(), 12);
    drop(receiver);
    assert_eq!(pool.connections().iter().map(|connection| connection.call_count()).sum::<usize>(), 11);
    calls.clear();
    assert!(pool.connections().iter().all(|connection| connection.call_count() == 0));
    pool.close();
    assert!(pool.connections().is_empty());
    let _: Unchanged =
        soon(pool.connection().await.unwrap().ask(Method::MachinePoll, &Poll { known: None })).await.unwrap();
}

#[tokio::test]
async fn a_cap_holds_over_the_whole_pool() {
    const RATE: u64 = 2_000_000;
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo { object_len: 50_000, ..Echo::default() }));
    let client = Client::bind(any_port(), &fleet.credentials("client", ALL), Settings::default()).unwrap();
    let pool = client.connect_pool(server.local_addr().unwrap(), SERVER_NAME, 4).await.unwrap();
    pool.set_receive_rate(Some(RATE));
    until(|| pool.connections().len() == 4).await;
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut call = pool.call(Method::ObjectGet).await.unwrap();
            call.feed(&Get { ids: (0..15).map(chunk).collect() }).await.unwrap();
            call.finish().await.unwrap();
            while soon(call.recv()).await.unwrap().is_some() {}
        });
    }
    tasks.join_all().await;
    let (len, took) = (4.0 * 15.0 * 50_000.0, start.elapsed().as_secs_f64());
    assert!(took >= len / (RATE as f64 * 1.03), "{len} bytes in {took} s");
    assert!(took <= len / (RATE as f64 * 0.5) + 1.0, "{len} bytes took {took} s: the cap is not used");
    // Too little for four: one connection carries all.
    pool.set_receive_rate(Some(300_000));
    let calls = [pool.call(Method::ObjectGet).await.unwrap(), pool.call(Method::ObjectGet).await.unwrap()];
    assert!(pool.connections().iter().any(|connection| connection.call_count() == calls.len()));
}

#[tokio::test]
async fn a_pool_without_a_peer_says_so() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo::default()));
    let address = server.local_addr().unwrap();
    let settings = Settings { idle_timeout: Duration::from_millis(300), ..Settings::default() };
    let client = Client::bind(any_port(), &fleet.credentials("client", ALL), settings).unwrap();
    let pool = client.connect_pool_to(&address.to_string(), Some(SERVER_NAME), 2).await.unwrap();
    server.close();
    drop(server);
    until(|| pool.connections().is_empty()).await;
    let error: Error = soon(pool.connection()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(client.connect_pool(address, "other.test", 0).await.is_err());
}
