//! The compilers that must take the C client, and the programs that they make.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One way to compile.
#[derive(Debug)]
pub(crate) struct Build {
    /// Ends the names of its programs.
    pub(crate) name: &'static str,
    compiler: &'static str,
    flags: &'static [&'static str],
}

pub(crate) const GCC: Build = Build { name: "gcc", compiler: "gcc", flags: &["-O2", "-D_GNU_SOURCE"] };
/// Any read or write out of bounds, leak or undefined behaviour ends the program with a report.
pub(crate) const GCC_CHECKED: Build = Build {
    name: "gcc-checked",
    compiler: "gcc",
    flags: &["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
};
/// Undefined behaviour is a trap: that needs no library at run time.
pub(crate) const CLANG: Build = Build {
    name: "clang",
    compiler: "clang",
    flags: &["-O1", "-g", "-fsanitize=undefined", "-fsanitize-trap=undefined"],
};

const WARNINGS: [&str; 8] =
    ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-Wstrict-prototypes"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compiles a program, which must take no warning, and returns its path. It lies under `target/` and stays there.
pub(crate) fn build(build: &Build, source: &str) -> PathBuf {
    build_of(build, &[source], Path::new(source).file_stem().unwrap().to_str().unwrap(), &[])
}

/// As [`build`], of several sources and with more flags.
pub(crate) fn build_of(build: &Build, sources: &[&str], name: &str, flags: &[&str]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(directory).unwrap();
    let target = directory.join(format!("{name}-{}", build.name));
    // Renamed at the end: another test may run the program of the same name meanwhile.
    let scratch = tempfile::tempdir_in(directory).unwrap();
    let fresh = scratch.path().join(name);
    compile(Command::new(find(build.compiler)).args(build.flags).args(flags).arg("-o").arg(&fresh), sources);
    fs::rename(&fresh, &target).unwrap();
    target
}

/// Holds that a source takes no warning with these flags, in place of the build's own; nothing is left of it.
pub(crate) fn accepts(build: &Build, source: &str, flags: &[&str]) {
    let scratch = tempfile::tempdir().unwrap();
    compile(
        Command::new(find(build.compiler)).args(flags).arg("-c").arg("-o").arg(scratch.path().join("o")),
        &[source],
    );
}

fn compile(command: &Command, sources: &[&str]) {
    // In front, so that a dialect of the build's own comes behind and wins.
    let mut whole = Command::new(command.get_program());
    whole.args(WARNINGS).args(command.get_args()).arg("-I").arg(root().join("clients/c"));
    whole.args(sources.iter().map(|source| root().join(source)));
    let done = whole.output().unwrap_or_else(|error| panic!("{whole:?}: {error}"));
    assert!(done.status.success(), "{whole:?}:\n{}", String::from_utf8_lossy(&done.stderr));
}

/// A compiler on PATH, or the clang that `make tools` provides.
fn find(name: &str) -> PathBuf {
    let on_path = env::var_os("PATH").and_then(|path| {
        let mut files = env::split_paths(&path).map(|directory| directory.join(name));
        files.find(|file| file.is_file())
    });
    let tool = root().join(".tools/bin").join(name);
    match on_path.or_else(|| tool.is_file().then_some(tool)) {
        Some(found) => found,
        None if name == "clang" => panic!("no clang on PATH or in .tools/bin: `make tools` installs it, without root"),
        None => panic!("no {name} on PATH: install it with the system's packages (gcc, libc6-dev)"),
    }
}
