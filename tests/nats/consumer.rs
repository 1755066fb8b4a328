//! Reading the stream back: from every place in it, filtered, packed, over a killed server, past what is no record.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use data_manager::config::settings::Nats;
use data_manager::market::{Record, SubjectKind, TradeMsg, subject};
use data_manager::transport::nats::consumer::{Filter, Item, Since, Tail, TailError};
use data_manager::transport::nats::stream_manager;

use crate::kit::{DEADLINE, Rig, STREAM, local, settings, subject_of, symbol, trade, universe};
use crate::support::{Proxy, Server, client};

/// The next record, which must come.
async fn next(tail: &mut Tail) -> Result<Item, TailError> {
    tokio::time::timeout(DEADLINE, tail.next()).await.expect("a record before the deadline")
}

async fn take(tail: &mut Tail, count: usize) -> Vec<Item> {
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(next(tail).await.unwrap());
    }
    items
}

/// Whether nothing more comes; what would come is there already.
async fn is_at_end(tail: &mut Tail) -> bool {
    tokio::time::timeout(Duration::from_millis(300), tail.next()).await.is_err()
}

/// A stream with so many trades, over three instruments, as a publisher writes it.
async fn fill(settings: &Nats, count: u64) {
    local(async {
        let mut rig = Rig::publishing(settings.clone()).await;
        rig.trades(count);
        rig.settled().await;
        rig.finish(&settings.servers[0]).await;
    })
    .await;
}

async fn open(settings: &Nats, since: Since) -> Tail {
    Tail::open(settings, Filter::default(), since).await.unwrap()
}

/// Sequence and trade id; a gap has none.
fn brief(items: &[Item]) -> Vec<(u64, u64)> {
    let id = |record: &Record| match record {
        Record::Trade(trade) => trade.trade_id,
        Record::Gap(_) => 0,
    };
    items.iter().map(|item| (item.sequence, id(&item.record))).collect()
}

/// What `fill` put at these sequences.
fn filled(sequences: std::ops::RangeInclusive<u64>) -> Vec<(u64, u64)> {
    sequences.map(|sequence| (sequence, 1_000 + (sequence - 1) / 3)).collect()
}

#[tokio::test]
async fn reading_begins_where_it_is_told_to() {
    for version in ["2.15.1", "2.10.26"] {
        let server = Server::builder().version(version).start();
        let settings = settings(&server.url());
        fill(&settings, 300).await;

        let mut tail = open(&settings, Since::Start).await;
        let items = take(&mut tail, 300).await;
        assert_eq!(brief(&items), filled(1..=300), "{version}");
        assert_eq!((&*items[4].exchange, &*items[4].symbol), ("binance", symbol(1).as_str()));
        assert!(is_at_end(&mut tail).await, "{version}");

        let mut tail = open(&settings, Since::Sequence(201)).await;
        assert_eq!(brief(&take(&mut tail, 100).await), filled(201..=300), "{version}");
        let mut tail = open(&settings, Since::Sequence(0)).await;
        assert_eq!(brief(&take(&mut tail, 1).await), filled(1..=1), "{version}");
    }
}

#[tokio::test]
async fn reading_from_a_time_begins_with_what_was_stored_then() {
    let server = Server::start();
    let settings = settings(&server.url());
    fill(&settings, 30).await;
    let stream = jetstream::new(client(&server.url()).await).get_stream(STREAM).await.unwrap();
    let at = async |sequence| {
        let time = stream.get_raw_message(sequence).await.unwrap().time;
        u64::try_from(time.unix_timestamp_nanos()).unwrap()
    };
    for sequence in [1, 12, 30] {
        let mut tail = open(&settings, Since::Time(at(sequence).await)).await;
        assert_eq!(brief(&take(&mut tail, 1).await), filled(sequence..=sequence));
    }
    let mut tail = open(&settings, Since::Time(at(12).await + 1)).await;
    assert_eq!(brief(&take(&mut tail, 1).await), filled(13..=13));
    let mut tail = open(&settings, Since::Time(0)).await;
    assert_eq!(brief(&take(&mut tail, 30).await), filled(1..=30));
}

