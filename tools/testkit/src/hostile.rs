//! Real directories with everything that breaks programs which copy files.
//!
//! Owns what goes into them. Invariants: every kind of peculiarity is in every tree; the seed decides where and with
//! which values; nothing in the tree leads a follower of links to anything that matters.
//!
//! Does not make sockets and mounts, which belong to no tree; tests that need them make them.

use std::{
    fs,
    io::{self, Seek, SeekFrom, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags},
    io::Errno,
};

use crate::{Rng, xattr};

/// What was made.
#[derive(Debug, Default)]
pub struct HostileTree {
    /// Every path made, without the directory itself.
    pub paths: Vec<PathBuf>,
    /// What this machine does not allow to be made; also printed.
    pub refused: Vec<&'static str>,
}

/// Fills the existing directory `dir` with a hostile tree made from `seed`. Needs root.
///
/// # Errors
/// What the kernel refuses, other than kinds of entries and attributes that containers may not make.
pub fn hostile_tree(dir: &Path, seed: u64) -> io::Result<HostileTree> {
    let mut maker = Maker { rng: Rng::new(seed), dirs: vec![dir.to_owned()], made: HostileTree::default() };
    maker.dirs()?;
    maker.files()?;
    maker.sparse_files()?;
    maker.symlinks()?;
    maker.nodes()?;
    maker.hard_links()?;
    maker.inherited_acl()?;
    maker.metadata(dir)?;
    for what in &maker.made.refused {
        eprintln!("hostile tree: NOT MADE, this machine refuses it: {what}");
    }
    Ok(maker.made)
}

struct Maker {
    rng: Rng,
    dirs: Vec<PathBuf>,
    made: HostileTree,
}

const NAMES: [&[u8]; 22] = [
    b"new\nline",
    b"\n",
    b"carriage\rreturn",
    b"tab\tand\x07bell",
    b"\x1b[31mred\x1b[0m",
    b"\x01\x02\x7f",
    b"\xff\xfe\x80",
    b"latin1-\xe9",
    "gr\u{fc}n-\u{6f22}\u{5b57}-\u{1f980}".as_bytes(),
    "u\u{308}".as_bytes(),
    "\u{fc}".as_bytes(),
    "\u{202e}fdp.exe".as_bytes(),
    b"-rf",
    b"--",
    b" ",
    b" leading and trailing ",
    b"...",
    b"..hidden",
    b"back\\slash\\n",
    b"quo'te\"s`$(x)`",
    b"*?[a-z]{b,c}",
    b"CON.txt:stream",
];

impl Maker {
    /// Makes a path with a peculiar name that is free, in a directory made so far.
    fn place(&mut self) -> PathBuf {
        let dir = self.rng.pick(&self.dirs).clone();
        self.place_in(&dir)
    }

    fn place_in(&mut self, dir: &Path) -> PathBuf {
        loop {
            let mut name = match self.rng.below(8) {
                0..4 => self.rng.pick(&NAMES).to_vec(),
                4 => self.random_name(255),
                5 => {
                    let len = 1 + self.rng.pos(254);
                    self.random_name(len)
                }
                _ => format!("plain-{}", self.rng.below(1000)).into_bytes(),
            };
            let path = dir.join(bytes_path(&name));
            if fs::symlink_metadata(&path).is_err() {
                return path;
            }
            name.truncate(200);
            name.extend_from_slice(format!(".{}", self.rng.below(1 << 40)).as_bytes());
            let path = dir.join(bytes_path(&name));
            if fs::symlink_metadata(&path).is_err() {
                return path;
            }
        }
    }

    fn random_name(&mut self, len: usize) -> Vec<u8> {
        let mut name = self.rng.bytes(len);
        for byte in &mut name {
            if matches!(*byte, 0 | b'/' | b'.') {
                *byte = b'_';
            }
        }
        name
    }

    fn done(&mut self, path: PathBuf) {
        self.made.paths.push(path);
    }

