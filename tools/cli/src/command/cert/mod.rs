//! `domtool cert`: the certificates of a fleet.
//!
//! Owns the flags and what is printed. Invariants: a key is written to a file and nowhere else; nothing is replaced unless
//! asked; a certificate is for the peers that dial it only if it names how they dial; what is issued here can be revoked by
//! name.
//!
//! What is in a certificate, and how it is signed, is `protocol/quic`.

mod explain;
mod list;

use std::{fs, net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use dominator_protocol_core::Permission;
use dominator_protocol_quic::cert::{Authority, CertificateInfo, IssueRequest, Replace, Revoke, Validity};
use serde::Serialize;

use crate::{
    error::Outcome,
    output::{print, print_json, printable, time_s},
};

const DAY_S: i64 = 86_400;

/// Certificates: make an authority, issue, renew, revoke, look.
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Make a certificate authority: ca.pem and ca.key in DIR
    InitCa(InitCa),
    /// Issue a certificate: NAME.pem and NAME.key in the authority's DIR
    ///
    /// The controller needs --permission 'Machine.*' --permission Image.List --permission Image.Get; an agent
    /// --permission Object.Get --permission Object.Recipes; a publisher --permission 'Image.*' --permission 'Object.*';
    /// an operator --permission 'Fleet.*'. Whoever is dialled needs --dns or --address.
    Issue(Issue),
    /// Issue what NAME.pem says once more, with a new key and validity
    Renew(Renew),
    /// Revoke certificates: a new ca.crl in the authority's DIR, to be copied beside ca.pem everywhere
    ///
    /// A name stands for every certificate that was ever issued to it, renewed ones too. Daemons use the new list within
    /// seconds, and end the connections of whom it names. Without a name or a serial number, the list is only signed again,
    /// with a new date.
    Revoke(RevokeArgs),
    /// Show what a certificate says
    Show(Show),
    /// List the certificates and revocation lists of a directory, and when they end
    ///
    /// Exit code 3 says that something needs attention: a certificate that ended or will soon, a revocation list that is
    /// overdue or will be soon, a file that cannot be read. A revoked certificate needs none.
    List(list::List),
    /// Say which permission of a certificate allows a method, or which would
    ///
    /// Exit code 3 says that the method is denied. Whether the certificate itself is good is not judged, but said.
    Explain(explain::Explain),
}

