//! Transfers over links of every kind, in virtual time.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use dominator_protocol_core::{Commit, Get, Message, Method, Object, Offer, Published, Want};
use dominator_protocol_quic::{Client, Connection, Credentials, Error, Pool, Server, Settings, limits::STREAM_WINDOW};
use dominator_store_core::{ImageId, ObjectId};

use crate::{
    fleet::{ALL, Echo, Fleet, SERVER_NAME, chunk},
    virtual_net::{Host, Link, Net, run},
};

const SERVER: &str = "10.0.0.1";
const CLIENT: &str = "10.0.0.2";
const OBJECT_LEN: usize = 50_000;

/// A server and a client on two hosts.
struct Site {
    server: Arc<Server>,
    client: Client,
    address: SocketAddr,
}

impl Site {
    fn new(net: &Net, settings: &Settings) -> Self {
        let fleet = Fleet::new();
        let (server, client) = (fleet.credentials("server", &[]), fleet.credentials("client", ALL));
        let at = |host: Arc<Host>| Settings { network: host, ..settings.clone() };
        let server = serve(&server, at(net.host(SERVER)));
        let address = server.local_addr().unwrap();
        let client = Client::bind("10.0.0.2:0".parse().unwrap(), &client, at(net.host(CLIENT))).unwrap();
        Self { server, client, address }
    }

    async fn connect(&self) -> Connection {
        self.client.connect(self.address, SERVER_NAME).await.unwrap()
    }

    async fn pool(&self, count: usize) -> Pool {
        self.client.connect_pool(self.address, SERVER_NAME, count).await.unwrap()
    }
}

fn serve(credentials: &Credentials, settings: Settings) -> Arc<Server> {
    let server = Arc::new(Server::bind("10.0.0.1:6970".parse().unwrap(), credentials, settings).unwrap());
    let serving = Arc::clone(&server);
    tokio::spawn(async move { serving.serve(Arc::new(Echo { object_len: OBJECT_LEN, ..Echo::default() })).await });
    server
}

fn ids(count: usize) -> Vec<ObjectId> {
    (0..count).map(chunk).collect()
}

/// Gets objects in one call. What has arrived is taken off `wanted`, so that another call goes on where this one fails.
async fn get(connection: &Connection, wanted: &mut VecDeque<ObjectId>) -> Result<(), Error> {
    let mut call = connection.call(Method::ObjectGet).await?;
    call.send(&Get { ids: wanted.iter().copied().collect() }).await?;
    call.finish().await?;
    while let Some(message) = call.recv().await? {
        let Message::Object(Object(record)) = message else { panic!("{message:?}") };
        assert!(record.len() == OBJECT_LEN && record.iter().all(|byte| *byte == 9), "a damaged record arrived");
        wanted.pop_front().expect("no more records than were asked for");
    }
    assert!(wanted.is_empty(), "fewer records than were asked for");
    Ok(())
}

