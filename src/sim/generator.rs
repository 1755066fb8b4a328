//! Generated trades: what each one says ([`Stream`]) and when it happens ([`Schedule`]), both from the seed.
//!
//! The two never share a random number, so that trade n of a symbol says the same at any rate.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytemuck::Zeroable as _;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::twin::Listing;
use crate::market::trade::KIND_TRADE_V1;
use crate::market::{Flags, Side, TradeMsg};

/// Ids start somewhere below this, and grow by one.
const FIRST_ID_MAX: u64 = 4_000_000_000;

/// Sizes go from 1 step to 10^this steps, or to a whole unit where that is more, evenly on a logarithmic scale.
const SIZE_DECADES: u32 = 6;

/// One row in this many is of several fills, where a venue has such rows.
const SWEEP_ONE_IN: u8 = 4;

/// What the trades of one symbol say, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    rng: fastrand::Rng,
    /// Decides which trades are of several fills. A generator of its own: venues of single fills draw nothing from it.
    sweeps: fastrand::Rng,
    next_id: u64,
    /// The price between the sides, in ticks.
    middle: i64,
    /// The price that the walk is drawn back to, in ticks.
    anchor: i64,
    side: Side,
    price_decimals: u8,
    size_decimals: u8,
}

impl Stream {
    pub(super) fn new(seed: u64, exchange: &str, listing: &Listing) -> Self {
        let name = format!("trades:{exchange}:{}", listing.symbol);
        let mut rng = fastrand::Rng::with_seed(xxh3_64_with_seed(name.as_bytes(), seed));
        let anchor = listing.price_ticks.max(100);
        Self {
            next_id: rng.u64(1..FIRST_ID_MAX),
            middle: anchor,
            anchor,
            side: Side::Buy,
            price_decimals: listing.price_decimals,
            size_decimals: listing.size_decimals,
            sweeps: rng.clone(),
            rng,
        }
    }

    /// The fills of the next row, at most `most`: usually one, now and then several of one taker at one price.
    pub(super) fn row(&mut self, ts_event: u64, most: u32, fills: &mut Vec<TradeMsg>) {
        fills.clear();
        let first = self.next(ts_event);
        fills.push(first);
        if most < 2 || self.sweeps.u8(..SWEEP_ONE_IN) != 0 {
            return;
        }
        for _ in 1..self.sweeps.u32(2..=most) {
            let trade_id = self.next_id;
            self.next_id += 1;
            fills.push(TradeMsg { trade_id, size: self.size(), ..first });
        }
    }

    /// The next trade, at this time.
    pub(super) fn next(&mut self, ts_event: u64) -> TradeMsg {
        let trade_id = self.next_id;
        self.next_id += 1;
        self.walk();
        // A buyer takes the price above the middle, a seller the one below.
        let price = if self.side == Side::Buy { self.middle + 1 } else { self.middle };
        TradeMsg {
            ts_event,
            trade_id,
            price,
            size: self.size(),
            price_scale: self.price_decimals,
            size_scale: self.size_decimals,
            flags: Flags::new(self.side).bits(),
            kind: KIND_TRADE_V1,
            ..TradeMsg::zeroed()
        }
    }

    /// Lets the ids begin again at 1.
    pub(super) const fn restart_ids(&mut self) {
        self.next_id = 1;
    }

    /// Lets the ids jump by `count`.
    pub(super) const fn skip_ids(&mut self, count: u64) {
        self.next_id = self.next_id.saturating_add(count);
    }

    /// One taker usually meets several makers: sides come in runs, and a run pushes the price its way.
    fn walk(&mut self) {
        if self.rng.u8(..100) < 25 {
            self.side = if self.side == Side::Buy { Side::Sell } else { Side::Buy };
        }
        let push = if self.side == Side::Buy { 1 } else { -1 };
        self.middle += match self.rng.u8(..100) {
            0..60 => 0,
            60..90 => push,
            90..96 => -push,
            96..99 => push * self.rng.i64(2..=10),
            _ => push * self.rng.i64(10..=50),
        };
        // Drawn back, so that prices stay above zero however long it runs.
        let away = self.middle - self.anchor;
        if self.rng.i64(0..self.anchor) < away.abs() {
            self.middle -= away.signum() * (1 + away.abs() / 64);
        }
        self.middle = self.middle.clamp(self.anchor / 4, self.anchor * 4);
    }

