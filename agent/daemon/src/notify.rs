//! Telling the service manager how it stands.
//!
//! Owns the datagrams of `sd_notify(3)`. Invariant: without `NOTIFY_SOCKET`, or if it cannot be reached, nothing happens.
//!
//! Does not start or stop services (`service`).

use std::{
    ffi::OsStr,
    os::{linux::net::SocketAddrExt, unix::ffi::OsStrExt, unix::net},
};

/// Sends `state`, such as `READY=1`, to the service manager.
pub fn notify(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&socket, state)
    {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

fn send(socket: &OsStr, state: &str) -> std::io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => net::SocketAddr::from_abstract_name(name)?,
        None => net::SocketAddr::from_pathname(socket)?,
    };
    net::UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_gets_what_is_sent() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("notify");
        let socket = net::UnixDatagram::bind(&path).expect("bind");
        send(path.as_os_str(), "READY=1").expect("send");
        let mut buf = [0; 32];
        let len = socket.recv(&mut buf).expect("recv");
        assert_eq!(&buf[..len], b"READY=1");
        assert!(send(OsStr::new("/nonexistent/socket"), "READY=1").is_err());
    }
}
