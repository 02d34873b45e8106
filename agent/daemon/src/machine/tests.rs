//! Directives in every order, without IO but one scan of an empty directory.

use std::num::NonZeroUsize;

use dominator_store_core::{Filter, ImageId, TreeId};
use dominator_store_fs::Dir;

use super::*;
use crate::{
    keeper::{UpdateFailure, UpdateReport},
    scan::Scanner,
    state::tests::image,
};

const OBSERVED: Observed = Observed { update_phase: Phase::Staging, staged: (1, 4), fetched: (2, 8), received_len: 0 };

/// A snapshot of an empty directory under `filter`.
fn snapshot(filter: &Filter) -> Arc<Snapshot> {
    let dir = tempfile::tempdir().expect("directory");
    let mut scanner = Scanner::new(Dir::open(dir.path()).expect("root"));
    scanner.configure(filter, dominator_store_core::Managed::default());
    scanner.pass(NonZeroUsize::MIN).expect("pass").snapshot
}

fn empty() -> Arc<Snapshot> {
    snapshot(&Filter::default())
}

fn require(generation: u64, image: &NamedImage) -> Directive {
    let (name, encoded) = (image.name.to_string(), image.encoded.clone());
    Directive::Require(Require { generation, name, image: image.id, encoded })
}

fn fetch(generation: u64, image: &NamedImage, planned: bool) -> Directive {
    Directive::Fetch(Fetch {
        generation,
        name: image.name.to_string(),
        image: image.id,
        encoded: image.encoded.clone(),
        server: "images:6971".to_owned(),
        server_name: String::new(),
        rate_bytes_per_s: None,
        planned,
    })
}

fn update(generation: u64, image: &NamedImage) -> Directive {
    Directive::Update(Update { generation, image: image.id, force_unsafe: false })
}

fn direct(machine: &mut Machine, directive: Directive) -> Vec<Output> {
    let accepted = machine.judge(directive).expect("accepted");
    machine.accept(accepted)
}

fn refusal(machine: &Machine, directive: Directive) -> ErrorCode {
    machine.judge(directive).expect_err("refused").code
}

/// A machine that has recovered and scanned.
fn ready() -> Machine {
    let mut machine = Machine::new(1, Saved::default());
    machine.handle_recovered(Ok(Recovery::default()));
    machine.handle_scan(Ok(empty()));
    machine
}

fn content(image: &NamedImage) -> Arc<Content> {
    Arc::new(Content::nothing(image.id, Arc::clone(empty().objects())))
}

fn done(scan: Arc<Snapshot>) -> Updated {
    let report = UpdateReport { window_us: Some(9), changed_count: 3, ..UpdateReport::default() };
    Updated { result: Ok(report), scan: Ok(scan) }
}

#[test]
fn late_directives_are_refused_and_repeated_ones_do_nothing() {
    let mut machine = ready();
    let (a, b) = (image("a", TreeId::of(b"a")), image("b", TreeId::of(b"b")));
    assert!(!direct(&mut machine, require(5, &a)).is_empty());
    assert!(machine.judge(require(5, &a)).expect("repeated").is_repeated());
    assert!(direct(&mut machine, require(5, &a)).is_empty());
    for late in [require(5, &b), require(4, &b), fetch(5, &a, false), update(3, &a)] {
        assert_eq!(refusal(&machine, late), ErrorCode::Conflict);
    }
    assert_eq!(machine.poll_reply(&OBSERVED).required, Some(a.id));
    assert_eq!(machine.poll_reply(&OBSERVED).generation, 5);
}

#[test]
fn the_state_to_be_saved_is_that_after_the_directive() {
    let machine = ready();
    let a = image("a", TreeId::of(b"a"));
    let accepted = machine.judge(require(5, &a)).expect("accepted");
    assert_eq!((accepted.saved().generation, accepted.saved().required.as_ref()), (5, Some(&a)));
    // Until it is accepted, nothing has changed.
    assert_eq!(machine.poll_reply(&OBSERVED).generation, 0);
    let restarted = Machine::new(2, accepted.saved().clone());
    assert_eq!(restarted.poll_reply(&OBSERVED).required, Some(a.id));
    assert_eq!(refusal(&restarted, update(5, &a)), ErrorCode::Conflict);
}

#[test]
fn a_wrong_image_is_refused() {
    let machine = ready();
    let (a, b) = (image("a", TreeId::of(b"a")), image("b", TreeId::of(b"b")));
    let forged = NamedImage { encoded: b.encoded, ..a.clone() };
    assert_eq!(refusal(&machine, require(1, &forged)), ErrorCode::Corrupt);
    let garbage = NamedImage { encoded: vec![1, 2], id: ImageId::of(&[1, 2]), ..a };
    assert_eq!(refusal(&machine, require(1, &garbage)), ErrorCode::Corrupt);
}

