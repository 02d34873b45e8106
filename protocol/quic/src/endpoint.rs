//! Endpoints: the sockets on which connections begin.
//!
//! Owns binding, transport settings and handshakes. Invariants: a slow or hostile handshake holds up no other; what peers can
//! make us hold before and after the handshake is bounded; a failed connection says whose certificate is wrong and how.
//!
//! Does not judge certificates (`credentials`, `trust`) or run calls (`call`, `serve`).

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quinn::{EndpointConfig, IdleTimeout, TransportConfig, VarInt, congestion::CubicConfig};
use rustls_pki_types::ServerName;
use tokio::{sync::Mutex, task::JoinSet, time::timeout};

use crate::{
    CloseCode, Connection, Credentials, CredentialsWatch, Error, Network, Pacer, Service, TrustError, Udp,
    anchors::PeerRole,
    clock::ClockKeeper,
    connection::Origin,
    limits::{
        CALL_IDLE_TIMEOUT, CALLS_MAX, CLIENT_WINDOW, CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX,
        HANDSHAKES_UNPROVEN_MAX, IDLE_TIMEOUT, INCOMING_BUFFER_LEN, INCOMING_BUFFER_TOTAL_LEN, INITIAL_WINDOW,
        SEND_WINDOW, SERVER_WINDOW, STREAM_WINDOW,
    },
};

/// What can be chosen for an endpoint; the defaults are those of `spec/wire.md#limits`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Interval of packets that keep an idle connection alive; none by default.
    pub keep_alive: Option<Duration>,
    /// A connection on which no packet arrives for so long is gone.
    pub idle_timeout: Duration,
    /// A call in which nothing moves for so long is ended.
    pub call_idle_timeout: Duration,
    /// Cap on what all connections of the endpoint send.
    pub send_rate: Pacer,
    /// Cap on what all connections of the endpoint receive.
    pub receive_rate: Pacer,
    /// Where datagrams go: the operating system, unless a test puts something else here.
    pub network: Arc<dyn Network>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_alive: None,
            idle_timeout: IDLE_TIMEOUT,
            call_idle_timeout: CALL_IDLE_TIMEOUT,
            send_rate: Pacer::unlimited(),
            receive_rate: Pacer::unlimited(),
            network: Arc::new(Udp),
        }
    }
}

/// The side that is called.
#[derive(Debug)]
pub struct Server {
    endpoint: quinn::Endpoint,
    origin: ServerOrigin,
    handshakes: Mutex<JoinSet<Option<Connection>>>,
}

/// What every handshake of a server needs.
#[derive(Debug, Clone)]
struct ServerOrigin {
    settings: Settings,
    watch: CredentialsWatch,
    clock: Arc<ClockKeeper>,
    open_count: Arc<AtomicUsize>,
}

/// The side that calls.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: quinn::Endpoint,
    watch: CredentialsWatch,
    clock: Arc<ClockKeeper>,
    transport: Arc<TransportConfig>,
    settings: Settings,
}

impl Server {
    /// Opens a socket and begins to listen; must be called inside a runtime.
    ///
    /// # Errors
    /// When the address cannot be used or TLS refuses the credentials.
    pub fn bind(address: SocketAddr, credentials: &Credentials, settings: Settings) -> Result<Self, Error> {
        Self::bind_watched(address, &CredentialsWatch::fixed(credentials.clone()), settings)
    }

