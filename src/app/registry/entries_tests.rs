//! Venues and instruments as their entries tell of them.

use serde_json::{Value, json};

use super::*;
use crate::app::board::FeedView;
use crate::feed::mend::MendStats;
use crate::feed::{FeedStatus, RouteStatus};
use crate::market::Symbol;
use crate::telemetry::clock;

const NOON: u64 = 1_767_268_800_000_000_000;

fn feed(name: &str, state: FeedState, last_error: &str) -> FeedView {
    let status = FeedStatus { state, last_error: last_error.to_owned(), ..FeedStatus::default() };
    let symbols = [(0, "AUSD".to_owned(), "A-USD".to_owned()), (1, "BUSD".to_owned(), "B-USD".to_owned())];
    FeedView { name: name.to_owned(), status, symbols: symbols.into() }
}

fn seen(feeds: &[FeedView], missed: &[String], shown: Duration) -> Seen {
    let now = clock::now() + Duration::from_secs(100);
    let venue = VenueView { exchange: "x", feeds: feeds.to_vec(), repair: None };
    let mending = MendStats::default();
    let shard = ShardView { at: now - shown, venues: vec![], ring: None, mending, nats: None, published_at: None };
    Seen::of(3, &shard, &venue, missed, now)
}

fn state(seen: &Seen) -> (&str, usize, &str) {
    (seen.state, seen.live, &seen.reason)
}

fn read(said: &(String, Bytes)) -> Value {
    serde_json::from_slice(&said.1).unwrap()
}

#[test]
fn a_venue_is_connected_degraded_or_down() {
    let (live, away) = (feed("x/0", FeedState::Live, ""), feed("x/1", FeedState::Connecting, "refused"));
    let at_once = Duration::ZERO;
    let all = seen(&[live.clone(), live.clone()], &[], at_once);
    assert_eq!(state(&all), ("connected", 2, ""));
    assert_eq!((all.connections, all.symbols), (2, 2), "both lines bring the same symbols");
    let some = seen(&[live.clone(), away.clone()], &[], at_once);
    assert_eq!(state(&some), ("degraded", 1, "x/1 is connecting: refused"));
    assert_eq!(state(&seen(&[away.clone(), away], &[], at_once)), ("down", 0, "x has no live connection: refused"));
    let unlisted = seen(std::slice::from_ref(&live), &["x: C is not listed".to_owned()], at_once);
    assert_eq!(state(&unlisted), ("degraded", 1, "x: C is not listed"));
    let stuck = seen(std::slice::from_ref(&live), &[], Duration::from_secs(6));
    assert_eq!(state(&stuck), ("down", 0, "shard 3 has not shown itself for 6 s"));
    let mut refused = live;
    let route = RouteStatus { rejected: "no such symbol".to_owned(), ..RouteStatus::default() };
    refused.status.routes.insert(1, route);
    assert_eq!(state(&seen(&[refused], &[], at_once)), ("degraded", 1, "x refuses BUSD: no such symbol"));
}

#[test]
fn a_reason_stays_short() {
    let live = feed("x/0", FeedState::Live, "");
    let missed: Vec<String> = (0..500).map(|number| format!("x: SYMBOL-{number:03} is not listed")).collect();
    let many = seen(std::slice::from_ref(&live), &missed, Duration::ZERO);
    assert!(many.reason.starts_with("x: SYMBOL-000 is not listed; x: SYMBOL-001"), "{}", many.reason);
    let (told, rest) = many.reason.rsplit_once("; and ").unwrap();
    assert_eq!(rest, format!("{} more", 500 - told.split("; ").count()));
    assert!(many.reason.len() < 1024, "{}", many.reason.len());
    let long = seen(&[live], &["币".repeat(500), "b".to_owned()], Duration::ZERO).reason;
    assert!(long.ends_with("币...; and 1 more") && long.len() < 1024, "{long}");
}

#[test]
fn since_is_when_the_state_began_and_words_change_at_most_every_ten_seconds() {
    let mut venues = Venues::new("here-1".to_owned());
    let now = clock::now();
    let away = |error| seen(&[feed("x/0", FeedState::Connecting, error)], &[], Duration::ZERO);
    let first = venues.say(away("refused"), now, NOON);
    let expected = json!({
        "exchange": "x", "state": "down", "since": "2026-01-01T12:00:00.000Z", "connections": 1, "live": 0,
        "symbols": 2, "reason": "x has no live connection: refused", "instance": "here-1", "version": build::VERSION,
    });
    assert_eq!((first.0.as_str(), read(&first)), ("x", expected));
    assert_eq!(venues.say(away("timed out"), now + WORDS / 2, NOON + 1), first);
    let later = read(&venues.say(away("timed out"), now + WORDS, NOON + 10_000_000_000));
    assert_eq!(later["reason"], "x has no live connection: timed out");
    assert_eq!(later["since"], "2026-01-01T12:00:00.000Z");
    let back = seen(&[feed("x/0", FeedState::Live, "")], &[], Duration::ZERO);
    let back = read(&venues.say(back, now + WORDS, NOON + 11_250_000_000));
    assert_eq!((&back["state"], &back["since"]), (&json!("connected"), &json!("2026-01-01T12:00:11.250Z")));
}

#[test]
fn the_last_word_is_down_and_stopped() {
    let mut venues = Venues::new("here-1".to_owned());
    assert_eq!(venues.stopped(NOON), []);
    venues.say(seen(&[feed("x/0", FeedState::Live, "")], &[], Duration::ZERO), clock::now(), NOON);
    let last = venues.stopped(NOON + 60_000_000_000);
    let said = read(&last[0]);
    assert_eq!((&said["state"], &said["reason"], &said["live"]), (&json!("down"), &json!("stopped"), &json!(0)));
    assert_eq!((last.len(), &said["since"]), (1, &json!("2026-01-01T12:01:00.000Z")));
}

#[test]
fn an_instrument_says_what_is_known_and_null_for_the_rest() {
    let one = Instrument::new("x", Symbol::new("币USD").unwrap(), "币-USD".to_owned());
    let listed = InstrumentInfo {
        venue_symbol: "币-USD".to_owned(),
        symbol: one.symbol.clone(),
        tick_size: Some("0.00000001".to_owned()),
        lot_size: Some("0.1".to_owned()),
        trading: true,
    };
    let whole = instrument(&one, Some(&[listed]));
    assert_eq!(whole.0, "x.=E5=B8=81USD");
    let expected = json!({
        "exchange": "x", "symbol": "币USD", "venue_symbol": "币-USD", "id": one.id, "tick": "0.00000001", "lot": "0.1",
        "trading": true,
    });
    assert_eq!(read(&whole), expected);
    let unknown = read(&instrument(&one, None));
    assert_eq!((&unknown["tick"], &unknown["trading"], &unknown["id"]), (&Value::Null, &Value::Null, &json!(one.id)));
    assert_eq!(read(&instrument(&one, Some(&[])))["trading"], false, "the venue does not list it");
}
