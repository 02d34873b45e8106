//! Who is refused, and what they are told.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use dominator_lab::{Domtool, Programs, wait_until};
use dominator_protocol_quic::cert::{Authority, IssueRequest, Replace, Validity};

use crate::site::{STEP_TIME_MAX, Site};

/// Tries to publish with a certificate and returns what the person is told.
fn refusal(site: &Site, certs: &Path, name: &str) -> Result<String> {
    let domtool = Domtool::new(Programs::find()?.domtool).as_holder(certs, name);
    let (server, tree) = (site.lab.image_address().to_string(), site.tree("v1"));
    let args = [
        "image".as_ref(),
        "publish".as_ref(),
        "test/stolen".as_ref(),
        tree.as_os_str(),
        "--server".as_ref(),
        server.as_ref(),
    ];
    let error = domtool.run(&args).err().with_context(|| format!("{name} was not refused"))?;
    assert_eq!(error.code, 1, "{error}");
    Ok(error.stderr)
}

fn publisher(name: &str, validity: Validity) -> Result<IssueRequest> {
    Ok(IssueRequest {
        name: name.to_owned(),
        dns_names: vec![],
        addresses: vec![],
        permissions: vec!["Image.*".parse()?, "Object.*".parse()?],
        groups: vec![],
        validity,
        server: false,
        client: true,
    })
}

#[test]
fn strangers_are_refused_and_told_why() -> Result<()> {
    let site = Site::new(&[])?;
    let certs = site.lab.certs();

    let other = tempfile::tempdir()?;
    let authority = Authority::create("other", Validity::days(10))?;
    authority.save(other.path())?;
    authority.issue(&publisher("stranger", Validity::days(1))?)?.save(other.path(), Replace::No)?;
    // The stranger is made to trust our server, so that it is the server that refuses.
    std::fs::copy(certs.join("ca.pem"), other.path().join("ca.pem"))?;
    let text = refusal(&site, other.path(), "stranger")?;
    assert!(text.contains("certificate authority"), "{text}");

    let authority = Authority::load(&certs)?;
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let past = Validity::between(now - 10 * day, now - day);
    authority.issue(&publisher("expired", past)?)?.save(&certs, Replace::No)?;
    let text = refusal(&site, &certs, "expired")?;
    assert!(text.contains("expired"), "{text}");

    site.lab.issue("reader", &["Image.List", "Image.Get"], false)?;
    let text = refusal(&site, &certs, "reader")?;
    assert!(text.contains("Image.Publish") && text.contains("reader"), "{text}");

    let names = site.lab.domtool().run(&["image", "list", "--server", &site.lab.image_address().to_string()])?;
    assert!(!names.contains("stolen"), "{names}");
    Ok(())
}

#[test]
fn a_machine_of_another_authority_is_reported_as_such() -> Result<()> {
    let mut site = Site::new(&["a"])?;
    let home = site.lab.dir().join("machines/a");
    let other = tempfile::tempdir()?;
    let authority = Authority::create("other", Validity::days(10))?;
    authority.save(other.path())?;
    let request = IssueRequest {
        dns_names: vec!["a".to_owned(), "localhost".to_owned()],
        addresses: vec!["127.0.0.1".parse()?],
        server: true,
        ..publisher("a", Validity::days(1))?
    };
    authority.issue(&request)?.save(other.path(), Replace::No)?;
    let config = home.join("subd.toml");
    let text = std::fs::read_to_string(&config)?
        .replace(site.lab.certs().to_str().context("path")?, other.path().to_str().context("path")?);
    std::fs::write(&config, text)?;
    site.start_all()?;
    wait_until(STEP_TIME_MAX, || {
        let status = site.lab.detail("a")?.machine;
        Ok((status.status == "certificate refused").then_some(()))
    })
    .with_context(|| site.status_text("a"))
}

#[test]
fn an_agent_without_the_permission_to_fetch_says_so() -> Result<()> {
    let mut site = Site::new(&["a"])?;
    let certs = site.lab.certs();
    let request = IssueRequest {
        dns_names: vec!["a".to_owned()],
        addresses: vec!["127.0.0.1".parse()?],
        permissions: vec![],
        server: true,
        ..publisher("a", Validity::days(1))?
    };
    Authority::load(&certs)?.issue(&request)?.save(&certs, Replace::Yes)?;
    site.start_all()?;
    wait_until(STEP_TIME_MAX, || {
        let status = site.lab.detail("a")?.machine;
        Ok((status.status == "fetch failed" && status.detail.contains("Object.")).then_some(()))
    })
    .with_context(|| site.status_text("a"))
}
