//! Refused subscriptions: the symbol at fault is found, the connection stays, nobody is given up.

use std::collections::BTreeMap;

use super::*;

/// A venue that answers each subscribe as its rule says, at once.
struct Answers {
    scene: Scene,
    /// Requests seen, with their times and symbols.
    seen: Vec<(Instant, Vec<String>)>,
    subscribed: BTreeMap<String, Instant>,
}

impl Answers {
    fn new(exchange: &str, symbols: &[String]) -> Self {
        let mut scene = Scene::new(exchange, &symbols.iter().map(String::as_str).collect::<Vec<_>>());
        scene.poll();
        let mut this = Self { scene, seen: Vec::new(), subscribed: BTreeMap::new() };
        this.scene.session.opened(this.scene.now, 1, &mut this.scene.actions);
        this
    }

    /// Lets so much time pass; a request is refused if `bad` says so of one of its symbols.
    fn run(&mut self, time: Duration, bad: impl Fn(&str) -> bool) -> Vec<Action> {
        let (end, mut said) = (self.scene.now + time, Vec::new());
        loop {
            while !self.scene.actions.is_empty() {
                for action in std::mem::take(&mut self.scene.actions) {
                    if let Action::Send(1, text) = &action {
                        self.answer(text, &bad);
                    }
                    said.push(action);
                }
            }
            let at = self.scene.session.poll_at().unwrap();
            assert!(at >= self.scene.now, "{:?} late: {:?}", self.scene.now - at, self.scene.session);
            if at > end {
                self.scene.now = end;
                return said;
            }
            // What is subscribed flows.
            self.scene.now = at.min(self.scene.now + Duration::from_secs(20)).max(self.scene.now);
            self.scene.session.event(self.scene.now, 1, Event::Trades, &mut self.scene.actions);
            self.scene.actions = self.scene.poll();
        }
    }

    fn answer(&mut self, text: &str, bad: &impl Fn(&str) -> bool) {
        let request: serde_json::Value = serde_json::from_str(text).unwrap();
        let id = request["id"].as_u64().unwrap();
        let streams = request["params"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let symbols: Vec<String> = streams.map(|name| name.trim_end_matches("@trade").to_uppercase()).collect();
        let now = self.scene.now;
        let event = if symbols.iter().any(|symbol| bad(symbol)) {
            Event::Rejected { id: Some(id), symbol: None, reason: "no".into() }
        } else {
            self.subscribed.extend(symbols.iter().map(|symbol| (symbol.clone(), now)));
            Event::AckedRequest(id)
        };
        self.seen.push((now, symbols));
        self.scene.session.event(now, 1, event, &mut self.scene.actions);
    }

    fn refused(&self) -> Vec<&str> {
        self.scene.session.rejected_symbols().collect()
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("C{number}USDT")).collect()
}

fn closes(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Close(_) | Action::Dial(_) | Action::Lost(_)))
}

fn told(actions: &[Action]) -> Vec<&Note> {
    let note = |action: &'_ Action| matches!(action, Action::Note(Note::Rejected { .. } | Note::Accepted { .. }));
    actions
        .iter()
        .filter(|action| note(action))
        .map(|action| if let Action::Note(note) = action { note } else { unreachable!() })
        .collect()
}

#[test]
fn one_bad_symbol_among_many_is_found_within_the_message_limit_and_the_others_flow() {
    let symbols = names(1_000);
    for bad in ["C0USDT", "C357USDT", "C999USDT"] {
        let mut venue = Answers::new("binance", &symbols);
        let actions = venue.run(Duration::from_secs(4), |symbol| symbol == bad);
        assert!(!closes(&actions), "{actions:?}");
        assert_eq!(told(&actions), [&Note::Rejected { symbols: vec![bad.into()], reason: "no".into() }]);
        assert_eq!((venue.refused(), venue.subscribed.len()), (vec![bad], 999));
        assert!(venue.scene.session.is_live());
        assert!(venue.seen.len() < 25, "{} requests", venue.seen.len());
        let pace = by_name("binance").unwrap().profile().messages;
        let count = usize::try_from(pace.count).unwrap();
        assert!(venue.seen.windows(count + 1).all(|window| window[count].0 - window[0].0 >= pace.per));
    }
}

