//! The program: flags, ready line, signals, exit codes.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use dominator_protocol_core::{List, ListReply, Method};
use dominator_protocol_quic::{
    Client, Error, Settings, TrustError,
    cert::{Authority, Revoke, Validity},
};
use dominator_store_engine::{Store, StoreOptions};

use crate::issue;

fn prepare(dir: &Path) -> Authority {
    drop(Store::init(&dir.join("store"), StoreOptions::default()).unwrap());
    let authority = Authority::create("test", Validity::days(1)).unwrap();
    authority.save(dir).unwrap();
    issue(&authority, dir, "imageserver", &[]);
    authority
}

fn start(dir: &Path, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_imageserver"))
        .current_dir(dir)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ready_address(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.strip_prefix("imageserver ready on ").expect("the ready line").trim().to_owned()
}

fn terminate(child: &Child) {
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_until_it_is_told_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let authority = prepare(dir.path());
    let config =
        "store = 'store'\nlisten = '127.0.0.1:0'\nca = 'ca.pem'\ncert = 'imageserver.pem'\nkey = 'imageserver.key'";
    std::fs::write(dir.path().join("imageserver.toml"), config).unwrap();
    let mut child = start(dir.path(), &["--config", "imageserver.toml"]);
    let address = ready_address(&mut child);
    let credentials = issue(&authority, dir.path(), "reader", &["Image.List"]);
    let client = Client::bind(([127, 0, 0, 1], 0).into(), &credentials, Settings::default()).unwrap();
    let connection = client.connect(address.parse().unwrap(), "127.0.0.1").await.unwrap();
    let question = List { prefix: String::new(), after: None, limit: 10 };
    let reply: ListReply = connection.ask(Method::ImageList, &question).await.unwrap();
    assert!(reply.images.is_empty());
    terminate(&child);
    assert!(child.wait().unwrap().success());
    // The store was left in order and can be opened at once.
    Store::open(&dir.path().join("store")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_while_it_runs_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let authority = prepare(dir.path());
    let tls = ["--ca", "ca.pem", "--cert", "imageserver.pem", "--key", "imageserver.key"];
    let args: Vec<&str> = ["--store", "store", "--listen", "127.0.0.1:0"].into_iter().chain(tls).collect();
    let mut child = start(dir.path(), &args);
    let address = ready_address(&mut child).parse().unwrap();
    let credentials = issue(&authority, dir.path(), "leaver", &["Image.List"]);
    let client = Client::bind(([127, 0, 0, 1], 0).into(), &credentials, Settings::default()).unwrap();
    let connection = client.connect(address, "127.0.0.1").await.unwrap();
    let revoked = [Revoke::Name("leaver".into())];
    authority.revoke(dir.path(), &revoked, Duration::from_secs(86_400)).unwrap();
    let error = tokio::time::timeout(Duration::from_secs(20), connection.closed()).await.unwrap();
    assert!(matches!(error, Error::Refused { source: TrustError::OursRevoked, .. }), "{error}");
    terminate(&child);
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_is_lacking_is_told() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let tls = ["--ca", "ca.pem", "--cert", "imageserver.pem", "--key", "imageserver.key"];
    for (args, expected) in [
        (vec![], "no store given"),
        (vec!["--store", "nowhere", "--listen", "127.0.0.1:0"], "nowhere"),
        (vec!["--config", "nowhere.toml"], "cannot read nowhere.toml"),
    ] {
        let args: Vec<&str> = args.into_iter().chain(tls).collect();
        let mut child = start(dir.path(), &args);
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{args:?}");
        assert!(stderr.starts_with("error: ") && stderr.contains(expected), "{args:?}: {stderr}");
    }
}
