//! The life of an image server: open, listen, serve, drain.
//!
//! Owns the order of these, and the ready line. Invariants: the ready line is printed when peers can connect, not before;
//! after the order to stop, calls under way may end, up to a deadline.
//!
//! Signals are `main`; answers are `service`.

use std::{future::Future, io::Write as _, sync::Arc};

use anyhow::{Context as _, Result};
use dominator_protocol_quic::{Credentials, Pacer, Server, Settings};
use dominator_store_engine::Store;

use crate::{Config, Images, limits::DRAIN_TIMEOUT};

/// Serves until `stop` is over; prints one line with the address when it is ready.
///
/// # Errors
/// When the store cannot be opened, the certificates cannot be used, or the address is taken.
pub async fn run(config: &Config, stop: impl Future<Output = ()>) -> Result<()> {
    let credentials = Credentials::load(&config.ca, &config.cert, &config.key)?;
    let dir = config.store.clone();
    let store = tokio::task::spawn_blocking(move || Store::open(&dir))
        .await?
        .with_context(|| format!("cannot open the store {}", config.store.display()))?;
    let settings = Settings { send_rate: Pacer::new(config.send_rate_bytes_per_s), ..Settings::default() };
    let server = Arc::new(Server::bind(config.listen, &credentials, settings)?);
    let images = Images::new(store, config.calls_max, config.publishes_max);
    let address = server.local_addr()?;
    tracing::info!(%address, store = %config.store.display(), name = %credentials.identity().name, "serving");
    println!("imageserver ready on {address}");
    // Whoever started us may have stopped listening; that is no reason to stop serving.
    let _ = std::io::stdout().flush();
    let serving = tokio::spawn({
        let (server, images) = (Arc::clone(&server), Arc::new(images.clone()));
        async move { server.serve(images).await }
    });
    stop.await;
    tracing::info!("stopping");
    if tokio::time::timeout(DRAIN_TIMEOUT, images.drain()).await.is_err() {
        tracing::warn!("calls are cut off");
    }
    server.close();
    serving.await.context("the server failed")?;
    Ok(())
}
