//! Flags of `subd`.
//!
//! Owns their names and what `--help` says. Invariant: a flag and the key of the configuration file that it overrides mean
//! the same and have the same unit.
//!
//! Does not check bounds (`config`).

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use dominator_agent_daemon::config::{CacheSettings, NetworkSettings, ScanSettings, Settings};

/// Drives this machine to its required image.
#[derive(Debug, Parser)]
#[command(name = "subd", version, long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Configuration file (TOML) [default: /etc/dominator/subd.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Check configuration and certificates, print what would be used, and exit
    #[arg(long)]
    pub(crate) check_config: bool,

    /// What is logged to standard error: a level (error, warn, info, debug, trace) or module=level, separated by commas
    #[arg(long, value_name = "FILTER", env = "SUBD_LOG", default_value = "info")]
    pub(crate) log: String,

    /// Managed root, an absolute path [default: /]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Address on which the controller is answered, over UDP [default: port 6969 of every address]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// Certificate of the authority that all peers have theirs from [default: /etc/dominator/ca.pem]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Certificate of this agent [default: /etc/dominator/subd.pem]
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Key of that certificate [default: /etc/dominator/subd.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Seconds between two stat passes, from 0.2 [default: 5]
    #[arg(long, value_name = "SECONDS")]
    scan_interval_s: Option<f64>,

    /// Bytes a second that the deep scan reads; 0 is as fast as possible [default: 4000000]
    #[arg(long, value_name = "BYTES")]
    scan_deep_bytes_per_s: Option<u64>,

    /// Percent of one processor that stat passes may take; they come less often if need be [default: 20]
    #[arg(long, value_name = "PERCENT")]
    scan_cpu_percent: Option<f64>,

    /// Threads that hash changed files after the first scan [default: 1]
    #[arg(long, value_name = "COUNT")]
    scan_threads: Option<usize>,

    /// Bytes a second of a fetch for which the controller names no rate; 0 is no cap [default: 12500000]
    #[arg(long, value_name = "BYTES")]
    network_rate_bytes_per_s: Option<u64>,

    /// Bytes a second of all fetches, whatever the controller says; 0 is no cap [default: 0]
    #[arg(long, value_name = "BYTES")]
    network_rate_max_bytes_per_s: Option<u64>,

    /// Most bytes of the chunk cache [default: 1073741824]
    #[arg(long, value_name = "BYTES")]
    cache_limit_bytes: Option<u64>,
}

impl Args {
    pub(crate) fn into_settings(self) -> Settings {
        Settings {
            root: self.root,
            listen: self.listen,
            ca: self.ca,
            cert: self.cert,
            key: self.key,
            scan: ScanSettings {
                interval_s: self.scan_interval_s,
                deep_bytes_per_s: self.scan_deep_bytes_per_s,
                cpu_percent: self.scan_cpu_percent,
                threads: self.scan_threads,
            },
            network: NetworkSettings {
                rate_bytes_per_s: self.network_rate_bytes_per_s,
                rate_max_bytes_per_s: self.network_rate_max_bytes_per_s,
            },
            cache: CacheSettings { limit_bytes: self.cache_limit_bytes },
        }
    }
}

const LONG_ABOUT: &str = "\
Drives this machine to its required image.

subd scans the managed root all the time and keeps its Merkle tree. The controller (dominator) polls it, tells it which \
image is required, lets it fetch what it lacks from an image server, and tells it to update: complete files are staged \
beside the tree, the affected services are stopped, names are exchanged, services are started. Every byte is verified \
before it is stored and before it is installed. subd opens no connection that the controller did not direct.

What subd keeps for itself lies in the directory .subd in the managed root: the chunk cache, the journal of an apply, and \
the last directive. It may be killed at any time; the next start finishes or undoes what was under way.";

const AFTER_HELP: &str = "\
CONFIGURATION FILE
  All keys are optional; flags stand above the file; unknown keys are errors.

    root   = \"/\"                          # managed root
    listen = \"[::]:6969\"                  # UDP
    ca     = \"/etc/dominator/ca.pem\"
    cert   = \"/etc/dominator/subd.pem\"
    key    = \"/etc/dominator/subd.key\"

    [scan]
    interval_s       = 5                  # between two stat passes, from 0.2 to 86400
    deep_bytes_per_s = 4000000            # every file is read again at this rate; 0: as fast as possible
    cpu_percent      = 20                 # of one processor, for stat passes: they come less often if need be
    threads          = 1                  # for hashing changed files; the first scan uses every processor

    [network]
    rate_bytes_per_s     = 12500000       # of a fetch for which the controller names no rate; 0: no cap
    rate_max_bytes_per_s = 0              # of all fetches together, whatever the controller says; 0: no cap

    [cache]
    limit_bytes = 1073741824              # of the chunk cache, from 16777216

CERTIFICATES
  Made by `domtool cert`. The agent's certificate must hold the name or address by which the controller calls it, and the \
permissions Object.Get and Object.Recipes for the image server. The controller's must hold Machine.*.

SIGNALS
  SIGTERM, SIGINT  end a fetch at once and an update at its end, then exit.

READINESS
  When calls are answered, the line `subd: ready listen=ADDR:PORT root=DIR` is written to standard error, and READY=1 is \
sent to $NOTIFY_SOCKET (Type=notify). Run it with Restart=always: an update of the agent itself ends the process.

EXIT STATUS
  0  stopped as asked, or to be started anew after an update of the agent
  1  failed
  2  wrong usage

FILES
  /etc/dominator/subd.toml   configuration
  ROOT/.subd/                private directory; never part of an image
  ROOT/.subd/agent.state     last directive, required image, applied image
  ROOT/.subd/scan.cursor     position of the deep scan
  ROOT/.subd/cache/          chunk cache; may be deleted while subd does not run";
