//! Connections that do not come about: each is told with what to look at, and without any secret.

use data_manager::config::settings::Nats;
use data_manager::transport::nats::connect::dial;
use tempfile::TempDir;

use crate::kit::{secret, settings};
use crate::support::Server;
use crate::support::auth::{Nkey, Operator, PASSWORD, TOKEN, USER, password_config, token_config};
use crate::support::tls::Pki;

/// What a refused dial says.
async fn refused(url: &str, change: impl FnOnce(&mut Nats)) -> String {
    let mut settings = settings(url);
    change(&mut settings);
    let Err(error) = dial(&settings).await else { panic!("let in") };
    let text = error.to_string();
    assert!(!format!("{error:?}").contains("s3cr3t") && !text.contains("s3cr3t"), "{error:?}");
    text
}

fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[tokio::test]
async fn a_wrong_token_is_told() {
    let server = Server::builder().config(&token_config()).start();
    let text = refused(&server.url(), |nats| nats.token = secret("s3cr3t-but-wrong")).await;
    says(&text, &[&server.url(), "authorization violation", "look at token"]);
    says(&refused(&server.url(), |_| {}).await, &["asks who we are", "set token"]);
    assert!(!text.contains(TOKEN));
}

#[tokio::test]
async fn a_wrong_password_is_told() {
    let server = Server::builder().config(&password_config()).start();
    let wrong = |nats: &mut Nats| (nats.user, nats.password) = (Some(USER.to_owned()), secret("s3cr3t-but-wrong"));
    let text = refused(&server.url(), wrong).await;
    says(&text, &["authorization violation", "password"]);
    assert!(!text.contains(PASSWORD));
}

#[tokio::test]
async fn a_wrong_nkey_is_told_without_its_seed() {
    let (known, stranger) = (Nkey::generate(), Nkey::generate());
    let server = Server::builder().config(&known.config()).start();
    let text = refused(&server.url(), |nats| nats.nkey = secret(&stranger.seed)).await;
    says(&text, &["authorization violation", "nkey"]);
    assert!(!text.contains(&stranger.seed), "{text}");
    // The public half in the place of the seed, and half a seed.
    says(&refused(&server.url(), |nats| nats.nkey = secret(&known.public)).await, &["nkey", "begins with SU"]);
    let half = &known.seed[..20];
    let text = refused(&server.url(), |nats| nats.nkey = secret(half)).await;
    says(&text, &["nkey"]);
    assert!(!text.contains(half), "{text}");
}

#[tokio::test]
async fn an_expired_jwt_is_told_without_its_seed() {
    let operator = Operator::generate();
    let server = Server::builder().config(&operator.config()).start();
    let user = operator.user(Some(1_700_000_001));
    let text = refused(&server.url(), |nats| (nats.jwt, nats.seed) = (secret(&user.jwt), secret(&user.seed))).await;
    says(&text, &["jwt", "expired"]);
    assert!(!text.contains(&user.seed) && !text.contains(&user.jwt), "{text}");
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("user.creds");
    std::fs::write(&path, &user.creds).unwrap();
    let text = refused(&server.url(), |nats| nats.credentials = Some(path.clone())).await;
    says(&text, &["credentials", "expired"]);
    assert!(!text.contains(&user.seed) && !text.contains(&user.jwt), "{text}");
    std::fs::write(&path, &user.seed).unwrap();
    let text = refused(&server.url(), |nats| nats.credentials = Some(path)).await;
    says(&text, &["credentials holds no user JWT"]);
    assert!(!text.contains(&user.seed), "{text}");
}

#[tokio::test]
async fn a_jwt_of_another_operator_is_told() {
    let server = Server::builder().config(&Operator::generate().config()).start();
    let user = Operator::generate().user(None);
    let text = refused(&server.url(), |nats| (nats.jwt, nats.seed) = (secret(&user.jwt), secret(&user.seed))).await;
    says(&text, &["authorization violation", "jwt"]);
}

#[tokio::test]
async fn an_authority_that_is_not_ours_is_told() {
    let (pki, stranger) = (Pki::generate(), Pki::generate());
    let server = Server::builder().config(&pki.tls_config()).start();
    says(&refused(&server.url(), |nats| nats.tls.ca = Some(stranger.ca())).await, &["tls.ca"]);
    says(&refused(&server.url(), |_| {}).await, &["tls.ca"]);
    let text = refused(&server.url(), |nats| nats.tls.ca = Some("/nowhere/ca.pem".into())).await;
    says(&text, &["tls.ca", "/nowhere/ca.pem", "No such file"]);
}

#[tokio::test]
async fn a_file_without_certificates_is_told() {
    let pki = Pki::generate();
    let server = Server::builder().config(&pki.tls_config()).start();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, "no certificate\n").unwrap();
    says(&refused(&server.url(), |nats| nats.tls.ca = Some(path)).await, &["tls.ca"]);
}

#[tokio::test]
async fn a_missing_client_certificate_is_told() {
    let (pki, stranger) = (Pki::generate(), Pki::generate());
    let server = Server::builder().config(&pki.mtls_config()).start();
    says(&refused(&server.url(), |nats| nats.tls.ca = Some(pki.ca())).await, &["tls.cert", "tls.key"]);
    let text = refused(&server.url(), |nats| {
        nats.tls.ca = Some(pki.ca());
        (nats.tls.cert, nats.tls.key) = (Some(stranger.client_cert()), Some(stranger.client_key()));
    })
    .await;
    says(&text, &["tls.cert", "tls.key"]);
}

#[tokio::test]
async fn tls_is_not_had_from_a_plain_server() {
    let server = Server::start();
    let text = refused(&server.url(), |nats| nats.tls.required = true).await;
    says(&text, &[&server.url(), "tls.required"]);
    let text = refused(&format!("tls://127.0.0.1:{}", server.port()), |_| {}).await;
    says(&text, &["tls"]);
}

#[tokio::test]
async fn no_server_at_all_is_told_with_its_address() {
    let mut server = Server::start();
    server.kill9();
    let text = refused(&server.url(), |_| {}).await;
    says(&text, &[&server.url(), "onnection refused", "transport.nats.servers"]);
    let text = refused("nats://no-such-host.invalid:4222", |_| {}).await;
    says(&text, &["no-such-host.invalid", "transport.nats.servers"]);
}