    fn size(&mut self) -> u64 {
        let decade = 10_u64.pow(self.rng.u32(..SIZE_DECADES.max(u32::from(self.size_decimals))));
        // One in eight is a round number, as people type them.
        if self.rng.u8(..8) == 0 { decade * self.rng.u64(1..=10) } else { self.rng.u64(decade..=decade * 10) }
    }
}

/// When trades happen, and of which symbol: a quiet baseline, and bursts in which one taker sweeps many makers.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    rng: fastrand::Rng,
    symbols: usize,
    /// Mean time between clusters, seconds.
    cluster_every: f64,
    /// Due time and symbol of what is to come; the running number keeps equal times in order.
    coming: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    next_cluster: Duration,
    serial: u64,
}

/// One cluster in this many is a burst, the others are a single trade.
const BURST_ONE_IN: u8 = 4;
/// Mean trades of a burst.
const BURST_MEAN: f64 = 20.0;
/// Most trades of a burst: bounds what waits in the schedule.
const BURST_MAX: u32 = 1_000;

impl Schedule {
    /// A schedule of `rate` trades a second on average, above 0.
    pub(super) fn new(seed: u64, exchange: &str, symbols: usize, rate: f64) -> Self {
        let mut rng = fastrand::Rng::with_seed(xxh3_64_with_seed(format!("times:{exchange}").as_bytes(), seed));
        let mean = (f64::from(BURST_ONE_IN - 1) + BURST_MEAN) / f64::from(BURST_ONE_IN);
        let cluster_every = mean / rate;
        let next_cluster = exponential(&mut rng, cluster_every);
        Self { rng, symbols: symbols.max(1), cluster_every, coming: BinaryHeap::new(), next_cluster, serial: 0 }
    }

    /// When the next trade happens, since the start, and of which symbol.
    pub(super) fn peek(&mut self) -> (Duration, usize) {
        loop {
            match self.coming.peek() {
                Some(Reverse((due, _, symbol))) if *due <= self.next_cluster => return (*due, *symbol),
                _ => self.cluster(),
            }
        }
    }

    /// Goes on to the trade after it.
    pub(super) fn pop(&mut self) {
        self.coming.pop();
    }

    fn cluster(&mut self) {
        let symbol = self.pick();
        let mut due = self.next_cluster;
        self.push(due, symbol);
        if self.rng.u8(..BURST_ONE_IN) == 0 {
            for _ in 1..self.burst_length() {
                // Most makers of a sweep are met in the same instant; the echo follows within milliseconds.
                if self.rng.u8(..10) == 0 {
                    due += exponential(&mut self.rng, 0.002);
                }
                self.push(due, symbol);
            }
        }
        self.next_cluster += exponential(&mut self.rng, self.cluster_every);
    }

    /// Every symbol trades; the first ones more than the last ones.
    fn pick(&mut self) -> usize {
        let one = self.rng.usize(..self.symbols);
        if self.rng.bool() { one } else { one.min(self.rng.usize(..self.symbols)) }
    }

    fn burst_length(&mut self) -> u32 {
        let mut length = 1;
        while length < BURST_MAX && self.rng.f64() >= 1.0 / BURST_MEAN {
            length += 1;
        }
        length
    }

    fn push(&mut self, due: Duration, symbol: usize) {
        self.coming.push(Reverse((due, self.serial, symbol)));
        self.serial += 1;
    }
}

fn exponential(rng: &mut fastrand::Rng, mean: f64) -> Duration {
    // In 0..1, and 1 - it is never 0.
    let seconds = -(1.0 - rng.f64()).ln() * mean;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(3_600))
}

