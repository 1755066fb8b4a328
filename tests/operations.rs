//! `docs/operations.md` is real: its commands run in its order against real servers, and print what it says.
//!
//! `UPDATE_DOCS=1 cargo test --test operations` writes the output into the page. Times, checksums and sizes of
//! compressed files are not compared.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]

#[path = "support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::Server;

const PAGE: &str = "docs/operations.md";

/// A place to run commands in, and the servers that the page speaks of.
struct Session {
    dir: tempfile::TempDir,
    /// What the page writes, and what it stands for here.
    names: Vec<(&'static str, String)>,
    servers: [Server; 2],
}

impl Session {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::os::unix::fs::symlink(root.join("config"), dir.path().join("config")).unwrap();
        // Room for what the page declares; both are there from the start.
        let start = || Server::builder().max_file_store("64GB").start();
        let servers = [start(), start()];
        let names = vec![
            ("nats://localhost:4222", servers[0].url()),
            ("http://localhost:8222", servers[0].monitor_url()),
            ("nats://localhost:5222", servers[1].url()),
        ];
        Self { dir, names, servers }
    }

    /// What a command prints, in the page's names.
    fn run(&self, line: &str) -> String {
        let line = self.names.iter().fold(line.to_owned(), |line, (name, here)| line.replace(name, here));
        let binary = Path::new(env!("CARGO_BIN_EXE_data-manager")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {line}\n}} 2>&1")])
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.dir.path())
            .env("DATA_MANAGER__TRANSPORT__NATS__SERVERS", self.servers[0].url())
            .env("DATA_MANAGER__HTTP__LISTEN", "127.0.0.1:0")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        self.names.iter().fold(text, |text, (name, here)| text.replace(here, name))
    }
}

/// The page with the output of its commands as it is now.
fn rewritten(page: &str, session: &Session) -> String {
    let (mut out, mut in_console) = (String::new(), false);
    for line in page.lines() {
        if line.starts_with("```") {
            in_console = line == "```console";
        }
        match line.strip_prefix("$ ") {
            Some(command) if in_console => {
                let _ = write!(out, "{line}\n{}", session.run(command));
            }
            // What was printed before.
            _ if in_console && line != "```console" => {}
            _ => {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}

/// A page without what differs from run to run.
fn masked(page: &str) -> Vec<String> {
    page.lines().map(|line| without_time(line).split(' ').map(mask).collect::<Vec<_>>().join(" ")).collect()
}

/// A finding without how long a stream keeps what it is given, and the bounds that would do: that is as long, and they
/// are as high, as the machine is fast.
fn without_time(line: &str) -> String {
    if line.trim_start().starts_with("\"cure\": ") && line.contains(" would keep ") {
        return "\"cure\": #".to_owned();
    }
    match line.split_once(" keeps ").and_then(|(head, rest)| Some((head, rest.split_once(" at the ")?.1))) {
        Some((head, tail)) => {
            let what =
                tail.split_once("; ").filter(|(_, cure)| cure.contains(" would keep ")).map_or(tail, |(what, _)| what);
            format!("{head} keeps # at the {what}")
        }
        None => line.to_owned(),
    }
}

fn mask(word: &str) -> String {
    // Such as `1`, `0.5` and `5390..15389`.
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let has_digit = word.contains(|c: char| c.is_ascii_digit());
    // A checksum, a time, the figures of a plugin, of a metric, of JSON.
    let is_sum = word.len() >= 32 && word.chars().all(|c| c.is_ascii_hexdigit());
    let is_time = word.contains('T') && word.ends_with('Z') && has_digit;
    if is_sum || is_time {
        return "#".to_owned();
    }
    match word.split_once('=') {
        Some((key, value)) if value.starts_with(|c: char| c.is_ascii_digit()) => format!("{key}=#"),
        _ if is_number(word.trim_end_matches([',', ';', ':'])) => "#".to_owned(),
        _ => word.to_owned(),
    }
}

#[test]
fn the_page_shows_what_the_commands_print() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let now = rewritten(&page, &Session::new());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &now).unwrap();
        return;
    }
    assert!(page.matches("\n$ ").count() >= 20, "the page has commands");
    let (told, real) = (masked(&page), masked(&now));
    for (number, (told, real)) in told.iter().zip(&real).enumerate() {
        let place = format!("{PAGE}:{}", number + 1);
        assert_eq!(told, real, "{place}; UPDATE_DOCS=1 cargo test --test operations writes it anew\n{now}");
    }
    assert_eq!(told.len(), real.len(), "{now}");
}

#[test]
fn a_page_that_says_something_else_is_noticed() {
    assert_eq!(masked("answers in 0.31 ms"), masked("answers in 2.1 ms"));
    assert_eq!(masked("at 2026-01-31T08:00:00Z"), masked("at 2026-01-31T08:00:01.5Z"));
    assert_eq!(masked("max_msgs keeps 10s 3ms at the rate"), masked("max_msgs keeps 9s at the rate"));
    assert_eq!(masked("sequences 1..5, whole"), masked("sequences 17..23, whole"));
    assert_ne!(masked("max_age: 1h -> 30m"), masked("max_age: 1h -> 20m"));
    assert_ne!(masked("OK: all is well"), masked("WARNING: 1 warning"));
}
