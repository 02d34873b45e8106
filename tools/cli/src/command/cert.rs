//! `domtool cert`: the certificates of a fleet.
//!
//! Owns the flags and what is printed. Invariants: a key is written to a file and nowhere else; nothing is replaced unless
//! asked; a certificate is for the peers that dial it only if it names how they dial.
//!
//! What is in a certificate, and how it is signed, is `protocol/quic`.

use std::{net::IpAddr, path::PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use dominator_protocol_core::Permission;
use dominator_protocol_quic::cert::{Authority, CertificateInfo, IssueRequest, Replace, Validity};
use serde::Serialize;

use crate::{
    error::Outcome,
    output::{print, print_json, time_s},
};

/// Certificates: make an authority, issue, renew, look.
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
    /// Show what a certificate says
    Show(Show),
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
        CertCommand::Show(args) => show(&args)?,
    }
    Ok(Outcome::Done)
}

fn init_ca(args: &InitCa) -> Result<()> {
    use anyhow::Context as _;

    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot create {}", args.dir.display()))?;
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
    Authority::load(&args.dir)?.issue(&request)?.save(&args.dir, replace)?;
    eprintln!("issued {}", args.dir.join(format!("{}.pem", request.name)).display());
    Ok(())
}

fn show(args: &Show) -> Result<()> {
    let info = CertificateInfo::read(&args.file)?;
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
    let role = match (document.authority, document.server, document.client) {
        (true, ..) => "authority",
        (_, true, true) => "server and client",
        (_, true, false) => "server",
        (_, false, true) => "client",
        (_, false, false) => "none",
    };
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
    let text: String = rows
        .iter()
        .map(|(key, value)| format!("{:13}{}\n", format!("{key}:"), crate::output::printable(value)))
        .collect();
    print(&text)?;
    Ok(())
}
