//! Journals: round trips, torn tails, flipped bits, and the way on after every record.
//!
//! Owns the promises of `spec/journal.md`. Invariant: the plans in the journals tested have every kind of step.
//! Writing journals to a disk is tested in `agent/daemon`.

use dominator_agent_core::{
    BoundStep, Ino, Op, PlanId, ServicePlan, Slot, Swap,
    journal::{HEADER, JournalError, Outcome, Prepared, Record, Recovery, decode, encode_frame, recover},
};
use dominator_store_core::{Digest, ImageId, Managed, Meta, Mtime, TreeId, TreePath, Xattr};

use crate::{
    forest::{Rng, pair},
    model::Model,
    steps::make_plan,
};

fn prepared(seed: u64) -> Prepared {
    let (old, new) = pair(&mut Rng::new(seed));
    let plan = make_plan(&old, &new);
    let steps = Model::new(&old, true).stage(&plan);
    Prepared {
        plan: plan.id,
        from: plan.from,
        to: plan.to,
        image: ImageId::of(b"image"),
        generation: 7,
        managed: plan.managed,
        steps,
        services: ServicePlan { stop: vec!["b".into(), "a".into()], restart_agent: true, ..ServicePlan::default() },
    }
}

fn small() -> Prepared {
    Prepared {
        plan: PlanId(Digest::of(b"plan")),
        from: TreeId::of(b"from"),
        to: TreeId::of(b"to"),
        image: ImageId::of(b"image"),
        generation: 1,
        managed: Managed::default(),
        steps: Vec::new(),
        services: ServicePlan::default(),
    }
}

fn bytes(records: &[Record]) -> Vec<u8> {
    records.iter().fold(HEADER.to_vec(), |mut bytes, record| {
        bytes.extend(encode_frame(record));
        bytes
    })
}

#[test]
fn records_round_trip() {
    for seed in 0..500 {
        let records = [
            Record::Prepared(Box::new(prepared(seed))),
            Record::Stopping,
            Record::StepsBegun,
            Record::Committed,
            Record::RollingBack,
            Record::RolledBack,
            Record::Started,
            Record::Done(Outcome::Applied),
            Record::Done(Outcome::RolledBack),
            Record::Done(Outcome::Discarded),
        ];
        let bytes = bytes(&records);
        let decoded = decode(&bytes).expect("journal");
        assert_eq!(decoded.records, records, "seed {seed}");
        assert_eq!(decoded.valid_len, bytes.len());
    }
}

/// A journal with every kind of step and record that one apply can write.
fn sample() -> Vec<Record> {
    let path = |text: &str| TreePath::parse(text.as_bytes()).expect(text);
    let mtime = |seconds| Mtime { seconds, nanoseconds: 1 };
    let xattrs = vec![Xattr { name: b"user.a".as_slice().into(), value: b"\0".as_slice().into() }];
    let meta = Meta { mode: 0o1777, uid: 1, gid: 2, mtime: Some(mtime(-1)), xattrs };
    let plain = Meta::new(0o755, 0, 0);
    let step = |at: &str, op, old: Option<u64>, new: Option<u64>| {
        let (old, new) = (old.map(Ino), new.map(Ino));
        BoundStep { path: path(at), op, old, new }
    };
    let shrink = Swap::Shrink { meta: plain.clone() };
    let steps = vec![
        step("new", Op::Create { slot: Slot(0) }, None, Some(10)),
        step("bin/sh", Op::Replace { slot: Slot(1), swap: Swap::Leaf }, Some(20), Some(11)),
        step("grows", Op::Replace { slot: Slot(2), swap: Swap::Grow }, Some(21), Some(12)),
        step("shrinks", Op::Replace { slot: Slot(3), swap: shrink }, Some(22), Some(13)),
        step("", Op::SetMeta { old: plain.clone(), new: meta.clone() }, Some(2), None),
        step("file", Op::SetMtime { old: Some(mtime(5)), new: mtime(6) }, Some(23), None),
        step("gone/\u{ff}", Op::Remove { slot: Slot(4) }, Some(24), None),
        step("gone", Op::RemoveDir { slot: Slot(5), meta }, Some(25), None),
    ];
    let services = ServicePlan {
        stop: vec!["web".into(), "db".into()],
        start: vec!["db".into(), "web".into()],
        reload: vec!["log".into()],
        ..ServicePlan::default()
    };
    let prepared = Prepared { steps, services, ..small() };
    vec![
        Record::Prepared(Box::new(prepared)),
        Record::Stopping,
        Record::StepsBegun,
        Record::Committed,
        Record::Started,
        Record::Done(Outcome::Applied),
    ]
}

