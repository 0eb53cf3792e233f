//! Builds the web client's files into the binary. Without a built page (tests need no npm) a placeholder stands in.

use std::{fs, path::Path};

const PLACEHOLDER: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Điểm Cầu</title>\
<p>The web page was not built into this program. Run <code>make web</code> and build it again.</p></html>\n";

fn main() {
    let page = Path::new("../web-client/dist");
    // The folder may come later: then it is what has changed.
    println!("cargo::rerun-if-changed=../web-client/dist");
    println!("cargo::rerun-if-changed=build.rs");
    if page.join("index.html").exists() {
        memory_serve::load_directory_with_embed(page, true);
        return;
    }
    let out = std::env::var("OUT_DIR").expect("set by cargo");
    let placeholder = Path::new(&out).join("placeholder");
    fs::create_dir_all(&placeholder).expect("OUT_DIR can be written");
    fs::write(placeholder.join("index.html"), PLACEHOLDER).expect("OUT_DIR can be written");
    memory_serve::load_directory_with_embed(placeholder, true);
}
