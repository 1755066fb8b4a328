//! Wrong usage: exit code 2, and what would do.

use super::process::{run, run_with};

#[test]
fn wrong_usage_is_exit_code_2_with_the_cure() {
    let cases: [(&[&str], &str); 18] = [
        (&["serve", "--no-such-flag"], "--no-such-flag"),
        (&["serve"], "--nats, --ipc or both"),
        (&["serve", "--sim", "--live", "--ipc"], "--live"),
        (&["serve", "--ipc", "--rate", "5"], "--sim"),
        (&["serve", "--ipc", "--exchange", "binanse", "--symbols", "BTCUSDT"], "did you mean binance?"),
        (&["no-such-command"], "no-such-command"),
        (&["tail", "--ipc", "--since", "yesterday"], "2026-01-31T08:00:00Z"),
        (&["tail", "--ipc", "--since", "#1000"], "--nats"),
        (&["tail", "--ipc", "--nats"], "--nats"),
        (&["decode", "--exchange", "binanse"], "did you mean binance?"),
        (&["decode", "--exchange", "binance", "--format", "xml"], "json, csv, raw"),
        (&["symbols", "--exchange", "nowhere"], "there are binance"),
        (&["capture"], "--exchange binance"),
        (&["sim", "--exchange", "nowhere"], "there are binance"),
        (&["sim", "--fault", "dropp at=5s"], "--fault \"dropp at=5s\": no fault \"dropp\"; there are drop, hang_up"),
        (&["sim", "--fault", "drop at=5"], "no duration; such as 12s"),
        (
            &["sim", "--exchange", "binance", "--fault", "drop exchange=okx"],
            "\"okx\" is not simulated; there are binance",
        ),
        (&["serve", "--ipc", "--fault", "drop"], "--sim"),
    ];
    for (arguments, cure) in cases {
        let done = run(arguments).expect_code(2).tells(cure);
        assert_eq!(done.out, "", "{arguments:?}");
    }
    assert_eq!(run_with(&["decode"], &[], "").expect_code(2).out, "");
}

#[test]
fn help_teaches_by_examples_and_goes_to_stdout() {
    for command in ["serve", "sim", "decode", "capture", "tail", "verify", "config", "symbols"] {
        let done = run(&[command, "--help"]).expect_code(0);
        assert!(done.out.contains("xample") && done.out.contains(&format!("data-manager {command}")), "{}", done.out);
        assert_eq!(done.err, "", "{command}");
    }
    let sim = run(&["sim", "--help"]).expect_code(0);
    for kind in data_manager::sim::Fault::kinds() {
        let told = sim.out.split([' ', ',', '\n']).any(|word| word == *kind);
        assert!(told, "sim --help does not tell of {kind}: {}", sim.out);
    }
    let whole = run(&["--help"]).expect_code(0);
    assert!(whole.out.contains("Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration"), "{}", whole.out);
    assert!(run(&["--version"]).expect_code(0).out.contains(env!("CARGO_PKG_VERSION")));
}
