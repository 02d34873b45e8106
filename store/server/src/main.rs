//! The program `imageserver`.
//!
//! Owns flags, logging and signals. Invariants: SIGTERM and SIGINT end it in order; a second one ends it at once; stdout has
//! the ready line only, logs go to stderr.
//!
//! Everything else is the library beside it.

use std::{io::IsTerminal as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Parser;
use dominator_store_server::{ConfigFile, limits::BLOCKING_THREADS_MAX, run};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Serve the images of a store: publish, list, fetch.
#[derive(Debug, Parser)]
#[command(name = "imageserver", version)]
struct Args {
    /// Configuration file (TOML); flags beat it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The store
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// UDP address to listen on [default: port 6970 of every address]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Certificate of the authority
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Our certificate
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Our private key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Publishes under way at once
    #[arg(long, value_name = "COUNT")]
    publishes_max: Option<usize>,
    /// Calls under way at once
    #[arg(long, value_name = "COUNT")]
    calls_max: Option<usize>,
    /// Cap on what is sent, over all peers
    #[arg(long, value_name = "BYTES/S")]
    send_rate_bytes_per_s: Option<u64>,
    /// What to log: a level, or a list such as info,dominator_store_server=debug
    #[arg(long, value_name = "FILTER", default_value = "info", env = "IMAGESERVER_LOG")]
    log: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("  {cause}"));
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> Result<()> {
    let filter = EnvFilter::try_new(&args.log).context("cannot understand --log")?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
    let file = args.config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
    let flags = ConfigFile {
        store: args.store,
        listen: args.listen,
        ca: args.ca,
        cert: args.cert,
        key: args.key,
        publishes_max: args.publishes_max,
        calls_max: args.calls_max,
        send_rate_bytes_per_s: args.send_rate_bytes_per_s,
    };
    let config = flags.complete(file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut asked = async move || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let served = run(&config, async {
            // A sender that is gone has told us too.
            let _ = told.await;
        });
        tokio::pin!(served);
        tokio::select! {
            ended = &mut served => return ended,
            () = asked() => {}
        }
        drop(tell);
        tokio::select! {
            ended = &mut served => ended,
            () = asked() => Ok(()),
        }
    });
    // Store work that a call began and nobody waits for any more must not hold up the end.
    runtime.shutdown_background();
    ended
}
