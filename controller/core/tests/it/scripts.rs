//! Scripted machines with golden output.
//!
//! Owns the script language: lines that begin with `> ` are inputs; what stands between them is what the planner decides and
//! how the status changes. Invariant: a script is its own expectation; the test renders it again and compares.
//!
//! Does not simulate agents: `fleet` does.

use std::{fmt::Write as _, time::Duration};

use dominator_controller_core::{
    Action, DescentOrder, DescentSummary, Directive, Host, ImageKnowledge, KnownImage, LinkFailure, Pace, Planner,
    Purpose, Safety, Target, Updates, WantedImage,
};
use dominator_protocol_core::{CallFailure, ErrorCode, Phase, PollReply, Progress};
use dominator_store_core::{ImageId, TreeId};

struct Script {
    planner: Planner,
    now: Duration,
    output: String,
    status: String,
    generation: u64,
    order: Option<DescentOrder>,
    reply: PollReply,
}

fn image(name: &str) -> KnownImage {
    KnownImage { id: ImageId::of(name.as_bytes()), root: TreeId::of(name.as_bytes()), entry_count: 100 }
}

fn wanted(name: &str) -> WantedImage {
    match name {
        "-" => WantedImage::Nothing,
        name => name.parse().map_or_else(|_| WantedImage::Invalid(name.to_owned()), WantedImage::Named),
    }
}

fn image_name(id: ImageId) -> String {
    let known = ["v1", "v2", "v3"].into_iter().find(|name| image(name).id == id);
    known.map_or_else(|| id.short(), str::to_owned)
}

impl Script {
    fn new() -> Self {
        let host: Host = "web-1".parse().expect("host");
        let pace = Pace { idle: Duration::from_secs(1), active: Duration::from_millis(100) };
        let reply = PollReply {
            instance: 1,
            generation: 0,
            required: None,
            root: None,
            scan_count: 0,
            phase: Phase::Idle,
            progress: None,
            last_error: None,
            planned_ready: None,
            last_window_us: None,
            last_changed_count: 0,
            fetched_len: 0,
        };
        let planner = Planner::new(&host, pace, 0);
        let (output, status) = (String::new(), String::new());
        Self { planner, now: Duration::ZERO, output, status, generation: 0, order: None, reply }
    }

    fn input(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let now = self.now;
        match verb {
            "mdb" => self.mdb(rest),
            "image" => {
                let mut words = rest.splitn(3, ' ');
                let name = words.next().expect("name");
                let knowledge = match words.next().expect("knowledge") {
                    "known" => ImageKnowledge::Known(image(name)),
                    "absent" => ImageKnowledge::Absent,
                    _ => ImageKnowledge::Failed(words.next().expect("reason").to_owned()),
                };
                self.planner.set_image(&name.parse().expect("name"), &knowledge);
            }
            "connected" => self.planner.handle_connected(now),
            "down" => {
                let (failure, text) = rest.split_once(' ').expect("failure and text");
                let failure = match failure {
                    "dns" => LinkFailure::Dns,
                    "unreachable" => LinkFailure::Unreachable,
                    "lost" => LinkFailure::Lost,
                    "certificate" => LinkFailure::Certificate,
                    _ => LinkFailure::Protocol,
                };
                self.planner.handle_link_failed(now, failure, text);
            }
            "reply" => {
                self.reply(rest);
                self.planner.handle_reply(now, self.reply.clone());
            }
            "unchanged" => self.planner.handle_unchanged(now, 7),
            "poll-refused" => self.planner.handle_poll_refused(now, &failure(rest)),
            "accepted" => self.planner.handle_accepted(now, self.generation),
            "refused" => self.planner.handle_refused(now, self.generation, &failure(rest)),
            "accepted-late" => self.planner.handle_accepted(now, self.generation - 1),
            "listed" => {
                let summary = DescentSummary { deviation_count: rest.parse().expect("count"), truncated: false };
                self.planner.handle_descended(self.order.take().expect("order"), Ok(summary));
            }
            "unlisted" => self.planner.handle_descended(self.order.take().expect("order"), Err(rest.to_owned())),
            "after" => self.now += Duration::from_millis(rest.parse().expect("milliseconds")),
            "retry" => self.planner.retry_now(now),
            other => panic!("unknown line {other}"),
        }
        self.drain();
    }