#[test]
fn the_root_is_told_only_under_the_filter_of_the_required_image() {
    let mut machine = ready();
    let filter = Filter::parse("exclude tree /var").expect("filter");
    let mut inner = image("a", empty().root()).image;
    inner.filter = filter.clone();
    let filtered = NamedImage::new("a", inner.id(), inner.encode()).expect("image");
    assert!(machine.poll_reply(&OBSERVED).root.is_some());
    let outputs = direct(&mut machine, require(1, &filtered));
    assert!(matches!(outputs.as_slice(), [Output::Keep(..), Output::Configure(_)]));
    assert_eq!(machine.poll_reply(&OBSERVED).root, None);
    machine.handle_scan(Ok(snapshot(&filter)));
    assert_eq!(machine.poll_reply(&OBSERVED).root, Some(empty().root()));
}

#[test]
fn a_fetch_waits_for_the_first_scan() {
    let mut machine = Machine::new(1, Saved::default());
    let a = image("a", TreeId::of(b"a"));
    direct(&mut machine, require(1, &a));
    assert!(direct(&mut machine, fetch(2, &a, false)).is_empty());
    machine.handle_recovered(Ok(Recovery::default()));
    assert!(matches!(machine.handle_scan(Ok(empty())).as_slice(), [Output::StartFetch(..)]));
    assert_eq!(machine.poll_reply(&OBSERVED).phase, Phase::Fetching);
    assert!(machine.handle_scan(Ok(empty())).is_empty());
}

#[test]
fn only_the_required_image_is_fetched_unless_it_is_planned() {
    let mut machine = ready();
    let (a, b) = (image("a", TreeId::of(b"a")), image("b", TreeId::of(b"b")));
    direct(&mut machine, require(1, &a));
    assert_eq!(refusal(&machine, fetch(2, &b, false)), ErrorCode::Conflict);
    assert!(matches!(direct(&mut machine, fetch(2, &b, true)).as_slice(), [Output::StartFetch(..)]));
    assert!(matches!(machine.handle_fetched(Ok(content(&b))).as_slice(), [Output::Keep(Purpose::Planned, Some(_))]));
    assert_eq!(machine.poll_reply(&OBSERVED).planned_ready, Some(b.id));
    // Now it becomes the required one, and is complete already.
    direct(&mut machine, require(3, &b));
    assert!(matches!(direct(&mut machine, update(4, &b)).as_slice(), [Output::StartUpdate(_)]));
}

#[test]
fn an_update_needs_the_required_image_and_its_content_once() {
    let mut machine = ready();
    let (a, b) = (image("a", empty().root()), image("b", TreeId::of(b"b")));
    direct(&mut machine, require(1, &a));
    assert_eq!(refusal(&machine, update(2, &b)), ErrorCode::Conflict);
    assert_eq!(refusal(&machine, update(2, &a)), ErrorCode::Conflict);
    direct(&mut machine, fetch(2, &a, false));
    assert_eq!(refusal(&machine, update(3, &a)), ErrorCode::Conflict);
    machine.handle_fetched(Ok(content(&a)));
    assert!(matches!(direct(&mut machine, update(3, &a)).as_slice(), [Output::StartUpdate(_)]));
    assert_eq!(machine.poll_reply(&OBSERVED).phase, Phase::Staging);
    assert_eq!(machine.poll_reply(&OBSERVED).progress, Some(Progress { done_len: 1, total_len: 4 }));
    assert_eq!(refusal(&machine, update(4, &a)), ErrorCode::Busy);
    let outputs = machine.handle_updated(done(empty()));
    assert!(matches!(outputs.as_slice(), [Output::Save(saved), Output::Keep(Purpose::Required, None)]
        if saved.applied.as_ref() == Some(&a)));
    let reply = machine.poll_reply(&OBSERVED);
    assert_eq!((reply.phase, reply.last_window_us, reply.last_changed_count), (Phase::Idle, Some(9), 3));
    assert_eq!(refusal(&machine, update(4, &a)), ErrorCode::Conflict);
}

#[test]
fn another_required_image_stops_the_fetch_and_forgets_what_went_wrong() {
    let mut machine = ready();
    let (a, b) = (image("a", TreeId::of(b"a")), image("b", TreeId::of(b"b")));
    direct(&mut machine, require(1, &a));
    direct(&mut machine, fetch(2, &a, false));
    machine.handle_fetched(Err("no server".to_owned()));
    assert_eq!(machine.poll_reply(&OBSERVED).last_error.as_deref(), Some("fetch of a: no server"));
    direct(&mut machine, fetch(3, &a, false));
    let outputs = direct(&mut machine, require(4, &b));
    assert!(matches!(outputs.as_slice(), [Output::Keep(..), Output::StopFetch, Output::Configure(_)]));
    let reply = machine.poll_reply(&OBSERVED);
    assert_eq!((reply.last_error, reply.phase), (None, Phase::Idle));
    // The end of the stopped fetch, if it still comes, changes nothing.
    assert!(machine.handle_fetched(Ok(content(&a))).is_empty());
    assert_eq!(refusal(&machine, update(5, &b)), ErrorCode::Conflict);
}

