//! Credentials that change while connections are open.
//!
//! Owns where the files are, reading them again, and the choice between old and new. Invariants: what is in use was usable when
//! it was taken; a broken file takes nothing away, and a broken certificate does not keep a new revocation list from being
//! used; once a list is in use, only a newer one replaces it.
//!
//! Does not end connections: those who subscribe do (`peer`).

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use crate::{
    Credentials, Error, RevocationPolicy,
    cert::{check_name, read_list_file, read_pem_file},
    credentials::{Part, Parts},
    error::Unusable,
    limits::FILE_SETTLE,
};

/// Where the parts of credentials are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFiles {
    /// Certificates of the authorities.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Our key.
    pub key: PathBuf,
    /// Revocation lists of the authorities; the file need not exist.
    pub lists: PathBuf,
    /// What a lack of a list means, and an old one.
    pub policy: RevocationPolicy,
}

/// Credentials in use, which can be replaced; clones share them.
#[derive(Debug, Clone)]
pub struct CredentialsWatch {
    shared: Arc<Shared>,
}

/// What reading the files again has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// New connections use what was read; connections whose peer is no longer believed end.
    Changed,
    /// The files say what they said.
    Unchanged,
}

#[derive(Debug)]
struct Shared {
    current: watch::Sender<Credentials>,
    files: Option<CredentialFiles>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is in use.
    used: Option<Contents>,
    /// How the files looked when they were last read, if they had settled and were usable.
    settled: Option<[Stamp; 4]>,
    last_error: Option<String>,
}

/// Contents of the files.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    ca: String,
    cert: String,
    key: String,
    lists: Option<Vec<u8>>,
}

/// What changes when a file does; `None` if it is not there.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

impl CredentialFiles {
    /// Certificate of the authority, certificate, key; the revocation list is beside the first, with the ending `crl`.
    pub fn new(ca: &Path, cert: &Path, key: &Path) -> Self {
        Self {
            ca: ca.to_owned(),
            cert: cert.to_owned(),
            key: key.to_owned(),
            lists: ca.with_extension("crl"),
            policy: RevocationPolicy::BestKnown,
        }
    }

    /// `ca.pem`, `ca.crl`, `NAME.pem` and `NAME.key` in one directory.
    ///
    /// # Errors
    /// When the name cannot be that of a holder.
    pub fn in_dir(dir: &Path, name: &str) -> Result<Self, Error> {
        check_name(name)?;
        Ok(Self::new(&dir.join("ca.pem"), &dir.join(format!("{name}.pem")), &dir.join(format!("{name}.key"))))
    }

    /// Reads the files once.
    ///
    /// # Errors
    /// Those of `Credentials::load`.
    pub fn load(&self) -> Result<Credentials, Error> {
        self.build(&self.read()?)
    }

    /// Reads the files, and keeps the paths for reading them again.
    ///
    /// # Errors
    /// Those of `Credentials::load`.
    pub fn watch(self) -> Result<CredentialsWatch, Error> {
        let stamps = self.stamps();
        let contents = self.read()?;
        let current = watch::Sender::new(self.build(&contents)?);
        let state = State { used: Some(contents), settled: settled(stamps), last_error: None };
        Ok(CredentialsWatch { shared: Arc::new(Shared { current, files: Some(self), state: Mutex::new(state) }) })
    }

    fn read(&self) -> Result<Contents, Error> {
        let lists = self.read_lists()?;
        Ok(Contents {
            lists,
            ca: read_pem_file(&self.ca)?,
            cert: read_pem_file(&self.cert)?,
            key: read_pem_file(&self.key)?,
        })
    }

    fn read_lists(&self) -> Result<Option<Vec<u8>>, Error> {
        match read_list_file(&self.lists) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn build(&self, contents: &Contents) -> Result<Credentials, Error> {
        let [ca, cert, key, lists] = self.paths().map(|path| path.display().to_string());
        Credentials::build(Parts {
            ca: Part(&contents.ca, &ca),
            cert: Part(&contents.cert, &cert),
            key: Part(&contents.key, &key),
            lists: contents.lists.as_deref().map(|bytes| Part(bytes, lists.as_str())),
            policy: self.policy,
        })
    }

    const fn paths(&self) -> [&PathBuf; 4] {
        [&self.ca, &self.cert, &self.key, &self.lists]
    }

    fn stamps(&self) -> [Stamp; 4] {
        self.paths().map(|path| {
            let meta = fs::metadata(path).ok()?;
            let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
            Some((meta.dev(), meta.ino(), meta.len(), modified, changed))
        })
    }
}

impl CredentialsWatch {
    /// Holds credentials that have no files; they change only by `replace`.
    pub fn fixed(credentials: Credentials) -> Self {
        let (current, state) = (watch::Sender::new(credentials), Mutex::default());
        Self { shared: Arc::new(Shared { current, files: None, state }) }
    }

    /// Returns what is in use.
    pub fn current(&self) -> Credentials {
        self.shared.current.borrow().clone()
    }

    /// Returns why the files that were read last are not all in use, if they are not.
    pub fn last_error(&self) -> Option<String> {
        self.state().last_error.clone()
    }

