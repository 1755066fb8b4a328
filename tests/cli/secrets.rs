//! Secrets: had from where they are, refused where they are wrong, and never on stdout or stderr.

use super::config::file;
use super::process::{Done, run, run_with};

/// What must never be printed.
const CANARY: &str = "hunter2-8675309";

/// Both outputs without the canary, and the exit code.
#[track_caller]
fn silent(done: Done, code: i32) -> Done {
    assert!(!done.out.contains("8675309") && !done.err.contains("8675309"), "{done:#?}");
    done.expect_code(code)
}

#[test]
fn show_masks_a_secret_wherever_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("password");
    std::fs::write(&kept, format!("{CANARY}\n")).unwrap();
    let kept = kept.display();
    for (text, shown) in [
        (format!("token = '{CANARY}'"), "(secret)".to_owned()),
        ("token = { env = 'DM_TEST_TOKEN' }".to_owned(), "{ env = \"DM_TEST_TOKEN\" }".to_owned()),
        (format!("user = 'u'\npassword = {{ file = '{kept}' }}"), format!("{{ file = \"{kept}\" }}")),
    ] {
        let (_folder, path) = file(&format!("[transport.nats]\n{text}\n[exchanges.binance]\nsymbols = ['BTCUSDT']\n"));
        let env = [("DM_TEST_TOKEN", CANARY)];
        let done = silent(run_with(&["config", "show", "--config", &path], &env, ""), 0);
        let line = done.out.lines().find(|line| line.contains(&shown));
        assert!(line.is_some_and(|line| line.contains(&format!("# {path}:"))), "{}", done.out);
        silent(run_with(&["config", "check", "--config", &path], &env, ""), 0);
    }
    for (name, shown) in [("TOKEN", "(secret)"), ("TOKEN__ENV", "{ env = ")] {
        let name = format!("DATA_MANAGER__TRANSPORT__NATS__{name}");
        let value = if shown == "(secret)" { CANARY } else { "DM_TEST_TOKEN" };
        let done = silent(run_with(&["config", "show"], &[(&name, value)], ""), 0);
        let line = done.out.lines().find(|line| line.starts_with("transport.nats.token")).unwrap_or_default();
        assert!(line.contains(shown) && line.ends_with(&format!("# ${name}")), "{line}");
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let url = format!("nats://joe:{CANARY}@localhost:4222");
    for arguments in
        [&["serve", "--nats", &url, "--exchange", "binance", "--symbols", "BTCUSDT"][..], &["tail", "--nats", &url]]
    {
        silent(run(arguments), 78).tells("a URL holds a user or password");
    }
    let (_folder, path) = file(&format!("[transport.nats]\nservers = ['nats://a', '{url}', 'joe:{CANARY}@b']\n"));
    silent(run(&["config", "check", "--config", &path]), 78).tells("a URL holds a user or password");
    let done = silent(run(&["config", "show", "--config", &path]), 0);
    assert!(done.out.contains(r#"["nats://a", "nats://(secret)@localhost:4222", "(secret)@b"]"#), "{}", done.out);
    let env = [("DATA_MANAGER__EXCHANGES__BINANCE__WS_URL", format!("wss://joe:{CANARY}@b"))];
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    silent(run_with(&["config", "show"], &env, ""), 0);
    silent(run_with(&["config", "check"], &env, ""), 78).tells("$DATA_MANAGER__EXCHANGES__BINANCE__WS_URL");
}

#[test]
fn one_way_of_authentication_and_that_one_whole() {
    for (text, told) in [
        (format!("token = '{CANARY}'\nuser = 'u'\npassword = '{CANARY}'"), "token and user are all set"),
        (format!("password = '{CANARY}'"), "password is given without user"),
        (format!("jwt = '{CANARY}'"), "jwt needs seed"),
        (format!("seed = '{CANARY}'"), "seed is given without jwt"),
    ] {
        let (_folder, path) = file(&format!("[transport.nats]\n{text}\n"));
        silent(run(&["config", "check", "--config", &path]), 78).tells(told);
        silent(run(&["tail", "--nats", "--config", &path]), 78).tells(told);
    }
}

#[test]
fn a_secret_that_cannot_be_had_is_named_before_anything_starts() {
    let venue = "[exchanges.binance]\nsymbols = ['BTCUSDT']\n";
    for (text, told) in [
        ("token = { file = '/no/such/secret' }", "transport.nats.token: cannot read the secret in /no/such/secret"),
        ("token = { env = 'DM_TEST_NOT_SET' }", "the environment variable DM_TEST_NOT_SET is not set"),
        ("credentials = '/no/such.creds'", "transport.nats.credentials: cannot read /no/such.creds"),
        ("tls = { ca = '/no/such.pem' }", "transport.nats.tls.ca: cannot read /no/such.pem"),
    ] {
        let (_folder, path) = file(&format!("[transport.nats]\n{text}\n{venue}"));
        for arguments in [&["config", "check"][..], &["serve", "--nats"], &["tail", "--nats"]] {
            run(&[arguments, &["--config", &path]].concat()).expect_code(78).tells(told);
        }
    }
}

#[test]
fn no_fault_of_a_file_quotes_a_secret() {
    for text in [
        "token = 8675309".to_owned(),
        "token = 8675309.5".to_owned(),
        "token = [8675309]".to_owned(),
        "token = { env = 8675309 }".to_owned(),
        format!("token = {{ envv = '{CANARY}' }}"),
        format!("token = {{ env = 'A', file = '{CANARY}' }}"),
        format!("token = '{CANARY}"),
        format!("token = '{CANARY}' trailing"),
        format!("token = '{CANARY}'\ntoken = '{CANARY}'"),
        format!("token = '{CANARY}'\nwindow = 'many'"),
    ] {
        let (_folder, path) = file(&format!("[transport.nats]\n{text}\n"));
        silent(run(&["config", "show", "--config", &path]), 78).tells(&format!("{path}:"));
    }
}

#[test]
fn a_server_that_does_not_answer_is_told_without_the_secret() {
    // Port 1 of loopback is nobody's: the dial fails at once.
    let env = [("DATA_MANAGER__TRANSPORT__NATS__TOKEN", CANARY), ("RUST_LOG", "trace")];
    silent(run_with(&["tail", "--nats", "nats://127.0.0.1:1"], &env, ""), 1).tells("127.0.0.1:1");
}
