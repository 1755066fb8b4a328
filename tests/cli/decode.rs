//! `decode` on the fixtures: three formats, and lines that cannot be read.

use std::io::Write as _;
use std::process::Stdio;

use data_manager::market::{Record, TradeMsg};
use serde_json::Value;

use super::process::{binary, run_with};

/// Every venue of this build: one without fixtures is not finished.
fn venues() -> impl Iterator<Item = &'static str> {
    data_manager::exchange::registry::names()
}

fn fixture(venue: &str, name: &str) -> String {
    let path = format!("{}/tests/fixtures/{venue}/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn json_is_the_expected_trades() {
    for venue in venues() {
        let done = run_with(&["decode", "--exchange", venue], &[], &fixture(venue, "trades")).expect_code(0);
        let (found, expected) = (lines(&done.out), lines(&fixture(venue, "trades.expected")));
        assert_eq!(found.len(), expected.len(), "{}", done.out);
        for (found, expected) in found.iter().zip(&expected) {
            for (key, value) in expected.as_object().unwrap() {
                assert_eq!(&found[key], value, "{key} of {found}");
            }
        }
    }
}

#[test]
fn csv_has_the_same_values_under_its_header() {
    for venue in venues() {
        let input = fixture(venue, "trades");
        let json = run_with(&["decode", "--exchange", venue], &[], &input).expect_code(0);
        let csv = run_with(&["decode", "--exchange", venue, "--format", "csv"], &[], &input).expect_code(0);
        let mut rows = csv.out.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = rows.next().unwrap();
        let objects = lines(&json.out);
        assert_eq!(rows.clone().count(), objects.len());
        for (row, object) in rows.zip(&objects) {
            assert_eq!(row.len(), header.len(), "{row:?}");
            for (name, value) in header.iter().zip(row).filter(|(name, _)| **name != "flags") {
                let expected = object[*name].as_str().map_or_else(|| object[*name].to_string(), str::to_owned);
                assert_eq!(value, expected, "{name} of {object}");
            }
        }
    }
}

#[test]
fn raw_is_48_bytes_a_trade() {
    for venue in venues() {
        let mut child = binary(&["decode", "--exchange", venue, "--format", "raw"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Less than a pipe holds: it can be written before anything is read.
        child.stdin.take().unwrap().write_all(fixture(venue, "trades").as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(0));
        let expected = lines(&fixture(venue, "trades.expected"));
        assert_eq!(done.stdout.len(), expected.len() * size_of::<TradeMsg>());
        for (bytes, expected) in done.stdout.chunks(48).zip(&expected) {
            let record = Record::from_bytes(bytes).unwrap();
            let Record::Trade(trade) = record else { panic!("{record:?}") };
            assert_eq!(trade.trade_id.to_string(), expected["trade_id"].as_str().unwrap());
        }
    }
}

#[test]
fn broken_lines_are_told_by_number_and_the_rest_is_decoded() {
    for venue in venues() {
        let (good, bad) = (fixture(venue, "trades"), fixture(venue, "refused"));
        let done = run_with(&["decode", "--exchange", venue], &[], &format!("{bad}{good}")).expect_code(1);
        let count = bad.lines().count();
        for number in 0..count {
            assert!(done.err.contains(&format!("line {number}: ")), "{number}: {}", done.err);
        }
        assert_eq!(done.err.lines().count(), count, "{}", done.err);
        assert_eq!(lines(&done.out).len(), lines(&fixture(venue, "trades.expected")).len());
        assert_eq!(lines(&done.out)[0]["line"], count);
    }
}

#[test]
fn frames_that_carry_no_trades_are_no_errors() {
    for venue in venues() {
        let control = fixture(venue, "control");
        let expected = lines(&fixture(venue, "control.expected"));
        let done = run_with(&["decode", "--exchange", venue, "--format", "csv"], &[], &control);
        assert_eq!(done.out.lines().count(), 1, "a header and nothing else: {done:#?}, {expected:?}");
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{expected:?}");
    }
    let done = run_with(&["decode", "--exchange", "binance"], &[], "").expect_code(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
}
