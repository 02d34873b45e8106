//! The encoding of records (`spec/journal.md#record`).
//!
//! Owns the CBOR of records and steps. Invariant: as for every canonical value, decoding accepts exactly what encoding
//! gives.
//!
//! Frames and digests are `frame`.

use dominator_store_core::{
    ImageId, Managed, Meta, Mtime, TreeId, TreePath, Xattr,
    cbor::{Canonical, CborError, Reader, Writer},
    limits::{PATH_LEN_MAX, XATTR_COUNT_MAX, XATTR_NAME_LEN_MAX, XATTRS_LEN_MAX},
};

use super::record::{Outcome, Prepared, Record};
use crate::{
    files::Ino,
    limits::{SERVICE_COUNT_MAX, SERVICE_LEN_MAX, STEP_COUNT_MAX},
    plan::PlanId,
    services::ServicePlan,
    step::{BoundStep, Op, Slot, Swap},
};

const RECORD_PREPARED: u64 = 1;
const RECORD_STOPPING: u64 = 2;
const RECORD_STEPS_BEGUN: u64 = 3;
const RECORD_COMMITTED: u64 = 4;
const RECORD_ROLLING_BACK: u64 = 5;
const RECORD_ROLLED_BACK: u64 = 6;
const RECORD_STARTED: u64 = 7;
const RECORD_DONE: u64 = 8;

const OUTCOME_APPLIED: u64 = 1;
const OUTCOME_ROLLED_BACK: u64 = 2;
const OUTCOME_DISCARDED: u64 = 3;

const OP_CREATE: u64 = 1;
const OP_REPLACE: u64 = 2;
const OP_GROW: u64 = 3;
const OP_SHRINK: u64 = 4;
const OP_REMOVE: u64 = 5;
const OP_REMOVE_DIR: u64 = 6;
const OP_SET_META: u64 = 7;
const OP_SET_MTIME: u64 = 8;

impl Canonical for Record {
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Prepared(prepared) => {
                writer.array(2).uint(RECORD_PREPARED);
                prepared.write(writer);
            }
            Self::Stopping => _ = writer.array(1).uint(RECORD_STOPPING),
            Self::StepsBegun => _ = writer.array(1).uint(RECORD_STEPS_BEGUN),
            Self::Committed => _ = writer.array(1).uint(RECORD_COMMITTED),
            Self::RollingBack => _ = writer.array(1).uint(RECORD_ROLLING_BACK),
            Self::RolledBack => _ = writer.array(1).uint(RECORD_ROLLED_BACK),
            Self::Started => _ = writer.array(1).uint(RECORD_STARTED),
            Self::Done(outcome) => _ = writer.array(2).uint(RECORD_DONE).uint(outcome.tag()),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let count = reader.array("record", 2)?;
        let tag = reader.uint()?;
        Ok(match (tag, count) {
            (RECORD_PREPARED, 2) => Self::Prepared(Box::new(Prepared::read(reader)?)),
            (RECORD_STOPPING, 1) => Self::Stopping,
            (RECORD_STEPS_BEGUN, 1) => Self::StepsBegun,
            (RECORD_COMMITTED, 1) => Self::Committed,
            (RECORD_ROLLING_BACK, 1) => Self::RollingBack,
            (RECORD_ROLLED_BACK, 1) => Self::RolledBack,
            (RECORD_STARTED, 1) => Self::Started,
            (RECORD_DONE, 2) => {
                let tag = reader.uint()?;
                Self::Done(Outcome::from_tag(tag).ok_or_else(|| reader.invalid("outcome"))?)
            }
            _ => return Err(reader.invalid("record")),
        })
    }
}

impl Outcome {
    const fn tag(self) -> u64 {
        match self {
            Self::Applied => OUTCOME_APPLIED,
            Self::RolledBack => OUTCOME_ROLLED_BACK,
            Self::Discarded => OUTCOME_DISCARDED,
        }
    }

    const fn from_tag(tag: u64) -> Option<Self> {
        match tag {
            OUTCOME_APPLIED => Some(Self::Applied),
            OUTCOME_ROLLED_BACK => Some(Self::RolledBack),
            OUTCOME_DISCARDED => Some(Self::Discarded),
            _ => None,
        }
    }
}

