//! Streams, whole and damaged on purpose.

use data_manager::market::subject::subject;
use data_manager::market::{Flags, Record, SubjectKind, TradeMsg};
use serde_json::Value;

use crate::kit::{EXCHANGE, SYMBOL, Scene, backfilled, findings, gap, row, trade, trade_of, trades};

#[tokio::test]
async fn a_whole_stream_is_whole() {
    let scene = Scene::of(&trades(1_000..1_500)).await;
    let done = scene.verify(&[]).expect_code(0);
    let cells = row(&done, SYMBOL);
    assert_eq!(cells, [EXCHANGE, SYMBOL, "500", "1000", "1499", "0", "0", "0", "0", "0", "0", "0"]);
    assert!(
        done.out.ends_with("whole: 500 trades of 1 instrument, nothing missing in silence, doubled or out of order\n")
    );
    assert_eq!(done.err, "");
}

/// Records, further arguments, the exit code, what is told, and the verdict.
type Case<'a> = (&'a str, Vec<Record>, &'a [&'a str], i32, &'a [&'a str], &'a str);

#[tokio::test]
async fn what_is_damaged_is_found_and_nothing_else() {
    let other = Record::Trade(TradeMsg { size: 1, ..trade(3) });
    let foreign = Record::Trade(TradeMsg { instrument_id: 7, ..trade(4) });
    let later = |id: u64| Record::Trade(TradeMsg { ts_event: trade(id + 5_000).ts_event, ..trade(id) });
    let declared = [trades(1..=4), vec![gap(5, 6, false)], trades(7..=9)].concat();
    let filled = [declared.clone(), vec![backfilled(5), backfilled(6), gap(5, 6, true)]].concat();
    let half = [declared.clone(), vec![backfilled(6), gap(5, 6, true)]].concat();
    let row = |id| Record::Trade(TradeMsg { flags: 1 | Flags::AGGREGATED, ..trade(id) });
    let cases: [Case<'_>; 11] = [
        (
            "published twice",
            [trades(1..=5), trades([3, 6])].concat(),
            &[],
            1,
            &["double at sequence 6, id 3: as at 3"],
            "not whole: 1 double in 1 of 1 instrument, 7 trades",
        ),
        (
            "another content",
            [trades(1..=5), vec![other], trades([6])].concat(),
            &[],
            1,
            &["conflict at sequence 6, id 3: 61837.66 x 0.00001 buy, and 61837.66 x 0.12345 buy at 3"],
            "not whole: 1 conflict in 1 of 1 instrument, 7 trades",
        ),
        (
            "out of order",
            trades([1, 2, 4, 3, 5]),
            &[],
            1,
            &["order at sequence 4, id 3: after 4"],
            "not whole: 1 order in 1 of 1 instrument, 5 trades",
        ),
        (
            "another instrument's",
            [trades(1..=3), vec![foreign], trades([4])].concat(),
            &[],
            1,
            &["bad at sequence 4, id 4: a trade of instrument 7"],
            "not whole: 1 bad in 1 of 1 instrument, 4 trades",
        ),
        (
            "declared",
            declared.clone(),
            &[],
            1,
            &["declared at sequence 6, ids 5 to 6: 2 missing, declared by a gap"],
            "not whole: 2 declared in 1 of 1 instrument, 7 trades",
        ),
        (
            "declared, which is allowed",
            declared,
            &["--allow-declared"],
            0,
            &["declared at sequence 6, ids 5 to 6: 2 missing, declared by a gap (for information)"],
            "; for information: 2 declared",
        ),
        ("filled", filled, &[], 0, &["late at sequence 9, id 5", "late at sequence 10, id 6"], "whole: 9 trades"),
        (
            "half filled",
            half,
            &["--allow-declared"],
            1,
            &["unfilled at sequence 6, id 5: 1 missing, and a gap says that it was filled", "late at sequence 9, id 6"],
            "not whole: 1 unfilled in 1 of 1 instrument",
        ),
        (
            "the venue counts anew",
            [trades(1_001..=1_009), (1..=9).map(later).collect()].concat(),
            &[],
            0,
            &["restart at sequence 10, id 1: the venue counts anew, after 1009 (for information)"],
            "; for information: 1 restart",
        ),
        (
            "several fills in a row",
            [trades(1..=3), vec![row(6)], trades([7])].concat(),
            &[],
            0,
            &["unprovable at sequence 4, ids 4 to 5: 2 missing, in front of a row that stands for several"],
            "; for information: 2 unprovable",
        ),
        ("another kind of record", trades(1..=3), &["--until", "#2"], 0, &[], "whole: 2 trades of 1 instrument"),
    ];
    for (name, records, arguments, code, told, verdict) in cases {
        let scene = Scene::of(&records).await;
        let done = scene.verify(arguments).expect_code(code);
        let found = findings(&done);
        assert_eq!(found.len(), told.len(), "{name}: {done:#?}");
        for (found, told) in found.iter().zip(told) {
            assert!(found.starts_with(told), "{name}: {found}, not {told}");
        }
        assert!(done.out.lines().last().unwrap().contains(verdict), "{name}: {done:#?}");
    }
}

