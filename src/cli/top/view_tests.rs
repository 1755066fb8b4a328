//! Screens drawn into cells: wide, narrow and tiny.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::screen::Act;
use super::super::snapshot::{ExchangeRow, Figures, Lost, RingRow, Snapshot, SymbolRow};
use super::super::status::{Publisher, Status};
use super::*;

fn symbol(name: &str, price: &str) -> SymbolRow {
    SymbolRow {
        symbol: name.to_owned(),
        price: Some(price.to_owned()),
        direction: Direction::Up,
        size: Some("0.0125".to_owned()),
        side: Some("buy"),
        figures: Figures {
            rate: 12.5,
            rate_10s: 1_250.0,
            trades: 123_456,
            gaps: 2,
            filled: 1,
            missing: 7,
            unknown: 1,
            lag_ns: Some(1_500_000),
            lag_worst_ns: Some(90_000_000),
            age_ns: Some(3_000_000_000),
        },
        trend: vec![1.0, 2.0, 3.0],
    }
}

fn screen() -> Screen {
    let exchange = |name: &str, count: usize| ExchangeRow {
        exchange: name.to_owned(),
        state: "connecting, 1/2 live".to_owned(),
        symbols: (0..count).map(|n| symbol(&format!("SYM{n:02}USDT"), "61837.63")).collect(),
        ..ExchangeRow::default()
    };
    let wide = ExchangeRow {
        exchange: "an-exchange-with-a-very-long-name-indeed".to_owned(),
        symbols: vec![symbol("比特币比特币比特币比特币比特币比特币USDT", "0.123456789012345678901234567890")],
        ..ExchangeRow::default()
    };
    let ring =
        RingRow { exchange: "aaa".to_owned(), capacity: 1_048_576, written: 5_242_880, unread: 3, peak: 524_288 };
    let publisher = Publisher { state: "publishing".to_owned(), outbox_records: 1_234, ..Publisher::default() };
    let daemon = Status {
        version: "0.1.0".to_owned(),
        uptime_seconds: 3_700,
        ready: true,
        publisher: Some(publisher),
        ..Status::default()
    };
    let snapshot = Snapshot {
        source: "ring".to_owned(),
        exchanges: vec![exchange("aaa", 30), exchange("bbb", 2), wide],
        rings: vec![ring],
        daemon: Some(daemon),
        ..Snapshot::default()
    };
    Screen { snapshot, utf8: true, ..Screen::default() }
}

/// Draws as the terminal does: settled, then drawn.
fn drawn(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
    screen.settle(Places::of(Rect::new(0, 0, width, height), screen).rows);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen)).unwrap();
    let buffer = terminal.backend().buffer();
    let cell = |x, y| buffer.cell((x, y)).map_or("", |cell| cell.symbol());
    (0..height).map(|y| (0..width).map(|x| cell(x, y)).collect::<String>()).collect()
}

fn press(screen: &mut Screen, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(screen.key(KeyEvent::new(*key, KeyModifiers::NONE), 18), Act::On, "{key:?}");
    }
}

#[test]
fn eighty_by_twenty_four_has_what_matters() {
    let lines = drawn(&mut screen(), 80, 24);
    assert!(lines[0].starts_with("data-manager 0.1.0  up 1h 1m  ready") && lines[0].contains("ring"), "{lines:#?}");
    for title in ["SYMBOL▲", "TRADE/S", "AVG10S", "PRICE", "LAG", "AGE", "GAPS", "MISSING"] {
        assert!(lines[1].contains(title), "{title}: {lines:#?}");
    }
    assert!(lines[2].starts_with("▾ aaa") && lines[2].contains("connecting, 1/2"), "{lines:#?}");
    assert!(lines[3].contains("SYM00USDT") && lines[3].contains("61837.63 ▲"), "{lines:#?}");
    assert!(lines[3].contains("1.5ms") && lines[3].contains("3.0s") && lines[3].contains("7+?"), "{lines:#?}");
    assert!(
        lines[21].starts_with("ring  lost 0") && lines[21].contains("unread 3  peak fill aaa 50.0%  written 5,242,880"),
        "{lines:#?}"
    );
    assert!(lines[22].starts_with("nats  publishing  outbox 1,234, -  in flight 0"), "{lines:#?}");
    assert!(lines[23].contains("q quit"), "{lines:#?}");
}

