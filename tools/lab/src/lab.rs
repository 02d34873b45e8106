//! The fleet: directories, certificates, configuration, processes.
//!
//! Owns what a person would do to set up a site by hand, in the order in which they would. Invariants: every address is on
//! loopback with a port that the system chose; every party has a certificate of its own with the permissions it needs and
//! no more.
//!
//! Does not decide what to show: the demo and the tests do.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    Daemon, Domtool, DomtoolError, MachineDetail, MachineStatus, Mdb, Programs, Watch, fleet::Fleet, wait::wait_until,
};

/// What can be chosen for a lab.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// Seconds between scans of an agent.
    pub scan_interval_s: f64,
    /// Milliseconds between polls of a converged machine.
    pub poll_interval_ms: u64,
    /// Cap on what an agent fetches, in bytes a second.
    pub fetch_rate_bytes_per_s: Option<u64>,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { scan_interval_s: 0.5, poll_interval_ms: 500, fetch_rate_bytes_per_s: None }
    }
}

/// One managed machine: an agent and its root.
#[derive(Debug)]
pub struct Machine {
    /// The agent.
    pub subd: Daemon,
    /// The managed root.
    pub root: PathBuf,
    address: SocketAddr,
}

/// A site on one machine.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    programs: Programs,
    options: LabOptions,
    domtool: Domtool,
    /// The image server.
    pub imageserver: Daemon,
    /// The controller.
    pub dominator: Daemon,
    /// The machines by host name.
    pub machines: BTreeMap<String, Machine>,
    /// The machine database.
    pub mdb: Mdb,
    image_address: SocketAddr,
    fleet_address: SocketAddr,
}

/// Longest wait for a daemon to listen.
const START_TIME_MAX: Duration = Duration::from_secs(60);

