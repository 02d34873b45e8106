//! The program `subd`.
//!
//! Owns flags, logs, signals and exit codes. Invariant: standard error is for people and the journal, and the one line
//! `subd: ready ...` on it, as well as `READY=1`, comes when peers are answered and not before.
//!
//! Does not run anything itself: `daemon` does.

mod args;

use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use dominator_agent_daemon::{
    agent::End,
    chain::chain,
    config::{Config, DEFAULT_PATH, Settings},
    daemon,
    notify::notify,
};
use dominator_protocol_quic::Credentials;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    match start(args) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> anyhow::Result<ExitCode> {
    let check = args.check_config;
    let log = args.log.clone();
    let config = read_config(args)?;
    if check {
        // What a start would fail on: the certificates as much as the keys of the file.
        let credentials = Credentials::load(&config.ca, &config.cert, &config.key)?;
        writeln!(std::io::stdout(), "{config}# certificate of {}", credentials.identity().name)?;
        return Ok(ExitCode::SUCCESS);
    }
    set_up_log(&log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_COUNT)
        .thread_name("subd")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let (root, is_machine) = (config.root.clone(), config.root == std::path::Path::new("/"));
    let ready = |address: SocketAddr| {
        let _ = writeln!(std::io::stderr(), "subd: ready listen={address} root={}", root.display());
        notify("READY=1");
    };
    let end = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for signals")?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping");
            notify("STOPPING=1");
        };
        Ok::<_, anyhow::Error>(daemon::run(config, ready, stop).await?)
    })?;
    // Whatever blocking work is left reads files or the cache, and may be cut off.
    runtime.shutdown_background();
    match end {
        End::Stopped => Ok(ExitCode::SUCCESS),
        End::RestartAgent => {
            tracing::info!("the agent changed; the service manager starts the new one");
            Ok(ExitCode::SUCCESS)
        }
        End::Reboot if is_machine => {
            tracing::warn!("the image asks for a reboot");
            std::process::Command::new("systemctl").arg("reboot").status().context("cannot reboot")?;
            Ok(ExitCode::SUCCESS)
        }
        End::Reboot => Ok(ExitCode::SUCCESS),
        End::KeeperLost => {
            tracing::error!("the keeper ended unexpectedly");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn read_config(args: Args) -> anyhow::Result<Config> {
    let below = match &args.config {
        Some(path) => Settings::read(path)?,
        None => match Settings::read(std::path::Path::new(DEFAULT_PATH)) {
            // Without a file the flags and the defaults are all there is.
            Err(_) if !std::path::Path::new(DEFAULT_PATH).exists() => Settings::default(),
            result => result?,
        },
    };
    Ok(args.into_settings().over(below).complete()?)
}

fn set_up_log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).context("--log is not a log filter")?;
    let stderr = std::io::stderr();
    let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // The journal has its own times.
    match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().init(),
        None => log.init(),
    }
    Ok(())
}

/// Threads of the runtime: packets on one, calls on the other.
const WORKER_COUNT: usize = 2;
