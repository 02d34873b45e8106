//! What the daemons and tools say to each other, without any IO (`spec/wire.md`, `spec/permissions.md`).
//!
//! Owns frames, methods, messages with their encodings, failures, permissions, the identity that a certificate states,
//! and the arithmetic of pacing. Invariants: a decoder refuses what is not canonical, consumes everything, bounds every
//! allocation and never panics; tags and texts never change their meaning within one protocol version.
//!
//! Does not open sockets, check certificates or keep time (`protocol/quic`), and does not decide what a message should
//! cause (the daemons).

mod call;
mod cbor;
mod error;
mod frame;
mod identity;
pub mod limits;
mod message;
mod method;
mod pace;
mod permission;

pub use call::{CallFailure, ErrorCode, Request};
pub use error::DecodeError;
pub use frame::{Frame, FrameDecoder, FrameRule, encode_frame, frame_header, read_frame_header};
pub use identity::Identity;
pub use message::{
    Absent, Ack, Commit, Delete, Deviation, Deviations, End, Fetch, FleetList, FrameTag, Get, GetImage, GetImageReply,
    HistoryLine, ImageSummary, List, ListMachines, ListReply, MachineDetail, MachineStatus, Message, Object, Offer,
    Payload, Phase, Poll, PollReply, Progress, Published, Recipes, Require, ShowMachine, Single, TreeObject, Trees,
    Unchanged, Update, Want,
};
pub use method::{Method, ScopeKind};
pub use pace::Schedule;
pub use permission::{Decision, Grant, ParsePermissionError, Permission, Scope};

/// Version of the protocol as both sides name it in the TLS handshake.
pub const ALPN: &[u8] = b"dominator/1";
