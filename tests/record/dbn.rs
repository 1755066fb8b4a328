//! DBN: what it holds is exact, and what it cannot hold is left out and counted.

use std::io::BufReader;

use data_manager::market::subject::subject;
use data_manager::market::{Flags, Record, SubjectKind, TradeMsg};
use dbn::decode::{DbnMetadata as _, DecodeRecord as _};

use crate::kit::{EXCHANGE, Scene, gap, trade};
use crate::records::{files, record};

#[tokio::test]
async fn what_dbn_holds_is_exact_and_the_rest_is_counted() {
    let fits = |id, price, price_scale, size, size_scale, flags| {
        Record::Trade(TradeMsg { price, price_scale, size, size_scale, flags, ..trade(id) })
    };
    let records = [
        fits(1, 6_183_763, 2, 7, 0, 1),
        fits(2, -5, 9, u64::from(u32::MAX - 1), 0, 2),
        fits(3, 30, 10, 700, 2, Flags::SNAPSHOT),
        fits(4, 1, 10, 7, 0, 1),
        fits(5, i64::MAX, 8, 7, 0, 1),
        fits(6, 1, 0, 1, 1, 1),
        fits(7, 1, 0, 1 << 32, 0, 1),
        fits(1 << 32, 1, 0, 1, 0, 1),
        gap(8, 9, false),
    ];
    let scene = Scene::of(&records).await;
    // Another instrument whose name has the same hash.
    scene.publish([(subject("market", EXCHANGE, "OTHER", SubjectKind::Trades), records[0].as_bytes().to_vec())]).await;
    let directory = tempfile::tempdir().unwrap();
    let done = record(&scene, directory.path(), &["--format", "dbn"]).expect_code(0).tells("3 records in 1 file");
    for (why, count) in [
        ("a gap", "1 record"),
        ("an id beyond 32 bits", "1 record"),
        ("a price that is not whole at 1e-9 in 64 bits", "2 records"),
        ("a size that is no whole number of 32 bits", "2 records"),
        ("an instrument id that another one of the file has", "1 record"),
    ] {
        assert!(done.err.contains(&format!("left out, as dbn cannot hold it: {why}: {count}\n")), "{done:#?}");
    }
    assert!(done.err.contains("without flags that dbn cannot hold: 1 record\n"), "{done:#?}");
    let [file] = files(directory.path()).try_into().unwrap();
    assert_eq!(file, "MARKET_DATA-000000000001-000000000010.dbn");
    let file = std::fs::File::open(directory.path().join(file)).unwrap();
    let mut decoder = dbn::decode::dbn::Decoder::new(BufReader::new(file)).unwrap();
    assert_eq!(decoder.metadata().symbols, ["binance:BTCUSDT"]);
    assert_eq!(decoder.metadata().schema, Some(dbn::Schema::Trades));
    let mut read = Vec::new();
    while let Some(trade) = decoder.decode_record::<dbn::TradeMsg>().unwrap() {
        let side = char::from(u8::try_from(trade.side).unwrap());
        read.push((trade.sequence, trade.price, trade.size, side, trade.hd.ts_event, trade.ts_recv));
    }
    let times = |id| (trade(id).ts_event, trade(id).ts_recv);
    let expected = [(1, 61_837_630_000_000, 7, 'B'), (2, -5, u32::MAX - 1, 'A'), (3, 3, 7, 'N')];
    let expected = expected.map(|(id, price, size, side)| {
        let (event, recv) = times(u64::from(id));
        (id, price, size, side, event, recv)
    });
    assert_eq!(read, expected);
}
