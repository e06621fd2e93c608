//! Whether there is a C++ compiler, by which CUDA kernels are tested on the host: `cfg(cxx)`.

use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CXX");
    println!("cargo::rustc-check-cfg=cfg(cxx)");
    let name = std::env::var("CXX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "c++".to_owned());
    let mut call = Command::new(name);
    call.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if call.status().is_ok_and(|status| status.success()) {
        println!("cargo::rustc-cfg=cxx");
    }
}