    /// Does as `bind`, and always uses the credentials that `watch` has at the moment.
    ///
    /// # Errors
    /// Those of `bind`.
    pub fn bind_watched(address: SocketAddr, watch: &CredentialsWatch, settings: Settings) -> Result<Self, Error> {
        let mut transport = transport(&settings);
        transport.max_concurrent_bidi_streams(VarInt::from_u32(CALLS_MAX));
        transport.receive_window(VarInt::from_u32(SERVER_WINDOW));
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(Credentials::server_config(watch)?));
        config.transport_config(Arc::new(transport)).migration(false);
        config.max_incoming(HANDSHAKES_MAX);
        config.incoming_buffer_size(INCOMING_BUFFER_LEN).incoming_buffer_size_total(INCOMING_BUFFER_TOTAL_LEN);
        let endpoint = open_endpoint(address, Some(config), &*settings.network)?;
        let origin = ServerOrigin {
            settings,
            watch: watch.clone(),
            clock: Arc::new(ClockKeeper::start(watch)),
            open_count: Arc::new(AtomicUsize::new(0)),
        };
        Ok(Self { endpoint, origin, handshakes: Mutex::new(JoinSet::new()) })
    }

    /// Returns the address that peers can connect to.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        local_addr(&self.endpoint)
    }

    /// Returns the next connection whose handshake succeeded; `None` after `close`.
    ///
    /// Handshakes go on side by side, but only while somebody waits here.
    pub async fn accept(&self) -> Option<Connection> {
        let mut handshakes = self.handshakes.lock().await;
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let incoming = incoming?;
                    if handshakes.len() >= HANDSHAKES_MAX {
                        incoming.refuse();
                    } else if handshakes.len() >= HANDSHAKES_UNPROVEN_MAX && incoming.may_retry() {
                        // The packet is answered without keeping anything; a real client comes again with a token.
                        let _ = incoming.retry();
                    } else {
                        handshakes.spawn(complete(incoming, self.origin.clone()));
                    }
                }
                Some(connection) = handshakes.join_next(), if !handshakes.is_empty() => {
                    if let Ok(Some(connection)) = connection {
                        return Some(connection);
                    }
                }
            }
        }
    }

    /// Answers the calls of all connections until `close`.
    pub async fn serve<S: Service>(&self, service: Arc<S>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                connection = self.accept() => {
                    let Some(connection) = connection else { break };
                    let service = Arc::clone(&service);
                    connections.spawn(async move { connection.serve(service).await });
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        while connections.join_next().await.is_some() {}
        self.endpoint.wait_idle().await;
    }

    /// Ends all connections and accepts no more.
    pub fn close(&self) {
        self.endpoint.close(CloseCode::Done.tag().into(), b"");
    }
}

