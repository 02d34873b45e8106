//! Damaging a managed root in every way that an operator, a package script or an intruder might.
//!
//! Owns the list of kinds. Invariants: each damage is one change of one kind at a path of its own, made with ordinary
//! system calls and tools, so that it is seen exactly as real drift would be.
//!
//! Does not know how damage is found or repaired.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};

/// One change that was made.
#[derive(Debug, Clone)]
pub struct Damage {
    /// What was done.
    pub kind: &'static str,
    /// Where, relative to the root.
    pub path: PathBuf,
}

/// Files that a damage takes, one after the other, so that no two hit the same.
struct Victims {
    files: Vec<PathBuf>,
    links: Vec<PathBuf>,
}

/// Damages `root` once in every kind.
///
/// # Errors
/// If the root has too little in it, or a change fails.
pub fn damage_every_kind(root: &Path) -> Result<Vec<Damage>> {
    let mut victims = Victims::find(root)?;
    let mut done = Vec::new();
    let mut note = |kind, path: &Path| -> Result<()> {
        done.push(Damage { kind, path: path.strip_prefix(root)?.to_owned() });
        Ok(())
    };

    let path = victims.file()?;
    let mut bytes = fs::read(&path)?;
    if let Some(byte) = bytes.first_mut() {
        *byte ^= 1;
    }
    fs::write(&path, bytes)?;
    note("content", &path)?;

    let path = victims.file()?;
    fs::remove_file(&path)?;
    note("deletion", &path)?;

    let path = root.join("planted file");
    fs::write(&path, "who put this here?")?;
    note("extra file", &path)?;

    let path = root.join("planted directory");
    fs::create_dir_all(path.join("with/more"))?;
    fs::write(path.join("with/more/inside"), "and this?")?;
    note("extra directory", &path)?;

    let path = victims.file()?;
    let mode = fs::symlink_metadata(&path)?.permissions().mode();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode ^ 0o4022))?;
    note("mode", &path)?;

    let path = victims.file()?;
    lchown(&path, Some(4321), Some(1234))?;
    note("owner", &path)?;

    let path = victims.file()?;
    fs::File::options().write(true).open(&path)?.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400))?;
    note("mtime", &path)?;

    let path = victims.file()?;
    run("setcap", &["cap_setuid,cap_net_raw+ep".as_ref(), path.as_os_str()])?;
    note("capability", &path)?;

    let path = victims.file()?;
    run("setfattr", &["-n".as_ref(), "user.planted".as_ref(), "-v".as_ref(), "value".as_ref(), path.as_os_str()])?;
    note("xattr", &path)?;

    let path = victims.link()?;
    fs::remove_file(&path)?;
    symlink("/planted/target", &path)?;
    note("symlink target", &path)?;

    let path = victims.file()?;
    fs::remove_file(&path)?;
    fs::create_dir(&path)?;
    fs::write(path.join("inside"), "a directory now")?;
    note("file turned directory", &path)?;

    let path = directory(root)?;
    fs::remove_dir_all(&path)?;
    fs::write(&path, "a file now")?;
    note("directory turned file", &path)?;

    let path = hard_link(root)?;
    let bytes = fs::read(&path)?;
    let meta = fs::symlink_metadata(&path)?;
    let copy = path.with_extension("copy");
    fs::write(&copy, bytes)?;
    fs::set_permissions(&copy, meta.permissions())?;
    fs::File::options().write(true).open(&copy)?.set_modified(meta.modified()?)?;
    fs::rename(&copy, &path)?;
    note("broken hard link", &path)?;

    Ok(done)
}

impl Victims {
    fn find(root: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let (mut files, mut links) = (Vec::new(), Vec::new());
        for path in walk(root)? {
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_symlink() {
                links.push(path);
            } else if meta.is_file() && meta.nlink() == 1 && (1..100_000).contains(&meta.len()) {
                files.push(path);
            }
        }
        // Spread over the tree, so that different directories are hit.
        files.sort_by_key(|path| path.as_os_str().len() % 7);
        Ok(Self { files, links })
    }

    fn file(&mut self) -> Result<PathBuf> {
        let step = self.files.len() / 16;
        let path = self.files.pop().context("the root has too few files to damage")?;
        self.files.truncate(self.files.len() - step.min(self.files.len().saturating_sub(16)).min(50));
        Ok(path)
    }

    fn link(&mut self) -> Result<PathBuf> {
        self.links.pop().context("the root has no symbolic link to damage")
    }
}

/// Finds a directory with something in it that no other damage uses.
fn directory(root: &Path) -> Result<PathBuf> {
    for candidate in ["usr/share/doc/base-files", "victim"] {
        let path = root.join(candidate);
        if path.is_dir() && !path.is_symlink() {
            return Ok(path);
        }
    }
    bail!("the root has neither usr/share/doc/base-files nor victim to replace by a file")
}

fn hard_link(root: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    for path in walk(root)? {
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_file() && meta.nlink() > 1 {
            return Ok(path);
        }
    }
    bail!("the root has no hard links to break")
}

fn walk(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut pending) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let relative = path.strip_prefix(root)?;
            // Other damages take these as a whole.
            if relative == Path::new(".subd")
                || relative.starts_with("victim")
                || relative.starts_with("usr/share/doc/base-files")
            {
                continue;
            }
            if fs::symlink_metadata(&path)?.is_dir() {
                pending.push(path.clone());
            }
            // Names that are shown escaped would not be found again in a list of deviations.
            if relative.to_str().is_some_and(|text| text.chars().all(|char| char.is_ascii_graphic() && char != '\\')) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn run(program: &str, args: &[&std::ffi::OsStr]) -> Result<()> {
    let output = Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