    fn dirs(&mut self) -> io::Result<()> {
        for _ in 0..12 {
            let path = self.place();
            // Long names nested in long names would exceed what a path can be.
            if path.as_os_str().len() < 1500 {
                fs::create_dir(&path)?;
                self.dirs.push(path.clone());
                self.done(path);
            }
        }
        let mut deep = self.dirs.first().cloned().unwrap_or_default();
        for level in 0..60 {
            deep.push(format!("deep-{level}"));
            fs::create_dir(&deep)?;
            self.done(deep.clone());
        }
        self.dirs.push(deep);
        let crowd = self.place();
        fs::create_dir(&crowd)?;
        self.done(crowd.clone());
        for at in 0..300 + self.rng.below(500) {
            let path = crowd.join(format!("{at:x}-{:x}", self.rng.below(1 << 20)));
            match at % 40 {
                0 => fs::create_dir(&path)?,
                1 => std::os::unix::fs::symlink("elsewhere", &path)?,
                _ => fs::write(&path, self.rng.bits().to_le_bytes())?,
            }
            self.done(path);
        }
        Ok(())
    }

    fn files(&mut self) -> io::Result<()> {
        let large = 3_000_000 + self.rng.pos(3_000_000);
        let lens = [0, 0, 1, 4095, 4096, 4097, 16_383, 16_384, 16_385, 65_536, 1_048_577, large];
        for len in lens {
            let path = self.place();
            fs::write(&path, self.rng.bytes(len))?;
            self.done(path);
        }
        for _ in 0..40 {
            let (path, len) = (self.place(), self.rng.pos(2000));
            fs::write(&path, self.rng.bytes(len))?;
            self.done(path);
        }
        // Zeros with storage are not a hole.
        let path = self.place();
        fs::write(&path, vec![0; 50_000])?;
        self.done(path);
        Ok(())
    }