#[test]
fn two_hundred_by_fifty_has_all_of_it() {
    let lines = drawn(&mut screen(), 200, 50);
    for title in ["SIZE", "SIDE", "WORST", "FILLED", "TRADES", "TREND"] {
        assert!(lines[1].contains(title), "{title}: {lines:#?}");
    }
    assert!(lines[3].contains("▃▆█") && lines[3].contains("123,456") && lines[3].contains("90ms"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains('比') && line.contains('…')), "{lines:#?}");
    assert!(lines[2].contains("connecting, 1/2 live"), "{lines:#?}");
}

#[test]
fn no_size_is_too_small_and_nothing_is_wrapped() {
    for (width, height) in [(40, 10), (20, 5), (10, 3), (3, 2), (1, 1), (80, 4), (500, 100)] {
        for keys in [vec![], vec![KeyCode::Char('?')], vec![KeyCode::Char('/')], vec![KeyCode::End]] {
            let mut screen = screen();
            screen.snapshot.note = Some("something is wrong ".repeat(20));
            press(&mut screen, &keys);
            let lines = drawn(&mut screen, width, height);
            assert_eq!(lines.len(), usize::from(height));
        }
    }
}

#[test]
fn without_colours_or_utf_8_it_says_the_same() {
    let mut screen = Screen { utf8: false, ..screen() };
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines[2].starts_with("- aaa") && lines[3].contains("61837.63 ^"), "{lines:#?}");
    screen.snapshot.exchanges.pop();
    let lines = drawn(&mut screen, 200, 50);
    assert!(lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
}

#[test]
fn losses_and_a_silent_daemon_are_said() {
    let mut screen = screen();
    screen.snapshot.lost = Lost { records: 1_234, laps: 2, ..Lost::default() };
    screen.snapshot.daemon = None;
    screen.snapshot.daemon_error = Some("Connection refused".to_owned());
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines[20].starts_with("LAPPED: this view lost 1,234 records, 2 times"), "{lines:#?}");
    assert!(lines[22].starts_with("nats  -  outbox -") && lines[22].contains("Connection refused"), "{lines:#?}");
    assert!(drawn(&mut screen, 40, 10)[9].starts_with("LAPPED"), "on a small screen too");
}

#[test]
fn keys_fold_filter_sort_scroll_and_pause() {
    let mut screen = screen();
    press(&mut screen, &[KeyCode::Down, KeyCode::Down, KeyCode::Char('e')]);
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines[2].starts_with("▸ aaa") && lines[3].starts_with("▾ an-"), "{lines:#?}");
    assert_eq!(screen.selected, 0, "the exchange that was folded");
    press(&mut screen, &[KeyCode::Char('e'), KeyCode::End]);
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines.iter().any(|line| line.contains("SYM01USDT")), "{lines:#?}");
    assert_eq!(screen.selected, screen.choice.rows(&screen.snapshot).len() - 1);
    press(&mut screen, &[KeyCode::Char('/'), KeyCode::Char('q'), KeyCode::Backspace]);
    press(&mut screen, &"sym03".chars().map(KeyCode::Char).collect::<Vec<_>>());
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines[3].contains("SYM03USDT") && lines[4].trim().is_empty(), "{lines:#?}");
    assert!(lines[23].starts_with("filter: sym03_"), "{lines:#?}");
    press(&mut screen, &[KeyCode::Enter, KeyCode::Char('s'), KeyCode::Char('r'), KeyCode::Char('p')]);
    screen.show(Snapshot::default());
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines[0].contains("PAUSED") && lines[1].contains("TRADE/S▲"), "{lines:#?}");
    assert!(lines[23].starts_with("filter: sym03 "), "{lines:#?}");
    press(&mut screen, &[KeyCode::Char('/'), KeyCode::Esc]);
    assert_eq!(screen.choice.filter, "");
    screen.choice.filter = "eth".to_owned();
    press(&mut screen, &[KeyCode::Esc]);
    assert_eq!(screen.choice.filter, "", "without an end");
    assert_eq!(screen.key(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE), 18), Act::Quit);
}

