//! Together with the real `ssh-keygen`, where it is installed.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the tests run a program; what must be pure is the library"
)]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use dominator_protocol_sign::{Error, NAMESPACE, PublicKey, SignedStatement, SigningKey};

use crate::scene::{judge, policy, rule, statement};

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// `None` where there is no `ssh-keygen`.
    fn new() -> Option<Self> {
        if Command::new("ssh-keygen").arg("-?").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            println!("SKIPPED: ssh-keygen is not installed");
            return None;
        }
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(bench.path("statement"), statement(5).encode()).unwrap();
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, input: Option<&Path>, args: &[&str]) -> bool {
        let stdin = input.map_or_else(Stdio::null, |path| File::open(path).unwrap().into());
        let mut command = Command::new("ssh-keygen");
        command.current_dir(self.dir.path()).args(args).stdin(stdin);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    fn make_key(&self, name: &str, kind: &[&str], passphrase: &str) -> String {
        assert!(self.run(None, &[&["-q", "-N", passphrase, "-C", name, "-f", name, "-t"], kind].concat()));
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn public_key(&self, name: &str) -> PublicKey {
        fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap().parse().unwrap()
    }

    /// Signs the statement as a publisher would.
    fn sign(&self, key: &str, namespace: &str) -> Vec<u8> {
        let signature = self.path("statement.sig");
        let _ = fs::remove_file(&signature);
        assert!(self.run(None, &["-Y", "sign", "-q", "-f", key, "-n", namespace, "statement"]));
        fs::read(signature).unwrap()
    }

    /// Verifies as an auditor would.
    fn verify(&self, key: &PublicKey, signature: &[u8]) -> bool {
        fs::write(self.path("signature"), signature).unwrap();
        fs::write(self.path("allowed"), format!("publisher namespaces=\"{NAMESPACE}\" {key}\n")).unwrap();
        let args = ["-Y", "verify", "-f", "allowed", "-I", "publisher", "-n", NAMESPACE, "-s", "signature"];
        self.run(Some(&self.path("statement")), &args)
    }
}

const KINDS: [(&str, &[&str]); 2] = [("ed25519", &["ed25519"]), ("p256", &["ecdsa", "-b", "256"])];

#[test]
fn what_openssh_signs_we_accept() {
    let Some(bench) = Bench::new() else { return };
    for (name, kind) in KINDS {
        bench.make_key(name, kind, "");
        let key = bench.public_key(name);
        assert_eq!(key.comment(), name);
        let policy = policy(vec![rule("debian", 1, std::slice::from_ref(&key))], &[]);
        let with = |signature| SignedStatement { statement: statement(5).encode(), signatures: vec![signature] };
        let accepted = judge(&policy, &with(bench.sign(name, NAMESPACE))).unwrap();
        assert_eq!(accepted.signers, [key.fingerprint()]);
        assert!(judge(&policy, &with(bench.sign(name, "file"))).is_err());
    }
}

#[test]
fn what_we_sign_openssh_accepts() {
    let Some(bench) = Bench::new() else { return };
    for (name, kind) in KINDS {
        let key = SigningKey::parse(&bench.make_key(name, kind, "")).unwrap();
        assert_eq!(key.public_key(), bench.public_key(name));
        let signature = key.sign(&statement(5)).unwrap();
        assert!(bench.verify(&key.public_key(), &signature), "{name}");
        assert!(!bench.verify(&key.public_key(), &key.sign(&statement(6)).unwrap()), "{name}");
    }
}

#[test]
fn keys_that_cannot_sign_here_say_so() {
    let Some(bench) = Bench::new() else { return };
    let encrypted = bench.make_key("locked", &["ed25519"], "passphrase");
    let error = SigningKey::parse(&encrypted).unwrap_err();
    assert!(error.to_string().contains("encrypted"), "{error}");
    let rsa = bench.make_key("rsa", &["rsa", "-b", "2048"], "");
    assert!(matches!(SigningKey::parse(&rsa), Err(Error::PrivateKey(_))));
    let text = fs::read_to_string(bench.path("rsa.pub")).unwrap();
    assert!(matches!(text.parse::<PublicKey>(), Err(Error::KeyKind { .. })));
    let p384 = bench.make_key("p384", &["ecdsa", "-b", "384"], "");
    assert!(SigningKey::parse(&p384).is_err());
}
