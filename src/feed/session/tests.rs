//! The session under scripted time.

use super::*;
use crate::exchange::{Pace, by_name};
use crate::telemetry::clock;

/// A session over a clock that only the test moves.
struct Scene {
    session: Session,
    budget: Budget,
    now: Instant,
    actions: Vec<Action>,
}

impl Scene {
    fn new(exchange: &str, symbols: &[&str]) -> Self {
        let rules = Rules {
            backoff: (Duration::from_millis(250), Duration::from_secs(30)),
            overlap: Duration::from_secs(10),
            stall: None,
            looks: false,
        };
        let (exchange, now) = (by_name(exchange).unwrap(), clock::now());
        let symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
        let budget = Budget::new(exchange.profile().connects);
        Self { session: Session::new(exchange, symbols, rules, now, 7), budget, now, actions: Vec::new() }
    }

    fn poll(&mut self) -> Vec<Action> {
        self.session.poll(self.now, &mut self.budget, false, &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn after(&mut self, wait: Duration) -> Vec<Action> {
        self.now += wait;
        self.poll()
    }

    fn open(&mut self, conn: ConnId) -> Vec<Action> {
        self.session.opened(self.now, conn, &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn event(&mut self, conn: ConnId, event: Event) -> Vec<Action> {
        self.session.event(self.now, conn, event, &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn close(&mut self, conn: ConnId, code: Option<u16>) -> Vec<Action> {
        self.session.closed(self.now, conn, code, "closed", &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    /// Live with one connection, numbered 1.
    fn live() -> Self {
        let mut scene = Self::new("binance", &["BTCUSDT"]);
        assert_eq!(scene.poll(), [Action::Dial(1)]);
        scene.open(1);
        scene.event(1, Event::AckedRequest(1));
        assert!(scene.session.is_live());
        scene
    }
}

fn sent(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Send(..))).count()
}

#[test]
fn it_subscribes_at_once_and_is_live_when_all_is_answered() {
    let mut scene = Scene::new("coinbase", &["BTC-USD", "ETH-USD"]);
    assert_eq!(scene.poll(), [Action::Dial(1)]);
    assert_eq!(sent(&scene.open(1)), 1);
    scene.event(1, Event::Trades);
    assert!(!scene.session.is_live(), "data before the ack is no ack");
    scene.event(1, Event::AckedSymbols(vec!["BTC-USD".into()]));
    assert!(!scene.session.is_live());
    let actions = scene.event(1, Event::AckedSymbols(vec!["BTC-USD".into(), "ETH-USD".into()]));
    assert_eq!(actions, [Action::Note(Note::Subscribed(1))]);
}

#[test]
fn subscribes_keep_within_the_message_limit() {
    let names: Vec<String> = (0..1_024).map(|number| format!("C{number}USDT")).collect();
    let mut scene = Scene::new("binance", &names.iter().map(String::as_str).collect::<Vec<_>>());
    scene.poll();
    assert_eq!(sent(&scene.open(1)), 5);
    assert_eq!(sent(&scene.after(Duration::from_millis(500))), 0);
    assert_eq!(sent(&scene.after(Duration::from_millis(600))), 1);
}

#[test]
fn a_connection_that_says_nothing_is_asked_for_a_sign_of_life_and_given_up_without_one() {
    let mut scene = Scene::live();
    assert_eq!(scene.after(Duration::from_millis(4_900)), []);
    assert_eq!(scene.after(Duration::from_millis(100)), [Action::Ping(1)]);
    // The pong came.
    scene.now += Duration::from_secs(1);
    scene.session.heard(scene.now, 1);
    assert_eq!(scene.after(Duration::from_secs(5)), [Action::Ping(1)]);
    assert_eq!(scene.session.poll_at(), Some(scene.now + Duration::from_secs(4)));
    let actions = scene.after(Duration::from_secs(4));
    assert!(actions.contains(&Action::Close(1)) && actions.contains(&Action::Lost(GapReason::Stall)), "{actions:?}");
}

#[test]
fn a_missing_answer_is_asked_for_once_more_and_then_ends_the_connection() {
    let mut scene = Scene::new("binance", &["BTCUSDT"]);
    scene.poll();
    scene.open(1);
    scene.session.heard(scene.now + Duration::from_secs(9), 1);
    assert_eq!(sent(&scene.after(Duration::from_millis(10_001))), 1);
    let actions = scene.after(Duration::from_millis(10_001));
    assert!(actions.contains(&Action::Close(1)) && actions.contains(&Action::Lost(GapReason::Stall)), "{actions:?}");
}

#[test]
fn a_refused_symbol_is_named_and_the_others_flow() {
    let mut scene = Scene::new("coinbase", &["BTC-USD", "FOO-USD"]);
    scene.poll();
    scene.open(1);
    let refusal = Event::Rejected { id: None, symbol: Some("FOO-USD".into()), reason: "no such product".into() };
    let actions = scene.event(1, refusal);
    let note = Note::Rejected { symbols: vec!["FOO-USD".into()], reason: "no such product".into() };
    assert!(actions.contains(&Action::Note(note)));
    let again = actions.iter().find_map(|action| if let Action::Send(1, text) = action { Some(text) } else { None });
    assert!(again.is_some_and(|text| text.contains("BTC-USD") && !text.contains("FOO-USD")));
    scene.event(1, Event::AckedSymbols(vec!["BTC-USD".into()]));
    assert!(scene.session.is_live());
    assert_eq!(scene.session.rejected_symbols().collect::<Vec<_>>(), ["FOO-USD"]);
}

#[test]
fn silence_is_a_stall_and_pings_are_life() {
    let mut scene = Scene::live();
    for _ in 0..10 {
        scene.now += Duration::from_secs(20);
        scene.event(1, Event::Trades);
        assert_eq!(scene.poll(), []);
    }
    let actions = scene.after(Duration::from_secs(61));
    assert_eq!(actions[0], Action::Close(1));
    assert!(actions.contains(&Action::Lost(GapReason::Stall)));
    assert!(scene.after(Duration::from_secs(1)).contains(&Action::Dial(2)));
}

#[test]
fn pings_without_trades_bring_a_successor_ever_more_rarely() {
    let mut scene = Scene::live();
    let mut quiet = Duration::from_secs(60);
    let mut from = scene.now;
    for number in 1..=10 {
        let actions = loop {
            scene.now = scene.session.poll_at().unwrap().min(scene.now + Duration::from_secs(20));
            scene.session.heard(scene.now, number);
            let actions = scene.poll();
            if !actions.is_empty() {
                break actions;
            }
        };
        assert!(actions.contains(&Action::Dial(number + 1)), "{actions:?}");
        assert!(!actions.contains(&Action::Close(number)), "the old connection stays until the new one has taken over");
        assert_eq!(scene.now - from, quiet);
        quiet = (quiet * 2).min(Duration::from_secs(3_600));
        from = scene.now;
        scene.open(number + 1);
        scene.event(number + 1, Event::AckedRequest(u64::from(number) + 1));
        scene.after(Duration::from_secs(1));
    }
}

#[test]
fn nothing_is_polled_for_in_the_past_while_two_connections_run() {
    let mut scene = Scene::live();
    scene.event(1, Event::Closing { reason: "soon".into() });
    scene.poll();
    scene.open(2);
    scene.event(2, Event::AckedRequest(2));
    for _ in 0..2 {
        scene.session.poll(scene.now, &mut scene.budget, true, &mut scene.actions);
        let at = scene.session.poll_at().unwrap();
        assert!(at > scene.now, "a hot loop");
        scene.now = at;
    }
}

#[test]
fn a_connection_is_replaced_before_its_known_end_with_overlap() {
    let mut scene = Scene::live();
    let mut rotations = 0;
    for number in 1..=10_000_u32 {
        // Up to ten minutes and a half before the end of its day.
        let day = Duration::from_secs(24 * 3_600);
        let from = scene.now;
        let actions = loop {
            scene.now = scene.session.poll_at().unwrap();
            scene.event(number, Event::Trades);
            let actions = scene.poll();
            if !actions.is_empty() {
                break actions;
            }
        };
        assert!(actions.contains(&Action::Dial(number + 1)), "{actions:?}");
        let age = scene.now - from;
        assert!(age < day && age > day - Duration::from_secs(1_200), "{age:?}");
        assert!(scene.open(number + 1).contains(&Action::Overlap(true)));
        let id = u64::from(number) + 1;
        scene.event(number + 1, Event::AckedRequest(id));
        assert_eq!(scene.poll(), [], "the old connection still has trades under way");
        let actions = scene.after(Duration::from_secs(1));
        let expected = [Action::Close(number), Action::Overlap(false), Action::Note(Note::Rotated)];
        assert_eq!(actions, expected);
        rotations += 1;
    }
    assert_eq!(rotations, 10_000);
}

#[test]
fn a_notice_of_the_end_starts_the_successor_and_its_failure_keeps_the_old_one() {
    let mut scene = Scene::live();
    scene.event(1, Event::Closing { reason: "serverShutdown".into() });
    assert_eq!(scene.poll(), [Action::Dial(2)]);
    let failure = DialFailure { message: "refused".into(), ..DialFailure::default() };
    scene.session.dial_failed(scene.now, 2, &failure, &mut scene.actions);
    let actions = std::mem::take(&mut scene.actions);
    assert!(!actions.iter().any(|action| matches!(action, Action::Lost(_) | Action::Close(1))), "{actions:?}");
    assert!(scene.session.is_live());
    assert!(scene.after(Duration::from_secs(1)).contains(&Action::Dial(3)));
    scene.open(3);
    // The old one ends while the new one is not yet subscribed: what is traded meanwhile comes on neither.
    let actions = scene.close(1, Some(1_001));
    assert!(actions.contains(&Action::Lost(GapReason::VenueDisconnect)), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Dial(_) | Action::Close(_))), "{actions:?}");
    let actions = scene.event(3, Event::AckedRequest(2));
    assert_eq!(actions, [Action::Note(Note::Subscribed(3))]);
}

#[test]
fn refusals_wait_long_and_retry_after_is_honoured() {
    let mut scene = Scene::new("binance", &["BTCUSDT"]);
    for (conn, failure, wait) in [
        (1, DialFailure { status: Some(403), ..DialFailure::default() }, 60),
        (
            2,
            DialFailure { status: Some(429), retry_after: Some(Duration::from_secs(120)), ..DialFailure::default() },
            120,
        ),
    ] {
        assert_eq!(scene.poll(), [Action::Dial(conn)]);
        scene.session.dial_failed(scene.now, conn, &failure, &mut scene.actions);
        scene.actions.clear();
        assert_eq!(scene.after(Duration::from_secs(wait - 1)), []);
        scene.now += Duration::from_secs(1);
    }
    let mut scene = Scene::live();
    scene.close(1, Some(1_008));
    assert_eq!(scene.after(Duration::from_secs(59)), []);
    assert_eq!(scene.after(Duration::from_secs(1)), [Action::Dial(2)]);
    // A subscribe that came too late, over a bad line, is no reason to stay away for long; twice is.
    let mut scene = Scene::new("binance", &["BTCUSDT"]);
    scene.poll();
    scene.open(1);
    scene.close(1, Some(1_008));
    assert_eq!(scene.after(Duration::from_millis(300)), [Action::Dial(2)]);
    scene.open(2);
    scene.close(2, Some(1_008));
    assert_eq!(scene.after(Duration::from_secs(59)), []);
}

#[test]
fn a_venue_that_is_down_for_long_never_sees_more_connects_than_it_allows() {
    let mut scene = Scene::new("binance", &["BTCUSDT"]);
    let pace = Pace { count: 3, per: Duration::from_secs(300) };
    scene.budget = Budget::new(pace);
    let mut dials = Vec::new();
    while dials.len() < 40 {
        for action in scene.poll() {
            if let Action::Dial(conn) = action {
                dials.push(scene.now);
                let failure = DialFailure::default();
                scene.session.dial_failed(scene.now, conn, &failure, &mut scene.actions);
                scene.actions.clear();
            }
        }
        scene.now = scene.session.poll_at().unwrap();
    }
    assert!(dials.windows(4).all(|window| window[3] - window[0] >= pace.per));
}

mod refusals;
