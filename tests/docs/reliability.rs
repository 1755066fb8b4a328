//! docs/reliability.md: written from the figures of a run of the fault matrix, and held against the suite's rows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::rows::{ROWS, Row};
use crate::{read, root};

const DOCUMENT: &str = "docs/reliability.md";

const OPENING: &str = "\
# Reliability

What happens to trades when venues, lines, brokers, the daemon and its host fail. Written by `make chaos` from a run of
the suite in `tests/chaos/`: the real binary between simulated venues, which know every trade that they issued, and
real nats-servers, with a TCP proxy between them where a line fails. Nothing is mocked; rows of a cluster run three
servers.

FORM

| id | injected | must hold | runs | lost | doubled | reordered | declared | worst detect | worst recover | result | \
commit | date |
|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|---|
";

const READING: &str = "
## How to read it

- **lost**: issued by a venue, not stored, and not inside an exact declared gap. It must be 0; in B13, where the broker's
  own files are damaged, each such loss must be told by `verify`.
- **doubled**: stored twice. **reordered**: behind a later trade of its symbol, not flagged as backfilled and not inside
  a declared gap. Both must be 0 everywhere.
- **declared**: inside a declared gap and not stored. \"Whole\" means that this is 0 too.
- The library's audit, which `data-manager verify` runs, must come to the same figures; it sees the stream only, and the
  suite's oracle knows what was issued. Left out are instruments whose ids began again, and those of venues that sum up
  fills, which the two count in other units.
- **detect**: from the fault until the daemon shows that it noticed, by a new connection, a metric or `/readyz`.
  **recover**: from the end of the fault until trades issued after it are stored, of every symbol. Both are measured on
  the machine of that run and not asserted. What the daemon shows of itself is up to a quarter of a second old, and that
  is in these figures. `-`: not measured, because the fault has no moment at which it begins or ends.
- **runs**: how many times the fault was injected where a row repeats it. 200 runs without a violation bound the rate
  of violations at 1.5 % with 95 % confidence, and no lower; 5 runs say next to nothing about rare ones.
";

const COVERED: &str = "
## What is not covered

- Steps of the broker's clock (B14): a nats-server asks the kernel for the time, past everything that could stand between.
- Disks that lose writes which they had confirmed: B12 puts back a store of some seconds ago, which is what a broker finds
  that had not synced since.
- SIGHUP (D03): the daemon does not reload its configuration.
- A panic inside a venue's decoder (D06): nothing outside of the process causes one. `tests/feed/panics.rs` plants some in
  a running shard.
- Trades that a venue never tells, neither on its socket nor in its history.

## How to reproduce a row

```sh
make tools                                             # the nats-servers, once
cargo test --test chaos x01_silent_stall               # one row, in its short form
CHAOS_LONG=1 cargo test --test chaos kill_broker_loop  # in its long form
CHAOS_SEED=7 cargo test --test chaos mixed             # the faults of a seed
make chaos-quick                                       # every row in its short form
make chaos                                             # every row in its long form, then this document
```

`CHAOS_CYCLES` sets how often loops kill, `CHAOS_MIXED_SECONDS` how long faults are mixed, and `CHAOS_REPORT` names a file
to which each row appends its figures as a line of JSON.
";

/// The figures of a row over all its lines.
#[derive(Default)]
struct Figures {
    sums: BTreeMap<&'static str, u64>,
    worst: BTreeMap<&'static str, u64>,
    failed: bool,
    notes: Vec<String>,
    commit: String,
    date: String,
}

impl Figures {
    fn add(&mut self, line: &Value) {
        for name in ["runs", "lost", "doubled", "reordered", "declared"] {
            *self.sums.entry(name).or_default() += line[name].as_u64().unwrap();
        }
        for name in ["detect_ms", "recover_ms"] {
            if let Some(time) = line[name].as_u64() {
                let worst = self.worst.entry(name).or_default();
                *worst = time.max(*worst);
            }
        }
        self.failed |= line["held"] != true;
        let notes = line["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap().to_owned());
        self.notes.extend(notes);
        self.commit = line["commit"].as_str().unwrap().to_owned();
        self.date = line["date"].as_str().unwrap().to_owned();
    }
}

/// The document from the lines of a run.
fn document(lines: &str) -> String {
    let mut figures: BTreeMap<String, Figures> = BTreeMap::new();
    let mut short = false;
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        short |= line["form"] != "long";
        figures.entry(line["row"].as_str().unwrap().to_owned()).or_default().add(&line);
    }
    let form = if short {
        "These figures are of the **short form**: seconds and a handful of runs a row. `make chaos` replaces them by those of \
         the long form."
    } else {
        "These figures are of the long form."
    };
    let (mut text, mut notes) = (OPENING.replace("FORM", form), String::new());
    for Row { id, test, inject, hold } in &ROWS {
        let Some(found) = figures.get(*id) else {
            let result = if test.is_empty() { "no row of this suite" } else { "not run" };
            writeln!(text, "| {id} | {inject} | {hold} | - | - | - | - | - | - | - | {result} | | |").unwrap();
            continue;
        };
        let sum = |name| found.sums[name];
        let time = |name| {
            found
                .worst
                .get(name)
                .map_or_else(|| "-".to_owned(), |ms| format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10))
        };
        let result = if found.failed { "**failed**" } else { "held" };
        writeln!(
            text,
            "| {id} | {inject} | {hold} | {} | {} | {} | {} | {} | {} | {} | {result} | {} | {} |",
            sum("runs"),
            sum("lost"),
            sum("doubled"),
            sum("reordered"),
            sum("declared"),
            time("detect_ms"),
            time("recover_ms"),
            found.commit,
            found.date,
        )
        .unwrap();
        if !found.notes.is_empty() {
            writeln!(notes, "- **{id}**: {}", found.notes.join("; ")).unwrap();
        }
    }
    format!("{text}{READING}\n## What the rows told besides\n\n{notes}{COVERED}")
}

/// `UPDATE_DOCS=1 CHAOS_REPORT=FILE` writes it, as `make chaos` does.
#[test]
fn the_table_of_reliability_names_every_row_and_no_other() {
    if let (Some(_), Some(path)) = (std::env::var_os("UPDATE_DOCS"), std::env::var_os("CHAOS_REPORT")) {
        fs::write(root().join(DOCUMENT), document(&fs::read_to_string(path).unwrap())).unwrap();
    }
    let text = read(DOCUMENT);
    let table =
        text.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let told: Vec<(&str, &str, &str)> = table
        .map(|line| {
            let mut cells = line.split(" | ").map(|cell| cell.trim_start_matches("| "));
            (cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();
    let rows: Vec<(&str, &str, &str)> = ROWS.iter().map(|row| (row.id, row.inject, row.hold)).collect();
    assert_eq!(told, rows, "{DOCUMENT} is out of date: run make chaos");
}

#[test]
fn every_row_has_its_test_and_every_test_its_row() {
    let folder = root().join("tests/chaos");
    let mut tests = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // It tests the oracle; and a folder is no part of the suite's own program.
        if path.file_stem().is_some_and(|name| name == "control") || path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| matches!(pair[0], "#[test]" | "#[tokio::test]")) {
            let name = pair[1].split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            tests.push(name.unwrap().to_owned());
        }
    }
    tests.sort();
    let mut rows: Vec<&str> = ROWS.iter().map(|row| row.test).filter(|test| !test.is_empty()).collect();
    rows.sort_unstable();
    assert_eq!(tests, rows);
}
