//! The daemon as a whole: starting, reloading, stopping.
//!
//! Owns the order of the start: configuration, certificates, ledger, sockets, machines. Invariants: nothing is directed
//! before the ledger is open; after `stop` nothing of it goes on.
//!
//! Does not read signals: `main` does.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use dominator_controller_core::Pace;
use dominator_protocol_quic::{Client, CredentialFiles, CredentialsWatch, Server, Settings, limits::CREDENTIALS_CHECK};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::{
    Config, Error,
    clock::Clock,
    error::chain,
    fleet::Fleet,
    images::Images,
    ledger::Ledger,
    limits::{CONNECT_TIMEOUT, IDLE_TIMEOUT, KEEP_ALIVE, MDB_CHECK_INTERVAL, STOP_TIMEOUT},
    machine::Context,
    mdb::{InForce, MdbSource},
    service::FleetService,
};

/// The running daemon.
#[derive(Debug)]
pub struct Daemon {
    fleet: Arc<Fleet>,
    mdb: Arc<Mutex<MdbSource>>,
    credentials: CredentialsWatch,
    server: Arc<Server>,
    client: Client,
    ledger: Ledger,
    listen: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Starts; must be called inside a runtime.
    ///
    /// # Errors
    /// When certificates, addresses or the state directory cannot be used.
    pub async fn start(config: &Config) -> Result<Self, Error> {
        config.check()?;
        let certificates = &config.certificates;
        let credentials =
            CredentialFiles::new(&certificates.ca, &certificates.certificate, &certificates.key).watch()?;
        let ledger = Ledger::open(&config.state_dir)?;
        let server = Arc::new(Server::bind_watched(config.listen, &credentials, Settings::default())?);
        let listen = server.local_addr()?;
        let client = open_client(&credentials)?;
        let images = Images::new(client.clone(), &config.image_server);
        let context = Context {
            clock: Clock::start(),
            client: client.clone(),
            images,
            ledger: ledger.clone(),
            pace: Pace { idle: config.poll_interval(), active: config.active_interval().min(config.poll_interval()) },
            connects: Semaphore::new(config.limits.connects),
            searches: Arc::new(Semaphore::new(config.limits.searches)),
            server: (config.image_server.for_machines().to_owned(), config.image_server.name().to_owned()),
            rate_bytes_per_s: config.fetch.rate_bytes_per_s,
        };
        let fleet = Arc::new(Fleet::new(Arc::new(context)));
        let mdb = Arc::new(Mutex::new(MdbSource::new(config.mdb.clone())));
        look(&mdb, &fleet, MdbSource::check).await;
        let serving = {
            let (server, service) = (Arc::clone(&server), Arc::new(FleetService(Arc::clone(&fleet))));
            tokio::spawn(async move { server.serve(service).await })
        };
        let watching = tokio::spawn(watch_mdb(Arc::clone(&mdb), Arc::clone(&fleet)));
        let following = {
            let credentials = credentials.clone();
            tokio::spawn(async move { credentials.follow(CREDENTIALS_CHECK).await })
        };
        let tasks = vec![serving, watching, following];
        Ok(Self { fleet, mdb, credentials, server, client, ledger, listen, tasks })
    }

    /// Returns the address on which operators are answered.
    pub const fn listen_addr(&self) -> SocketAddr {
        self.listen
    }

    /// Returns the number of machines in the database that is in force.
    pub fn machine_count(&self) -> usize {
        self.fleet.views().len()
    }

    /// Reads certificates and the machine database again, accepts a database that is held, and forgets all delays.
    pub async fn reload(&self) {
        let credentials = self.credentials.clone();
        match tokio::task::spawn_blocking(move || credentials.reload()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(error = chain(&error), "certificates not reloaded; those in use stay"),
            Err(error) => tracing::error!(%error, "certificates could not be looked at"),
        }
        look(&self.mdb, &self.fleet, MdbSource::reload).await;
        self.fleet.retry_now();
    }

    /// Stops: lets go of machines and operators.
    pub async fn stop(self) {
        self.fleet.stop();
        self.server.close();
        for task in &self.tasks {
            task.abort();
        }
        self.ledger.close().await;
        // Peers that do not notice will do so by their own timeouts.
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.client.close()).await;
    }
}

async fn watch_mdb(mdb: Arc<Mutex<MdbSource>>, fleet: Arc<Fleet>) {
    let mut ticks = tokio::time::interval(MDB_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look(&mdb, &fleet, MdbSource::check).await;
    }
}

/// Looks at the file on a thread that may block, and applies what it says before anybody else looks.
async fn look(mdb: &Arc<Mutex<MdbSource>>, fleet: &Arc<Fleet>, how: fn(&mut MdbSource) -> Option<InForce>) {
    let (mdb, fleet) = (Arc::clone(mdb), Arc::clone(fleet));
    let work = move || {
        let mut mdb = mdb.lock();
        if let Some(in_force) = how(&mut mdb) {
            fleet.apply(&in_force);
        }
    };
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::error!(%error, "machine database could not be looked at");
    }
}

fn open_client(credentials: &CredentialsWatch) -> Result<Client, Error> {
    let settings = Settings {
        keep_alive: Some(KEEP_ALIVE),
        idle_timeout: IDLE_TIMEOUT,
        call_idle_timeout: IDLE_TIMEOUT + CONNECT_TIMEOUT,
        ..Settings::default()
    };
    // One socket reaches both families, where the system has both.
    let both = Client::bind_watched((Ipv6Addr::UNSPECIFIED, 0).into(), credentials, settings.clone());
    Ok(both.or_else(|_| Client::bind_watched((Ipv4Addr::UNSPECIFIED, 0).into(), credentials, settings))?)
}