#[test]
fn held_keys_are_other_keys() {
    let mut screen = screen();
    let held = |screen: &mut Screen, letter, with| screen.key(KeyEvent::new(KeyCode::Char(letter), with), 18);
    for mode in [Mode::Table, Mode::Filter, Mode::Help] {
        screen.mode = mode;
        assert_eq!(held(&mut screen, 'c', KeyModifiers::CONTROL), Act::Quit, "everywhere");
        assert_eq!(held(&mut screen, 'l', KeyModifiers::CONTROL), Act::Redraw);
        assert_eq!(held(&mut screen, 'z', KeyModifiers::CONTROL), Act::Suspend);
        for (letter, with) in [('q', KeyModifiers::ALT), ('q', KeyModifiers::CONTROL), ('r', KeyModifiers::CONTROL)] {
            assert_eq!(held(&mut screen, letter, with), Act::On, "{letter}");
        }
        assert_eq!((screen.mode, screen.choice.filter.as_str(), screen.choice.reverse), (mode, "", false));
    }
}

#[test]
fn the_end_has_no_row_behind_it() {
    let mut screen = Screen { selected: usize::MAX, ..screen() };
    press(&mut screen, &[KeyCode::Down, KeyCode::End, KeyCode::Down, KeyCode::PageDown]);
    drawn(&mut screen, 80, 24);
    assert_eq!(screen.selected, screen.choice.rows(&screen.snapshot).len() - 1);
    let mut empty = Screen::default();
    press(&mut empty, &[KeyCode::End, KeyCode::Down, KeyCode::PageDown, KeyCode::Up, KeyCode::Char('e')]);
    drawn(&mut empty, 80, 24);
    assert_eq!(empty.selected, 0);
}

#[test]
fn a_selected_row_stays_selected_where_it_moves_to() {
    let mut screen = screen();
    let name = |screen: &Screen| screen.choice.rows(&screen.snapshot)[screen.selected].names();
    press(&mut screen, &[KeyCode::Char('r')]);
    drawn(&mut screen, 80, 24);
    assert_eq!(screen.selected, 0, "the top row, whatever it is");
    press(&mut screen, &[KeyCode::Char('r'), KeyCode::Down, KeyCode::Down]);
    drawn(&mut screen, 80, 24);
    let chosen = ("aaa".to_owned(), "SYM01USDT".to_owned());
    assert_eq!((screen.selected, name(&screen)), (2, chosen.clone()));
    press(&mut screen, &[KeyCode::Char('r')]);
    let lines = drawn(&mut screen, 80, 24);
    assert_eq!(name(&screen), chosen);
    assert!(lines.iter().any(|line| line.contains("SYM01USDT")), "in sight: {lines:#?}");
    screen.choice.filter = "bbb".to_owned();
    drawn(&mut screen, 80, 24);
    screen.choice.filter.clear();
    drawn(&mut screen, 80, 24);
    assert_eq!(name(&screen), chosen, "it was out of sight for a while");
}

#[test]
fn an_outage_takes_no_numbers_away() {
    let mut screen = screen();
    let publisher = Publisher {
        state: "reconnecting".to_owned(),
        last_error: Some("a long story ".repeat(20)),
        outbox_records: 12_345,
        outbox_bytes: Some(1 << 20),
        in_flight: 512,
        dropped: 77,
        mode: Some("fast-ingest batches".to_owned()),
    };
    screen.snapshot.daemon.as_mut().unwrap().publisher = Some(publisher);
    let lines = drawn(&mut screen, 80, 24);
    let line = &lines[22];
    assert!(!line.contains("batches"), "what does not fit is left out: {line}");
    for text in ["reconnecting", "DROPPED 77", "outbox 12,345, 1.0 MiB", "in flight 512"] {
        assert!(line.contains(text), "{text}: {line}");
    }
    assert!(drawn(&mut screen, 200, 50)[48].contains("a long story"));
    assert!(footer::lines(&screen, 80, 3)[1].1, "what is given up is an alarm");
}
