//! Several connections with one peer.
//!
//! Owns `Pool`: which connection a call takes, the replacement of lost ones, and one cap for all. Invariants: calls are
//! spread evenly; while one connection is open, no call waits for another to be made; the caps of the connections together are
//! the cap of the pool.
//!
//! Does not repeat calls: a call that was under way on a lost connection fails, and its caller knows what it still lacks.
//!
//! One connection fills a clean link. On a long link that loses packets at random it cannot: its congestion control takes each
//! loss for a sign of crowding. Several connections lose no more than one does, but each of them only its own.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use dominator_protocol_core::Method;
use tokio::task::JoinSet;

use crate::{
    Call, Client, Connection, Error,
    limits::{POOL_CONNECTIONS_MAX, POOL_RATE_MIN},
};

/// Several connections with one peer; clones share them.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    peer: SocketAddr,
    server_name: String,
    state: Mutex<State>,
    /// Where the search for a connection begins, so that equals take turns.
    turn: AtomicUsize,
    /// Somebody is replacing lost connections.
    is_mending: AtomicBool,
    /// Held by the one caller who connects when all connections are lost.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    connections: Vec<Connection>,
    rate_bytes_per_s: Option<u64>,
    has_rate: bool,
}

impl Client {
    /// Opens `count` connections to the same peer, at least 1 and at most `limits::POOL_CONNECTIONS_MAX`. The first is open on
    /// return; the others are made while it is already in use.
    ///
    /// # Errors
    /// Those of `connect`.
    pub async fn connect_pool(&self, address: SocketAddr, server_name: &str, count: usize) -> Result<Pool, Error> {
        let first = self.connect(address, server_name).await?;
        Ok(Pool::around(self.clone(), first, address, server_name, count))
    }

    /// Opens several connections to `HOST:PORT`, like `connect_to` and `connect_pool`.
    ///
    /// # Errors
    /// Those of `connect_to`.
    pub async fn connect_pool_to(
        &self,
        host_port: &str,
        server_name: Option<&str>,
        count: usize,
    ) -> Result<Pool, Error> {
        let (first, server_name) = self.connect_to_any(host_port, server_name).await?;
        let address = first.remote_addr();
        Ok(Pool::around(self.clone(), first, address, &server_name, count))
    }
}

impl Pool {
    fn around(client: Client, first: Connection, peer: SocketAddr, server_name: &str, count: usize) -> Self {
        let count = count.clamp(1, POOL_CONNECTIONS_MAX);
        let state = State { connections: vec![first; count], rate_bytes_per_s: None, has_rate: false };
        let pool = Self {
            shared: Arc::new(Shared {
                client,
                peer,
                server_name: server_name.to_owned(),
                state: Mutex::new(state),
                turn: AtomicUsize::new(0),
                is_mending: AtomicBool::new(false),
                connecting: tokio::sync::Mutex::new(()),
            }),
        };
        pool.mend();
        pool
    }

    /// Opens a call on the connection that has the fewest.
    ///
    /// # Errors
    /// Those of `connection` and of `Connection::call`.
    pub async fn call(&self, method: Method) -> Result<Call, Error> {
        self.connection().await?.call(method).await
    }

    /// Returns the open connection that has the fewest calls. If all are lost, waits for a new one; if some are, others begin
    /// to be made.
    ///
    /// # Errors
    /// Those of `Client::connect`, when there is no connection.
    pub async fn connection(&self) -> Result<Connection, Error> {
        if let Some(connection) = self.least_used() {
            return Ok(connection);
        }
        // One caller connects, the others find what it has made.
        let _turn = self.shared.connecting.lock().await;
        if let Some(connection) = self.least_used() {
            return Ok(connection);
        }
        let connection = self.connect().await?;
        self.put(0, &connection);
        self.mend();
        Ok(connection)
    }

