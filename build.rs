//! Tells the binary which commit it was built from, where that is known.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=GIT_SHA");
    println!("cargo:rerun-if-changed=.git/HEAD");
    // Each commit, where it matters which one it is; a debug build is not made anew for it.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") && Path::new(".git/logs/HEAD").exists() {
        println!("cargo:rerun-if-changed=.git/logs/HEAD");
    }
    let given = std::env::var("GIT_SHA").ok().filter(|sha| !sha.is_empty());
    let sha = given.or_else(|| {
        let done = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    });
    println!("cargo:rustc-env=DATA_MANAGER_GIT_SHA={}", sha.as_deref().unwrap_or("unknown"));
}