    /// Reads the files again. From the return on, every handshake of every endpoint that shares this uses what is new, and
    /// connections whose peers are no longer believed are being closed; others go on.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it should be, when the certificate is for somebody else or would not be
    /// believed under our own authorities, and when a revocation list is lacking that was there, or is older. What was in use
    /// stays in use then, except for the part that is good: a good revocation list is used even if the certificate is bad,
    /// and the reverse.
    pub fn reload(&self) -> Result<Reloaded, Error> {
        let Some(files) = &self.shared.files else { return Ok(Reloaded::Unchanged) };
        let mut state = self.state();
        let stamps = files.stamps();
        let result = self.reload_from(files, &mut state);
        state.settled = if result.is_ok() { settled(stamps) } else { None };
        state.last_error = result.as_ref().err().map(describe);
        result
    }

    /// Uses other credentials from now on, as if they had been read by `reload`.
    ///
    /// # Errors
    /// Those of `reload` that are not about files.
    pub fn replace(&self, credentials: Credentials) -> Result<(), Error> {
        let _order = self.state();
        self.install(credentials)
    }

    /// Looks every so often whether a file changed, and reads all of them then; does not end. `limits::CREDENTIALS_CHECK` is
    /// often enough to end connections within 5 s of the arrival of a new list.
    pub async fn follow(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let watch = self.clone();
            // Files may be on a slow disk.
            let done = tokio::task::spawn_blocking(move || watch.look()).await;
            debug_assert!(done.is_ok(), "looking at files panics");
        }
    }

    /// Reads the files if one of them changed or was not usable, and says what came of it.
    fn look(&self) {
        let Some(files) = &self.shared.files else { return };
        let before = {
            let state = self.state();
            if state.settled == Some(files.stamps()) {
                return;
            }
            state.last_error.clone()
        };
        match self.reload() {
            Ok(Reloaded::Unchanged) => {}
            Ok(Reloaded::Changed) => {
                let current = self.current();
                let numbers: Vec<_> = current.revocation_lists().map(|list| list.number).collect();
                let identity = current.identity();
                tracing::info!(name = %identity.name, not_after_s = identity.not_after_s, lists = ?numbers, "certificates reloaded");
            }
            // The same trouble every two seconds is one trouble.
            Err(error) if before != Some(describe(&error)) => {
                tracing::error!(error = %describe(&error), "certificates not reloaded; those in use stay in use");
            }
            Err(_) => {}
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Credentials> {
        self.shared.current.subscribe()
    }

    /// Makes everybody judge again, because the wall clock was set.
    pub(crate) fn nudge(&self) {
        self.shared.current.send_modify(|_| {});
    }

    fn reload_from(&self, files: &CredentialFiles, state: &mut State) -> Result<Reloaded, Error> {
        let used = state.used.clone();
        let whole = files.read();
        if let (Ok(contents), Some(used)) = (&whole, &used)
            && contents == used
        {
            return Ok(Reloaded::Unchanged);
        }
        let whole = whole.and_then(|contents| {
            self.install(files.build(&contents)?)?;
            Ok(contents)
        });
        let error = match whole {
            Ok(contents) => {
                state.used = Some(contents);
                return Ok(Reloaded::Changed);
            }
            Err(error) => error,
        };
        let Some(used) = used else { return Err(error) };
        // One bad file must not keep the others from being used, least of all a revocation list.
        let new_lists = || Some(Contents { lists: Some(files.read_lists().ok()??), ..used.clone() });
        let new_rest = || {
            let [ca, cert, key] = [&files.ca, &files.cert, &files.key].map(|path| read_pem_file(path).ok());
            Some(Contents { ca: ca?, cert: cert?, key: key?, lists: used.lists.clone() })
        };
        for contents in [new_lists(), new_rest()].into_iter().flatten().filter(|contents| *contents != used) {
            let installed = files.build(&contents).and_then(|credentials| self.install(credentials));
            if installed.is_ok() {
                state.used = Some(contents);
                break;
            }
        }
        Err(error)
    }

    fn install(&self, new: Credentials) -> Result<(), Error> {
        let used = self.current();
        let unusable = |what: &str, why| Error::Unusable { what: what.into(), why };
        if new.identity().name != used.identity().name {
            let (expected, found) = (used.identity().name.clone(), new.identity().name.clone());
            return Err(unusable("the new certificate", Unusable::OtherHolder { expected, found }));
        }
        // Who was not believed before loses nothing by a certificate that is not believed either.
        if used.anchors().check_own(&used.key().cert).is_ok() {
            new.anchors().check_own(&new.key().cert).map_err(|why| unusable("the new certificate", why))?;
        }
        new.anchors().check_succession(used.anchors()).map_err(|why| unusable("the new revocation list", why))?;
        self.shared.current.send_replace(new);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every state is a valid one.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys stay out of logs.
impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl From<Credentials> for CredentialsWatch {
    fn from(credentials: Credentials) -> Self {
        Self::fixed(credentials)
    }
}

/// Stamps with which a later look can be compared: those of files that nobody has just written.
fn settled(stamps: [Stamp; 4]) -> Option<[Stamp; 4]> {
    let edge = SystemTime::now().checked_sub(FILE_SETTLE)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let edge = (i64::try_from(edge.as_secs()).ok()?, i64::from(edge.subsec_nanos()));
    stamps.iter().flatten().all(|(.., changed)| *changed < edge).then_some(stamps)
}

fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
