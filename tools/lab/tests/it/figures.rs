//! What idleness and one changed file cost.

use std::fs;

use anyhow::Result;
use dominator_lab::wait_until;

use crate::site::{STEP_TIME_MAX, Site};

#[test]
fn an_idle_poll_and_one_changed_file_cost_little() -> Result<()> {
    let mut site = Site::new(&["a"])?;
    site.start_all()?;
    site.wait_equal("a", "v1")?;
    let poll_len = wait_until(STEP_TIME_MAX, || {
        let len = site.lab.detail("a")?.machine.poll_len;
        Ok((len > 0 && len <= 200).then_some(len))
    })?;
    println!("idle poll of a converged machine: {poll_len} bytes of payload");

    site.lab.mdb.set("a", |machine| machine.disable_updates = true)?;
    wait_until(STEP_TIME_MAX, || Ok((site.lab.detail("a")?.machine.status == "disabled").then_some(())))?;
    let before = site.lab.detail("a")?.machine.control_len;
    let root = site.lab.machine("a")?.root.clone();
    fs::write(root.join("plain/sub/linked too"), "changed")?;
    let detail = wait_until(STEP_TIME_MAX, || {
        let detail = site.lab.detail("a")?;
        Ok((!detail.deviations.is_empty()).then_some(detail))
    })?;
    let control_len = detail.machine.control_len - before;
    println!("one changed file (of two names): {control_len} bytes between controller and agent, polls included");
    assert!(control_len < 10_000, "{control_len}");
    Ok(())
}
