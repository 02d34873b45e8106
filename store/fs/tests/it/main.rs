//! Tests of reading and writing real directories. They need root.
//!
//! Owns one binary with one module per property. Invariant: every file beside this one is a module of it.
//!
//! Does not test identities and encodings: `store/core` does.

mod api;
mod every_change;
mod race;
mod round_trip;
mod strange;
mod support;

#[test]
fn no_file_is_forgotten() {
    let source = include_str!("main.rs");
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for entry in std::fs::read_dir(dir).expect("tests") {
        let name = entry.expect("entry").file_name().into_string().expect("name");
        let module = name.strip_suffix(".rs").expect("only source files");
        assert!(module == "main" || source.contains(&format!("mod {module};")), "{name}");
    }
}
