//! kill -9 of every daemon at any time: the flow still ends right.

use std::{thread::sleep, time::Duration};

use anyhow::Result;
use dominator_lab::LabOptions;
use dominator_testkit::Rng;

use crate::site::{Site, V1, V2};

/// Kills at random moments while the machine goes back and forth between two images.
fn storm(seed: u64, kill: impl Fn(&mut Site) -> Result<()>) -> Result<()> {
    println!("rng_seed {seed}");
    let mut rng = Rng::new(seed);
    // A slow fetch makes every phase long enough to be hit.
    let options = LabOptions { fetch_rate_bytes_per_s: Some(4_000_000), ..LabOptions::default() };
    let mut site = Site::with_options(&["a"], options)?;
    site.start_all()?;
    for (round, (image, tree)) in [(V1, "v1"), (V2, "v2"), (V1, "v1"), (V2, "v2")].into_iter().enumerate() {
        site.lab.require("a", image)?;
        for _ in 0..3 {
            sleep(Duration::from_millis(100 + rng.below(if round == 0 { 1500 } else { 900 })));
            kill(&mut site)?;
        }
        site.wait(&[("a", image)])?;
        site.wait_equal("a", tree)?;
    }
    Ok(())
}

#[test]
fn a_killed_agent_ends_up_right() -> Result<()> {
    for seed in [1, 2] {
        storm(seed, |site| {
            let subd = &mut site.lab.machine("a")?.subd;
            subd.kill9()?;
            subd.start()
        })?;
    }
    Ok(())
}

#[test]
fn a_killed_image_server_delays_but_harms_nothing() -> Result<()> {
    storm(3, |site| {
        site.lab.imageserver.kill9()?;
        site.lab.start_imageserver()
    })
}

#[test]
fn a_killed_controller_goes_on_where_it_was() -> Result<()> {
    storm(4, |site| {
        site.lab.dominator.kill9()?;
        site.lab.start_dominator()
    })
}

#[test]
fn a_publish_that_loses_its_server_is_not_visible_and_can_be_repeated() -> Result<()> {
    let mut site = Site::new(&[])?;
    let server = site.lab.image_address().to_string();
    let mut rng = Rng::new(5);
    for at in 0..4 {
        let name = format!("test/again-{at}");
        let tree = site.tree("v2");
        let args = [
            "image".as_ref(),
            "publish".as_ref(),
            name.as_ref(),
            tree.as_os_str(),
            "--server".as_ref(),
            server.as_ref(),
        ];
        let mut publish = site
            .lab
            .domtool()
            .command(&args)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        sleep(Duration::from_millis(rng.below(400)));
        site.lab.imageserver.kill9()?;
        site.lab.start_imageserver()?;
        let acknowledged = publish.wait()?.success();
        let list = site.lab.domtool().run(&["image", "list", "--server", &server])?;
        // Acknowledged means visible; the other way round a server may die between the two.
        let is_visible = list.contains(&name);
        assert!(!acknowledged || is_visible, "{name} was acknowledged and lost");
        if !is_visible {
            site.lab.publish(&name, &tree)?;
        }
        let image = tempfile::tempdir()?;
        let dest = image.path().join("out");
        let args = [
            "image".as_ref(),
            "checkout".as_ref(),
            name.as_ref(),
            dest.as_os_str(),
            "--server".as_ref(),
            server.as_ref(),
        ];
        site.lab.domtool().run(&args)?;
        let compared = dominator_lab::compare(&tree, &dest)?;
        assert!(compared.is_equal(), "{:?}", compared.lines);
    }
    Ok(())
}
