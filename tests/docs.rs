//! The documents, held against the repository and the real binary: commands, targets, links, keys.
//!
//! Whether the prose is true is for people to judge.

#[path = "docs/reliability.rs"]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]
mod reliability;
#[path = "chaos/rows.rs"]
#[allow(dead_code, reason = "the suite itself reads all of it")]
mod rows;

use std::fs;
use std::path::Path;
use std::process::Command;

const DOCUMENTS: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/reliability.md",
    "docs/trade-msg.md",
    "docs/ipc-segment.md",
    "docs/top.md",
    "docs/operations.md",
    "clients/c/README.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The path from the root that a link of a document leads to; without one, the document itself.
fn beside(document: &str, link: &str) -> String {
    match (link, document.rsplit_once('/')) {
        ("", _) => document.to_owned(),
        (link, Some((folder, _))) => format!("{folder}/{link}"),
        (link, None) => link.to_owned(),
    }
}

/// The lines of all fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let (mut lines, mut inside) = (Vec::new(), None);
    for line in text.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(_), Some(_)) => inside = None,
            (Some(name), None) => inside = Some(name == language),
            (None, Some(true)) => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

/// The words of a shell line up to a comment, a pipe or a redirection.
fn words(line: &str) -> Vec<String> {
    let ends = |word: &&str| !word.starts_with(['#', '|', '<', '>']);
    line.split_whitespace().take_while(ends).map(str::to_owned).collect()
}

/// Runs the binary with what stands behind its name in a line, and --help: clap has then understood the rest.
fn understood(arguments: &[String]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-manager"));
    command.args(arguments).arg("--help").env_remove("DATA_MANAGER_CONFIG");
    let done = command.output().unwrap_or_else(|error| panic!("the binary does not start: {error}"));
    (done.status.code(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

#[test]
fn every_command_in_the_readme_is_understood() {
    let (code, text) = understood(&["no-such-command".to_owned()]);
    assert_eq!(code, Some(2), "an unknown command must be refused, or this test proves nothing: {text}");
    let mut seen = 0;
    for line in blocks(&read("README.md"), "sh") {
        let words = words(&line);
        if words.first().is_some_and(|word| word == "data-manager") {
            let (code, text) = understood(words.get(1..).unwrap_or_default());
            assert_eq!(code, Some(0), "{line}: {text}");
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} commands were found");
}

#[test]
fn the_table_of_commands_is_the_binarys() {
    let readme = read("README.md");
    let table: Vec<&str> = readme
        .lines()
        .skip_while(|line| *line != "| command | does |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split('`').nth(1))
        .collect();
    assert!(table.len() >= 7, "{table:?}");
    let (_, help) = understood(&[]);
    for command in &table {
        let (code, text) = understood(&[(*command).to_owned()]);
        assert_eq!(code, Some(0), "{command}: {text}");
    }
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        assert!(table.contains(&name), "the binary has `{name}`, the README's table has not");
    }
}

#[test]
fn what_the_scripts_start_is_understood() {
    // As scripts/run composes it.
    for word in ["\"serve\"", "\"--sim\"", "\"--nats\"", "\"--ipc\"", "\"--config\"", "\"--rate\""] {
        assert!(read("scripts/run").contains(word), "scripts/run no longer says {word}: bring this test along");
    }
    let line = "serve --sim --nats nats://127.0.0.1:4222 --ipc --config config/sim.toml --rate 100";
    let (code, text) = understood(&words(line));
    assert_eq!(code, Some(0), "{line}: {text}");
    let mut check = Command::new(env!("CARGO_BIN_EXE_data-manager"));
    check.args(["config", "check", "--config", "config/sim.toml"]).current_dir(root());
    let done = check.output().unwrap_or_else(|error| panic!("the binary does not start: {error}"));
    assert_eq!(done.status.code(), Some(0), "config/sim.toml: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn every_make_target_exists() {
    let makefile = read("Makefile");
    let targets: Vec<&str> = makefile.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name)).collect();
    let readme = blocks(&read("README.md"), "sh").into_iter();
    let ci = read(".ci/run");
    let ci = ci.lines().filter(|line| line.starts_with("section ")).filter_map(|line| line.split_once("\" "));
    let commands: Vec<String> = readme.chain(ci.map(|(_, command)| command.to_owned())).collect();
    let named: Vec<&str> =
        commands.iter().filter_map(|line| line.strip_prefix("make ")?.split_whitespace().next()).collect();
    assert!(named.len() >= 7, "{named:?}");
    for name in named {
        assert!(targets.contains(&name), "`make {name}` is no target");
    }
}

#[test]
fn every_link_leads_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = beside(document, path);
            assert!(root().join(&path).exists(), "{document} links to {path}, which is not there");
            if !anchor.is_empty() {
                let page = read(&path);
                let slug = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                let found = page.lines().any(|line| line.starts_with('#') && slug(line) == anchor);
                assert!(found, "{document} links to {target}: no such heading");
            }
        }
    }
}

#[test]
fn documents_are_finished() {
    for document in DOCUMENTS {
        for (index, line) in read(document).lines().enumerate() {
            assert!(!line.contains("CONFIRM") && !line.contains("TODO"), "{document}:{}: {line}", index + 1);
        }
    }
}

#[test]
fn the_example_configuration_of_a_reader_holds() {
    let text = blocks(&read("README.md"), "toml reader").join("\n");
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("README.md: {error}"));
    let read = table["data_source"].clone().try_into::<data_manager::source::DataSource>();
    let read = read.unwrap_or_else(|error| panic!("README.md: {error}"));
    assert!(read.ipc.is_some() && read.nats.is_some_and(|nats| !nats.durable.is_empty()));
}

#[test]
fn the_example_configuration_in_the_readme_holds() {
    let example = blocks(&read("README.md"), "toml").join("\n");
    let settings: data_manager::config::Settings =
        toml::from_str(&example).unwrap_or_else(|error| panic!("README.md: {error}"));
    let defaults = data_manager::config::Settings::default();
    assert_eq!(settings.exchanges.len(), data_manager::exchange::all().len());
    assert_eq!(settings.transport.nats.window, defaults.transport.nats.window, "the README shows defaults");
    assert_eq!(settings.transport.ipc.capacity, defaults.transport.ipc.capacity, "the README shows defaults");
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let readme = read("README.md");
    let promises = readme.lines().filter(|line| line.starts_with("| **"));
    let mut seen = 0;
    for line in promises {
        let names: Vec<&str> = line.split('`').filter(|part| part.contains("::")).collect();
        assert!(!names.is_empty(), "a promise names no test: {line}");
        for name in names {
            let (file, test) = name.split_once("::").unwrap_or_else(|| panic!("{name}"));
            let folder = if file.starts_with("src/") { "" } else { "tests/" };
            let text = read(&format!("{folder}{file}.rs"));
            assert!(text.contains(&format!("fn {test}(")), "README names {name}, and there is no such test");
            seen += 1;
        }
    }
    assert!(seen >= 12, "only {seen} tests were found");
}
