//! What `check` writes for programs: one JSON object, and a file of metrics that is replaced whole.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::audit::SOUND;
use crate::kit::{NEWEST, Scene, has, parsed, shows};
use crate::process::{binary, run};

#[tokio::test]
async fn json_holds_what_the_text_says() {
    let scene = Scene::start(NEWEST).await;
    scene.declare(SOUND);
    scene.publish("a.x", 3, 10).await;
    let file = scene.file("a.toml", &SOUND.replace("10MiB", "20MiB"));
    let text = scene.check(&[&file]).expect_code(1);
    let object = parsed(&scene.check(&[&file, "--json", "--sample", "10ms"]).expect_code(1));
    has(&object, json!({"code": 1, "status": "warning"}));
    assert!(object["round_trip_seconds"].as_f64().is_some_and(|time| time > 0.0), "{object}");
    assert!(object["server"].as_str().unwrap().starts_with(&format!("nats-server {NEWEST} at nats://")), "{object}");
    let findings = object["findings"].as_array().unwrap();
    assert_eq!(findings.len(), text.out.lines().count() - 1, "{object}");
    for (finding, line) in findings.iter().zip(text.out.lines().skip(1)) {
        let of = |key: &str| finding[key].as_str().unwrap();
        assert!(line.starts_with(&of("severity").to_uppercase()), "{line}");
        for key in ["check", "place", "message", "cure"] {
            assert!(line.contains(of(key)), "no {:?} in {line}", of(key));
        }
    }
    let streams = object["streams"].as_array().unwrap();
    assert_eq!((&streams[0]["stream"], &streams[0]["messages"]), (&json!("A"), &json!(3)), "{object}");
    assert!(streams[0]["last_message"].is_string() && streams[0]["rate"].is_number(), "{object}");
    assert_eq!((&streams[1]["stream"], &streams[1]["last_message"]), (&json!("KV_b"), &json!(null)), "{object}");
    assert_eq!(object["consumers"], json!([{"stream": "A", "consumer": "reader", "pending": 3}]));
}

#[tokio::test]
async fn a_textfile_is_valid_and_replaced_whole() {
    let mut scene = Scene::start(NEWEST).await;
    scene.declare(SOUND);
    scene.publish("a.x", 3, 10).await;
    let file = scene.file("a.toml", SOUND);
    let path = scene.file("check.prom", "what was here before");
    let dir = Path::new(&path).parent().unwrap().to_owned();
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    scene.check(&[&file, "--textfile", &path]).expect_code(0);
    let text = std::fs::read_to_string(&path).unwrap();
    for line in [
        "# TYPE data_manager_check_status gauge",
        "data_manager_check_status 0",
        "data_manager_check_stream_messages{stream=\"A\"} 3",
        "data_manager_check_stream_messages{stream=\"KV_b\"} 0",
        "data_manager_check_consumer_pending{stream=\"A\",consumer=\"reader\"} 3",
    ] {
        assert!(text.lines().any(|one| one == line), "no {line:?} in {text}");
    }
    let last = "data_manager_check_stream_last_message_timestamp_seconds{stream=";
    assert_eq!(text.lines().filter(|line| line.starts_with(last)).count(), 1, "{text}");
    valid(&text);
    // Nothing lies beside it, and each run replaces it, also one that finds nobody.
    assert_eq!(names(), before);
    scene.server.kill9();
    scene.check(&[&file, "--textfile", &path]).expect_code(2);
    let text = std::fs::read_to_string(&path).unwrap();
    valid(&text);
    assert!(text.contains("data_manager_check_findings{check=\"connection\",severity=\"critical\"} 1"), "{text}");
    assert!(!text.contains("stream_messages") && text.contains("data_manager_check_status 2"), "{text}");
    assert_eq!(names(), before);
    // Where it cannot be written, what was found is said all the same.
    for path in ["/proc/check.prom", "/no/such/place/check.prom"] {
        // What is critical is worse than a file that is not written.
        let done = scene.check(&[&file, "--textfile", path]).expect_code(2);
        shows(&done, "CRITICAL connection: ");
        done.tells(&format!("cannot write {path}: "));
    }
}

#[tokio::test]
async fn what_is_not_found_out_or_not_said_is_unknown() {
    let scene = Scene::start(NEWEST).await;
    scene.declare(SOUND);
    let file = scene.file("a.toml", SOUND);
    let url = scene.server.url();
    scene.check(&[&file, "--textfile", "/proc/check.prom"]).expect_code(3).tells("cannot write /proc/check.prom: ");
    let mut command = binary(&["check", &file, "--sample", "0s", "--nats", &url]);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let done = command.stdout(full).output().unwrap();
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    // `topology check` is no plugin.
    run(&["topology", "check", "--jsn"]).expect_code(2);
    run(&["check", "--help"]).expect_code(0);
}

/// The format of the exposition, and promtool's opinion where there is one.
fn valid(text: &str) {
    assert!(text.ends_with('\n'));
    let mut typed = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(kind, "gauge");
            assert!(!typed.contains(&name), "{name} is told twice: {text}");
            typed.push(name);
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next(), typed.last().copied(), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    let dir = tempfile::TempDir::new().unwrap();
    let path = crate::kit::write(dir.path(), "check.prom", text);
    let input = std::fs::File::open(path).unwrap();
    match Command::new("promtool").args(["check", "metrics"]).stdin(input).output() {
        Ok(done) => assert!(done.status.success(), "{}{text}", String::from_utf8_lossy(&done.stderr)),
        Err(error) => eprintln!("promtool is not here ({error}): the metrics are checked by the lines above only"),
    }
}
