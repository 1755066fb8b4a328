//! Frames, and answers to requests for instruments and for trades, of every venue of the registry.

use data_manager::exchange::{self, DecodeError, Event, Exchange, Frame, Reply, Row, Trades, Want};
use data_manager::market::Flags;
use data_manager::market::instrument::instrument_id;
use data_manager::market::trade::KIND_TRADE_V1;

/// The venue that this process is about.
pub const VENUE: &str = "FUZZ_VENUE";

/// The venue that [`VENUE`] names.
pub fn venue() -> &'static dyn Exchange {
    let name = std::env::var(VENUE).unwrap_or_default();
    let names: Vec<&str> = exchange::registry::names().collect();
    exchange::by_name(&name).unwrap_or_else(|| panic!("{VENUE}={name:?} is none of {names:?}"))
}

/// Decodes `data` as a frame, and reads it as a list of instruments and as a page of trades.
pub fn run(venue: &'static dyn Exchange, data: &[u8]) {
    let text = std::str::from_utf8(data);
    let frame = text.map_or(Frame::Binary(data), Frame::Text);
    let mut out = Trades::open(venue);
    let found = venue.decode(frame, &mut out);
    check(venue, &found, &out);

    // The same frame means the same, in a fresh batch and in one that was used before.
    let rows: Vec<Row> = out.rows().to_vec();
    out.clear();
    assert_eq!(venue.decode(frame, &mut out), found);
    assert_eq!(out.rows(), rows);
    let mut fresh = Trades::open(venue);
    assert_eq!(venue.decode(frame, &mut fresh), found);
    assert_eq!(fresh.rows(), rows);

    // A connection that subscribed nothing takes no trade.
    let mut none = Trades::default();
    let refused = venue.decode(frame, &mut none);
    assert!(none.rows().is_empty());
    assert!(rows.is_empty() || matches!(refused, Err(DecodeError::UnknownSymbol { .. })), "{refused:?}");

    if let Ok(text) = text {
        history(venue, text);
    }
    if let Ok(Ok(instruments)) = text.map(|text| venue.parse_instruments(text)) {
        for instrument in instruments {
            assert!(!instrument.venue_symbol.is_empty());
            assert_eq!(venue.canonical(&instrument.venue_symbol).as_ref(), Ok(&instrument.symbol));
        }
    }
}

/// Reads `body` as a page of the trades of the venue's example.
fn history(venue: &'static dyn Exchange, body: &str) {
    let (_, symbol) = venue.profile().example;
    let mut out = Trades::open(venue);
    for status in [200, 429] {
        let reply = Reply { status, headers: Vec::new(), body: body.to_owned() };
        let want = Want::Range { first: 1, last: u64::MAX };
        let page = venue.parse_history(symbol, want, &reply, &mut out);
        check_rows(venue, &out);
        assert!(page.is_err() || status == 200, "a page out of a refusal: {page:?}");
        out.clear();
    }
}

fn check(venue: &dyn Exchange, found: &Result<Event, DecodeError>, out: &Trades) {
    if let Ok(event) = found {
        assert_eq!(*event == Event::Trades, !out.rows().is_empty(), "{event:?} with {} rows", out.rows().len());
    }
    check_rows(venue, out);
}

fn check_rows(venue: &dyn Exchange, out: &Trades) {
    for Row { route, msg, span } in out.rows() {
        let (canonical, _) = out.symbols(*route).expect("a route of a row has a symbol");
        assert_eq!(msg.instrument_id, instrument_id(venue.profile().name, canonical));
        assert_ne!(msg.instrument_id, 0);
        assert_eq!((msg.kind, msg.ts_recv), (KIND_TRADE_V1, 0));
        assert!(msg.price_scale <= 18 && msg.size_scale <= 18, "{msg:?}");
        assert!(msg.price_scale == 0 || msg.price % 10 != 0, "a zero is left at the end of the price: {msg:?}");
        assert!(msg.size_scale == 0 || msg.size % 10 != 0, "a zero is left at the end of the size: {msg:?}");
        assert_ne!(msg.flags & 0b11, 0b11, "a side that is none");
        assert!(*span >= 1 && (*span == 1 || msg.flag_set().has(Flags::AGGREGATED)), "{span} fills in {msg:?}");
    }
}
