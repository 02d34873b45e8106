//! `domtool cert list`: what ends when.
//!
//! Owns the judgement of certificates and revocation lists by their dates. Invariants: what cannot be read is listed as that, not
//! left out; what is revoked asks for nothing any more.
//!
//! Does not verify signatures: daemons do.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use clap::Args;
use dominator_protocol_quic::cert::{CertificateInfo, RevocationList};
use serde::Serialize;

use super::{DAY_S, role};
use crate::{
    error::Outcome,
    output::{print, print_json, table, time_s},
};

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Directory of the certificates
    dir: PathBuf,
    /// What ends within so many days needs attention
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    within_days: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ListDocument {
    certificates: Vec<CertificateRow>,
    lists: Vec<ListRow>,
}

#[derive(Serialize)]
struct CertificateRow {
    file: String,
    name: String,
    role: &'static str,
    serial: String,
    not_after: Option<String>,
    days_left: Option<i64>,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ListRow {
    file: String,
    issuer: String,
    number: u64,
    revoked_count: usize,
    next_update: Option<String>,
    days_left: Option<i64>,
    state: State,
}

/// What `cert list` says about a certificate or a revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Good,
    NotYetValid,
    EndsSoon,
    Ended,
    Revoked,
    Unreadable,
}

impl State {
    const fn text(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::NotYetValid => "not yet valid",
            Self::EndsSoon => "ends soon",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
            Self::Unreadable => "unreadable",
        }
    }

    const fn needs_attention(self) -> bool {
        matches!(self, Self::EndsSoon | Self::Ended | Self::Unreadable)
    }

    /// Of something that ends in `left_s`.
    const fn ending(left_s: i64, within_s: i64) -> Self {
        if left_s < 0 {
            Self::Ended
        } else if left_s <= within_s {
            Self::EndsSoon
        } else {
            Self::Good
        }
    }
}

impl List {
    pub(crate) fn run(&self) -> Result<Outcome> {
        list(self)
    }
}

fn list(args: &List) -> Result<Outcome> {
    let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let within_s = i64::from(args.within_days) * DAY_S;
    let read_dir = || format!("cannot read {}", args.dir.display());
    let mut paths = fs::read_dir(&args.dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>())
        .with_context(read_dir)?;
    paths.sort();
    let has_ending = |path: &&PathBuf, ending: &str| path.extension().is_some_and(|found| found == ending);
    let mut lists = Vec::new();
    for path in paths.iter().filter(|path| has_ending(path, "crl")) {
        lists.extend(RevocationList::read(path)?.into_iter().map(|list| (path, list)));
    }
    let list_rows = lists.iter().map(|(path, list)| {
        let left_s = list.next_update_s.map(|next_s| next_s - now_s);
        ListRow {
            file: file_name(path),
            issuer: list.issuer.clone(),
            number: list.number,
            revoked_count: list.revoked.len(),
            next_update: list.next_update_s.map(time_s),
            days_left: left_s.map(|left_s| left_s.div_euclid(DAY_S)),
            state: left_s.map_or(State::Good, |left_s| State::ending(left_s, within_s)),
        }
    });
    let certificates = paths.iter().filter(|path| has_ending(path, "pem"));
    let document = ListDocument {
        lists: list_rows.collect(),
        certificates: certificates.map(|path| certificate_row(path, &lists, now_s, within_s)).collect(),
    };
    if args.json {
        print_json(&document)?;
    } else {
        print(&list_table(&document))?;
    }
    let states = document.certificates.iter().map(|row| row.state).chain(document.lists.iter().map(|row| row.state));
    let attention_count = states.filter(|state| state.needs_attention()).count();
    if attention_count == 0 {
        return Ok(Outcome::Done);
    }
    eprintln!("{attention_count} need attention: cert renew DIR NAME for certificates, cert revoke DIR for lists");
    Ok(Outcome::Drift)
}

