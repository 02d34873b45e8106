//! The demo: the main job on real input, each step checked.
//!
//! Owns the order of the steps and what is measured. Invariants: a step is over when the controller says that the machines
//! have converged; at the end an independent tool compares every root with the tree that its image was made of, and any
//! difference fails the demo.
//!
//! Does not set anything up itself: `Lab` does.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use dominator_lab::{
    Lab, LabOptions, MachineDetail, MachineStatus, Programs, Watch, compare, damage_every_kind, wait_until,
};

use crate::{DemoArgs, report::Report};

const V1: &str = "demo/v1";
const V2: &str = "demo/v2";
const HOSTS: [&str; 3] = ["web-1", "web-2", "web-3"];
/// Longest wait for one step.
const STEP_TIME_MAX: Duration = Duration::from_secs(120);
/// How long a converged fleet is watched to see what a poll costs.
const IDLE_TIME: Duration = Duration::from_secs(2);

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let images = fs::canonicalize(&args.images)
        .with_context(|| format!("there are no images in {}; run: make images", args.images.display()))?;
    if args.dir.exists() {
        fs::remove_dir_all(&args.dir).with_context(|| format!("cannot empty {}", args.dir.display()))?;
    }
    let start = Instant::now();
    let mut watch = Watch::new();
    watch.show("make certificates, a store, the image server");
    let lab = Lab::create(&args.dir, Programs::find()?, LabOptions::default())?;
    let report = Report { version: 1, ..Report::default() };
    let mut demo = Demo { lab, watch, report, images, meters: BTreeMap::new() };
    demo.steps()?;
    demo.report.total_s = start.elapsed().as_secs_f64();
    demo.watch.note("done");
    println!("{}", demo.report.table());
    println!("idle poll of a converged machine: {} bytes of payload, both ways", demo.report.idle_poll_len);
    println!("controller and agent to find one changed file: {} bytes", demo.report.one_file_control_len);
    println!("every root equals its image by rsync; {:.0} s in all", demo.report.total_s);
    if let Some(path) = &args.json {
        fs::write(path, serde_json::to_vec_pretty(&demo.report)?)?;
    }
    if args.keep {
        demo.print_how_to_look_around();
        demo.lab.release();
    }
    Ok(())
}

struct Demo {
    lab: Lab,
    watch: Watch,
    report: Report,
    images: PathBuf,
    meters: BTreeMap<String, u64>,
}

impl Demo {
    fn steps(&mut self) -> Result<()> {
        self.publish(V1, "v1")?;
        self.publish(V2, "v2")?;
        for host in HOSTS {
            self.lab.add_machine(host)?;
            self.lab.require(host, V1)?;
        }
        self.lab.start_dominator()?;
        for host in ["web-1", "web-2"] {
            self.lab.machine(host)?.subd.start()?;
        }
        self.drive("empty to v1 (web-1, web-2)", &[("web-1", V1), ("web-2", V1)])?;
        self.check("web-1", "v1")?;

        // The third machine was down all the while.
        self.lab.machine("web-3")?.subd.start()?;
        self.drive("web-3 comes up: empty to v1", &[("web-3", V1)])?;

        self.stage_planned()?;
        self.lab.require("web-1", V2)?;
        let switched = self.drive("web-1: v1 to v2, staged", &[("web-1", V2), ("web-2", V1), ("web-3", V1)])?;
        // The rest of the switch is what controller and agent say to each other.
        if switched > 2_000_000 {
            bail!("the switch to the planned image cost {switched} bytes of fetching, though it was staged");
        }
        self.check("web-2", "v1")?;

        self.lab.machine("web-3")?.subd.stop()?;
        self.lab.require("web-2", V2)?;
        self.lab.require("web-3", V2)?;
        self.drive("web-2: v1 to v2, web-3 down", &[("web-2", V2)])?;
        self.lab.machine("web-3")?.subd.start()?;
        self.meters.remove("web-3");
        self.drive("web-3 comes back: v1 to v2", &[("web-3", V2)])?;

        self.lab.require("web-1", V1)?;
        self.drive("web-1: back to v1", &[("web-1", V1)])?;
        self.lab.require("web-1", V2)?;
        self.drive("web-1: to v2 again", &[("web-1", V2)])?;

        self.measure_idle()?;
        self.change_one_file()?;
        self.damage("web-2")?;
        for host in HOSTS {
            self.check(host, "v2")?;
        }
        Ok(())
    }