#[tokio::test]
async fn reading_from_now_on_leaves_out_what_is_stored() {
    let server = Server::start();
    let settings = settings(&server.url());
    fill(&settings, 30).await;
    let mut tail = open(&settings, Since::Now).await;
    local(async {
        let mut rig = Rig::publishing(settings.clone()).await;
        // The first thirty are there already.
        rig.trades(33);
        rig.gap(1);
        let items = take(&mut tail, 4).await;
        assert_eq!(brief(&items[..3]), filled(31..=33));
        assert!(matches!(items[3].record, Record::Gap(gap) if gap.missing == 3), "{items:?}");
        rig.finish(&server.url()).await;
    })
    .await;
}

/// A stream with trades of two exchanges, two symbols each; one has a name that a subject must not hold as it is.
async fn mixed(settings: &Nats) {
    let client = client(&settings.servers[0]).await;
    stream_manager::ensure(&client, settings).await.unwrap();
    let (context, universe) = (jetstream::new(client), universe(1));
    for n in 0..10 {
        for exchange in ["binance", "okx"] {
            for symbol in ["BTCUSDT", "BTC.X USDT"] {
                let subject = subject::subject("market", exchange, symbol, SubjectKind::Trades);
                let payload = trade(&universe, 0, n).as_bytes().to_vec();
                context.publish(subject, payload.into()).await.unwrap().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn only_what_is_asked_for_is_read() {
    let server = Server::start();
    let settings = settings(&server.url());
    mixed(&settings).await;
    let read = async |exchanges: &[&str], symbols: &[&str], count| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        let filter = Filter { exchanges: own(exchanges), symbols: own(symbols), kind: None };
        let mut tail = Tail::open(&settings, filter, Since::Start).await.unwrap();
        let items = take(&mut tail, count).await;
        assert!(is_at_end(&mut tail).await, "{exchanges:?} {symbols:?}");
        assert!(items.is_sorted_by_key(|item| item.sequence));
        items.into_iter().map(|item| (item.exchange, item.symbol)).collect::<std::collections::BTreeSet<_>>()
    };
    let pair = |exchange: &str, symbol: &str| (exchange.into(), symbol.into());
    assert_eq!(read(&["okx"], &[], 20).await.len(), 2);
    assert_eq!(read(&["okx"], &["BTCUSDT"], 10).await, [pair("okx", "BTCUSDT")].into());
    let odd = [pair("binance", "BTC.X USDT"), pair("okx", "BTC.X USDT")];
    assert_eq!(read(&[], &["BTC.X USDT"], 20).await, odd.into());
    assert_eq!(read(&["binance", "okx"], &["BTCUSDT", "BTC.X USDT"], 40).await.len(), 4);
    assert_eq!(read(&["kraken"], &[], 0).await.len(), 0);
}

#[tokio::test]
async fn packed_messages_are_unpacked_in_order() {
    let server = Server::start();
    let settings = Nats { pack: 10, ..settings(&server.url()) };
    fill(&settings, 1_000).await;
    let mut tail = open(&settings, Since::Start).await;
    let items = take(&mut tail, 1_000).await;
    assert!(items.last().unwrap().sequence < 300, "{:?}", items.last());
    for route in 0..3_u32 {
        let of: Vec<Item> = items.iter().filter(|item| *item.symbol == symbol(route)).cloned().collect();
        let ids: Vec<u64> = brief(&of).into_iter().map(|(_, id)| id).collect();
        assert!(ids.iter().copied().eq(1_000..1_000 + ids.len() as u64), "{ids:?}");
    }
}

#[tokio::test]
async fn a_killed_server_costs_the_reader_nothing() {
    for version in ["2.15.1", "2.10.26"] {
        let mut server = Server::builder().version(version).start();
        let settings = settings(&server.url());
        local(async {
            let mut rig = Rig::publishing(settings.clone()).await;
            let mut tail = open(&settings, Since::Now).await;
            let mut items = Vec::new();
            for round in 1..=2 {
                rig.trades(300);
                items.extend(take(&mut tail, 200).await);
                rig.settled().await;
                server.kill9();
                server.restart_live().await;
                rig.trades(300);
                rig.until("it publishes again", |status| status.rewinds >= round).await;
                items.extend(take(&mut tail, 400).await);
            }
            assert_eq!(brief(&items), filled(1..=1_200), "{version}");
            assert!(is_at_end(&mut tail).await, "{version}");
            rig.finish(&server.url()).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_costs_the_reader_nothing() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url());
    fill(&settings(&server.url()), 3_000).await;
    let mut tail = open(&settings(&proxy.url()), Since::Start).await;
    let mut items = Vec::new();
    for _ in 0..3 {
        items.extend(take(&mut tail, 700).await);
        proxy.cut();
    }
    items.extend(take(&mut tail, 900).await);
    assert_eq!(brief(&items), filled(1..=3_000));
    assert!(is_at_end(&mut tail).await);
}

#[tokio::test]
async fn a_reader_that_read_nothing_yet_goes_on_where_it_was_to_begin() {
    for (stored, version) in [(0, "2.15.1"), (30, "2.15.1"), (30, "2.10.26")] {
        let mut server = Server::builder().version(version).start();
        let settings = settings(&server.url());
        fill(&settings, stored).await;
        let mut tail = open(&settings, Since::Now).await;
        server.kill9();
        server.restart_live().await;
        fill(&settings, stored + 30).await;
        assert_eq!(brief(&take(&mut tail, 30).await), filled(stored + 1..=stored + 30), "{version}");
        assert!(is_at_end(&mut tail).await, "{version}");
    }
}

#[tokio::test]
async fn a_stream_that_was_made_again_is_told_and_read_from_its_beginning() {
    let server = Server::start();
    let settings = settings(&server.url());
    fill(&settings, 30).await;
    let mut tail = open(&settings, Since::Sequence(31)).await;
    let context = jetstream::new(client(&server.url()).await);
    context.delete_stream(STREAM).await.unwrap();
    fill(&settings, 9).await;
    // What the old one had and was not read is gone; the new one is read as a whole.
    let told = tail.next().await.unwrap_err();
    assert!(matches!(told, TailError::Anew { .. }), "{told}");
    let taken = take(&mut tail, 9).await;
    assert_eq!(taken.iter().map(|item| item.sequence).collect::<Vec<_>>(), Vec::from_iter(1..=9));
}

#[tokio::test]
async fn what_is_no_record_is_told_and_reading_goes_on() {
    let server = Server::start();
    let settings = settings(&server.url());
    let client = client(&server.url()).await;
    stream_manager::ensure(&client, &settings).await.unwrap();
    let context = jetstream::new(client);
    let universe = universe(1);
    let good = |n| trade(&universe, 0, n).as_bytes().to_vec();
    let bad_kind = TradeMsg { kind: 99, ..trade(&universe, 0, 1) }.as_bytes().to_vec();
    let half = [good(2), bad_kind.clone()].concat();
    let subject = subject_of(0, SubjectKind::Trades);
    for payload in [good(0), b"hello".to_vec(), Vec::new(), bad_kind, good(1), half, good(4)] {
        context.publish(subject.clone(), payload.into()).await.unwrap().await.unwrap();
    }
    let mut tail = open(&settings, Since::Start).await;
    let (mut ids, mut told) = (Vec::new(), Vec::new());
    while ids.last() != Some(&1_004) {
        match next(&mut tail).await {
            Ok(item) => ids.extend(brief(&[item]).into_iter().map(|(_, id)| id)),
            Err(TailError::Message { sequence, subject: on, reason }) => {
                assert!(on == subject && !reason.is_empty(), "{on}: {reason}");
                told.push(sequence);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(told, [2, 3, 4, 6]);
    assert!(ids == [1_000, 1_001, 1_002, 1_004] || ids == [1_000, 1_001, 1_004], "{ids:?}");
    assert!(is_at_end(&mut tail).await);
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_is_told() {
    let server = Server::start();
    let settings = settings(&server.url());
    let Err(error) = Tail::open(&settings, Filter::default(), Since::Start).await else { panic!("read") };
    let text = error.to_string();
    assert!(text.contains("cannot read stream MARKET_DATA") && text.contains("stream not found"), "{text}");

    let context = jetstream::new(client(&server.url()).await);
    let queue = Config { retention: RetentionPolicy::WorkQueue, ..stream_manager::config(&settings, true) };
    context.create_stream(queue).await.unwrap();
    let Err(error) = Tail::open(&settings, Filter::default(), Since::Start).await else { panic!("read") };
    assert!(error.to_string().contains("cannot read stream MARKET_DATA"), "{error}");

    let mut server = server;
    server.kill9();
    let Err(error) = Tail::open(&settings, Filter::default(), Since::Start).await else { panic!("read") };
    assert!(matches!(error, TailError::Connect(_)), "{error}");
}
