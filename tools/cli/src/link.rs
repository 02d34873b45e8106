//! One connection for a command.
//!
//! Owns the runtime, the socket and the connection of a command, and hides that they are asynchronous. Invariant: a command
//! waits in the thread that asked; dropping the link tells the peer that all is said.
//!
//! What is said is `remote`, `upload` and the commands.

use std::{net::Ipv6Addr, time::Duration};

use anyhow::{Context as _, Result};
use dominator_protocol_quic::{Client, Connection, Credentials, Error, Settings};
use tokio::runtime::Runtime;

use crate::settings::Peer;

/// Packets that keep the connection while a command computes.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// A peer that is silent for so long is gone; killed peers say nothing, so this is what a publish waits before it is taken up
/// again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a command waits, at its end, for the word that it is over to leave the machine; whether it arrives is not waited
/// for, because the peer has a timeout of its own.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(20);

/// A runtime with one connection.
pub(crate) struct Link {
    runtime: Runtime,
    client: Client,
    connection: Connection,
}

impl Link {
    /// Reads the certificates and connects.
    pub(crate) fn open(peer: &Peer) -> Result<Self> {
        let credentials = Credentials::load(&peer.ca, &peer.cert, &peer.key)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let settings = Settings { keep_alive: Some(KEEP_ALIVE), idle_timeout: IDLE_TIMEOUT, ..Settings::default() };
        let (client, connection) = runtime
            .block_on(async {
                // An IPv6 socket reaches both families, where the machine has IPv6 at all.
                let client = Client::bind((Ipv6Addr::UNSPECIFIED, 0).into(), &credentials, settings.clone())
                    .or_else(|_| Client::bind(([0, 0, 0, 0], 0).into(), &credentials, settings))?;
                let connection = client.connect_to(&peer.host_port, peer.name.as_deref()).await?;
                Ok::<_, Error>((client, connection))
            })
            .with_context(|| format!("cannot reach {}", peer.host_port))?;
        Ok(Self { runtime, client, connection })
    }

    /// Runs a future on the connection and waits for it.
    pub(crate) fn block_on<T>(&self, task: impl AsyncFnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        self.runtime.block_on(task(&self.connection))
    }

    /// Returns the runtime.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.connection.close();
        // A peer that does not hear it finds out by its own timeout.
        let _ = self.runtime.block_on(async { tokio::time::timeout(CLOSE_TIMEOUT, self.client.close()).await });
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("peer", &self.connection.remote_addr()).finish_non_exhaustive()
    }
}
