//! Lists the repository's query files, which the binary contains for `isobar demo`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    // Read at run time: checkouts that share a target directory share the compiled script.
    let root = from_cargo("CARGO_MANIFEST_DIR").join("../queries");
    println!("cargo::rerun-if-changed=../queries");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&root).expect("found below the root");
        let path = format!("/../queries/{}", name.display());
        // The compiler resolves the path, because the list may have been made for another checkout.
        let text = format!("include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))");
        writeln!(list, "    ({name:?}, {text}),").expect("a string takes all");
    }
    list.push(']');
    std::fs::write(from_cargo("OUT_DIR").join("queries.rs"), list).expect("the output directory");
}

#[allow(clippy::disallowed_methods, reason = "cargo tells build scripts so")]
fn from_cargo(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).expect("cargo sets it for build scripts"))
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("the directory of queries") {
        let path = entry.expect("an entry of the directory").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "sql") {
            files.push(path);
        }
    }
}