#[tokio::test]
async fn a_message_that_was_deleted_is_a_silent_loss() {
    let scene = Scene::of(&trades(1..=20)).await;
    for sequence in [5, 11, 12] {
        scene.delete(sequence).await;
    }
    let done = scene.verify(&[]).expect_code(1);
    assert_eq!(
        findings(&done),
        [
            "silent at sequence 6, id 5: 1 missing, declared by nothing",
            "silent at sequence 13, ids 11 to 12: 2 missing, declared by nothing",
        ]
    );
    assert_eq!(row(&done, SYMBOL)[8], "3");
    // At either end nothing is proved: it may have been stored nowhere, or removed by age.
    scene.delete(1).await;
    scene.delete(20).await;
    assert_eq!(row(&scene.verify(&[]).expect_code(1), SYMBOL)[2..5], ["15", "2", "19"]);
}

#[tokio::test]
async fn bytes_of_others_are_told_with_their_sequence() {
    let scene = Scene::of(&trades(1..=3)).await;
    let (on_trades, on_gaps) =
        ([SubjectKind::Trades, SubjectKind::Gaps]).map(|kind| subject("market", EXCHANGE, SYMBOL, kind)).into();
    let mut odd = trade(9).as_bytes().to_vec();
    odd[47] = 99;
    let bad: [(&String, Vec<u8>, &str); 6] = [
        (&on_trades, b"hello".to_vec(), "bad at sequence 4: 5 bytes are no records of 48"),
        (&on_trades, Vec::new(), "bad at sequence 5: 0 bytes are no records of 48"),
        (&on_trades, odd, "bad at sequence 6: record kind 99 is unknown"),
        (&on_gaps, trade(4).as_bytes().to_vec(), "bad at sequence 7: a record of the other kind on .gaps"),
        (&on_trades, gap(8, 8, false).as_bytes().to_vec(), "bad at sequence 8: a record of the other kind on .trades"),
        (
            &on_trades,
            TradeMsg { ts_event: 0, ..trade(4) }.as_bytes().to_vec(),
            "bad at sequence 9, id 4: it has no time",
        ),
    ];
    scene.publish(bad.iter().map(|(subject, payload, _)| ((*subject).clone(), payload.clone()))).await;
    scene.publish([("market.x.%ZZ.trades".to_owned(), b"x".to_vec())]).await;
    scene.store(&trades([5])).await;
    let done = scene.verify(&[]).expect_code(1);
    let found = findings(&done);
    assert_eq!(found.len(), bad.len() + 1, "the record without a time has made times go back: {done:#?}");
    for (found, (_, _, told)) in found.iter().zip(&bad) {
        assert!(found.starts_with(told), "{found}, not {told}");
    }
    assert!(
        done.out.contains("sequence 10: a message on market.x.%ZZ.trades, which is no subject of ours"),
        "{done:#?}"
    );
    assert!(done.out.contains("not whole: 6 bad, 1 of no instrument in 1 of 1 instrument, 5 trades"), "{done:#?}");
}

#[tokio::test]
async fn packed_messages_are_audited_record_by_record() {
    let scene = Scene::start().await;
    let pack = |ids: &[u64]| ids.iter().flat_map(|id| trade(*id).as_bytes().to_vec()).collect::<Vec<u8>>();
    let to = subject("market", EXCHANGE, SYMBOL, SubjectKind::Trades);
    scene.publish([pack(&[1, 2, 3]), pack(&[4, 6, 7]), pack(&[8])].map(|payload| (to.clone(), payload))).await;
    let done = scene.verify(&[]).expect_code(1);
    assert_eq!(findings(&done), ["silent at sequence 2, id 5: 1 missing, declared by nothing"]);
    assert_eq!(row(&done, SYMBOL)[2..5], ["7", "1", "8"]);
}

