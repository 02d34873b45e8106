//! Simulated fleets: many planners against agents that fail, restart, drift and lose answers.
//!
//! Owns a model of an agent and a seeded choice of what goes wrong. Invariants looked for: generations ascend, machines that
//! may not be changed are not directed, failures do not make a storm, and once nothing goes wrong everything converges.
//!
//! Does not use time: the clock is a number.

use std::time::Duration;

use dominator_controller_core::{
    Action, DescentSummary, Directive, DirectiveKind, Host, ImageKnowledge, KnownImage, LinkFailure, Pace, Planner,
    Purpose, Target, Updates,
};
use dominator_protocol_core::{CallFailure, ErrorCode, Phase, PollReply};
use dominator_store_core::{ImageId, TreeId};

const TICK: Duration = Duration::from_millis(50);

/// A linear congruential generator: the same faults in every run of a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

fn image(number: u64) -> KnownImage {
    let text = format!("image {number}");
    KnownImage { id: ImageId::of(text.as_bytes()), root: TreeId::of(text.as_bytes()), entry_count: 1000 }
}

struct Agent {
    state: PollReply,
    cached: Vec<ImageId>,
    job: Option<(Job, u64)>,
}

#[derive(Clone, Copy)]
enum Job {
    Fetch(ImageId, Purpose),
    Update(ImageId),
}

impl Agent {
    fn new() -> Self {
        let state = PollReply {
            instance: 1,
            generation: 0,
            required: None,
            root: Some(TreeId::of(b"")),
            scan_count: 0,
            phase: Phase::Idle,
            progress: None,
            last_error: None,
            planned_ready: None,
            last_window_us: None,
            last_changed_count: 0,
            fetched_len: 0,
        };
        Self { state, cached: Vec::new(), job: None }
    }

    fn tell(&mut self, directive: &Directive, dice: &mut Dice, is_faulty: bool) -> Result<(), CallFailure> {
        if directive.generation() <= self.state.generation {
            return Err(CallFailure::conflict("stale generation"));
        }
        if self.job.is_some() || (is_faulty && dice.one_in(20)) {
            return Err(CallFailure::new(ErrorCode::Busy, "busy"));
        }
        if let Directive::Update { image, .. } = directive
            && !self.cached.contains(image)
        {
            return Err(CallFailure::conflict("not fetched"));
        }
        self.state.generation = directive.generation();
        match directive {
            Directive::Require { image, .. } => self.state.required = Some(*image),
            Directive::Fetch { image, purpose, .. } => {
                self.state.phase = Phase::Fetching;
                self.job = Some((Job::Fetch(*image, *purpose), 1 + dice.roll(10)));
            }
            Directive::Update { image, .. } => {
                assert_eq!(self.state.required, Some(*image), "only what is required is applied");
                self.state.phase = Phase::Applying;
                self.job = Some((Job::Update(*image), 1 + dice.roll(10)));
            }
        }
        Ok(())
    }

    fn tick(&mut self, dice: &mut Dice, is_faulty: bool) {
        let Some((job, ticks)) = &mut self.job else { return };
        *ticks -= 1;
        if *ticks > 0 {
            return;
        }
        let job = *job;
        (self.job, self.state.phase) = (None, Phase::Idle);
        if is_faulty && dice.one_in(4) {
            self.state.last_error = Some("failed".to_owned());
            return;
        }
        self.state.last_error = None;
        match job {
            Job::Fetch(image, purpose) => {
                self.cached.push(image);
                if purpose == Purpose::Planned {
                    self.state.planned_ready = Some(image);
                }
            }
            Job::Update(id) => self.state.root = (0..4).map(image).find(|image| image.id == id).map(|image| image.root),
        }
    }

    fn restart(&mut self) {
        self.state.instance += 1;
        (self.job, self.state.phase) = (None, Phase::Idle);
    }
}

struct Simulated {
    planner: Planner,
    agent: Agent,
    target: u64,
    is_disabled: bool,
    told_count: u64,
    poll_count: u64,
    last_generation: u64,
}

impl Simulated {
    fn new(number: usize) -> Self {
        let host: Host = format!("m{number}").parse().expect("host");
        let pace = Pace { idle: Duration::from_secs(1), active: Duration::from_millis(100) };
        let planner = Planner::new(&host, pace, 0);
        Self {
            planner,
            agent: Agent::new(),
            target: 0,
            is_disabled: false,
            told_count: 0,
            poll_count: 0,
            last_generation: 0,
        }
    }

    fn require(&mut self, number: u64, updates: Updates) {
        let wanted =
            |number: u64| dominator_controller_core::WantedImage::Named(format!("v{number}").parse().expect("name"));
        self.target = number;
        self.is_disabled = updates != Updates::Enabled;
        self.planner.set_target(Target {
            required: wanted(number),
            planned: wanted(number + 1),
            updates,
            ..Target::default()
        });
        for number in [number, number + 1] {
            let name = format!("v{number}").parse().expect("name");
            self.planner.set_image(&name, &ImageKnowledge::Known(image(number)));
        }
    }