#[test]
fn bad_symbols_in_every_corner_are_found_and_the_others_flow() {
    let symbols = names(200);
    let mut venue = Answers::new("binance", &symbols);
    let bad = |symbol: &str| symbol.len() == 6;
    let actions = venue.run(Duration::from_secs(600), bad);
    assert!(!closes(&actions));
    assert_eq!(venue.refused().len(), 10);
    assert_eq!(venue.subscribed.len(), 190);
    let last = venue.subscribed.values().max().unwrap();
    assert!(*last - venue.seen[0].0 < Duration::from_secs(120), "{:?}", *last - venue.seen[0].0);
}

#[test]
fn a_refused_symbol_is_asked_for_again_with_growing_waits_and_comes_back() {
    let mut venue = Answers::new("binance", &names(2));
    venue.run(Duration::from_secs(7_200), |symbol| symbol == "C1USDT");
    let asked: Vec<Instant> =
        venue.seen.iter().filter(|(_, symbols)| symbols == &["C1USDT"]).map(|(at, _)| *at).collect();
    let waits: Vec<u64> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(waits[..8], [5, 10, 20, 40, 80, 160, 320, 640]);
    assert!(waits[8..].iter().all(|wait| *wait == 900) && waits.len() > 10, "{waits:?}");
    let actions = venue.run(Duration::from_secs(900), |_| false);
    assert_eq!(told(&actions), [&Note::Accepted { symbols: vec!["C1USDT".into()] }]);
    assert_eq!(venue.refused(), [""; 0]);
}

#[test]
fn a_refusal_of_everything_is_asked_ever_more_slowly_and_gives_nobody_up() {
    let symbols = names(200);
    let mut venue = Answers::new("binance", &symbols);
    let actions = venue.run(Duration::from_secs(600), |_| true);
    assert!(!closes(&actions) && !venue.scene.session.is_live());
    assert!(venue.seen.len() < 80, "{} requests in ten minutes", venue.seen.len());
    // The maintenance ends: everything is subscribed, soon.
    venue.run(Duration::from_secs(180), |_| false);
    assert!(venue.scene.session.is_live());
    venue.run(Duration::from_secs(900), |_| false);
    assert_eq!((venue.subscribed.len(), venue.refused().len()), (200, 0));
}

#[test]
fn the_only_symbol_is_asked_for_again_soon_and_the_connection_is_live_then() {
    let mut venue = Answers::new("binance", &names(1));
    let actions = venue.run(Duration::from_secs(4), |_| true);
    assert!(!closes(&actions) && !venue.scene.session.is_live());
    let actions = venue.run(Duration::from_secs(2), |_| false);
    assert!(actions.contains(&Action::Note(Note::Subscribed(1))), "{actions:?}");
}

#[test]
fn a_probe_that_is_not_answered_is_no_end_of_the_connection() {
    let mut venue = Answers::new("binance", &names(2));
    venue.run(Duration::from_secs(1), |symbol| symbol == "C1USDT");
    assert!(venue.scene.session.is_live());
    for _ in 0..120 {
        venue.scene.event(1, Event::Trades);
        let actions = venue.scene.after(Duration::from_secs(10));
        assert!(!closes(&actions), "{actions:?}");
    }
    assert_eq!(venue.refused(), ["C1USDT"]);
}

#[test]
fn a_named_symbol_is_left_out_of_what_still_waits_to_be_sent() {
    let names: Vec<String> = (0..600).map(|number| format!("C{number}-USDT")).collect();
    let mut scene = Scene::new("okx", &names.iter().map(String::as_str).collect::<Vec<_>>());
    scene.poll();
    assert_eq!(sent(&scene.open(1)), 2);
    let refusal = |symbol: &str| Event::Rejected { id: None, symbol: Some(symbol.into()), reason: "no".into() };
    assert_eq!(sent(&scene.event(1, refusal("C450-USDT"))), 0);
    scene.event(1, Event::AckedSymbols(names[..99].to_vec()));
    // The last symbol of the first request is at fault: nothing else of it is asked for once more.
    scene.event(1, refusal("C99-USDT"));
    let mut texts = Vec::new();
    for _ in 0..20 {
        let actions = scene.after(Duration::from_millis(501));
        texts.extend(actions.into_iter().filter_map(|a| if let Action::Send(_, text) = a { Some(text) } else { None }));
    }
    let asked = |name: &str| texts.iter().filter(|text| text.contains(&format!("\"{name}\""))).count();
    assert_eq!((asked("C450-USDT"), asked("C99-USDT"), asked("C5-USDT")), (1, 1, 0), "one probe of the refused");
    assert_eq!((asked("C449-USDT"), asked("C451-USDT"), asked("C599-USDT")), (1, 1, 1));
}
