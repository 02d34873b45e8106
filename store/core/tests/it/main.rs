//! Tests of trees as a whole, through the public interface.
//!
//! Owns one binary with one module per property. Invariant: every file beside this one is a module of it.
//!
//! Does not test single encodings: those tests lie beside their code.

#![expect(clippy::disallowed_macros, reason = "a skipped test says so; the library prints nothing")]

mod differences;
mod directories;
mod flat;
mod oracle;
mod support;
mod vectors;

#[test]
#[expect(clippy::disallowed_methods, reason = "the test lists its own files; what must be pure is the library")]
fn no_file_is_forgotten() {
    let source = include_str!("main.rs");
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for entry in std::fs::read_dir(dir).expect("tests") {
        let name = entry.expect("entry").file_name().into_string().expect("name");
        let module = name.strip_suffix(".rs").expect("only source files");
        assert!(module == "main" || source.contains(&format!("mod {module};")), "{name}");
    }
}
