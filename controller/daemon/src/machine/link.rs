//! The connection with one machine's agent, and the calls that are made of it.
//!
//! Owns the counters of bytes and the translation of failures into what the planner knows. Invariant: after a failure of the
//! link itself the connection is dropped.
//!
//! Does not decide when to connect or what to say: the planner does.

use std::time::Duration;

use dominator_controller_core::LinkFailure;
use dominator_protocol_core::{
    Ack, CallFailure, DecodeError, ErrorCode, Message, Method, Payload, Poll, TreeObject, Trees,
};
use dominator_protocol_quic::{Client, Connection, Error};
use dominator_store_core::{Digest, TreeId};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    error::chain,
    limits::{CONNECT_TIMEOUT, DIRECTIVE_TIMEOUT, POLL_TIMEOUT},
};

#[derive(Debug, Default)]
pub(super) struct Link {
    connection: Option<Connection>,
    /// Bytes of connections that are over.
    past_len: u64,
    pub(super) poll_len: u64,
    /// The agent denied a call. Certificates are shown when a connection begins, so only another one can change that.
    is_denied: bool,
}

/// How a call went wrong.
#[derive(Debug)]
pub(super) enum Broken {
    /// The agent says no.
    Refused(CallFailure),
    /// There is no connection any more.
    Link(LinkFailure, String),
}

impl Link {
    pub(super) async fn connect(
        &mut self,
        client: &Client,
        connects: &Semaphore,
        address: &str,
        name: &str,
    ) -> Result<(), Broken> {
        self.drop_connection();
        self.is_denied = false;
        let late = || Broken::Link(LinkFailure::Unreachable, format!("{address} does not answer"));
        // The semaphore is never closed.
        let _permit = connects.acquire().await.map_err(|_| late())?;
        let connected = timeout(CONNECT_TIMEOUT, client.connect_to(address, Some(name))).await;
        self.connection = Some(connected.map_err(|_| late())?.map_err(|error| Broken::from_error(&error))?);
        Ok(())
    }

    pub(super) async fn poll(&mut self, known: Option<Digest>) -> Result<Message, Broken> {
        let connection = self.open()?;
        let work = async {
            let mut call = connection.call(Method::MachinePoll).await?;
            call.feed(&Poll { known }).await?;
            call.finish().await?;
            let answer = call.recv().await?.ok_or(Error::Truncated)?;
            match call.recv().await? {
                None => Ok((answer, call.sent_len() + call.received_len())),
                Some(more) => Err(DecodeError::UnexpectedFrame { expected: "End", found: more.tag().name() }.into()),
            }
        };
        let result = within(POLL_TIMEOUT, work).await;
        let (answer, len) = self.keep_or_drop(result)?;
        self.poll_len = len;
        Ok(answer)
    }

    /// Sends a directive; the agent accepts it with its generation.
    pub(super) async fn direct<D: Payload>(
        &mut self,
        method: Method,
        directive: &D,
        generation: u64,
    ) -> Result<(), Broken> {
        let connection = self.open()?;
        let result = within(DIRECTIVE_TIMEOUT, connection.ask::<D, Ack>(method, directive)).await;
        let ack = self.keep_or_drop(result)?;
        if ack.generation == generation {
            return Ok(());
        }
        self.drop_connection();
        let text = format!("the agent accepts directive {}, not {generation}", ack.generation);
        Err(Broken::Link(LinkFailure::Protocol, text))
    }

    /// Says whether only another connection can help.
    pub(super) const fn is_denied(&self) -> bool {
        self.is_denied
    }

    /// Returns the connection, for a search that goes on beside the polls.
    pub(super) fn connection(&self) -> Option<Connection> {
        self.connection.clone()
    }

    /// Waits for the end of the connection; never ends if there is none.
    pub(super) async fn closed(&self) -> Broken {
        match &self.connection {
            Some(connection) => Broken::from_error(&connection.closed().await),
            None => std::future::pending().await,
        }
    }

    pub(super) fn drop_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.past_len += connection.sent_len() + connection.received_len();
            connection.close();
        }
    }

    /// Returns the bytes sent and received, over all connections so far.
    pub(super) fn control_len(&self) -> u64 {
        let present_len =
            self.connection.as_ref().map_or(0, |connection| connection.sent_len() + connection.received_len());
        self.past_len + present_len
    }

    fn open(&self) -> Result<Connection, Broken> {
        self.connection.clone().ok_or_else(|| Broken::Link(LinkFailure::Lost, "no connection".to_owned()))
    }

    fn keep_or_drop<T>(&mut self, result: Result<T, Broken>) -> Result<T, Broken> {
        match &result {
            Err(Broken::Link(..)) => self.drop_connection(),
            Err(Broken::Refused(failure)) => self.is_denied |= failure.code == ErrorCode::Denied,
            Ok(_) => {}
        }
        result
    }
}

impl Broken {
    pub(super) fn from_error(error: &Error) -> Self {
        let failure = match error {
            Error::Failed(failure) => return Self::Refused(failure.clone()),
            Error::Resolve { .. } => LinkFailure::Dns,
            Error::Unreachable { .. } | Error::Connect { .. } | Error::Idle { .. } => LinkFailure::Unreachable,
            Error::Refused { .. } => LinkFailure::Certificate,
            Error::Protocol(_) | Error::TooLarge { .. } => LinkFailure::Protocol,
            _ => LinkFailure::Lost,
        };
        Self::Link(failure, chain(error))
    }
}

/// Asks the agent for tree objects of its own scan.
pub(super) async fn machine_trees(connection: &Connection, ids: &[TreeId]) -> Result<Vec<(TreeId, Vec<u8>)>, Error> {
    let mut call = connection.call(Method::MachineTrees).await?;
    call.feed(&Trees { ids: ids.to_vec() }).await?;
    call.finish().await?;
    let mut trees = Vec::with_capacity(ids.len());
    for id in ids {
        match call.recv().await? {
            Some(Message::TreeObject(TreeObject(bytes))) => trees.push((*id, bytes)),
            Some(Message::Absent(_)) => {
                return Err(CallFailure::not_found("the machine's tree changed meanwhile").into());
            }
            Some(other) => {
                return Err(DecodeError::UnexpectedFrame { expected: "TreeObject", found: other.tag().name() }.into());
            }
            None => return Err(Error::Truncated),
        }
    }
    Ok(trees)
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Broken> {
    match timeout(limit, work).await {
        Ok(result) => result.map_err(|error| Broken::from_error(&error)),
        Err(_) => {
            let text = format!("the agent does not answer for {} s", limit.as_secs());
            Err(Broken::Link(LinkFailure::Unreachable, text))
        }
    }
}