fn certificate_row(path: &Path, lists: &[(&PathBuf, RevocationList)], now_s: i64, within_s: i64) -> CertificateRow {
    let info = match CertificateInfo::read(path) {
        Ok(info) => info,
        Err(error) => {
            return CertificateRow {
                file: file_name(path),
                name: "-".into(),
                role: "-",
                serial: "-".into(),
                not_after: None,
                days_left: None,
                state: State::Unreadable,
                error: Some(error.to_string()),
            };
        }
    };
    let left_s = info.not_after_s - now_s;
    let is_revoked = lists.iter().any(|(_, list)| list.issuer == info.issuer && list.names(&info.serial));
    let state = match State::ending(left_s, within_s) {
        // What is revoked stays so: there is nothing to renew.
        _ if is_revoked => State::Revoked,
        _ if now_s < info.not_before_s => State::NotYetValid,
        state => state,
    };
    CertificateRow {
        file: file_name(path),
        role: role(&info),
        not_after: Some(time_s(info.not_after_s)),
        days_left: Some(left_s.div_euclid(DAY_S)),
        state,
        error: None,
        name: info.name,
        serial: info.serial,
    }
}

fn list_table(document: &ListDocument) -> String {
    let days = |days: Option<i64>| days.map_or_else(|| "-".to_owned(), |days| days.to_string());
    let date = |date: &Option<String>| date.clone().unwrap_or_else(|| "-".to_owned());
    let certificates = document.certificates.iter().map(|row| {
        let state = row.error.as_ref().map_or_else(|| row.state.text().to_owned(), Clone::clone);
        [&row.file, &row.name, row.role, &date(&row.not_after), &days(row.days_left), &state].map(str::to_owned).into()
    });
    let lists = document.lists.iter().map(|row| {
        let role = format!("list, {} revoked", row.revoked_count);
        [&row.file, &row.issuer, &role, &date(&row.next_update), &days(row.days_left), row.state.text()]
            .map(|cell: &str| cell.to_owned())
            .into()
    });
    table(&["FILE", "NAME", "ROLE", "ENDS", "DAYS", "STATE"], &[4], certificates.chain(lists))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dominator_protocol_quic::cert::Validity;

    use super::*;
    use crate::command::cert::{
        CertCommand, RevokeArgs, run,
        tests::{authority, issue},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn list_outcome(dir: &Path) -> Outcome {
        run(CertCommand::List(List { dir: dir.into(), within_days: 30, json: false })).unwrap()
    }

    fn state_of(dir: &Path, file: &str) -> State {
        let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let path = dir.join("ca.crl");
        let lists = if path.exists() { RevocationList::read(&path).unwrap() } else { vec![] };
        let lists: Vec<_> = lists.into_iter().map(|list| (&path, list)).collect();
        certificate_row(&dir.join(file), &lists, now_s, 30 * DAY_S).state
    }

    #[test]
    fn what_ended_or_ends_soon_needs_attention_and_what_is_revoked_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let authority = authority(dir);
        let now = SystemTime::now();
        issue(&authority, dir, "long", &[], Validity::days(365));
        assert_eq!(list_outcome(dir), Outcome::Done);
        issue(&authority, dir, "soon", &[], Validity::days(29));
        assert_eq!((list_outcome(dir), state_of(dir, "soon.pem")), (Outcome::Drift, State::EndsSoon));
        issue(&authority, dir, "over", &[], Validity::between(now - 2 * HOUR, now - HOUR));
        issue(&authority, dir, "later", &[], Validity::between(now + HOUR, now + 2000 * HOUR));
        assert_eq!((state_of(dir, "over.pem"), state_of(dir, "later.pem")), (State::Ended, State::NotYetValid));
        let args =
            RevokeArgs { dir: dir.into(), name: vec!["soon".into(), "over".into()], serial: vec![], valid_days: 90 };
        assert_eq!(run(CertCommand::Revoke(args)).unwrap(), Outcome::Done);
        assert_eq!((list_outcome(dir), state_of(dir, "soon.pem")), (Outcome::Done, State::Revoked));
        let args = RevokeArgs { dir: dir.into(), name: vec![], serial: vec![], valid_days: 1 };
        run(CertCommand::Revoke(args)).unwrap();
        assert_eq!(list_outcome(dir), Outcome::Drift, "the list itself will be overdue");
        fs::write(dir.join("x.pem"), "nothing").unwrap();
        assert_eq!(state_of(dir, "x.pem"), State::Unreadable);
    }
}