/// Gets objects over a pool in small batches, `width` at a time; failures that may pass are tried again.
async fn get_all(pool: &Pool, count: usize, batch_len: usize, width: usize) -> usize {
    let batches: VecDeque<VecDeque<ObjectId>> =
        ids(count).chunks(batch_len).map(|batch| batch.iter().copied().collect()).collect();
    let (batches, failed_count) = (Arc::new(Mutex::new(batches)), Arc::new(Mutex::new(0)));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..width {
        let (pool, batches, failed_count) = (pool.clone(), Arc::clone(&batches), Arc::clone(&failed_count));
        workers.spawn(async move {
            loop {
                let next = batches.lock().unwrap().pop_front();
                let Some(mut batch) = next else { break };
                while !batch.is_empty() {
                    let result = match pool.connection().await {
                        Ok(connection) => get(&connection, &mut batch).await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = result {
                        assert!(error.is_transient(), "{}", crate::fleet::chain(&error));
                        *failed_count.lock().unwrap() += 1;
                    }
                }
            }
        });
    }
    workers.join_all().await;
    *failed_count.lock().unwrap()
}

fn mbit_per_s(object_count: usize, took: Duration) -> f64 {
    (object_count * OBJECT_LEN) as f64 * 8.0 / took.as_secs_f64() / 1e6
}

#[test]
fn one_connection_fills_a_clean_link() {
    run(Link::clean(100, 25), 1, async |net| {
        let site = Site::new(&net, &Settings::default());
        let connection = site.connect().await;
        let start = net.now();
        get(&connection, &mut ids(1200).into()).await.unwrap();
        let rate = mbit_per_s(1200, net.now() - start);
        let carried = net.carried_len(SERVER, CLIENT) as f64 * 8.0 / (net.now() - start).as_secs_f64() / 1e6;
        println!("60 MB over 100 Mbit/s with 50 ms round trips: {rate:.1} Mbit/s, {carried:.1} with all packets");
        assert!(rate >= 90.0, "{rate} Mbit/s");
    });
}

#[test]
fn a_pool_defies_random_loss() {
    let rate = |connection_count: usize, object_count: usize, seed: u64| {
        let rate = Arc::new(Mutex::new(0.0));
        let told = Arc::clone(&rate);
        run(Link { loss: 0.01, ..Link::clean(100, 50) }, seed, async move |net| {
            let site = Site::new(&net, &Settings::default());
            let pool = site.pool(connection_count).await;
            while pool.connections().len() < connection_count {
                net.sleep(Duration::from_millis(100)).await;
            }
            let start = net.now();
            get_all(&pool, object_count, 5, connection_count).await;
            *told.lock().unwrap() = mbit_per_s(object_count, net.now() - start);
        });
        *rate.lock().unwrap()
    };
    let (one, several) = (rate(1, 300, 2), rate(8, 1600, 3));
    println!("1 % loss with 100 ms round trips: {one:.2} Mbit/s over 1 connection, {several:.2} over 8");
    assert!(several >= 5.0 * one, "{several} against {one} Mbit/s");
}

#[test]
fn every_trouble_at_once_damages_nothing() {
    let link = Link { loss: 0.02, duplication: 0.05, reordering: 0.1, ..Link::clean(20, 20) };
    for seed in 10..14 {
        run(link, seed, async |net| {
            let site = Site::new(&net, &Settings::default());
            let connection = site.connect().await;
            get(&connection, &mut ids(40).into()).await.unwrap();
            let mut call = connection.call(Method::ImagePublish).await.unwrap();
            call.send(&Offer { ids: ids(100) }).await.unwrap();
            let want: Want = call.expect().await.unwrap();
            let wanted_count = want.flags(100).unwrap().into_iter().filter(|wanted| *wanted).count();
            for _ in 0..wanted_count {
                call.feed_object(&[1; 20_000]).await.unwrap();
            }
            call.send(&Commit { name: "debian/v1".into(), image: ImageId::of(b"") }).await.unwrap();
            let published: Published = call.expect().await.unwrap();
            assert_eq!(published.stored_len, 20_000 * wanted_count as u64);
        });
    }
}

/// The path is lost for good every 0.1 to 5 s, and nobody is told: what was whole is kept, and the rest is asked for again.
#[test]
fn a_fetch_survives_paths_that_vanish() {
    const COUNT: usize = 1000;
    run(Link::clean(20, 20), 20, async |net| {
        let fleet = Fleet::new();
        let settings =
            |host| Settings { network: net.host(host), idle_timeout: Duration::from_secs(1), ..Settings::default() };
        let _server = serve(&fleet.credentials("server", &[]), settings(SERVER));
        let credentials = fleet.credentials("client", ALL);
        let cuts = Arc::new(Mutex::new(0));
        let cutting = tokio::spawn({
            let (net, cuts) = (net.clone(), Arc::clone(&cuts));
            async move {
                loop {
                    net.sleep(Duration::from_millis(100 + net.below(4900))).await;
                    *cuts.lock().unwrap() += usize::from(net.sever(CLIENT) > 0);
                }
            }
        });
        let mut wanted: VecDeque<ObjectId> = ids(COUNT).into();
        let mut failed_count = 0;
        while !wanted.is_empty() {
            // The socket is part of the path: each attempt gets a new one.
            let client = Client::bind("10.0.0.2:0".parse().unwrap(), &credentials, settings(CLIENT)).unwrap();
            let result = match client.connect("10.0.0.1:6970".parse().unwrap(), SERVER_NAME).await {
                Ok(connection) => get(&connection, &mut wanted).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                assert!(error.is_transient(), "{}", crate::fleet::chain(&error));
                failed_count += 1;
            }
        }
        cutting.abort();
        let (cuts, carried_len) = (*cuts.lock().unwrap(), net.carried_len(SERVER, CLIENT));
        println!("{cuts} cuts, {failed_count} failed calls, {carried_len} bytes for {}", COUNT * OBJECT_LEN);
        assert!(failed_count > 3, "the cuts were felt");
        let content_len = (COUNT * OBJECT_LEN) as u64;
        let bound = content_len * 106 / 100 + cuts as u64 * u64::from(STREAM_WINDOW);
        assert!(carried_len <= bound, "{carried_len} bytes for {content_len} with {cuts} cuts");
    });
}

/// A link that is down for a while costs time, not connections.
#[test]
fn a_fetch_outlasts_a_link_that_comes_and_goes() {
    run(Link::clean(20, 20), 21, async |net| {
        let site = Site::new(&net, &Settings::default());
        let connection = site.connect().await;
        let cutting = tokio::spawn({
            let net = net.clone();
            async move {
                loop {
                    net.sleep(Duration::from_millis(100 + net.below(4900))).await;
                    net.cut(Duration::from_millis(100 + net.below(2000)));
                }
            }
        });
        get(&connection, &mut ids(500).into()).await.unwrap();
        cutting.abort();
        assert!(connection.is_open());
    });
}

/// A pool whose connections are closed one after the other replaces them, and its calls can be resumed.
#[test]
fn a_pool_replaces_what_it_loses() {
    run(Link::clean(50, 10), 22, async |net| {
        let site = Site::new(&net, &Settings::default());
        let pool = site.pool(4).await;
        let closing = tokio::spawn({
            let (net, pool) = (net.clone(), pool.clone());
            async move {
                for _ in 0..12 {
                    net.sleep(Duration::from_millis(100 + net.below(900))).await;
                    let open = pool.connections();
                    // All at once, now and then.
                    let count = if net.below(4) == 0 { open.len() } else { 1 };
                    for connection in open.iter().take(count) {
                        connection.close();
                    }
                }
            }
        });
        let failed_count = get_all(&pool, 1200, 10, 6).await;
        println!("{failed_count} calls failed");
        assert!(failed_count > 3);
        assert!(closing.await.is_ok());
        while pool.connections().len() < 4 {
            let _ = pool.connection().await.unwrap();
            net.sleep(Duration::from_millis(100)).await;
        }
        site.server.close();
    });
}
