//! One running agent, put together.
//!
//! Owns the order of a start and a stop. Invariants: the root is locked before anything in it is read; peers are answered as
//! soon as the socket is open, while recovery and the first scan go on; on the way down an update comes to its end before
//! the process does.
//!
//! Does not read flags or set up logs (`main`).

use std::{future::Future, net::SocketAddr, path::Path, sync::Arc, sync::mpsc as sync_mpsc, thread};

use dominator_protocol_quic::{self as quic, Client, Credentials, Pacer, Server, Settings};
use dominator_store_core::PRIVATE_DIR;
use dominator_store_fs::{Dir, FsError};
use dominator_store_pack::Cache;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    agent::{Agent, End, Input},
    apply::{Applier, ApplyError, ApplyOptions},
    chain::chain,
    config::Config,
    fetch::Fetcher,
    keeper::{Activity, Keeper, every_processor},
    limits::{INPUT_COUNT_MAX, SERVICE_TIMEOUT, TASK_COUNT_MAX},
    link::{Link, Served},
    machine::Machine,
    service::{NoServices, ServiceManager, Systemctl},
    state::{Saved, StateError},
};

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificate, the key or the socket is not usable.
    #[error(transparent)]
    Link(#[from] quic::Error),
    /// The managed root cannot be opened.
    #[error("cannot open the managed root")]
    Root(#[source] FsError),
    /// The private directory cannot be used, or another agent uses it.
    #[error("cannot take possession of the managed root")]
    Private(#[source] ApplyError),
    /// The chunk cache cannot be opened.
    #[error("cannot open the chunk cache")]
    Cache(#[source] dominator_store_pack::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// No random number can be had.
    #[error("cannot draw a random number")]
    Random(#[source] std::io::Error),
}

/// Runs an agent until `stop`, or until it ends by itself; `ready` is called with its address when it can be called.
///
/// # Errors
/// When it cannot start.
pub async fn run(
    config: Config,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<End, StartError> {
    let credentials = Credentials::load(&config.ca, &config.cert, &config.key)?;
    let root = Arc::new(Dir::open(&config.root).map_err(StartError::Root)?);
    let again = || root.try_clone().map_err(StartError::Root);
    let options = ApplyOptions { threads: every_processor(), ..ApplyOptions::default() };
    let applier = Applier::open(again()?, options).map_err(StartError::Private)?;
    let private = config.root.join(PRIVATE_DIR);
    let cache = Arc::new(Cache::open(&private.join("cache"), config.cache_limit_len).map_err(StartError::Cache)?);
    let saved = load(&private);
    let required = saved.required.clone();

    let server = Arc::new(Server::bind(config.listen, &credentials, Settings::default())?);
    let any = if config.listen.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let pace = Settings { receive_rate: Pacer::new(config.network.rate_max_bytes_per_s), ..Settings::default() };
    let client = Client::bind(any.parse().expect("an address"), &credentials, pace)?;
    let fetcher = Arc::new(Fetcher::new(client, Arc::clone(&root), Arc::clone(&cache)));

    let activity = Arc::new(Activity::default());
    let is_machine = config.root == Path::new("/");
    let manager: Box<dyn ServiceManager + Send> =
        if is_machine { Box::new(Systemctl::new(SERVICE_TIMEOUT)) } else { Box::new(NoServices) };
    let keeper = Keeper {
        root: Arc::clone(&root),
        is_machine,
        applier,
        manager,
        cache,
        config: config.scan,
        activity: Arc::clone(&activity),
    };
    let (tasks, task_queue) = sync_mpsc::sync_channel(TASK_COUNT_MAX);
    let (inputs, input_queue) = mpsc::channel(INPUT_COUNT_MAX);
    let (keeper_over, keeper_end) = oneshot::channel();
    let told = inputs.clone();
    let keeper_private = private.clone();
    thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(move || {
            // Nobody listens any more only when the process is about to end.
            let tell = |news| drop(told.blocking_send(Input::Told(news)));
            if let Err(error) = keeper.run(&keeper_private, required.as_ref(), &task_queue, tell) {
                tracing::error!(error = chain(&error), "the keeper cannot start");
            }
            let _ = keeper_over.send(());
        })
        .map_err(StartError::Thread)?;

    let (served_sender, served) = watch::channel(Served::default());
    let service = Arc::new(Link::new(inputs, served));
    let serving = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.serve(service).await }
    });
    ready(server.local_addr()?);
    let machine = Machine::new(draw_instance().map_err(StartError::Random)?, saved);
    let agent = Agent::new(machine, Arc::clone(&fetcher), config.network, private, activity, tasks, served_sender);
    let end = agent.run(input_queue, keeper_end, stop).await;
    server.close();
    fetcher.close().await;
    // The endpoint tells its peers before it goes; nothing else depends on it.
    let _ = serving.await;
    Ok(end)
}

/// Reads what was remembered; what cannot be read is forgotten, because the controller knows it all.
fn load(private: &Path) -> Saved {
    Saved::load(private).unwrap_or_else(|error: StateError| {
        tracing::error!(error = chain(&error), "the state of the agent is lost; it waits for a required image");
        Saved::default()
    })
}

fn draw_instance() -> std::io::Result<u64> {
    use std::io::Read;

    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