impl Lab {
    /// Makes a site in `dir`, which must be absent or empty, and starts the image server; the controller and machines come
    /// later.
    ///
    /// # Errors
    /// If a program is missing or a step fails; the message says which.
    pub fn create(dir: &Path, programs: Programs, options: LabOptions) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = fs::canonicalize(dir)?;
        if fs::read_dir(&dir)?.next().is_some() {
            bail!("{} is not empty", dir.display());
        }
        let certs = dir.join("certs");
        let domtool = Domtool::new(programs.domtool.clone());
        let (image_address, fleet_address) = (free_address()?, free_address()?);
        domtool.run(&["cert", "init-ca", path_text(&certs)?, "--name", "lab"])?;
        let store = dir.join("store");
        domtool.run(&["store", "init", path_text(&store)?])?;
        let imageserver = {
            let args = [
                ("--store", store.into_os_string()),
                ("--listen", image_address.to_string().into()),
                ("--ca", certs.join("ca.pem").into()),
                ("--cert", certs.join("imageserver.pem").into()),
                ("--key", certs.join("imageserver.key").into()),
            ];
            let args = args.into_iter().flat_map(|(flag, value)| [OsString::from(flag), value]);
            Daemon::new("imageserver", &programs.imageserver, args, &dir.join("imageserver.log"))
        };
        let dominator = {
            let args = [OsString::from("--config"), dir.join("dominator.toml").into()];
            Daemon::new("dominator", &programs.dominator, args, &dir.join("dominator.log"))
        };
        let mut lab = Self {
            mdb: Mdb::new(dir.join("mdb.json")),
            domtool: domtool.as_holder(&certs, "operator"),
            dir,
            programs,
            options,
            imageserver,
            dominator,
            machines: BTreeMap::new(),
            image_address,
            fleet_address,
        };
        lab.issue("imageserver", &[], true)?;
        lab.issue("dominator", &["Machine.*", "Image.List", "Image.Get", "Object.Get"], true)?;
        lab.issue("operator", &["Image.*", "Object.*", "Fleet.*"], false)?;
        lab.configure_dominator()?;
        lab.start_imageserver()?;
        Ok(lab)
    }

    /// Starts the image server and waits until it answers.
    ///
    /// # Errors
    /// If it does not come up; the message has its log.
    pub fn start_imageserver(&mut self) -> Result<()> {
        self.imageserver.start()?;
        let domtool = self.domtool.clone();
        let server = self.image_address.to_string();
        wait_for_daemon(&mut self.imageserver, || domtool.run(&["image", "list", "--server", &server]).map(drop))
    }

    /// Starts the controller and waits until it answers.
    ///
    /// # Errors
    /// If it does not come up; the message has its log.
    pub fn start_dominator(&mut self) -> Result<()> {
        self.dominator.start()?;
        let domtool = self.domtool.clone();
        let controller = self.fleet_address.to_string();
        wait_for_daemon(&mut self.dominator, || {
            domtool.run(&["machine", "list", "--controller", &controller]).map(drop)
        })
    }

    /// Adds a machine with an empty root and a certificate; its agent does not run yet, and the machine database does not
    /// know it yet.
    ///
    /// # Errors
    /// If a file cannot be made.
    pub fn add_machine(&mut self, host: &str) -> Result<()> {
        let home = self.dir.join("machines").join(host);
        let root = home.join("root");
        fs::create_dir_all(&root)?;
        self.issue(host, &["Object.Get", "Object.Recipes"], true)?;
        let address = free_address()?;
        let config = home.join("subd.toml");
        let text = format!(
            "root = {:?}\nlisten = \"{address}\"\nca = {:?}\ncert = {:?}\nkey = {:?}\n\n[scan]\ninterval_s = {:?}\n",
            path_text(&root)?,
            path_text(&self.certs().join("ca.pem"))?,
            path_text(&self.certs().join(format!("{host}.pem")))?,
            path_text(&self.certs().join(format!("{host}.key")))?,
            self.options.scan_interval_s,
        );
        // 0 is no cap: a lab shows what the programs can do, and loopback has no link to protect.
        let rate = self.options.fetch_rate_bytes_per_s.unwrap_or(0);
        fs::write(&config, format!("{text}\n[network]\nrate_bytes_per_s = {rate}\n"))?;
        let args = [OsString::from("--config"), config.into()];
        let subd = Daemon::new(host, &self.programs.subd, args, &home.join("subd.log"));
        self.machines.insert(host.to_owned(), Machine { subd, root, address });
        Ok(())
    }

    /// Returns a machine.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn machine(&mut self, host: &str) -> Result<&mut Machine> {
        self.machines.get_mut(host).with_context(|| format!("the lab has no machine {host}"))
    }

    /// Says in the machine database what `host` must be.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn require(&mut self, host: &str, image: &str) -> Result<()> {
        let address = self.machine(host)?.address.to_string();
        self.mdb.set(host, |machine| {
            machine.ip_address = address;
            image.clone_into(&mut machine.required_image);
        })
    }

    /// Publishes the directory `tree` as `name` through the image server.
    ///
    /// # Errors
    /// What `domtool` says.
    pub fn publish(&self, name: &str, tree: &Path) -> Result<String, DomtoolError> {
        let server = self.image_address.to_string();
        let tree = tree.as_os_str();
        self.domtool.run(&[
            "image".as_ref(),
            "publish".as_ref(),
            name.as_ref(),
            tree,
            "--server".as_ref(),
            server.as_ref(),
        ])
    }

    /// Returns what the controller knows about every machine.
    ///
    /// # Errors
    /// If the controller does not answer.
    pub fn statuses(&self) -> Result<Vec<MachineStatus>> {
        let fleet: Fleet = self.domtool.json(&["machine", "list", "--controller", &self.fleet_address.to_string()])?;
        Ok(fleet.machines)
    }

    /// Returns what the controller knows about one machine.
    ///
    /// # Errors
    /// If the controller does not answer or has no such machine.
    pub fn detail(&self, host: &str) -> Result<MachineDetail> {
        self.domtool.json(&["machine", "show", host, "--controller", &self.fleet_address.to_string()])
    }

    /// Waits until every named machine has converged on its image; shows meanwhile what they do.
    ///
    /// # Errors
    /// If that takes longer than `limit`; the message says where each machine is.
    pub fn wait_converged(
        &self,
        wanted: &[(&str, &str)],
        limit: Duration,
        watch: &mut Watch,
    ) -> Result<Vec<MachineStatus>> {
        let mut last = Vec::new();
        let found = wait_until(limit, || {
            // A controller that was just killed is waited for like any other.
            if let Ok(statuses) = self.statuses() {
                last = statuses;
            }
            let of = |host: &str| last.iter().find(|status| status.host == host);
            let done = wanted.iter().all(|(host, image)| {
                of(host).is_some_and(|status| status.converged && status.required.as_deref() == Some(*image))
            });
            let open = wanted.iter().filter_map(|(host, _)| of(host)).filter(|status| !status.converged);
            let text: Vec<String> = open.map(MachineStatus::progress_text).collect();
            if !text.is_empty() {
                watch.show(&text.join(", "));
            }
            let hosts = |status: &&MachineStatus| wanted.iter().any(|(host, _)| *host == status.host);
            Ok(done.then(|| last.iter().filter(hosts).cloned().collect()))
        });
        found.with_context(|| {
            let lines: Vec<String> = last
                .iter()
                .map(|status| {
                    format!("{}: {}: {} (required {:?})", status.host, status.status, status.detail, status.required)
                })
                .collect();
            format!("machines did not converge: {}", lines.join("; "))
        })
    }

    /// Issues a certificate for `name`, which is dialled on loopback if it is a server.
    ///
    /// # Errors
    /// What `domtool` says.
    pub fn issue(&self, name: &str, permissions: &[&str], is_server: bool) -> Result<()> {
        let certs = self.certs();
        let mut args = vec!["cert", "issue", path_text(&certs)?, name];
        if is_server {
            args.extend(["--dns", name, "--dns", "localhost", "--address", "127.0.0.1"]);
        }
        for permission in permissions {
            args.extend(["--permission", permission]);
        }
        Domtool::new(self.programs.domtool.clone()).run(&args)?;
        Ok(())
    }

    /// Returns the directory of the authority and all certificates.
    pub fn certs(&self) -> PathBuf {
        self.dir.join("certs")
    }

    /// Returns the store of the image server.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Returns the directory of the lab.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns where the image server answers.
    pub fn image_address(&self) -> SocketAddr {
        self.image_address
    }

    /// Returns where the controller answers.
    pub fn fleet_address(&self) -> SocketAddr {
        self.fleet_address
    }

    /// Returns `domtool` with the operator's certificate.
    pub fn domtool(&self) -> &Domtool {
        &self.domtool
    }

    /// Lets every process go on after the lab is dropped.
    pub fn release(&mut self) {
        self.imageserver.release();
        self.dominator.release();
        for machine in self.machines.values_mut() {
            machine.subd.release();
        }
    }

    fn configure_dominator(&self) -> Result<()> {
        let text = format!(
            "mdb = {:?}\nlisten = \"{}\"\nstate_dir = {:?}\n\n[certificates]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n\n[image_server]\naddress = \"{}\"\nserver_name = \"imageserver\"\n\n[poll]\ninterval_ms = {}\nactive_interval_ms = 100\n",
            path_text(self.mdb.path())?,
            self.fleet_address,
            path_text(&self.dir.join("ledger"))?,
            path_text(&self.certs().join("ca.pem"))?,
            path_text(&self.certs().join("dominator.pem"))?,
            path_text(&self.certs().join("dominator.key"))?,
            self.image_address,
            self.options.poll_interval_ms,
        );
        fs::write(self.dir.join("dominator.toml"), text)?;
        fs::write(self.mdb.path(), "{\"Machines\": []}\n")?;
        Ok(())
    }
}

fn wait_for_daemon(daemon: &mut Daemon, mut answers: impl FnMut() -> Result<(), DomtoolError>) -> Result<()> {
    let mut refusal = None;
    let up = wait_until(START_TIME_MAX, || {
        if !daemon.is_running() {
            bail!("it ended:\n{}", daemon.log_text());
        }
        match answers() {
            Ok(()) => Ok(Some(())),
            Err(error) => {
                refusal = Some(error);
                Ok(None)
            }
        }
    });
    up.with_context(|| match refusal {
        Some(refusal) => format!("{} does not answer: {refusal}", daemon.log_path().display()),
        None => format!("{} did not start", daemon.log_path().display()),
    })
}

/// Returns an address on loopback that nobody uses now.
fn free_address() -> Result<SocketAddr> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8, which configuration files are", path.display()))
}