#[tokio::test]
async fn a_long_stream_is_audited_exactly() {
    const TRADES: u64 = 200_000;
    let symbols = ["BTCUSDT", "ETHUSDT"];
    let scene = Scene::start().await;
    let message = |n: u64| {
        let symbol = symbols[usize::from(n.is_multiple_of(2))];
        (subject("market", EXCHANGE, symbol, SubjectKind::Trades), trade_of(symbol, 1 + n / 2).as_bytes().to_vec())
    };
    scene.publish((0..TRADES).map(message)).await;
    let done = scene.verify(&[]).expect_code(0);
    for symbol in symbols {
        assert_eq!(row(&done, symbol)[2..5], ["100000", "1", "100000"]);
    }
    // Even numbers are of the second symbol; a sequence is a number and one.
    for sequence in [1_001, 100_001, 100_003] {
        scene.delete(sequence).await;
    }
    scene.publish([message(TRADES - 2), message(1_000)]).await;
    let done = scene.verify(&["--json"]).expect_code(1);
    let lines: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<String> = lines
        .iter()
        .filter(|line| line["kind"] == "finding")
        .map(|line| format!("{} {} {} {}", line["symbol"], line["class"], line["sequence"], line["first_id"]))
        .collect();
    assert_eq!(
        found,
        [
            r#""ETHUSDT" "double" 200001 "100000""#,
            r#""ETHUSDT" "order" 200002 "501""#,
            r#""ETHUSDT" "silent" 100005 "50001""#,
        ]
    );
    let verdict = lines.last().unwrap();
    let counts = ["silent", "double", "order", "conflict", "bad", "declared"].map(|key| verdict[key].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1, 0, 0, 0]);
    assert_eq!(
        (&verdict["kind"], &verdict["whole"], &verdict["records"]),
        (&"verdict".into(), &false.into(), &199_999.into())
    );
    assert_eq!(lines[0]["first"]["id"], "1", "{}", lines[0]);
}

#[tokio::test]
async fn only_what_is_asked_for_is_audited() {
    let scene = Scene::of(&trades([1, 2, 4, 5, 6])).await;
    let of = |exchange: &str, symbol: &str, id| {
        (subject("market", exchange, symbol, SubjectKind::Trades), trade_of(symbol, id).as_bytes().to_vec())
    };
    scene.publish([of(EXCHANGE, "ETHUSDT", 1), of(EXCHANGE, "ETHUSDT", 2)]).await;
    scene.verify(&["--symbols", "ethusdt"]).expect_code(0);
    scene.verify(&["--symbols", "BTCUSDT", "--since", "#3"]).expect_code(0);
    scene.verify(&["--symbols", "BTCUSDT", "--until", "#2"]).expect_code(0);
    scene.verify(&["--symbols", "BTCUSDT", "--since", "1h"]).expect_code(1);
    scene.verify(&["--exchange", EXCHANGE]).expect_code(1);
    let done = scene.verify(&["--symbols", "ETHUSD"]).expect_code(1);
    assert_eq!(done.out, "");
    let done = done.tells("stream MARKET_DATA holds no trades of ETHUSD: nothing was audited");
    done.tells("there is binance BTCUSDT, binance ETHUSDT; did you mean ETHUSDT?");
    let done = scene.verify(&["--symbols", "ETHUSDT,SOLUSDT"]).expect_code(1).tells("no trades of SOLUSDT");
    assert!(done.out.contains("whole: 2 trades"), "{done:#?}");
    scene.verify(&["--exchange", "coinbase"]).expect_code(1).tells("holds no trades of coinbase");
    scene.verify(&["--until", "1h"]).expect_code(1).tells("no trades between --since and --until");
}

#[tokio::test]
async fn an_exchange_of_others_is_audited_as_far_as_can_be() {
    let scene = Scene::start().await;
    let to = subject("market", "elsewhere", "BTCUSDT", SubjectKind::Trades);
    let id = data_manager::market::instrument::instrument_id("elsewhere", "BTCUSDT");
    let of = |trade_id| TradeMsg { instrument_id: id, ..trade(trade_id) }.as_bytes().to_vec();
    scene.publish([1, 9, 12].map(|trade_id| (to.clone(), of(trade_id)))).await;
    let done = scene.verify(&[]).expect_code(0);
    assert!(done.out.contains("the ids of elsewhere prove no loss"), "{done:#?}");
    scene.publish([(to.clone(), of(9))]).await;
    assert!(scene.verify(&[]).expect_code(1).out.contains("1 double"));
}

#[tokio::test]
async fn nothing_to_audit_is_no_whole_stream() {
    let scene = Scene::start().await;
    let done = scene.verify(&[]).expect_code(1);
    assert_eq!(done.out, "");
    done.tells("stream MARKET_DATA holds no trades: nothing was audited");
    scene.context.delete_stream("MARKET_DATA").await.unwrap();
    scene.verify(&[]).expect_code(1).tells("cannot read stream MARKET_DATA");
    let Scene { mut server, .. } = scene;
    server.kill9();
    crate::process::run(&["verify", "--nats", &server.url()]).expect_code(1).tells("error: ");
}