    fn step(&mut self, now: Duration, dice: &mut Dice, is_faulty: bool) {
        self.agent.tick(dice, is_faulty);
        for _ in 0..20 {
            let is_cut = is_faulty && dice.one_in(30);
            match self.planner.poll_action(now) {
                Action::Wait { until } => {
                    assert!(until > now, "waiting for the past");
                    return;
                }
                Action::Connect if is_cut => self.planner.handle_link_failed(now, LinkFailure::Unreachable, "away"),
                Action::Connect => self.planner.handle_connected(now),
                Action::Poll { .. } if is_cut => self.planner.handle_link_failed(now, LinkFailure::Lost, "cut"),
                Action::Poll { known } => {
                    self.poll_count += 1;
                    match known == Some(self.agent.state.digest()) {
                        true => self.planner.handle_unchanged(now, 1),
                        false => self.planner.handle_reply(now, self.agent.state.clone()),
                    }
                }
                Action::Descend(order) => {
                    let summary = DescentSummary { deviation_count: 7, truncated: false };
                    let result = if is_cut { Err("absent".to_owned()) } else { Ok(summary) };
                    self.planner.handle_descended(order, result);
                }
                Action::Direct(directive) => self.direct(now, &directive, is_cut, dice, is_faulty),
            }
        }
        panic!("the planner does not come to rest");
    }

    fn direct(&mut self, now: Duration, directive: &Directive, is_cut: bool, dice: &mut Dice, is_faulty: bool) {
        self.told_count += 1;
        assert!(!self.is_disabled, "{directive:?} for a machine that may not be changed");
        assert!(directive.generation() > self.last_generation, "{directive:?}");
        self.last_generation = directive.generation();
        // A cut before, or a cut after the agent heard it.
        if is_cut && dice.one_in(2) {
            return self.planner.handle_link_failed(now, LinkFailure::Lost, "cut before");
        }
        let answer = self.agent.tell(directive, dice, is_faulty);
        if is_cut {
            return self.planner.handle_link_failed(now, LinkFailure::Lost, "cut after");
        }
        match answer {
            Ok(()) => self.planner.handle_accepted(now, directive.generation()),
            Err(failure) => self.planner.handle_refused(now, directive.generation(), &failure),
        }
    }
}

#[test]
fn fleets_converge_once_nothing_goes_wrong() {
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let mut fleet: Vec<_> = (0..30).map(Simulated::new).collect();
        let mut now = Duration::ZERO;
        for tick in 0..6000 {
            let is_faulty = tick < 3000;
            now += TICK;
            for machine in &mut fleet {
                if tick == 0 || (is_faulty && dice.one_in(400)) {
                    let updates = if dice.one_in(4) && is_faulty { Updates::Disabled } else { Updates::Enabled };
                    machine.require(dice.roll(3), updates);
                }
                if tick == 3000 {
                    machine.require(machine.target, Updates::Enabled);
                }
                if is_faulty && dice.one_in(300) {
                    machine.agent.restart();
                }
                if is_faulty && dice.one_in(300) {
                    machine.agent.state.root = Some(TreeId::of(b"drift"));
                }
                if is_faulty && dice.one_in(500) {
                    machine.agent.cached.clear();
                }
                machine.step(now, &mut dice, is_faulty);
            }
        }
        for machine in &fleet {
            let report = machine.planner.report(now);
            assert!(machine.planner.is_converged(), "rng_seed {seed}: {report}");
            assert_eq!(machine.agent.state.root, Some(image(machine.target).root), "rng_seed {seed}");
            assert_eq!(
                machine.agent.state.planned_ready,
                Some(image(machine.target + 1).id),
                "rng_seed {seed}: {report}"
            );
        }
    }
}

#[test]
fn a_week_of_failures_makes_no_storm() {
    let mut machine = Simulated::new(0);
    machine.require(1, Updates::Enabled);
    let mut dice = Dice(1);
    let mut now = Duration::ZERO;
    // Every fetch fails at once; a second per step keeps a week short.
    while now < Duration::from_secs(7 * 24 * 3600) {
        now += Duration::from_secs(1);
        if let Some((job, _)) = machine.agent.job.take() {
            machine.agent.state.phase = Phase::Idle;
            assert!(matches!(job, Job::Fetch(..)));
            machine.agent.state.last_error = Some(format!("no route at {}", now.as_secs()));
        }
        machine.step(now, &mut dice, false);
    }
    // At most one attempt per 45 s, which is the longest delay less its jitter.
    assert!(machine.told_count < 7 * 24 * 3600 / 45 + 20, "{}", machine.told_count);
    let report = machine.planner.report(now);
    assert_eq!(report.status, dominator_controller_core::Status::FetchFailed, "{report}");
}

#[test]
fn a_converged_machine_is_polled_at_the_idle_pace_and_told_nothing() {
    let mut machine = Simulated::new(0);
    machine.require(1, Updates::Enabled);
    let mut dice = Dice(1);
    let mut now = Duration::ZERO;
    let mut run = |machine: &mut Simulated, seconds: u32| {
        for _ in 0..seconds * 20 {
            now += TICK;
            machine.step(now, &mut dice, false);
        }
    };
    run(&mut machine, 60);
    assert!(machine.planner.is_converged());
    let (told_count, poll_count) = (machine.told_count, machine.poll_count);
    assert_eq!(told_count, 4, "require, fetch, update, fetch ahead");
    run(&mut machine, 600);
    assert_eq!(machine.told_count, told_count);
    let polls = machine.poll_count - poll_count;
    assert!((590..=600).contains(&polls), "{polls}");
    assert_eq!(DirectiveKind::ALL.len(), 4);
}
