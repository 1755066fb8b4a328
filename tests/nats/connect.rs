//! Connecting: every way to say who one is, TLS, several servers, an inbox of one's own under narrow rights.

use std::path::Path;

use async_nats::Client;
use async_nats::jetstream;
use data_manager::config::settings::{Manage, Nats};
use data_manager::transport::nats::connect::dial;
use data_manager::transport::nats::stream_manager;
use tempfile::TempDir;

use crate::kit::{Rig, STREAM, local, secret, settings};
use crate::support::auth::{Nkey, Operator, PASSWORD, TOKEN, USER, password_config, token_config};
use crate::support::tls::Pki;
use crate::support::{Server, read_all};

/// Dials, and sees that the connection carries requests.
async fn enters(settings: &Nats) -> Client {
    let client = dial(settings).await.unwrap_or_else(|error| panic!("{error}"));
    jetstream::new(client.clone()).query_account().await.unwrap();
    client
}

/// As `enters`, with what `change` adds to the settings of this server.
async fn enters_with(server: &Server, change: impl FnOnce(&mut Nats)) {
    let mut settings = settings(&server.url());
    change(&mut settings);
    enters(&settings).await;
}

/// A file that holds `text`.
fn file(dir: &Path, text: &str) -> std::path::PathBuf {
    let path = dir.join("secret");
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_plain_server_is_entered_under_our_name() {
    let server = Server::start();
    let mut settings = settings(&server.url());
    settings.name = "data-manager-7".to_owned();
    let _client = enters(&settings).await;
    assert!(server.monitor("/connz").unwrap().contains("\"data-manager-7\""));
}

#[tokio::test]
async fn a_token_enters_from_the_settings_or_from_a_file() {
    let server = Server::builder().config(&token_config()).start();
    enters_with(&server, |nats| nats.token = secret(TOKEN)).await;
    let dir = TempDir::new().unwrap();
    let path = file(dir.path(), &format!("{TOKEN}\n"));
    let table = toml::Table::from_iter([("file".to_owned(), path.display().to_string().into())]);
    enters_with(&server, |nats| nats.token = Some(toml::Value::Table(table).try_into().unwrap())).await;
}

#[tokio::test]
async fn a_user_enters_with_a_password() {
    let server = Server::builder().config(&password_config()).start();
    enters_with(&server, |nats| (nats.user, nats.password) = (Some(USER.to_owned()), secret(PASSWORD))).await;
}

#[tokio::test]
async fn an_nkey_enters() {
    let key = Nkey::generate();
    let server = Server::builder().config(&key.config()).start();
    enters_with(&server, |nats| nats.nkey = secret(&key.seed)).await;
}

#[tokio::test]
async fn a_jwt_enters_beside_its_seed_or_in_a_credentials_file() {
    let operator = Operator::generate();
    let server = Server::builder().config(&operator.config()).start();
    let user = operator.user(Some(4_000_000_000));
    enters_with(&server, |nats| (nats.jwt, nats.seed) = (secret(&user.jwt), secret(&user.seed))).await;
    let dir = TempDir::new().unwrap();
    enters_with(&server, |nats| nats.credentials = Some(file(dir.path(), &operator.user(None).creds))).await;
}

#[tokio::test]
async fn tls_with_a_private_authority_is_entered_by_either_scheme() {
    let pki = Pki::generate();
    let server = Server::builder().config(&pki.tls_config()).start();
    enters_with(&server, |nats| nats.tls.ca = Some(pki.ca())).await;
    enters_with(&server, |nats| (nats.tls.ca, nats.tls.required) = (Some(pki.ca()), true)).await;
    enters_with(&server, |nats| {
        nats.tls.ca = Some(pki.ca());
        nats.servers = vec![format!("tls://localhost:{}", server.port())];
    })
    .await;
}

#[tokio::test]
async fn mtls_is_entered_with_our_certificate() {
    let pki = Pki::generate();
    let server = Server::builder().config(&pki.mtls_config()).start();
    enters_with(&server, |nats| {
        nats.tls.ca = Some(pki.ca());
        (nats.tls.cert, nats.tls.key) = (Some(pki.client_cert()), Some(pki.client_key()));
    })
    .await;
}

#[tokio::test]
async fn the_second_server_is_taken_when_the_first_is_down() {
    let (mut down, up) = (Server::start(), Server::start());
    down.kill9();
    // More than once: the servers may be tried in any order.
    for _ in 0..5 {
        let settings = Nats { servers: vec![down.url(), up.url()], ..Nats::default() };
        let client = enters(&settings).await;
        assert_eq!(client.server_info().port, up.port());
    }
}

/// A server with an administrator, and a publisher that may do no more than `publish` says.
fn narrow(publish: &[&str]) -> Server {
    let publish: Vec<String> = publish.iter().map(|subject| format!("{subject:?}")).collect();
    Server::builder()
        .config(&format!(
            "authorization {{ users: [\n  {{ user: admin, password: admin }}\n  {{ user: {USER}, password: \
             \"{PASSWORD}\", permissions: {{ publish: [{}], subscribe: [\"_INBOX_pub.>\"] }} }}\n] }}",
            publish.join(", ")
        ))
        .start()
}

fn user(server: &Server, name: &str, password: &str) -> Nats {
    Nats { user: Some(name.to_owned()), password: secret(password), ..settings(&server.url()) }
}

#[tokio::test]
async fn narrow_rights_and_an_inbox_of_its_own_are_enough_to_publish() {
    let rights = [
        "market.*.*.trades",
        "market.*.*.gaps",
        "$JS.API.STREAM.INFO.MARKET_DATA",
        "$JS.API.STREAM.MSG.GET.MARKET_DATA",
    ];
    let server = narrow(&rights);
    let admin = user(&server, "admin", "admin");
    let admin_client = dial(&admin).await.unwrap();
    stream_manager::ensure(&admin_client, &admin).await.unwrap();
    let mut narrow = user(&server, USER, PASSWORD);
    narrow.inbox_prefix = "_INBOX_pub".to_owned();
    narrow.jetstream.manage = Manage::Verify;
    local(async {
        // The second one reads what is there, and stores nothing twice.
        for _ in 0..2 {
            let mut rig = Rig::publishing(narrow.clone()).await;
            rig.trades(300);
            rig.gap(1);
            rig.settled().await;
            let (report, _) = rig.stop().await;
            assert_eq!((report.unacked, report.dropped), (0, 0), "{report:?}");
            assert_eq!(read_all(&admin_client, STREAM).await.len(), 301);
        }
    })
    .await;
}

#[tokio::test]
async fn the_default_inbox_is_not_readable_under_narrow_rights() {
    let server = narrow(&["$JS.API.STREAM.INFO.MARKET_DATA"]);
    local(async {
        let rig = Rig::start(user(&server, USER, PASSWORD));
        rig.until("the inbox is named", |status| status.last_error.contains("inbox_prefix")).await;
        rig.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let server = narrow(&["market.*.*.trades", "$JS.API.STREAM.INFO.MARKET_DATA"]);
    let admin = user(&server, "admin", "admin");
    stream_manager::ensure(&dial(&admin).await.unwrap(), &admin).await.unwrap();
    local(async {
        let rig = Rig::start(Nats { inbox_prefix: "_INBOX_pub".to_owned(), ..user(&server, USER, PASSWORD) });
        rig.until("the right is named", |status| status.last_error.contains("$JS.API.STREAM.MSG.GET.MARKET_DATA"))
            .await;
        rig.stop().await;
    })
    .await;
}