    fn publish(&mut self, name: &str, tree: &str) -> Result<()> {
        self.watch.show(&format!("publish {name}"));
        let (start, before) = (Instant::now(), loopback_len()?);
        let text = self.lab.publish(name, &self.images.join(tree))?;
        let wire_len = loopback_len()?.saturating_sub(before);
        self.report.add(&format!("publish {name}"), start.elapsed(), wire_len, 0, &[]);
        self.watch.note(text.lines().next().unwrap_or(name));
        Ok(())
    }

    /// Waits until the machines have converged, and adds a row; returns the bytes that the step cost.
    fn drive(&mut self, step: &str, wanted: &[(&str, &str)]) -> Result<u64> {
        let start = Instant::now();
        let statuses =
            self.lab.wait_converged(wanted, STEP_TIME_MAX, &mut self.watch).with_context(|| step.to_owned())?;
        let wire_len: u64 = statuses.iter().map(|status| self.meter(status)).sum();
        let moved: Vec<&MachineStatus> = match wanted {
            [(host, _), ..] if step.starts_with(host) => {
                statuses.iter().filter(|status| status.host == *host).collect()
            }
            _ => statuses.iter().collect(),
        };
        let windows: Vec<u64> = moved.iter().filter_map(|status| status.last_window_us).collect();
        let changed_count = moved.iter().map(|status| status.last_changed_count).sum();
        self.report.add(step, start.elapsed(), wire_len, changed_count, &windows);
        self.watch.note(step);
        Ok(wire_len)
    }

    /// Returns what a machine has cost since it was last asked.
    fn meter(&mut self, status: &MachineStatus) -> u64 {
        let now = status.fetched_len + status.control_len;
        let before = self.meters.insert(status.host.clone(), now).unwrap_or(0);
        // An agent that was started again counts from nothing.
        now.checked_sub(before).unwrap_or(now)
    }

    fn stage_planned(&mut self) -> Result<()> {
        let start = Instant::now();
        self.lab.mdb.set("web-1", |machine| V2.clone_into(&mut machine.planned_image))?;
        let before = self.status("web-1")?.fetched_len;
        let watch = &mut self.watch;
        let lab = &self.lab;
        wait_until(STEP_TIME_MAX, || {
            let status = find(lab.statuses()?, "web-1")?;
            watch.show(&status.progress_text());
            let is_staged = status.status == "converged" && status.fetched_len > before;
            Ok(is_staged.then_some(()))
        })
        .context("the planned image is not staged")?;
        let status = self.status("web-1")?;
        let wire_len = self.meter(&status);
        self.report.add("web-1: stage planned v2", start.elapsed(), wire_len, 0, &[]);
        self.watch.note("web-1 has staged its planned image and still is v1");
        Ok(())
    }

    fn measure_idle(&mut self) -> Result<()> {
        self.watch.show("watch the converged fleet");
        std::thread::sleep(IDLE_TIME);
        self.report.idle_poll_len = self.status("web-1")?.poll_len;
        Ok(())
    }

    /// One changed byte: what does it cost to find it?
    fn change_one_file(&mut self) -> Result<()> {
        let start = Instant::now();
        let path = self.lab.machine("web-1")?.root.join("etc/passwd");
        let before = self.watched_detail("web-1", true, |lab| {
            fs::write(&path, fs::read_to_string(&path)? + "intruder::0:0::/root:/bin/sh\n")?;
            lab.detail("web-1")
        })?;
        self.report.one_file_control_len = before.1.machine.control_len.saturating_sub(before.0);
        self.enable("web-1")?;
        self.wait_repaired("web-1", "v2")?;
        let status = self.status("web-1")?;
        let wire_len = self.meter(&status);
        let window: Vec<u64> = status.last_window_us.into_iter().collect();
        self.report.add("web-1: one file changed", start.elapsed(), wire_len, status.last_changed_count, &window);
        self.watch.note("web-1: a line in /etc/passwd was found and removed");
        Ok(())
    }

    fn damage(&mut self, host: &str) -> Result<()> {
        let root = self.lab.machine(host)?.root.clone();
        let mut done = Vec::new();
        let (_, detail) = self.watched_detail(host, true, |lab| {
            done = damage_every_kind(&root)?;
            lab.detail(host)
        })?;
        println!(
            "\n{host} was damaged in {} ways; the controller lists {} deviations:",
            done.len(),
            detail.deviations.len()
        );
        for deviation in &detail.deviations {
            println!("  {:<12} {}", deviation.what, deviation.path);
        }
        println!();
        for damage in &done {
            let path = format!("/{}", damage.path.display());
            if !detail.deviations.iter().any(|deviation| deviation.path == path) {
                bail!("{} of {path} is not among the deviations", damage.kind);
            }
        }
        let start = Instant::now();
        self.enable(host)?;
        self.wait_repaired(host, "v2")?;
        let status = self.status(host)?;
        let wire_len = self.meter(&status);
        let window: Vec<u64> = status.last_window_us.into_iter().collect();
        let step = format!("{host}: {} kinds of damage repaired", done.len());
        self.report.add(&step, start.elapsed(), wire_len, status.last_changed_count, &window);
        self.watch.note(&step);
        Ok(())
    }

