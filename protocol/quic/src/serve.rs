//! Running a service: one task for each connection and each call.
//!
//! Owns the loops of the answering side. Invariants: a call ends with `End`, with a failure, or with its connection; a service
//! that panics or runs past the caller's deadline costs its own call only; the number of calls is bounded by the transport.
//!
//! Does not check permissions (`call`) or make connections (`endpoint`).

use std::{future::Future, sync::Arc};

use dominator_protocol_core::{CallFailure, ErrorCode};
use tokio::task::JoinSet;

use crate::{Connection, IncomingCall};

/// Answers calls.
pub trait Service: Send + Sync + 'static {
    /// Answers one call, whose permission was checked; the library sends `End` or the failure afterwards.
    fn answer(&self, call: &mut IncomingCall) -> impl Future<Output = Result<(), CallFailure>> + Send;
}

impl Connection {
    /// Answers the calls of this connection until it is over.
    pub async fn serve<S: Service>(&self, service: Arc<S>) {
        let mut calls = JoinSet::new();
        loop {
            tokio::select! {
                stream = self.quic.accept_bi() => match stream {
                    Ok(stream) => {
                        let (service, connection) = (Arc::clone(&service), self.clone());
                        calls.spawn(async move {
                            if let Ok(mut call) = IncomingCall::accept(&connection, stream).await {
                                answer(&*service, &mut call).await;
                            }
                        });
                    }
                    Err(error) => {
                        tracing::debug!(peer = %self.shared.identity.name, error = %error, "connection is over");
                        break;
                    }
                },
                Some(ended) = calls.join_next(), if !calls.is_empty() => {
                    if let Err(error) = ended {
                        tracing::error!(peer = %self.shared.identity.name, error = %error, "service failed");
                    }
                }
            }
        }
        // Dropping the set ends calls whose caller is gone at their next wait.
    }
}

async fn answer<S: Service>(service: &S, call: &mut IncomingCall) {
    let (method, deadline) = (call.method(), call.deadline());
    let result = match deadline {
        None => service.answer(call).await,
        Some(deadline) => match tokio::time::timeout(deadline, service.answer(call)).await {
            Ok(result) => result,
            Err(_) => Err(CallFailure::new(ErrorCode::Timeout, format!("{method} took longer than the caller waits"))),
        },
    };
    if let Err(failure) = &result {
        let (name, failure) = (&call.identity().name, failure.to_string());
        tracing::debug!(peer = %name, method = %method, failure, "call failed");
    }
    if let Err(error) = call.conclude(&result).await {
        tracing::debug!(method = %method, error = %error, "the end of a call did not reach its caller");
    }
}