impl Client {
    /// Opens a socket; must be called inside a runtime.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn bind(address: SocketAddr, credentials: &Credentials, settings: Settings) -> Result<Self, Error> {
        Self::bind_watched(address, &CredentialsWatch::fixed(credentials.clone()), settings)
    }

    /// Does as `bind`, and always uses the credentials that `watch` has at the moment.
    ///
    /// # Errors
    /// Those of `bind`.
    pub fn bind_watched(address: SocketAddr, watch: &CredentialsWatch, settings: Settings) -> Result<Self, Error> {
        let mut transport = transport(&settings);
        transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
        transport.receive_window(VarInt::from_u32(CLIENT_WINDOW));
        let endpoint = open_endpoint(address, None, &*settings.network)?;
        let clock = Arc::new(ClockKeeper::start(watch));
        Ok(Self { endpoint, watch: watch.clone(), clock, transport: Arc::new(transport), settings })
    }

    /// Connects to a peer whose certificate must be for `server_name`, a DNS name or an IP address.
    ///
    /// # Errors
    /// When the peer does not answer, or one side does not trust the other. The peer judges our certificate after our side
    /// of the handshake is done, so its refusal may also be the error of the first call.
    pub async fn connect(&self, address: SocketAddr, server_name: &str) -> Result<Connection, Error> {
        let credentials = self.watch.current();
        let (tls, verifier) = credentials.client_config()?;
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::clone(&self.transport));
        let peer = self.reachable(address);
        let connecting = self
            .endpoint
            .connect_with(config, peer, server_name)
            .map_err(|source| Error::Connect { peer: address, source })?;
        let quic = match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Err(_) => return Err(Error::Unreachable { peer: address }),
            Ok(Err(error)) => {
                return Err(match verifier.verdict() {
                    Some(verdict) => {
                        Error::Refused { peer: address, source: TrustError::from_verdict(&verdict, server_name) }
                    }
                    None => Error::from_connection(address, error),
                });
            }
            Ok(Ok(quic)) => quic,
        };
        let name = ServerName::try_from(server_name.to_owned()).expect("the handshake was for this name");
        let origin = Origin {
            settings: &self.settings,
            watch: &self.watch,
            credentials: &credentials,
            clock: &self.clock,
            role: &PeerRole::Server(name),
        };
        Connection::new(quic, origin)
    }

    /// Connects to `HOST:PORT`; the certificate must be for `server_name`, or else for the host.
    ///
    /// # Errors
    /// Those of `connect`, of the last address that was tried; also when the host has no address.
    pub async fn connect_to(&self, host_port: &str, server_name: Option<&str>) -> Result<Connection, Error> {
        Ok(self.connect_to_any(host_port, server_name).await?.0)
    }

    /// Does as `connect_to`, and also returns the name that the certificate is for.
    pub(crate) async fn connect_to_any(
        &self,
        host_port: &str,
        server_name: Option<&str>,
    ) -> Result<(Connection, String), Error> {
        let resolve = |source| Error::Resolve { host: host_port.to_owned(), source };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(host_port).await.map_err(resolve)?.collect();
        let host = host_port.rsplit_once(':').map_or(host_port, |(host, _)| host);
        let server_name = server_name.unwrap_or_else(|| host.trim_start_matches('[').trim_end_matches(']'));
        let mut last_error = resolve(std::io::Error::from(std::io::ErrorKind::NotFound));
        for address in addresses {
            match self.connect(address, server_name).await {
                Ok(connection) => return Ok((connection, server_name.to_owned())),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// Returns our own address.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        local_addr(&self.endpoint)
    }

    /// Ends all connections and tells the peers.
    pub async fn close(&self) {
        self.endpoint.close(CloseCode::Done.tag().into(), b"");
        self.endpoint.wait_idle().await;
    }

    /// An IPv6 socket reaches IPv4 peers by their mapped addresses.
    fn reachable(&self, address: SocketAddr) -> SocketAddr {
        match (self.endpoint.local_addr(), address) {
            (Ok(SocketAddr::V6(_)), SocketAddr::V4(v4)) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            _ => address,
        }
    }
}

impl ServerOrigin {
    const fn of<'a>(&'a self, credentials: &'a Credentials) -> Origin<'a> {
        let Self { settings, watch, clock, .. } = self;
        Origin { settings, watch, credentials, clock, role: &PeerRole::Client }
    }
}

/// Completes one handshake; failures are logged here, because there is nobody else to tell.
async fn complete(incoming: quinn::Incoming, origin: ServerOrigin) -> Option<Connection> {
    // Whatever is replaced from here on is noticed.
    let credentials = origin.watch.current();
    let peer = incoming.remote_address();
    let quic = match timeout(HANDSHAKE_TIMEOUT, incoming.into_future()).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(error)) => {
            tracing::warn!(%peer, error = %error, "connection refused");
            return None;
        }
        Err(_) => {
            tracing::debug!(%peer, "handshake took too long");
            return None;
        }
    };
    let connection = match Connection::new(quic.clone(), origin.of(&credentials)) {
        Ok(connection) => connection,
        Err(error) => {
            tracing::warn!(%peer, error = %error, "connection refused");
            return None;
        }
    };
    let open_count = Arc::clone(&origin.open_count);
    if open_count.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        connection.close_with(CloseCode::Busy);
    }
    tokio::spawn(async move {
        quic.closed().await;
        open_count.fetch_sub(1, Ordering::Relaxed);
    });
    Some(connection)
}

fn transport(settings: &Settings) -> TransportConfig {
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(u64::from(SEND_WINDOW))
        .max_idle_timeout(IdleTimeout::try_from(settings.idle_timeout).ok())
        .keep_alive_interval(settings.keep_alive)
        .send_fairness(false)
        .congestion_controller_factory(Arc::new(congestion))
        .datagram_receive_buffer_size(None);
    transport
}

fn open_endpoint(
    address: SocketAddr,
    config: Option<quinn::ServerConfig>,
    network: &dyn Network,
) -> Result<quinn::Endpoint, Error> {
    let bind = |source| Error::Bind { address, source };
    let socket = network.bind(address).map_err(bind)?;
    quinn::Endpoint::new_with_abstract_socket(EndpointConfig::default(), config, socket, network.runtime())
        .map_err(bind)
}

fn local_addr(endpoint: &quinn::Endpoint) -> Result<SocketAddr, Error> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let address = endpoint.local_addr().map_err(|source| Error::Bind { address: any, source })?;
    // The address of a socket that listens everywhere is no address to connect to.
    Ok(match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        address => address,
    })
}
