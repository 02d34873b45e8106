//! Where datagrams go.
//!
//! Owns opening sockets. Invariant: endpoints reach the world only through a `Network`, so that a simulated one with a clock of
//! its own can take the place of the operating system's.
//!
//! Does not look into datagrams; timeouts of calls and caps keep to the real clock (`tokio::time`) in any case.

use std::{fmt::Debug, io, net::SocketAddr, sync::Arc};

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};

use crate::limits::SOCKET_BUFFER_LEN;

/// Sockets, and the clock and tasks of the connections that use them.
pub trait Network: Debug + Send + Sync {
    /// Opens a socket.
    ///
    /// # Errors
    /// When the address cannot be used.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// Returns what gives connections time and tasks.
    fn runtime(&self) -> Arc<dyn Runtime>;
}

/// UDP sockets of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Udp;

impl Network for Udp {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if address.is_ipv6() {
            // Both families where the system allows it; where it does not, IPv6 alone is what was asked for.
            let _ = socket.set_only_v6(false);
        }
        // The kernel caps these at its own limits; a smaller buffer costs speed under load, nothing else.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_LEN);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_LEN);
        socket.bind(&address.into())?;
        TokioRuntime.wrap_udp_socket(socket.into())
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }
}