#[derive(Debug, Args)]
pub(crate) struct InitCa {
    /// Directory of the authority, created if need be
    dir: PathBuf,
    /// Name of the authority
    #[arg(long)]
    name: String,
    /// Days until it ends
    #[arg(long, default_value_t = 3650, value_name = "DAYS")]
    valid_days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// Directory of the authority
    dir: PathBuf,
    /// Name of the holder
    name: String,
    /// DNS name by which the holder is dialled (repeatable)
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// Address by which the holder is dialled (repeatable)
    #[arg(long, value_name = "IP")]
    address: Vec<IpAddr>,
    /// What the holder may call: Noun.Verb, 'Noun.*' or '*', with an optional @SCOPE (repeatable)
    #[arg(long, value_name = "PERMISSION")]
    permission: Vec<Permission>,
    /// Group of the holder (repeatable)
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// Days until it ends
    #[arg(long, default_value_t = 365, value_name = "DAYS")]
    valid_days: u32,
    /// Sides of a connection it is for; by default client, and server too if --dns or --address is given
    #[arg(long, value_enum, value_delimiter = ',')]
    usage: Vec<Usage>,
    /// Replace files that exist
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Usage {
    Server,
    Client,
}

#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// Directory of the authority
    dir: PathBuf,
    /// Name of the holder
    name: String,
    /// Days until the new one ends
    #[arg(long, default_value_t = 365, value_name = "DAYS")]
    valid_days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Directory of the authority
    dir: PathBuf,
    /// Name of a holder
    name: Vec<String>,
    /// Serial number of one certificate, as `cert show` prints it (repeatable)
    #[arg(long, value_name = "HEX")]
    serial: Vec<String>,
    /// Days until there should be a newer list
    #[arg(long, default_value_t = 90, value_name = "DAYS")]
    valid_days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The certificate
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct CertificateDocument {
    name: String,
    issuer: String,
    serial: String,
    not_before: String,
    not_after: String,
    dns_names: Vec<String>,
    addresses: Vec<IpAddr>,
    permissions: Vec<String>,
    groups: Vec<String>,
    server: bool,
    client: bool,
    authority: bool,
}

pub(crate) fn run(command: CertCommand) -> Result<Outcome> {
    match command {
        CertCommand::InitCa(args) => init_ca(&args)?,
        CertCommand::Issue(args) => issue(args)?,
        CertCommand::Renew(args) => {
            Authority::load(&args.dir)?.renew(&args.dir, &args.name, Validity::days(args.valid_days))?;
            eprintln!("renewed {}", args.dir.join(format!("{}.pem", args.name)).display());
        }
        CertCommand::Revoke(args) => revoke(args)?,
        CertCommand::Show(args) => show(&args)?,
        CertCommand::List(args) => return args.run(),
        CertCommand::Explain(args) => return args.run(),
    }
    Ok(Outcome::Done)
}

fn init_ca(args: &InitCa) -> Result<()> {
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot create {}", args.dir.display()))?;
    Authority::create(&args.name, Validity::days(args.valid_days))?.save(&args.dir)?;
    eprintln!("made {} and its key; whoever has the key can be anybody", args.dir.join("ca.pem").display());
    Ok(())
}

fn issue(args: Issue) -> Result<()> {
    let dialled = !args.dns.is_empty() || !args.address.is_empty();
    let is_for = |usage| args.usage.contains(&usage);
    let (server, client) =
        if args.usage.is_empty() { (dialled, true) } else { (is_for(Usage::Server), is_for(Usage::Client)) };
    let request = IssueRequest {
        name: args.name,
        dns_names: args.dns,
        addresses: args.address,
        permissions: args.permission,
        groups: args.group,
        validity: Validity::days(args.valid_days),
        server,
        client,
    };
    let replace = if args.replace { Replace::Yes } else { Replace::No };
    Authority::load(&args.dir)?.issue_into(&args.dir, &request, replace)?;
    eprintln!("issued {}", args.dir.join(format!("{}.pem", request.name)).display());
    Ok(())
}

fn revoke(args: RevokeArgs) -> Result<()> {
    let what: Vec<Revoke> =
        args.name.into_iter().map(Revoke::Name).chain(args.serial.into_iter().map(Revoke::Serial)).collect();
    let next_update = Duration::from_secs(u64::from(args.valid_days) * DAY_S.unsigned_abs());
    let list = Authority::load(&args.dir)?.revoke(&args.dir, &what, next_update)?;
    eprintln!(
        "wrote {}: list {}, {} revoked; copy it beside ca.pem of every daemon",
        args.dir.join("ca.crl").display(),
        list.number,
        list.revoked.len()
    );
    Ok(())
}

const fn role(info: &CertificateInfo) -> &'static str {
    match (info.is_authority, info.server, info.client) {
        (true, ..) => "authority",
        (_, true, true) => "server and client",
        (_, true, false) => "server",
        (_, false, true) => "client",
        (_, false, false) => "none",
    }
}

fn show(args: &Show) -> Result<()> {
    let info = CertificateInfo::read(&args.file)?;
    let role = role(&info);
    let document = CertificateDocument {
        not_before: time_s(info.not_before_s),
        not_after: time_s(info.not_after_s),
        permissions: info.grant.permissions.iter().map(ToString::to_string).collect(),
        groups: info.grant.groups,
        name: info.name,
        issuer: info.issuer,
        serial: info.serial,
        dns_names: info.dns_names,
        addresses: info.addresses,
        server: info.server,
        client: info.client,
        authority: info.is_authority,
    };
    if args.json {
        return print_json(&document);
    }
    let list = |items: &[String]| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    let addresses: Vec<String> = document.addresses.iter().map(ToString::to_string).collect();
    let rows = [
        ("name", document.name.clone()),
        ("role", role.to_owned()),
        ("issuer", document.issuer.clone()),
        ("serial", document.serial.clone()),
        ("not before", document.not_before.clone()),
        ("not after", document.not_after.clone()),
        ("dns names", list(&document.dns_names)),
        ("addresses", list(&addresses)),
        ("permissions", list(&document.permissions)),
        ("groups", list(&document.groups)),
    ];
    let text: String =
        rows.iter().map(|(key, value)| format!("{:13}{}\n", format!("{key}:"), printable(value))).collect();
    print(&text)?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;

    pub(crate) fn authority(dir: &Path) -> Authority {
        let authority = Authority::create("demo", Validity::days(3650)).unwrap();
        authority.save(dir).unwrap();
        authority
    }

    pub(crate) fn issue(authority: &Authority, dir: &Path, name: &str, permissions: &[&str], validity: Validity) {
        let request = IssueRequest {
            name: name.into(),
            dns_names: vec![],
            addresses: vec![],
            permissions: permissions.iter().map(|text| text.parse().unwrap()).collect(),
            groups: vec![],
            validity,
            server: false,
            client: true,
        };
        authority.issue_into(dir, &request, Replace::Yes).unwrap();
    }
}
