//! `dominator`: drives a fleet to its required images.
//!
//! Owns arguments, logging and signals. Invariants: it runs only with a configuration that is understood whole; SIGTERM and
//! SIGINT end it cleanly; SIGHUP reads the machine database again.
//!
//! Does not do the work: the library beside it does.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use dominator_controller_daemon::{Config, Daemon};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Drives a fleet to its required images.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and the certificates, then exit
    #[arg(long)]
    check: bool,
    /// Write the log as JSON lines
    #[arg(long)]
    log_json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(arguments.log_json);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::read(&arguments.config)?;
    if arguments.check {
        let certificates = &config.certificates;
        let credentials =
            dominator_protocol_quic::Credentials::load(&certificates.ca, &certificates.certificate, &certificates.key)?;
        println!("configuration is valid; we are {}", credentials.identity().name);
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(drive(&config))
}

async fn drive(config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let daemon = Daemon::start(config).await?;
    tracing::info!(listen = %daemon.listen_addr(), machine_count = daemon.machine_count(), "ready");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                tracing::info!("reload");
                daemon.reload().await;
            }
        }
    }
    tracing::info!("stopping");
    daemon.stop().await;
    Ok(())
}

/// Logs to standard error; `RUST_LOG` chooses what.
fn start_log(as_json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if as_json {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
}
