//! The main flow: empty root, image to image, two images at once, a planned image, a machine that was down, drift.

use anyhow::Result;
use dominator_lab::{damage_every_kind, wait_until};

use crate::site::{STEP_TIME_MAX, Site, V1, V2};

#[test]
fn machines_become_their_images_and_stay_so() -> Result<()> {
    let mut site = Site::new(&["a", "b", "c"])?;
    site.lab.start_dominator()?;
    for host in ["a", "b"] {
        site.lab.machine(host)?.subd.start()?;
    }
    site.wait_equal("a", "v1")?;
    site.wait_equal("b", "v1")?;

    // `c` was down and comes up; `a` stages what it will be next.
    site.lab.machine("c")?.subd.start()?;
    site.lab.mdb.set("a", |machine| V2.clone_into(&mut machine.planned_image))?;
    site.wait_equal("c", "v1")?;
    let fetched_len = wait_until(STEP_TIME_MAX, || {
        let machine = site.lab.detail("a")?.machine;
        let history = site.lab.detail("a")?.history;
        let is_staged = history.iter().any(|event| event.text.contains("planned"));
        Ok((is_staged && machine.status == "converged").then_some(machine.fetched_len))
    })?;
    site.lab.require("a", V2)?;
    site.wait(&[("a", V2), ("b", V1), ("c", V1)])?;
    site.wait_equal("a", "v2")?;
    site.wait_equal("b", "v1")?;
    let after = site.lab.detail("a")?.machine.fetched_len;
    assert!(after - fetched_len < 20_000, "a staged image cost {} bytes more", after - fetched_len);

    site.lab.machine("c")?.subd.stop()?;
    site.lab.require("b", V2)?;
    site.lab.require("c", V2)?;
    site.wait(&[("b", V2)])?;
    site.wait_equal("b", "v2")?;
    site.lab.machine("c")?.subd.start()?;
    site.wait(&[("c", V2)])?;
    site.wait_equal("c", "v2")?;

    site.lab.require("b", V1)?;
    site.wait(&[("b", V1)])?;
    site.wait_equal("b", "v1")
}

#[test]
fn every_kind_of_drift_is_listed_and_repaired() -> Result<()> {
    let mut site = Site::new(&["a"])?;
    site.start_all()?;
    site.wait_equal("a", "v1")?;
    site.lab.mdb.set("a", |machine| machine.disable_updates = true)?;
    wait_until(STEP_TIME_MAX, || Ok((site.lab.detail("a")?.machine.status == "disabled").then_some(())))?;
    let root = site.lab.machine("a")?.root.clone();
    let damages = damage_every_kind(&root)?;
    wait_until(STEP_TIME_MAX, || {
        let deviations = site.lab.detail("a")?.deviations;
        let is_listed = |path: &str| deviations.iter().any(|deviation| deviation.path == path);
        Ok(damages.iter().all(|damage| is_listed(&format!("/{}", damage.path.display()))).then_some(()))
    })?;
    site.lab.mdb.set("a", |machine| machine.disable_updates = false)?;
    site.wait_equal("a", "v1")
}

#[test]
fn a_directory_is_verified_offline_against_an_image() -> Result<()> {
    let mut site = Site::new(&[])?;
    site.lab.imageserver.stop()?;
    let (store, tree) = (site.lab.store(), site.tree("v1"));
    let verify = |name: &str| {
        let args = [
            "image".as_ref(),
            "verify".as_ref(),
            name.as_ref(),
            tree.as_os_str(),
            "--store".as_ref(),
            store.as_os_str(),
        ];
        site.lab.domtool().run(&args)
    };
    verify(V1)?;
    let error = verify(V2).expect_err("v1 is not v2");
    assert_eq!(error.code, 3, "{error}");
    assert!(error.stdout.contains("plain/current"), "{}", error.stdout);
    Ok(())
}
