//! Wrong usage and wrong configuration, before anything is read.

use crate::process::{run, run_with};

#[test]
fn wrong_usage_is_exit_code_2_with_the_cure() {
    let cases: [(&[&str], &str); 8] = [
        (&["--ipc", "--nats"], "--nats"),
        (&["--file", "x", "--ipc"], "--ipc"),
        (&["--exchange", "binanse"], "did you mean binance?"),
        (&["--since", "yesterday"], "2026-01-31T08:00:00Z"),
        (&["--until", "tomorrow"], "--until \"tomorrow\""),
        (&["--since", "now"], "what is there ends now"),
        (&["--until", "start"], "nothing lies before the start"),
        (&["--ipc", "--since", "#5"], "rings and recordings have times"),
    ];
    for (arguments, cure) in cases {
        let done = run(&[&["verify"], arguments].concat()).expect_code(2).tells(cure);
        assert_eq!(done.out, "", "{arguments:?}");
    }
}

#[test]
fn wrong_configuration_is_exit_code_78() {
    let wrong = [("DATA_MANAGER__TRANSPORT__NATS__WINDOW", "0")];
    run_with(&["verify"], &wrong, "").expect_code(78).tells("window");
    let missing = [("DATA_MANAGER__TRANSPORT__NATS__CREDENTIALS", "/no/such/file")];
    run_with(&["verify", "--nats"], &missing, "").expect_code(78).tells("credentials");
}

#[test]
fn help_tells_the_exit_codes_and_gives_examples() {
    let done = run(&["verify", "--help"]).expect_code(0);
    assert!(done.out.contains("data-manager verify --file trades.jsonl") && done.out.contains("exit code is 1"));
}