    /// Disables updates of a machine, changes it, and waits until the controller lists what differs. Returns the control
    /// bytes before, and the detail.
    fn watched_detail(
        &mut self,
        host: &str,
        disable: bool,
        change: impl FnOnce(&Lab) -> Result<MachineDetail>,
    ) -> Result<(u64, MachineDetail)> {
        self.lab.mdb.set(host, |machine| machine.disable_updates = disable)?;
        wait_until(STEP_TIME_MAX, || Ok((self.status(host)?.status == "disabled").then_some(())))
            .context("the controller does not take over DisableUpdates")?;
        let before = self.status(host)?.control_len;
        change(&self.lab)?;
        let (lab, watch) = (&self.lab, &mut self.watch);
        // The list is complete when two looks, with a scan between them, agree.
        let mut last = 0;
        let detail = wait_until(STEP_TIME_MAX, || {
            let detail = lab.detail(host)?;
            watch.show(&format!("{host}: {} deviations found", detail.deviations.len()));
            let is_stable = !detail.deviations.is_empty() && detail.deviations.len() == last;
            last = detail.deviations.len();
            if !is_stable {
                std::thread::sleep(Duration::from_millis(1500));
            }
            Ok(is_stable.then_some(detail))
        })
        .context("the change is not found")?;
        Ok((before, detail))
    }

    fn enable(&mut self, host: &str) -> Result<()> {
        self.lab.mdb.set(host, |machine| machine.disable_updates = false)
    }

    /// Waits until the controller says that the machine has converged and `rsync` agrees.
    fn wait_repaired(&mut self, host: &str, tree: &str) -> Result<()> {
        let root = self.lab.machine(host)?.root.clone();
        let source = self.images.join(tree);
        wait_until(STEP_TIME_MAX, || {
            let status = self.status(host)?;
            self.watch.show(&status.progress_text());
            Ok((status.converged && compare(&source, &root)?.is_equal()).then_some(()))
        })
        .with_context(|| format!("{host} is not repaired"))
    }

    fn status(&self, host: &str) -> Result<MachineStatus> {
        find(self.lab.statuses()?, host)
    }

    /// Compares a root with the tree that its image was made of.
    fn check(&mut self, host: &str, tree: &str) -> Result<()> {
        self.watch.show(&format!("compare {host} with {tree} by rsync"));
        let root = self.lab.machine(host)?.root.clone();
        let compared = compare(&self.images.join(tree), &root)?;
        if !compared.is_equal() {
            let shown: Vec<&str> = compared.lines.iter().take(20).map(String::as_str).collect();
            bail!("{host} differs from {tree} in {} lines:\n{}", compared.lines.len(), shown.join("\n"));
        }
        self.watch.note(&format!("{host} equals {tree} by rsync: no lines"));
        Ok(())
    }

    fn print_how_to_look_around(&self) {
        let domtool = self.lab.domtool();
        println!("\nEverything is left running. To look around:\n");
        println!("  export {}", domtool.env_text());
        let program = domtool.program().display();
        println!("  {program} machine list --controller {}", self.lab.fleet_address());
        println!("  {program} machine show web-1 --controller {}", self.lab.fleet_address());
        println!("  {program} image list --server {}", self.lab.image_address());
        println!("  {program} image diff {V1} {V2} --server {}", self.lab.image_address());
        println!("\nDamage a root and watch it being repaired:\n");
        println!("  rm {}", self.lab.dir().join("machines/web-1/root/etc/passwd").display());
        println!("\nLogs lie in {}. To end it all:\n", self.lab.dir().display());
        println!("  pkill -f {}", self.lab.dir().display());
    }
}

fn find(statuses: Vec<MachineStatus>, host: &str) -> Result<MachineStatus> {
    statuses
        .into_iter()
        .find(|status| status.host == host)
        .with_context(|| format!("the controller does not know {host}"))
}

/// Returns the bytes that the loopback interface has carried, headers included.
fn loopback_len() -> Result<u64> {
    let text = fs::read_to_string(Path::new("/proc/net/dev"))?;
    let line =
        text.lines().find_map(|line| line.trim().strip_prefix("lo:")).context("there is no loopback interface")?;
    line.split_whitespace().next().context("no counter")?.parse().context("not a counter")
}
