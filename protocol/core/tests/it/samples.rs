//! Messages made from a formula: the same number always gives the same message.
//!
//! Owns the formula. Invariant: every tag and every field takes part, and absent, empty and extreme values turn up often.
//!
//! Does not check anything.

use dominator_protocol_core::{
    Absent, Ack, CallFailure, Commit, Delete, Deviation, Deviations, End, ErrorCode, Fetch, FleetList, FrameTag, Get,
    GetImage, GetImageReply, Grant, HistoryLine, ImageSummary, List, ListMachines, ListReply, MachineDetail,
    MachineStatus, Message, Method, Object, Offer, Phase, Poll, PollReply, Progress, Published, Recipes, Request,
    Require, ShowMachine, Single, TreeObject, Trees, Unchanged, Update, Want,
};
use dominator_store_core::{BlobId, Digest, ImageId, ObjectId, ObjectKind, TreeId};

/// Draws value `n` of sample `number` as the first eight bytes of BLAKE3("wire NUMBER N"), little-endian.
pub(crate) struct Dice {
    number: u64,
    drawn: u64,
}

impl Dice {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, drawn: 0 }
    }

    pub(crate) fn draw(&mut self) -> u64 {
        let digest = self.digest();
        u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap())
    }

    pub(crate) fn digest(&mut self) -> Digest {
        let digest = Digest::of(format!("wire {} {}", self.number, self.drawn).as_bytes());
        self.drawn += 1;
        digest
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    /// Numbers of every encoded width.
    fn number(&mut self) -> u64 {
        let width = self.one_of(&[0, 5, 8, 16, 32, 64]);
        self.draw().checked_shr(64 - width).unwrap_or(0)
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn text(&mut self) -> String {
        let len = self.one_of(&[0, 1, 5, 23, 24, 60]);
        (0..len).map(|_| self.one_of(&['a', 'z', '0', '/', '-', '.', ' ', 'é', '日'])).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.one_of(&[0, 1, 23, 24, 255, 256]);
        (0..len).map(|_| self.draw() as u8).collect()
    }

    fn option<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Option<T> {
        if self.flag() { Some(make(self)) } else { None }
    }

    fn list<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = self.one_of(&[0, 1, 2, 5, 24]);
        (0..count).map(|_| make(self)).collect()
    }

    fn image(&mut self) -> ImageId {
        ImageId::new(self.digest())
    }

    fn tree(&mut self) -> TreeId {
        TreeId::new(self.digest())
    }

    fn object(&mut self) -> ObjectId {
        ObjectId { kind: self.one_of(&ObjectKind::ALL), digest: self.digest() }
    }

    fn progress(&mut self) -> Progress {
        Progress { done_len: self.number(), total_len: self.number() }
    }

    fn status(&mut self) -> MachineStatus {
        MachineStatus {
            host: self.text(),
            status: self.text(),
            required: self.option(Self::text),
            planned: self.option(Self::text),
            converged: self.flag(),
            detail: self.text(),
            deviation_count: self.number(),
            last_seen_ms: self.option(Self::number),
            required_image: self.option(Self::image),
            root: self.option(Self::tree),
            phase: self.option(|dice| dice.one_of(Phase::ALL)),
            progress: self.option(Self::progress),
            last_window_us: self.option(Self::number),
            last_changed_count: self.number(),
            fetched_len: self.number(),
            control_len: self.number(),
            poll_len: self.number(),
        }
    }

    /// Makes a message with this tag.
    pub(crate) fn message(&mut self, tag: FrameTag) -> Message {
        match tag {
            FrameTag::Request => Request {
                method: self.one_of(Method::ALL),
                deadline_ms: self.option(Self::number),
                rate_bytes_per_s: self.option(Self::number),
            }
            .into(),
            FrameTag::End => End {}.into(),
            FrameTag::CallFailure => {
                CallFailure { code: self.one_of(ErrorCode::ALL), message: self.text(), hint: self.option(Self::text) }
                    .into()
            }
            FrameTag::List => List { prefix: self.text(), after: self.option(Self::text), limit: self.number() }.into(),
            FrameTag::ListReply => ListReply {
                images: self.list(|dice| ImageSummary {
                    name: dice.text(),
                    image: dice.image(),
                    created_ms: dice.number(),
                    entry_count: dice.number(),
                    content_len: dice.number(),
                }),
                more: self.flag(),
            }
            .into(),
            FrameTag::GetImage => GetImage { name: self.text() }.into(),
            FrameTag::GetImageReply => {
                GetImageReply { name: self.text(), image: self.image(), encoded: self.bytes() }.into()
            }
            FrameTag::Offer => Offer { ids: self.list(Self::object) }.into(),
            FrameTag::Want => Want { bitmap: self.bytes() }.into(),
            FrameTag::Object => Object(self.bytes()).into(),
            FrameTag::Commit => Commit { name: self.text(), image: self.image() }.into(),
            FrameTag::Published => Published { stored_len: self.number(), new_object_count: self.number() }.into(),
            FrameTag::Delete => Delete { name: self.text() }.into(),
            FrameTag::Get => Get { ids: self.list(Self::object) }.into(),
            FrameTag::Absent => Absent { digest: self.digest() }.into(),
            FrameTag::Recipes => Recipes { blobs: self.list(|dice| BlobId::new(dice.digest())) }.into(),
            FrameTag::Single => Single {}.into(),
            FrameTag::Poll => Poll { known: self.option(Self::digest) }.into(),
            FrameTag::PollReply => PollReply {
                instance: self.number(),
                generation: self.number(),
                required: self.option(Self::image),
                root: self.option(Self::tree),
                scan_count: self.number(),
                phase: self.one_of(Phase::ALL),
                progress: self.option(Self::progress),
                last_error: self.option(Self::text),
                planned_ready: self.option(Self::image),
                last_window_us: self.option(Self::number),
                last_changed_count: self.number(),
                fetched_len: self.number(),
            }
            .into(),
            FrameTag::Unchanged => Unchanged { scan_count: self.number() }.into(),
            FrameTag::Trees => Trees { ids: self.list(Self::tree) }.into(),
            FrameTag::TreeObject => TreeObject(self.bytes()).into(),
            FrameTag::Require => {
                Require { generation: self.number(), name: self.text(), image: self.image(), encoded: self.bytes() }
                    .into()
            }
            FrameTag::Ack => Ack { generation: self.number() }.into(),
            FrameTag::Fetch => Fetch {
                generation: self.number(),
                name: self.text(),
                image: self.image(),
                encoded: self.bytes(),
                server: self.text(),
                server_name: self.text(),
                rate_bytes_per_s: self.option(Self::number),
                planned: self.flag(),
            }
            .into(),
            FrameTag::Update => {
                Update { generation: self.number(), image: self.image(), force_unsafe: self.flag() }.into()
            }
            FrameTag::ListMachines => ListMachines {}.into(),
            FrameTag::FleetList => FleetList { machines: self.list(Self::status) }.into(),
            FrameTag::ShowMachine => ShowMachine { host: self.text() }.into(),
            FrameTag::MachineDetail => MachineDetail {
                status: self.status(),
                history: self.list(|dice| HistoryLine { at_ms: dice.number(), text: dice.text() }),
            }
            .into(),
            FrameTag::Deviations => {
                Deviations { items: self.list(|dice| Deviation { path: dice.bytes(), what: dice.text() }) }.into()
            }
        }
    }

    /// Makes a grant.
    pub(crate) fn grant(&mut self) -> Grant {
        let permissions = self.list(|dice| {
            let method = dice.one_of(&["*", "Image.*", "Image.Get", "Object.Get", "Machine.Poll"]);
            let scope = dice.one_of(&["", "@debian/*", "@a?c", "@host-1"]);
            format!("{method}{scope}").parse().unwrap()
        });
        Grant::new(permissions, self.list(Self::text))
    }
}