impl Prepared {
    fn write(&self, writer: &mut Writer) {
        writer.array(8);
        writer.bytes(self.plan.0.as_bytes()).bytes(self.from.as_bytes()).bytes(self.to.as_bytes());
        writer.bytes(self.image.as_bytes()).uint(self.generation);
        let Managed { mtimes, directory_mtimes, xattrs, holes } = self.managed;
        writer.array(4).bool(mtimes).bool(directory_mtimes).bool(xattrs).bool(holes);
        writer.array(self.steps.len());
        for step in &self.steps {
            writer.array(3);
            write_step(&step.path, &step.op, writer);
            write_ino(step.old, writer);
            write_ino(step.new, writer);
        }
        write_services(&self.services, writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        expect(reader, "plan", 8)?;
        let plan = PlanId(reader.digest()?);
        let (from, to) = (TreeId::new(reader.digest()?), TreeId::new(reader.digest()?));
        let image = ImageId::new(reader.digest()?);
        let generation = reader.uint()?;
        expect(reader, "managed metadata", 4)?;
        let managed = Managed {
            mtimes: reader.bool()?,
            directory_mtimes: reader.bool()?,
            xattrs: reader.bool()?,
            holes: reader.bool()?,
        };
        let count = reader.array("steps", STEP_COUNT_MAX)?;
        let steps = (0..count).map(|_| read_bound_step(reader)).collect::<Result<_, _>>()?;
        let services = read_services(reader)?;
        Ok(Self { plan, from, to, image, generation, managed, steps, services })
    }
}

/// Opens an array that always has `count` items.
fn expect(reader: &mut Reader<'_>, what: &'static str, count: usize) -> Result<(), CborError> {
    match reader.array(what, count)? {
        found if found == count => Ok(()),
        _ => Err(reader.invalid(what)),
    }
}

/// Writes what a step does, without the inodes it is bound to.
pub(crate) fn write_step(path: &TreePath, op: &Op, writer: &mut Writer) {
    let head = |writer: &mut Writer, count, tag| _ = writer.array(count).bytes(path.as_bytes()).uint(tag);
    match op {
        Op::Create { slot } => {
            head(writer, 3, OP_CREATE);
            writer.uint(slot.0.into());
        }
        Op::Replace { slot, swap } => {
            let (count, tag) = match swap {
                Swap::Leaf => (3, OP_REPLACE),
                Swap::Grow => (3, OP_GROW),
                Swap::Shrink { .. } => (4, OP_SHRINK),
            };
            head(writer, count, tag);
            writer.uint(slot.0.into());
            if let Swap::Shrink { meta } = swap {
                write_meta(meta, writer);
            }
        }
        Op::Remove { slot } => {
            head(writer, 3, OP_REMOVE);
            writer.uint(slot.0.into());
        }
        Op::RemoveDir { slot, meta } => {
            head(writer, 4, OP_REMOVE_DIR);
            writer.uint(slot.0.into());
            write_meta(meta, writer);
        }
        Op::SetMeta { old, new } => {
            head(writer, 4, OP_SET_META);
            write_meta(old, writer);
            write_meta(new, writer);
        }
        Op::SetMtime { old, new } => {
            head(writer, 4, OP_SET_MTIME);
            write_mtime(*old, writer);
            write_mtime(Some(*new), writer);
        }
    }
}

fn read_bound_step(reader: &mut Reader<'_>) -> Result<BoundStep, CborError> {
    expect(reader, "step", 3)?;
    let count = reader.array("operation", 4)?;
    let path = TreePath::parse(reader.bytes("path", PATH_LEN_MAX)?).map_err(|_| reader.invalid("path"))?;
    let tag = reader.uint()?;
    let op = match (tag, count) {
        (OP_CREATE, 3) => Op::Create { slot: read_slot(reader)? },
        (OP_REPLACE, 3) => Op::Replace { slot: read_slot(reader)?, swap: Swap::Leaf },
        (OP_GROW, 3) => Op::Replace { slot: read_slot(reader)?, swap: Swap::Grow },
        (OP_SHRINK, 4) => Op::Replace { slot: read_slot(reader)?, swap: Swap::Shrink { meta: read_meta(reader)? } },
        (OP_REMOVE, 3) => Op::Remove { slot: read_slot(reader)? },
        (OP_REMOVE_DIR, 4) => Op::RemoveDir { slot: read_slot(reader)?, meta: read_meta(reader)? },
        (OP_SET_META, 4) => Op::SetMeta { old: read_meta(reader)?, new: read_meta(reader)? },
        (OP_SET_MTIME, 4) => {
            let old = read_mtime(reader)?;
            let new = read_mtime(reader)?.ok_or_else(|| reader.invalid("modification time"))?;
            Op::SetMtime { old, new }
        }
        _ => return Err(reader.invalid("operation")),
    };
    Ok(BoundStep { path, op, old: read_ino(reader)?, new: read_ino(reader)? })
}

fn read_slot(reader: &mut Reader<'_>) -> Result<Slot, CborError> {
    reader.uint32().map(Slot)
}

fn write_ino(ino: Option<Ino>, writer: &mut Writer) {
    writer.array(usize::from(ino.is_some()));
    if let Some(Ino(ino)) = ino {
        writer.uint(ino);
    }
}

fn read_ino(reader: &mut Reader<'_>) -> Result<Option<Ino>, CborError> {
    match reader.array("inode", 1)? {
        0 => Ok(None),
        _ => reader.uint().map(|ino| Some(Ino(ino))),
    }
}

fn write_mtime(mtime: Option<Mtime>, writer: &mut Writer) {
    match mtime {
        None => _ = writer.array(0),
        Some(mtime) => _ = writer.array(2).int(mtime.seconds).uint(mtime.nanoseconds.into()),
    }
}

fn read_mtime(reader: &mut Reader<'_>) -> Result<Option<Mtime>, CborError> {
    match reader.array("modification time", 2)? {
        0 => return Ok(None),
        2 => {}
        _ => return Err(reader.invalid("modification time")),
    }
    let mtime = Mtime { seconds: reader.int()?, nanoseconds: reader.uint32()? };
    match mtime.nanoseconds < 1_000_000_000 {
        true => Ok(Some(mtime)),
        false => Err(reader.invalid("nanoseconds")),
    }
}

fn write_meta(meta: &Meta, writer: &mut Writer) {
    writer.array(5).uint(meta.mode.into()).uint(meta.uid.into()).uint(meta.gid.into());
    write_mtime(meta.mtime, writer);
    writer.array(meta.xattrs.len());
    for xattr in &meta.xattrs {
        writer.array(2).bytes(&xattr.name).bytes(&xattr.value);
    }
}

fn read_meta(reader: &mut Reader<'_>) -> Result<Meta, CborError> {
    expect(reader, "metadata", 5)?;
    let mode = u16::try_from(reader.uint()?).ok().filter(|mode| *mode <= 0o7777);
    let mode = mode.ok_or_else(|| reader.invalid("mode"))?;
    let (uid, gid) = (reader.uint32()?, reader.uint32()?);
    let mtime = read_mtime(reader)?;
    let mut xattrs = Vec::new();
    for _ in 0..reader.array("extended attributes", XATTR_COUNT_MAX)? {
        expect(reader, "extended attribute", 2)?;
        let name = reader.bytes("attribute name", XATTR_NAME_LEN_MAX)?.into();
        xattrs.push(Xattr { name, value: reader.bytes("attribute value", XATTRS_LEN_MAX)?.into() });
    }
    Ok(Meta { mode, uid, gid, mtime, xattrs })
}

fn write_services(services: &ServicePlan, writer: &mut Writer) {
    writer.array(6);
    for list in [&services.stop, &services.start, &services.reload] {
        writer.array(list.len());
        for service in list {
            writer.text(service);
        }
    }
    writer.bool(services.reboot).bool(services.restart_agent).bool(services.high_impact);
}

fn read_services(reader: &mut Reader<'_>) -> Result<ServicePlan, CborError> {
    fn list(reader: &mut Reader<'_>) -> Result<Vec<String>, CborError> {
        let count = reader.array("services", SERVICE_COUNT_MAX)?;
        (0..count).map(|_| reader.text("service", SERVICE_LEN_MAX).map(str::to_owned)).collect()
    }
    expect(reader, "services", 6)?;
    Ok(ServicePlan {
        stop: list(reader)?,
        start: list(reader)?,
        reload: list(reader)?,
        reboot: reader.bool()?,
        restart_agent: reader.bool()?,
        high_impact: reader.bool()?,
    })
}