    fn mdb(&mut self, rest: &str) {
        let mut target = Target::default();
        for field in rest.split(' ') {
            match field.split_once('=').expect("field") {
                ("required", name) => target.required = wanted(name),
                ("planned", name) => target.planned = wanted(name),
                ("updates", "disabled") => target.updates = Updates::Disabled,
                ("updates", "held") => target.updates = Updates::Held,
                ("safety", "overridden") => target.safety = Safety::Overridden,
                other => panic!("unknown field {other:?}"),
            }
        }
        self.planner.set_target(target);
    }

    fn reply(&mut self, rest: &str) {
        for field in rest.split_whitespace() {
            let (key, value) = field.split_once('=').expect("field");
            let present = Some(value).filter(|value| *value != "-");
            match key {
                "instance" => self.reply.instance = value.parse().expect("instance"),
                "generation" if value == "told" => self.reply.generation = self.generation,
                "generation" => self.reply.generation = value.parse().expect("generation"),
                "required" => self.reply.required = present.map(|name| image(name).id),
                "root" => self.reply.root = present.map(|name| image(name).root),
                "ready" => self.reply.planned_ready = present.map(|name| image(name).id),
                "error" => self.reply.last_error = present.map(|text| text.replace('_', " ")),
                "progress" => {
                    self.reply.progress =
                        present.map(|len| Progress { done_len: len.parse().expect("len"), total_len: 100 });
                }
                "phase" => {
                    let phase = Phase::ALL.iter().find(|phase| phase.text() == value);
                    self.reply.phase = *phase.expect("phase");
                }
                other => panic!("unknown field {other}"),
            }
        }
    }

    fn drain(&mut self) {
        loop {
            let line = match self.planner.poll_action(self.now) {
                Action::Wait { .. } => break,
                Action::Connect => "connect".to_owned(),
                Action::Poll { known } => if known.is_some() { "poll, known" } else { "poll" }.to_owned(),
                Action::Descend(order) => {
                    self.order = Some(order);
                    "list deviations".to_owned()
                }
                Action::Direct(directive) => {
                    assert!(directive.generation() > self.generation, "generations ascend");
                    self.generation = directive.generation();
                    let what = match directive {
                        Directive::Require { image, .. } => format!("require {}", image_name(image)),
                        Directive::Fetch { image, purpose: Purpose::Required, .. } => {
                            format!("fetch {}", image_name(image))
                        }
                        Directive::Fetch { image, .. } => format!("fetch {} as planned", image_name(image)),
                        Directive::Update { image, safety: Safety::Checked, .. } => {
                            format!("update to {}", image_name(image))
                        }
                        Directive::Update { image, .. } => format!("update to {} in any case", image_name(image)),
                    };
                    format!("{what}, generation {}", self.generation)
                }
            };
            writeln!(self.output, "{:>7.2}  {line}", self.now.as_secs_f64()).expect("write");
        }
        let report = self.planner.report(self.now);
        let detail = if report.detail.is_empty() { String::new() } else { format!(": {}", report.detail) };
        let status = format!("         = {}{detail}", report.status);
        if status != self.status {
            writeln!(self.output, "{status}").expect("write");
            self.status = status;
        }
    }
}

fn failure(rest: &str) -> CallFailure {
    let (code, text) = rest.split_once(": ").expect("code and text");
    CallFailure::new(ErrorCode::from_text(code).expect("code"), text)
}

fn check(script: &str) {
    let mut run = Script::new();
    let mut actual = String::new();
    for line in script.lines() {
        if let Some(input) = line.strip_prefix("> ") {
            run.input(input);
            writeln!(actual, "{line}").expect("write");
            actual.push_str(&std::mem::take(&mut run.output));
        } else if line.starts_with('#') || line.is_empty() {
            writeln!(actual, "{line}").expect("write");
        }
    }
    assert!(actual == script, "the planner decides otherwise; if that is right, the script becomes:\n{actual}");
}

macro_rules! scripts {
    ($($name:ident $file:literal),* $(,)?) => {
        $( #[test] fn $name() { check(include_str!(concat!("../scripts/", $file))); } )*
    };
}

scripts! {
    an_empty_machine_becomes_its_image "first-fill.txt",
    drift_is_corrected_and_the_planned_image_is_fetched "drift-and-planned.txt",
    lost_late_and_repeated_answers_are_harmless "lost-answers.txt",
    trouble_is_told_and_tried_again "trouble.txt",
    what_may_not_be_changed_is_only_looked_at "restrained.txt",
    images_that_are_missing_are_waited_for "images.txt",
    restarts_of_the_agent_are_noticed "restarts.txt",
    updates_do_not_wait_long_for_lists "listing.txt",
}
