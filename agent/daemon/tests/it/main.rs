//! Integration tests of the agent: its scan, and the whole program against an image server in memory.

mod directives;
mod fetching;
mod program;
mod scanning;
mod support;
mod updating;

#[test]
fn no_file_is_forgotten() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it")).expect("directory");
    let main = include_str!("main.rs");
    for file in files {
        let name = file.expect("entry").file_name().into_string().expect("name");
        let module = name.trim_end_matches(".rs");
        assert!(module == "main" || main.contains(&format!("mod {module};")), "{name} is not part of the tests");
    }
}
