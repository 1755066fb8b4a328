//! Recordings: what `tail` and `decode` have written, in each format, and what was cut off.

use std::process::Stdio;

use data_manager::market::Record;
use tempfile::TempDir;

use crate::kit::{SYMBOL, Scene, findings, gap, row, trades};
use crate::process::{binary, run, run_with};

/// A stream with a loss in silence, one that is declared, and a double.
fn damaged() -> Vec<Record> {
    [trades([1, 2, 2, 4]), vec![gap(5, 6, false)], trades(7..=30)].concat()
}

/// What `tail` writes of a whole stream.
fn tail(scene: &Scene, count: usize, format: &str) -> Vec<u8> {
    let count = count.to_string();
    let url = scene.server.url();
    let arguments = ["tail", "--nats", &url, "--since", "start", "--count", &count, "--format", format];
    let done = binary(&arguments).stdin(Stdio::null()).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

#[tokio::test]
async fn every_format_of_tail_is_audited_as_the_stream_itself() {
    let (dir, records) = (TempDir::new().unwrap(), damaged());
    let scene = Scene::of(&records).await;
    // What comes before the first record, and how a place is called.
    for (format, ending, before, place) in
        [("json", "jsonl", 0, "line"), ("csv", "csv", 1, "line"), ("raw", "bin", 0, "record")]
    {
        let path = dir.path().join(format!("trades.{ending}"));
        std::fs::write(&path, tail(&scene, records.len(), format)).unwrap();
        let path = path.to_str().unwrap();
        let done = run(&["verify", "--file", path, "--exchange", "binance", "--symbols", SYMBOL]).expect_code(1);
        let told = |at: usize, rest: &str| rest.replace('@', &format!("{place} {}", before + at));
        assert_eq!(
            findings(&done),
            [
                format!("{} {}", told(3, "double at @, id 2: as at"), before + 2),
                told(4, "silent at @, id 3: 1 missing, declared by nothing"),
                told(6, "declared at @, ids 5 to 6: 2 missing, declared by a gap"),
            ],
            "{format}"
        );
        assert_eq!(row(&done, SYMBOL)[2..5], ["28", "1", "30"], "{format}");
    }
    run_with(&["verify", "--file", "-"], &[], "").expect_code(1).tells("- is empty");
    let text = String::from_utf8(tail(&scene, records.len(), "json")).unwrap();
    assert_eq!(findings(&run_with(&["verify", "--file", "-"], &[], &text).expect_code(1)).len(), 3);
    let whole: String = text.lines().skip(5).map(|line| format!("{line}\n")).collect();
    run_with(&["verify", "--file", "-"], &[], &whole).expect_code(0);
}

#[test]
fn what_decode_writes_is_audited() {
    let dir = TempDir::new().unwrap();
    let frame = |id: u64| {
        format!(
            r#"{{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":{id},"p":"1.5","q":"2","T":1700000000000,"m":true,"M":true}}"#
        )
    };
    let frames: String = [1, 2, 5, 6].map(|id| frame(id) + "\n").concat();
    for (format, ending) in [("json", "jsonl"), ("csv", "csv"), ("raw", "bin")] {
        let path = dir.path().join(format!("decoded.{ending}"));
        let file = std::fs::File::create(&path).unwrap();
        let mut child = binary(&["decode", "--exchange", "binance", "--format", format])
            .stdin(Stdio::piped())
            .stdout(file)
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), frames.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        let done = run(&["verify", "--file", path.to_str().unwrap(), "--exchange", "binance"]).expect_code(1);
        assert!(done.out.contains("ids 3 to 4: 2 missing, declared by nothing"), "{format}: {done:#?}");
        assert!(done.out.contains("not whole: 2 silent in 1 of 1 instrument, 4 trades"), "{format}: {done:#?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_recording_is_told_with_its_line() {
    let (dir, records) = (TempDir::new().unwrap(), trades(1..=5));
    let scene = Scene::of(&records).await;
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let json = tail(&scene, 5, "json");
    let cut = write("cut.jsonl", &json[..json.len() - 30]);
    run(&["verify", "--file", &cut])
        .expect_code(1)
        .tells("cut.jsonl, line 5")
        .tells("cut off here: remove its last line");
    let pretty = write("pretty", &tail(&scene, 5, "pretty"));
    run(&["verify", "--file", &pretty]).expect_code(1).tells("pretty, line 1").tells("tail --format json");
    let raw = tail(&scene, 5, "raw");
    let cut = write("cut.bin", &raw[..5 * 48 - 1]);
    let done = run(&["verify", "--file", &cut, "--symbols", SYMBOL]).expect_code(1);
    done.tells("cut.bin, record 5: 47 bytes").tells("head -c 192");
    let raw = write("raw.bin", &raw);
    let done = run(&["verify", "--file", &raw]).expect_code(1);
    done.tells("raw.bin, record 1: instrument").tells("give --exchange, and --symbols");
    let done = run(&["verify", "--file", &raw, "--exchange", "binance"]).expect_code(0);
    assert!(done.out.contains(&format!("#{}", records[0].instrument_id())), "{done:#?}");
    run(&["verify", "--file", &write("none.csv", b"")]).expect_code(1).tells("none.csv is empty");
    run(&["verify", "--file", "/no/such/file"]).expect_code(1).tells("cannot read /no/such/file");
    let path = write("whole.jsonl", &json);
    let done = run(&["verify", "--file", &path, "--symbols", "BTCUSD"]).expect_code(1);
    done.tells("holds no trades of BTCUSD").tells("did you mean BTCUSDT?");
    run(&["verify", "--file", &path, "--since", "2023-11-14T22:13:20.003Z"]).expect_code(0);
    let late = run(&["verify", "--file", &path, "--since", "2030-01-01T00:00:00Z"]).expect_code(1);
    late.tells("no trades between --since and --until");
}
