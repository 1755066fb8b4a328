//! The credentials of `support`: a client with them gets in and may use JetStream, one without does not.
#![allow(clippy::unwrap_used, reason = "a test that cannot run must stop")]

use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream;
use support::Server;
use support::auth::{Nkey, Operator, PASSWORD, TOKEN, USER, base64url, password_config, token_config};
use support::tls::Pki;

mod support;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(10);

async fn enters(options: ConnectOptions, url: &str) {
    let client = options.connection_timeout(PATIENCE).connect(url).await.unwrap_or_else(|error| panic!("{error}"));
    jetstream::new(client).query_account().await.unwrap();
}

async fn is_refused(options: ConnectOptions, url: &str) -> String {
    let Err(error) = options.connection_timeout(PATIENCE).connect(url).await else { panic!("let in") };
    error.to_string()
}

#[tokio::test]
async fn a_token_opens() {
    let server = Server::builder().config(&token_config()).start();
    enters(ConnectOptions::new().token(TOKEN.to_owned()), &server.url()).await;
    is_refused(ConnectOptions::new().token("another".to_owned()), &server.url()).await;
    is_refused(ConnectOptions::new(), &server.url()).await;
}

#[tokio::test]
async fn a_user_with_a_password_enters() {
    let server = Server::builder().config(&password_config()).start();
    enters(ConnectOptions::new().user_and_password(USER.to_owned(), PASSWORD.to_owned()), &server.url()).await;
    is_refused(ConnectOptions::new().user_and_password(USER.to_owned(), "no".to_owned()), &server.url()).await;
    is_refused(ConnectOptions::new(), &server.url()).await;
}

#[tokio::test]
async fn an_nkey_opens() {
    let (known, stranger) = (Nkey::generate(), Nkey::generate());
    let server = Server::builder().config(&known.config()).start();
    enters(ConnectOptions::new().nkey(known.seed), &server.url()).await;
    is_refused(ConnectOptions::new().nkey(stranger.seed), &server.url()).await;
    is_refused(ConnectOptions::new(), &server.url()).await;
}

#[tokio::test]
async fn a_user_of_a_trusted_operator_enters() {
    let (operator, stranger) = (Operator::generate(), Operator::generate());
    let server = Server::builder().config(&operator.config()).start();
    let with = |creds: &str| ConnectOptions::new().credentials(creds).unwrap();
    enters(with(&operator.user(None).creds), &server.url()).await;
    enters(with(&operator.user(Some(4_000_000_000)).creds), &server.url()).await;
    let user = operator.user(None);
    let pair = std::sync::Arc::new(nkeys::KeyPair::from_seed(&user.seed).unwrap());
    let sign = move |nonce: Vec<u8>| {
        let pair = std::sync::Arc::clone(&pair);
        async move { pair.sign(&nonce).map_err(async_nats::AuthError::new) }
    };
    enters(ConnectOptions::new().jwt(user.jwt, sign), &server.url()).await;
    is_refused(with(&operator.user(Some(1_700_000_001)).creds), &server.url()).await;
    is_refused(with(&stranger.user(None).creds), &server.url()).await;
    is_refused(ConnectOptions::new(), &server.url()).await;
}

#[tokio::test]
async fn a_server_with_tls_is_known_by_its_authority() {
    let (pki, stranger) = (Pki::generate(), Pki::generate());
    let server = Server::builder().config(&pki.tls_config()).start();
    for url in [server.url(), format!("tls://localhost:{}", server.port())] {
        enters(ConnectOptions::new().add_root_certificates(pki.ca()), &url).await;
        is_refused(ConnectOptions::new().add_root_certificates(stranger.ca()), &url).await;
        is_refused(ConnectOptions::new(), &url).await;
    }
    let first = Server::builder().config(&pki.tls_first_config()).start();
    enters(ConnectOptions::new().add_root_certificates(pki.ca()).require_tls(true).tls_first(), &first.url()).await;
}

#[tokio::test]
async fn a_server_with_mtls_asks_for_a_certificate() {
    let (pki, stranger) = (Pki::generate(), Pki::generate());
    let server = Server::builder().config(&pki.mtls_config()).start();
    let base = || ConnectOptions::new().add_root_certificates(pki.ca());
    enters(base().add_client_certificate(pki.client_cert(), pki.client_key()), &server.url()).await;
    is_refused(base().add_client_certificate(stranger.client_cert(), stranger.client_key()), &server.url()).await;
    is_refused(base(), &server.url()).await;
}

#[test]
fn base64url_is_that_of_the_standard() {
    let of = |text: &str| base64url(text.as_bytes());
    assert_eq!([of(""), of("f"), of("fo"), of("foo"), of("foob")], ["", "Zg", "Zm8", "Zm9v", "Zm9vYg"]);
    assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
}