#[test]
fn the_same_fetch_goes_on_and_another_takes_its_place() {
    let mut machine = ready();
    let a = image("a", TreeId::of(b"a"));
    direct(&mut machine, require(1, &a));
    direct(&mut machine, fetch(2, &a, false));
    assert!(direct(&mut machine, fetch(3, &a, false)).is_empty());
    let Directive::Fetch(other) = fetch(4, &a, false) else { return };
    let other = Directive::Fetch(Fetch { server: "other:1".to_owned(), ..other });
    assert!(matches!(direct(&mut machine, other).as_slice(), [Output::StopFetch, Output::StartFetch(..)]));
}

#[test]
fn lacking_content_must_be_fetched_again_and_other_failures_not() {
    for content_incomplete in [false, true] {
        let mut machine = ready();
        let a = image("a", TreeId::of(b"a"));
        direct(&mut machine, require(1, &a));
        direct(&mut machine, fetch(2, &a, false));
        machine.handle_fetched(Ok(content(&a)));
        direct(&mut machine, update(3, &a));
        let failure = UpdateFailure { text: "no".to_owned(), content_incomplete };
        machine.handle_updated(Updated { result: Err(failure), scan: Ok(empty()) });
        assert_eq!(machine.poll_reply(&OBSERVED).last_error.as_deref(), Some("no"));
        assert_eq!(machine.judge(update(4, &a)).is_err(), content_incomplete);
    }
}

#[test]
fn the_latest_trouble_is_told_and_an_older_one_when_it_is_over() {
    let mut machine = ready();
    let a = image("a", TreeId::of(b"a"));
    let told = |machine: &Machine| machine.poll_reply(&OBSERVED).last_error;
    direct(&mut machine, require(1, &a));
    direct(&mut machine, fetch(2, &a, false));
    machine.handle_fetched(Ok(content(&a)));
    direct(&mut machine, update(3, &a));
    let failure = UpdateFailure { text: "update".to_owned(), content_incomplete: true };
    machine.handle_updated(Updated { result: Err(failure), scan: Err("scan".to_owned()) });
    assert_eq!(told(&machine).as_deref(), Some("scan"));
    direct(&mut machine, fetch(4, &a, false));
    machine.handle_fetched(Err("down".to_owned()));
    // The scan fails again in the same words, which is no news.
    machine.handle_scan(Err("scan".to_owned()));
    assert_eq!(told(&machine).as_deref(), Some("fetch of a: down"));
    direct(&mut machine, fetch(5, &a, false));
    machine.handle_fetched(Ok(content(&a)));
    assert_eq!(told(&machine).as_deref(), Some("scan"));
    machine.handle_scan(Ok(empty()));
    assert_eq!(told(&machine).as_deref(), Some("update"));
}

#[test]
fn a_required_image_that_changes_during_an_update_keeps_its_own_content() {
    let mut machine = ready();
    let (a, b) = (image("a", TreeId::of(b"a")), image("b", TreeId::of(b"b")));
    direct(&mut machine, require(1, &a));
    direct(&mut machine, fetch(2, &a, false));
    machine.handle_fetched(Ok(content(&a)));
    direct(&mut machine, update(3, &a));
    direct(&mut machine, require(4, &b));
    direct(&mut machine, fetch(5, &b, false));
    machine.handle_fetched(Ok(content(&b)));
    let outputs = machine.handle_updated(done(empty()));
    assert!(matches!(outputs.as_slice(), [Output::Save(saved)] if saved.applied.as_ref() == Some(&a)));
    assert!(matches!(direct(&mut machine, update(6, &b)).as_slice(), [Output::StartUpdate(_)]));
}

#[test]
fn nothing_is_updated_before_recovery_and_its_failure_is_told() {
    let mut machine = Machine::new(1, Saved::default());
    assert_eq!(machine.poll_reply(&OBSERVED).phase, Phase::Recovering);
    let a = image("a", TreeId::of(b"a"));
    direct(&mut machine, require(1, &a));
    assert_eq!(refusal(&machine, update(2, &a)), ErrorCode::Busy);
    machine.handle_recovered(Err("journal".to_owned()));
    assert_eq!(machine.poll_reply(&OBSERVED).last_error.as_deref(), Some("journal"));
    assert!(matches!(
        machine.handle_recovered(Ok(Recovery { image: Some(a.id), doubt: None })).as_slice(),
        [Output::Save(_)]
    ));
    assert_eq!(machine.poll_reply(&OBSERVED).phase, Phase::Scanning);
}

#[test]
fn an_idle_machine_answers_polls_in_few_bytes() {
    let mut machine = ready();
    let a = image("a", empty().root());
    direct(&mut machine, require(1, &a));
    let known = machine.poll_reply(&OBSERVED).digest();
    for _ in 0..1000 {
        machine.handle_scan(Ok(empty()));
    }
    let reply = machine.poll_reply(&OBSERVED);
    assert_eq!(reply.digest(), known);
    assert_eq!(reply.scan_count, 1001);
    assert!(dominator_protocol_core::Unchanged { scan_count: u64::MAX }.encode().len() <= 16);
    assert!(reply.encode().len() <= 200, "{}", reply.encode().len());
}
