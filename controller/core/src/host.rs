//! Names of machines.
//!
//! Owns the check of a host name as the machine database states it, with an optional port for laboratories where several
//! agents share one address. Invariant: a `Host` is lower case, so that equal machines are equal values.
//!
//! Does not resolve names: `controller/daemon` does.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use crate::limits::HOST_NAME_LEN_MAX;

/// Port on which agents listen unless the machine database says otherwise.
pub const DEFAULT_PORT: u16 = 6969;

/// Names one machine: `NAME` or `NAME:PORT`, where `NAME` is a host name, an IPv4 address or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    text: String,
    name_len: usize,
    port: Option<u16>,
}

/// Text that is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a host name: expected labels of letters, digits, '-' and '_' joined by '.', or an IP address, with an optional :PORT"
)]
pub struct HostError {
    text: String,
}

impl Host {
    /// Returns the whole text, by which the machine is known.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the name without port and brackets: what the machine's certificate must be for.
    pub fn name(&self) -> &str {
        let name = self.text.get(..self.name_len).unwrap_or_default();
        name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
    }

    /// Returns the port, if the name states one.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let error = || HostError { text: text.chars().take(80).collect() };
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !text.ends_with(']') => (name, Some(parse_port(port).ok_or_else(error)?)),
            _ => (text, None),
        };
        let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let good = match bracketed {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => name.len() <= HOST_NAME_LEN_MAX && name.split('.').all(is_label),
        };
        if !good {
            return Err(error());
        }
        Ok(Self { text: text.to_ascii_lowercase(), name_len: name.len(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads a port: decimal digits, not zero, written in one way only.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok().filter(|port| *port > 0)?;
    (port.to_string() == text).then_some(port)
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_port() {
        let check = |text: &str, name: &str, port: Option<u16>| {
            let host: Host = text.parse().expect(text);
            assert_eq!((host.name(), host.port()), (name, port), "{text}");
        };
        check("Web-1.Example.com", "web-1.example.com", None);
        check("web:7001", "web", Some(7001));
        check("127.0.0.1:7001", "127.0.0.1", Some(7001));
        check("[::1]", "::1", None);
        check("[::1]:7001", "::1", Some(7001));
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        let long = "a".repeat(64);
        for bad in
            ["", ":1", "a:", "a:0", "a:65536", "a:+1", "a:01", "a b", "-a", "a-", "a..b", "a/b", "::1", "[x]", &long]
        {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
        assert!("a.".repeat(130).parse::<Host>().is_err());
    }
}
