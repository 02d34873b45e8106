//! The life of an image server: open, listen, serve, drain.
//!
//! Owns the order of these, and the ready line. Invariants: the ready line is printed when peers can connect, not before;
//! certificates and revocation lists that change on disk are used without a restart; after the order to stop, calls under way
//! may end, up to a deadline.
//!
//! Signals are `main`; answers are `service`.

use std::{future::Future, io::Write as _, net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use dominator_protocol_quic::{CredentialFiles, Pacer, Server, Settings, limits::CREDENTIALS_CHECK};
use dominator_store_engine::Store;

use crate::{Config, Images, limits::DRAIN_TIMEOUT};

/// Serves until `stop` is over; prints one line with the address when it is ready.
///
/// # Errors
/// When the store cannot be opened, the certificates cannot be used, or the address is taken.
pub async fn run(config: &Config, stop: impl Future<Output = ()>) -> Result<()> {
    let credentials = CredentialFiles::new(&config.ca, &config.cert, &config.key).watch()?;
    let dir = config.store.clone();
    let store = tokio::task::spawn_blocking(move || Store::open(&dir))
        .await?
        .with_context(|| format!("cannot open the store {}", config.store.display()))?;
    let settings = Settings { send_rate: Pacer::new(config.send_rate_bytes_per_s), ..Settings::default() };
    let server = Arc::new(Server::bind_watched(config.listen, &credentials, settings)?);
    let images = Images::new(store, config.calls_max, config.publishes_max);
    // The port may have been left to the operating system; the address is the one that was asked for.
    let listen = SocketAddr::new(config.listen.ip(), server.local_addr()?.port());
    tracing::info!(%listen, store = %config.store.display(), name = credentials.current().identity().name, "serving");
    println!("imageserver ready on {listen}");
    // Whoever started us may have stopped listening; that is no reason to stop serving.
    let _ = std::io::stdout().flush();
    let serving = tokio::spawn({
        let (server, images) = (Arc::clone(&server), Arc::new(images.clone()));
        async move { server.serve(images).await }
    });
    let following = tokio::spawn(async move { credentials.follow(CREDENTIALS_CHECK).await });
    stop.await;
    tracing::info!("stopping");
    if tokio::time::timeout(DRAIN_TIMEOUT, images.drain()).await.is_err() {
        tracing::warn!("calls are cut off");
    }
    following.abort();
    server.close();
    serving.await.context("the server failed")?;
    Ok(())
}