    /// Returns the connections that are open, each once.
    pub fn connections(&self) -> Vec<Connection> {
        let mut connections: Vec<Connection> = Vec::new();
        for connection in &self.state().connections {
            if connection.is_open() && !connections.iter().any(|known| known.is_same(connection)) {
                connections.push(connection.clone());
            }
        }
        connections
    }

    /// Caps what the pool receives in all.
    ///
    /// Each connection gets an equal part. Under a low cap only as many are used as have a part of `limits::POOL_RATE_MIN`.
    pub fn set_receive_rate(&self, rate_bytes_per_s: Option<u64>) {
        let mut state = self.state();
        state.has_rate = true;
        state.rate_bytes_per_s = rate_bytes_per_s;
        let part = state.part();
        for connection in &state.connections {
            connection.set_receive_rate(part);
        }
    }

    /// Ends all connections; a later call begins anew. Connections that are not closed end when nothing is sent for
    /// `Settings::idle_timeout`.
    pub fn close(&self) {
        for connection in &self.state().connections {
            connection.close();
        }
    }

    fn least_used(&self) -> Option<Connection> {
        let state = self.state();
        let used = state.connections.get(..state.used_count()).unwrap_or_default();
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed) % used.len().max(1);
        let in_turn = used.iter().skip(turn).chain(used.iter().take(turn));
        let least = in_turn.filter(|connection| connection.is_open()).min_by_key(|connection| connection.call_count());
        let least = least.cloned();
        let is_whole = state.vacant().next().is_none();
        drop(state);
        if least.is_some() && !is_whole {
            self.mend();
        }
        least
    }

    /// Makes connections in the place of those that are lost, in the background, until that fails.
    fn mend(&self) {
        if self.shared.is_mending.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = self.clone();
        tokio::spawn(async move {
            // A new connection may be lost before the last one is made; a peer that refuses is left in peace.
            while pool.mend_once().await {}
            pool.shared.is_mending.store(false, Ordering::Release);
        });
    }

    /// Tells whether there was something to do and all of it succeeded.
    async fn mend_once(&self) -> bool {
        let mut attempts = JoinSet::new();
        for pos in self.state().vacant() {
            let pool = self.clone();
            attempts.spawn(async move { pool.connect().await.map(|connection| pool.put(pos, &connection)) });
        }
        let mut has_mended = !attempts.is_empty();
        while let Some(attempt) = attempts.join_next().await {
            if let Ok(Err(error)) = attempt {
                tracing::debug!(peer = %self.shared.peer, error = %error, "a connection of a pool cannot be made");
                has_mended = false;
            }
        }
        has_mended
    }

    async fn connect(&self) -> Result<Connection, Error> {
        self.shared.client.connect(self.shared.peer, &self.shared.server_name).await
    }

    fn put(&self, pos: usize, connection: &Connection) {
        let mut state = self.state();
        if state.has_rate {
            connection.set_receive_rate(state.part());
        }
        if let Some(place) = state.connections.get_mut(pos) {
            *place = connection.clone();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every state is a valid one.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many connections are worth using under the cap.
    fn used_count(&self) -> usize {
        let count = self.connections.len();
        match self.rate_bytes_per_s {
            None => count,
            Some(rate) => usize::try_from(rate / POOL_RATE_MIN).unwrap_or(count).clamp(1, count),
        }
    }

    fn part(&self) -> Option<u64> {
        self.rate_bytes_per_s.map(|rate| rate / self.used_count() as u64)
    }

    /// Places that should be used and have no open connection of their own.
    fn vacant(&self) -> impl Iterator<Item = usize> {
        let used = self.connections.get(..self.used_count()).unwrap_or_default();
        let is_vacant = |pos: &usize| match used.get(*pos) {
            Some(connection) => !connection.is_open() || used.iter().take(*pos).any(|other| other.is_same(connection)),
            None => false,
        };
        (0..used.len()).filter(is_vacant).collect::<Vec<_>>().into_iter()
    }
}