/// Usual price in ticks, decimals of price and of size, for an asset priced in something like a dollar.
pub(super) fn usual_price(base: &str, quote: &str) -> (i64, u8, u8) {
    match (base, quote) {
        ("BTC", _) => (6_183_763, 2, 5),
        ("ETH", "BTC") => (4_321, 5, 4),
        ("ETH", _) => (265_432, 2, 4),
        ("BNB", _) => (58_120, 2, 3),
        ("SOL", _) => (15_234, 2, 3),
        ("XRP", _) => (5_432, 4, 0),
        ("DOGE", _) => (10_543, 5, 0),
        ("SHIB" | "PEPE", _) => (1_387, 8, 0),
        _ => (100_000, 4, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let (price_ticks, price_decimals, size_decimals) = usual_price("BTC", "USDT");
        Listing { symbol: "BTCUSDT".to_owned(), price_ticks, price_decimals, size_decimals, ..Listing::default() }
    }

    fn take(stream: &mut Stream, count: usize) -> Vec<TradeMsg> {
        (0..count).map(|_| stream.next(0)).collect()
    }

    #[test]
    fn the_same_seed_says_the_same_and_another_does_not() {
        let one = take(&mut Stream::new(7, "binance", &listing()), 1_000);
        assert_eq!(one, take(&mut Stream::new(7, "binance", &listing()), 1_000));
        assert_ne!(one, take(&mut Stream::new(8, "binance", &listing()), 1_000));
        assert_ne!(one, take(&mut Stream::new(7, "coinbase", &listing()), 1_000));
    }

    #[test]
    fn some_rows_are_of_several_fills_with_ids_in_line_at_one_price() {
        let mut stream = Stream::new(1, "okx", &listing());
        let (mut fills, mut seen, mut next_id) = (Vec::new(), [0; 6], stream.next_id);
        for _ in 0..10_000 {
            stream.row(7, 5, &mut fills);
            let first = fills[0];
            for fill in &fills {
                assert_eq!((fill.trade_id, fill.price, fill.side()), (next_id, first.price, first.side()));
                next_id += 1;
            }
            seen[fills.len()] += 1;
        }
        assert!(seen[1] > 7_000 && seen[2..].iter().all(|count| *count > 400), "{seen:?}");
        let (mut rows, mut singles) = (Stream::new(1, "okx", &listing()), Stream::new(1, "okx", &listing()));
        for _ in 0..1_000 {
            rows.row(7, 1, &mut fills);
            assert_eq!(fills, [singles.next(7)], "a venue of single fills draws nothing more");
        }
    }

    #[test]
    fn trades_look_like_trades() {
        let trades = take(&mut Stream::new(1, "binance", &listing()), 200_000);
        let anchor = listing().price_ticks;
        assert!(trades.windows(2).all(|pair| pair[1].trade_id == pair[0].trade_id + 1));
        assert!(trades.iter().all(|trade| trade.size > 0 && trade.price > anchor / 4 && trade.price <= anchor * 4 + 1));
        let buys = trades.iter().filter(|trade| trade.side() == Side::Buy).count();
        assert!((80_000..120_000).contains(&buys), "{buys} of 200,000 are buys");
        let moves = trades.windows(2).filter(|pair| pair[0].price != pair[1].price).count();
        assert!(moves > 20_000, "the price moves: {moves}");
    }

    #[test]
    fn the_rate_is_kept_and_bursts_share_their_instant() {
        let mut schedule = Schedule::new(1, "binance", 3, 1_000.0);
        let mut times = Vec::new();
        let mut seen = [0; 3];
        for _ in 0..200_000 {
            let (due, symbol) = schedule.peek();
            schedule.pop();
            times.push(due);
            seen[symbol] += 1;
        }
        assert!(times.is_sorted());
        let seconds = times.last().unwrap().as_secs_f64();
        assert!((180.0..220.0).contains(&seconds), "200,000 trades at 1,000/s take {seconds} s");
        assert!(seen.iter().all(|count| *count > 20_000), "{seen:?}");
        let together = times.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(together > 100_000, "{together} of 200,000 share the instant of the trade before");
    }
}