    fn sparse_files(&mut self) -> io::Result<()> {
        // Length, then offset and length of each range with data.
        let cases: [(u64, &[(u64, u64)]); 9] = [
            (1 << 20, &[]),
            (100, &[]),
            (65_536, &[(32_768, 32_768)]),
            (65_536, &[(0, 4096)]),
            (262_144, &[(0, 65_536), (131_072, 65_536)]),
            (100_001, &[(50_000, 10)]),
            (100_001, &[(99_999, 2)]),
            (8192, &[(4096, 4096)]),
            ((1 << 26) + 12_345, &[(1 << 26, 100)]),
        ];
        for (len, ranges) in cases {
            let path = self.place();
            let mut file = fs::File::create(&path)?;
            file.set_len(len)?;
            for (offset, len) in ranges {
                file.seek(SeekFrom::Start(*offset))?;
                file.write_all(&self.rng.bytes(usize::try_from(*len).unwrap_or(0)))?;
            }
            self.done(path);
        }
        let path = self.place();
        let file = fs::File::create(&path)?;
        for at in 0..40 {
            let bytes = self.rng.bytes(4096);
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at * 3 * 4096)?;
        }
        self.done(path);
        Ok(())
    }

    fn symlinks(&mut self) -> io::Result<()> {
        let long = "x/".repeat(2000);
        let targets: [&[u8]; 9] = [
            b"nowhere",
            b"/etc/hostname",
            b"..",
            b"../../../../../../../..",
            b".",
            b"\xff\n",
            b"/",
            b"/proc/self/fd/0",
            b"a",
        ];
        for target in targets.into_iter().chain([long.as_bytes()]) {
            let path = self.place();
            std::os::unix::fs::symlink(bytes_path(target), &path)?;
            self.done(path);
        }
        let path = self.place();
        let name = path.file_name().map(PathBuf::from).unwrap_or_default();
        std::os::unix::fs::symlink(name, &path)?;
        self.done(path);
        let (a, b) = (self.place(), self.place());
        if a != b {
            std::os::unix::fs::symlink(&b, &a)?;
            std::os::unix::fs::symlink(&a, &b)?;
            self.done(a);
            self.done(b);
        }
        Ok(())
    }

    fn nodes(&mut self) -> io::Result<()> {
        use rustix::fs::FileType::{BlockDevice, CharacterDevice, Fifo};
        let makedev = rustix::fs::makedev;
        let nodes = [
            (Fifo, 0),
            (Fifo, 0),
            (CharacterDevice, makedev(1, 3)),
            (CharacterDevice, makedev(0, 0)),
            (BlockDevice, makedev(7, 200)),
            (CharacterDevice, makedev(4095, 1_048_575)),
        ];
        for (kind, dev) in nodes {
            let path = self.place();
            match rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o600), dev) {
                Ok(()) => self.done(path),
                Err(Errno::PERM) => self.refuse("devices"),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, what: &'static str) {
        if !self.made.refused.contains(&what) {
            self.made.refused.push(what);
        }
    }

    fn hard_links(&mut self) -> io::Result<()> {
        let candidates: Vec<PathBuf> =
            self.made.paths.iter().filter(|path| !path.is_dir() || path.is_symlink()).cloned().collect();
        for _ in 0..10 {
            let original = self.rng.pick(&candidates).clone();
            for _ in 0..1 + self.rng.below(3) {
                let path = self.place();
                rustix::fs::linkat(CWD, &original, CWD, &path, AtFlags::empty())?;
                self.done(path);
            }
        }
        Ok(())
    }

    /// Makes a directory whose entries inherit an access list, which a careless copy would add to everything in it.
    fn inherited_acl(&mut self) -> io::Result<()> {
        let dir = self.place();
        fs::create_dir(&dir)?;
        self.done(dir.clone());
        let (plain, plain_dir) = (dir.join("made-before"), dir.join("dir-made-before"));
        fs::write(&plain, "has no access list")?;
        fs::create_dir(&plain_dir)?;
        self.done(plain);
        self.done(plain_dir);
        let acl = xattr::acl(7, &[(1000, 7), (4_294_967_294, 1)], 5, 7, 0);
        self.set(&dir, xattr::ACL_DEFAULT, &acl, "access lists")?;
        let (file, inner) = (dir.join("made-after"), dir.join("dir-made-after"));
        fs::write(&file, "inherits one")?;
        fs::create_dir(&inner)?;
        self.done(file);
        self.done(inner);
        Ok(())
    }

    fn set(&mut self, path: &Path, name: &[u8], value: &[u8], what: &'static str) -> io::Result<()> {
        match rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                self.refuse(what);
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives everything made its metadata, what is in a directory before the directory.
    fn metadata(&mut self, top: &Path) -> io::Result<()> {
        let mut paths = self.made.paths.clone();
        paths.push(top.to_owned());
        paths.sort();
        for path in paths.iter().rev() {
            let kind = fs::symlink_metadata(path)?.file_type();
            if !self.rng.one_in(4) {
                let ids = [0, 1, 1000, 65_534, 65_535, 1 << 31, 4_294_967_294];
                let (uid, gid) = (*self.rng.pick(&ids), *self.rng.pick(&ids));
                let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            if !kind.is_symlink() {
                let modes = [0o644, 0o755, 0o600, 0, 0o4755, 0o2755, 0o1777, 0o7777, 0o6000, 0o111, 0o2070];
                fs::set_permissions(path, fs::Permissions::from_mode(*self.rng.pick(&modes)))?;
            }
            self.attributes(path, kind)?;
            let seconds = [0, -1, -2_000_000_000, 1, 951_782_400, 1_700_000_000, 4_294_967_296, 15_000_000_000];
            let nanoseconds = [0, 1, 999_999_999, 123_456_789];
            let last_modification =
                Timespec { tv_sec: *self.rng.pick(&seconds), tv_nsec: *self.rng.pick(&nanoseconds) };
            let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification };
            rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn attributes(&mut self, path: &Path, kind: fs::FileType) -> io::Result<()> {
        if self.rng.one_in(3) {
            let value = self.rng.bytes(20);
            self.set(path, b"trusted.dominator", &value, "trusted attributes")?;
        }
        // Only files and directories may have attributes of users.
        if kind.is_file() || kind.is_dir() {
            for at in 0..self.rng.below(3) {
                let len = *self.rng.pick(&[0, 1, 100, 700]);
                let (name, value) = (format!("user.a\x01\u{fc}{at}"), self.rng.bytes(len));
                self.set(path, name.as_bytes(), &value, "user attributes")?;
            }
            if self.rng.one_in(4) {
                let acl = xattr::acl(6, &[(1, 4), (self.rng.below(1 << 32) as u32 & !1, 7)], 5, 7, 1);
                self.set(path, xattr::ACL_ACCESS, &acl, "access lists")?;
            }
        }
        if kind.is_dir() && self.rng.one_in(6) {
            let acl = xattr::acl(7, &[(33, 5)], 0, 5, 0);
            self.set(path, xattr::ACL_DEFAULT, &acl, "access lists")?;
        }
        if kind.is_file() && self.rng.one_in(6) {
            let capability = xattr::capability(1 << self.rng.below(20));
            self.set(path, xattr::CAPABILITY, &capability, "capabilities")?;
        }
        Ok(())
    }
}

fn bytes_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