#[test]
fn the_bytes_are_those_of_the_vector() {
    let hex = |bytes: &[u8]| -> String {
        let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        digits.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
    };
    let found = hex(&bytes(&sample()));
    assert_eq!(found, include_str!("../../../../spec/vectors/journal.hex"), "{found}");
}

#[test]
fn a_torn_tail_is_ignored() {
    let records = [Record::Prepared(Box::new(prepared(3))), Record::Stopping, Record::StepsBegun];
    let whole = bytes(&records);
    let ends: Vec<usize> = (0..=records.len()).map(|count| bytes(&records[..count]).len()).collect();
    assert_eq!(decode(&[]).expect("empty").records, []);
    for len in HEADER.len()..=whole.len() {
        let decoded = decode(&whole[..len]).expect("torn");
        let count = ends.iter().filter(|end| **end <= len).count() - 1;
        assert_eq!(decoded.records, records[..count], "cut at {len}");
        assert_eq!(decoded.valid_len, ends[count]);
        // The rest of a block that was never written.
        let padded = [&whole[..len], &[0; 512]].concat();
        assert_eq!(decode(&padded).expect("padded").records, records[..count]);
    }
}

#[test]
fn a_flipped_bit_is_never_believed() {
    let records = [Record::Prepared(Box::new(small())), Record::Stopping];
    let whole = bytes(&records);
    for pos in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[pos] ^= 1 << bit;
            match decode(&flipped) {
                Ok(decoded) => assert!(decoded.records.len() < 2 && records.starts_with(&decoded.records)),
                Err(error) => assert_eq!((error, pos < HEADER.len()), (JournalError::Header, true)),
            }
        }
    }
}

#[test]
fn every_prefix_of_an_apply_has_one_way_on() {
    let prepared = small();
    let first = || Record::Prepared(Box::new(small()));
    let check = |records: &[Record], expected: Recovery<'_>| assert_eq!(recover(records), Ok(expected));
    use Record::{Committed, Done, RolledBack, RollingBack, Started, StepsBegun, Stopping};
    check(&[], Recovery::Nothing(None));
    check(&[first()], Recovery::Discard(&prepared));
    check(&[first(), Stopping], Recovery::StartUnchanged(&prepared));
    check(&[first(), Stopping, Started], Recovery::CleanUp(&prepared, Outcome::Discarded));
    check(&[first(), StepsBegun], Recovery::RollForward(&prepared));
    check(&[first(), Stopping, StepsBegun], Recovery::RollForward(&prepared));
    check(&[first(), StepsBegun, RollingBack], Recovery::RollBack(&prepared));
    check(&[first(), StepsBegun, RollingBack, RolledBack], Recovery::Start(&prepared, Outcome::RolledBack));
    check(&[first(), StepsBegun, Committed], Recovery::Start(&prepared, Outcome::Applied));
    check(&[first(), StepsBegun, Committed, Started], Recovery::CleanUp(&prepared, Outcome::Applied));
    check(
        &[first(), StepsBegun, Committed, Started, Done(Outcome::Applied)],
        Recovery::Nothing(Some((&prepared, Outcome::Applied))),
    );
    check(&[first(), Done(Outcome::Discarded)], Recovery::Nothing(Some((&prepared, Outcome::Discarded))));
}

#[test]
fn records_out_of_order_are_refused() {
    let first = || Record::Prepared(Box::new(small()));
    for bad in [
        vec![Record::StepsBegun],
        vec![first(), first()],
        vec![first(), Record::Committed],
        vec![first(), Record::Done(Outcome::Applied)],
        vec![first(), Record::StepsBegun, Record::Committed, Record::RollingBack],
        vec![first(), Record::StepsBegun, Record::Committed, Record::Started, Record::Done(Outcome::RolledBack)],
    ] {
        assert_eq!(recover(&bad).expect_err("refused").pos, bad.len() - 1);
    }
}

#[test]
fn other_files_and_other_versions_are_told_apart() {
    assert_eq!(decode(b"not a journal at all"), Err(JournalError::Header));
    let mut newer = HEADER.to_vec();
    newer[7] = 2;
    assert_eq!(decode(&newer), Err(JournalError::Header));
}
