//! `domtool cert explain`: which permission decides.
//!
//! Owns the words. Invariant: the decision is the one that a server would make about this certificate.
//!
//! What a permission means is `protocol/core`.

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use clap::Args;
use dominator_protocol_core::{Decision, Method, Scope, ScopeKind};
use dominator_protocol_quic::cert::{CertificateInfo, RevocationList};

use crate::{
    error::{Advice, Outcome},
    output::{print, printable, time_s},
};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The certificate
    file: PathBuf,
    /// The method: Noun.Verb
    method: String,
    /// What it is called on: an image name, the beginning of image names for Image.List, or a host
    scope: Option<String>,
}

impl Explain {
    pub(crate) fn run(&self) -> Result<Outcome> {
        explain(self)
    }
}

fn explain(args: &Explain) -> Result<Outcome> {
    let method = Method::from_name(&args.method).ok_or_else(|| {
        let names: Vec<_> = Method::ALL.iter().map(|method| method.name()).collect();
        Advice::usage(format!("{:?} is not a method", args.method), format!("one of {}", names.join(", ")))
    })?;
    let info = CertificateInfo::read(&args.file)?;
    let (scope, decision) = match (method.scope(), args.scope.as_deref()) {
        (ScopeKind::Nothing, Some(_)) => {
            let hint = "leave the last argument out";
            return Err(Advice::usage(format!("{method} is not called on anything that has a name"), hint).into());
        }
        (ScopeKind::Nothing, None) => (String::new(), info.grant.decide(method, Scope::Nothing)),
        (_, None) => (" on something".to_owned(), info.grant.decide_begin(method)),
        (ScopeKind::ImageName, Some(prefix)) if method == Method::ImageList => {
            (format!(" on {prefix}*"), info.grant.decide(method, Scope::Prefix(prefix)))
        }
        (_, Some(name)) => (format!(" on {name}"), info.grant.decide(method, Scope::Name(name))),
    };
    let (name, scope) = (printable(&info.name), printable(&scope));
    let outcome = match &decision {
        Decision::Allowed(permission) => {
            print(&format!("allowed: {name} may call {method}{scope} by its permission {permission}\n"))?;
            Outcome::Done
        }
        Decision::Denied { needed } => {
            let held: Vec<_> = info.grant.permissions.iter().map(ToString::to_string).collect();
            let held = if held.is_empty() { "none".to_owned() } else { held.join(", ") };
            let needed = printable(needed);
            print(&format!(
                "denied: {name} may not call {method}{scope}; it would need {needed}; it has {}\n",
                printable(&held)
            ))?;
            Outcome::Drift
        }
    };
    let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    if info.not_after_s < now_s {
        eprintln!("but the certificate ended on {}", time_s(info.not_after_s));
    }
    let list = args.file.with_file_name("ca.crl");
    let lists = if list.exists() { RevocationList::read(&list)? } else { Vec::new() };
    if lists.iter().any(|list| list.issuer == info.issuer && list.names(&info.serial)) {
        eprintln!("but the certificate is revoked by {}", list.display());
    }
    if !info.client {
        eprintln!("but the certificate is not issued for a client");
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use dominator_protocol_quic::cert::Validity;

    use super::*;
    use crate::command::cert::{
        CertCommand, run,
        tests::{authority, issue},
    };

    #[test]
    fn a_decision_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        issue(&authority(dir), dir, "web", &["Object.*", "Image.*@debian/*"], Validity::days(365));
        let explain = |method: &str, scope: Option<&str>| {
            let args = Explain { file: dir.join("web.pem"), method: method.into(), scope: scope.map(str::to_owned) };
            run(CertCommand::Explain(args))
        };
        let cases = [
            ("Object.Get", None, Outcome::Done),
            ("Image.Get", Some("debian/v1"), Outcome::Done),
            ("Image.Get", Some("ubuntu/v1"), Outcome::Drift),
            ("Image.Get", None, Outcome::Done),
            ("Image.List", Some("debian/"), Outcome::Done),
            ("Image.List", Some(""), Outcome::Drift),
            ("Machine.Poll", None, Outcome::Drift),
            ("Fleet.Show", Some("web-1"), Outcome::Drift),
        ];
        for (method, scope, expected) in cases {
            assert_eq!(explain(method, scope).unwrap(), expected, "{method} {scope:?}");
        }
        assert!(explain("Image.Gett", None).is_err());
        assert!(explain("Object.Get", Some("x")).is_err());
    }
}
