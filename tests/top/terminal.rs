//! On a terminal: keys, sizes, and every way out.

use rustix::process::{Pid, Signal, kill_process};

use crate::pty::Pty;
use crate::rings::{Ring, gap, trade};
use crate::top;

fn has(screen: &[String], text: &str) -> bool {
    screen.iter().any(|line| line.contains(text))
}

/// A view of a ring with two symbols that have traded.
fn start(ring: &mut Ring, arguments: &[&str], columns: u16, rows: u16) -> Pty {
    let mut all = vec!["--interval", "100ms", "--status", ""];
    all.extend_from_slice(arguments);
    let mut pty = Pty::start(&top(&ring.prefix, &all), columns, rows);
    pty.until("its first screen", |screen| has(screen, "q quit"));
    ring.write(&[trade("BTCUSDT", 6_183_763, 1), trade("ETHUSDT", 100, 1), gap("ETHUSDT", 2, 3)]);
    pty.until("the trades", |screen| has(screen, "61837.63") && has(screen, "ETHUSDT"));
    pty
}

fn ring() -> Ring {
    Ring::new(&["BTCUSDT", "ETHUSDT"], 1_024)
}

#[test]
fn keys_do_what_they_say() {
    let mut ring = ring();
    let mut pty = start(&mut ring, &[], 80, 24);
    pty.until("the header", |screen| screen[0].contains("ring") && screen[1].contains("TRADE/S"));
    pty.press("/eth");
    pty.until("the filter", |screen| has(screen, "filter: eth_") && !has(screen, "BTCUSDT"));
    pty.press("\r");
    pty.until("the filter kept", |screen| has(screen, "filter: eth ") && has(screen, "q quit"));
    pty.press("/\u{1b}");
    pty.until("the filter cleared", |screen| !has(screen, "filter: ") && has(screen, "BTCUSDT"));
    pty.press("s");
    pty.until("another order", |screen| screen[1].contains("TRADE/S▼"));
    pty.press("Sr");
    pty.until("the order reversed", |screen| screen[1].contains("SYMBOL▼"));
    pty.press("\u{1b}[B\u{1b}[Be");
    pty.until("the exchange folded", |screen| has(screen, "▸ venue-a") && !has(screen, "BTCUSDT"));
    pty.press("e?");
    pty.until("the help", |screen| has(screen, "fold or unfold"));
    pty.press("x");
    pty.until("the table", |screen| has(screen, "BTCUSDT") && !has(screen, "fold or unfold"));
    pty.press("p");
    pty.until("the pause", |screen| has(screen, "PAUSED"));
    ring.write(&[trade("BTCUSDT", 7_000_000, 2)]);
    pty.press("p");
    pty.until("what came meanwhile", |screen| has(screen, "70000") && !has(screen, "PAUSED"));
    pty.press("q");
    assert_eq!(pty.restored().code(), Some(0));
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    for keys in ["q", "\u{3}"] {
        let mut ring = ring();
        let mut pty = start(&mut ring, &[], 80, 24);
        pty.press(keys);
        assert_eq!(pty.restored().code(), Some(0), "{keys:?}");
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut ring = ring();
        let mut pty = start(&mut ring, &[], 80, 24);
        kill_process(Pid::from_child(&pty.child), signal).unwrap();
        assert_eq!(pty.restored().code(), Some(0), "{signal:?}");
    }
    let mut ring = ring();
    let mut pty = start(&mut ring, &["--count", "50"], 80, 24);
    assert_eq!(pty.restored().code(), Some(0));
}

#[test]
fn a_terminal_that_hangs_up_is_an_end() {
    // With a signal, and without one.
    for controls in [true, false] {
        let mut ring = ring();
        let command = top(&ring.prefix, &["--interval", "100ms", "--status", ""]);
        let mut pty = Pty::start_on(&command, 80, 24, controls);
        pty.until("its first screen", |screen| has(screen, "q quit"));
        ring.write(&[trade("BTCUSDT", 6_183_763, 1)]);
        pty.hang_up();
    }
}

#[test]
fn half_a_key_holds_nothing_up() {
    for half in ["\u{1b}[", "\u{1b}O", "\u{1b}[1;"] {
        let mut ring = ring();
        let mut pty = start(&mut ring, &[], 80, 24);
        pty.press(half);
        ring.write(&[trade("BTCUSDT", 7_000_000, 2)]);
        pty.until("what came behind it", |screen| has(screen, "70000"));
        // The first one may be the end of what began.
        pty.press("qq");
        assert_eq!(pty.restored().code(), Some(0), "{half:?}");
    }
}

#[test]
fn a_terminal_that_others_had_is_drawn_anew() {
    let taken = "\u{1b}[?1049h";
    let mut ring = ring();
    let mut pty = start(&mut ring, &[], 80, 24);
    pty.until_times(taken, 1);
    let pid = Pid::from_child(&pty.child);
    kill_process(pid, Signal::STOP).unwrap();
    kill_process(pid, Signal::CONT).unwrap();
    pty.until_times(taken, 2);
    pty.press("\u{c}");
    pty.until_times(taken, 3);
    // Nobody could let it go on here, so it is not stopped; the terminal was given back nevertheless.
    pty.press("\u{1a}");
    pty.until_times(taken, 4);
    pty.until_times("\u{1b}[?1049l", 3);
    pty.until("the table", |screen| has(screen, "61837.63"));
    pty.press("q");
    assert_eq!(pty.restored().code(), Some(0));
}

#[test]
fn it_follows_the_size_of_its_terminal() {
    let mut ring = ring();
    let mut pty = start(&mut ring, &[], 40, 10);
    pty.until("a small table", |screen| has(screen, "PRICE") && !has(screen, "TREND"));
    pty.resize(200, 50);
    pty.until("all columns", |screen| has(screen, "TREND") && has(screen, "0.0125"));
    pty.resize(20, 4);
    pty.until("hardly anything", |screen| screen[1].trim_end().len() < 24 && has(screen, "venue-a"));
    pty.press("q");
    assert_eq!(pty.restored().code(), Some(0));
}

#[test]
fn no_color_means_none() {
    let mut ring = ring();
    let coloured = |text: &str| ["\u{1b}[31", "\u{1b}[32", "\u{1b}[33", "\u{1b}[38;"].iter().any(|c| text.contains(c));
    let mut pty = start(&mut ring, &[], 80, 24);
    pty.press("q");
    pty.restored();
    assert!(coloured(&pty.written()), "{:?}", pty.written());
    let mut command = top(&ring.prefix, &["--interval", "100ms", "--status", "", "--count", "5"]);
    command.env("NO_COLOR", "1");
    let mut pty = Pty::start(&command, 80, 24);
    pty.restored();
    assert!(!coloured(&pty.written()), "{:?}", pty.written());
}

#[test]
fn json_is_for_terminals_too() {
    let ring = ring();
    let mut pty = Pty::start(&top(&ring.prefix, &["--json", "--count", "1", "--status", ""]), 80, 24);
    assert_eq!(pty.restored().code(), Some(0));
    pty.until_written("\"exchanges\"");
}
