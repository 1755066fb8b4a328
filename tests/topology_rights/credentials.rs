//! Who one is, and the rights that a file spells out itself: passwords, hashes, keys, denials, answers to requests.

use async_nats::ConnectOptions;
use futures_util::StreamExt as _;
use serde_json::json;

use crate::kit::{EXAMPLES, Ground, VERSIONS, example, password, succeeds, text};
use crate::raw::{Raw, Try};
use crate::support::auth::Nkey;

/// "opened-by-hash", hashed with bcrypt.
const HASH: &str = "$2a$04$abcdefghijklmnopqrstuuM1zD9kIHEHihYJ.wGk14/.KBLUUyUn2";

const ADMIN: &str = "[streams.S]\nsubjects = [\"s.>\"]\n[users.chief]\npassword_env = \"CHIEF\"\nwork = [\"admin\"]\n";

#[test]
fn strangers_are_refused() {
    for (file, version) in EXAMPLES.into_iter().zip(VERSIONS.into_iter().cycle()) {
        let ground = Ground::of(&example(file), version, "", &[]);
        for (name, user) in &ground.topology.users {
            let own = password(&user.password_env);
            Raw::open(&ground.server, &json!({"user": name, "pass": own})).unwrap();
            for wrong in [
                json!({"user": name, "pass": "wrong"}),
                json!({"user": name, "pass": format!("${}", user.password_env)}),
                json!({"user": name, "pass": ""}),
                json!({"user": name}),
                json!({"user": "stranger", "pass": own}),
                json!({"auth_token": own}),
                json!({}),
            ] {
                let told = Raw::open(&ground.server, &wrong).err();
                assert_eq!(told.as_deref(), Some("'Authorization Violation'"), "{file} on {version}: {wrong}");
            }
        }
    }
}

#[test]
fn a_hash_may_stand_in_place_of_a_password_and_quotes_around_anything() {
    let opened =
        |ground: &Ground, pass: &str| Raw::open(&ground.server, &json!({"user": "chief", "pass": pass})).is_ok();
    for version in VERSIONS {
        let quoted = |inner: &str| format!("\"{inner}\"");
        let hashed_otherwise = HASH.replace("$2a$", "$2b$");
        for hash in [HASH.to_owned(), quoted(HASH), quoted(&hashed_otherwise)] {
            let ground = Ground::text_unapplied(ADMIN, version, &[("CHIEF", &hash)]);
            assert!(opened(&ground, "opened-by-hash") && !opened(&ground, &hash), "{version}: {hash}");
        }
        for pass in ["1234", "true", "with space", "#, {[ and more }]", "it's"] {
            let ground = Ground::text_unapplied(ADMIN, version, &[("CHIEF", &quoted(pass))]);
            assert!(opened(&ground, pass) && !opened(&ground, &quoted(pass)), "{version}: {pass}");
        }
    }
}

#[tokio::test]
async fn a_key_stands_in_place_of_a_password() {
    for version in VERSIONS {
        let (key, other) = (Nkey::generate(), Nkey::generate());
        let declared = format!("{ADMIN}[users.signer]\nnkey = \"{}\"\nwork = [\"publish S\"]\n", key.public);
        let ground = Ground::text(&declared, version);
        let signer = ground.connected("signer", ConnectOptions::with_nkey(key.seed.clone())).await;
        let stored = async {
            let ack = signer.js().publish("s.signed", "by key".into()).await.map_err(text)?;
            ack.await.map_err(text)
        };
        signer.does("publish", stored).await;
        let told = async { signer.client.request("$JS.API.STREAM.INFO.S", "".into()).await.map_err(text) };
        let told = signer.tries(told).await.unwrap_err();
        assert!(told.contains("Permissions Violation for Publish to \"$JS.API.STREAM.INFO.S\""), "{told}");
        assert!(ConnectOptions::with_nkey(other.seed).connect(ground.server.url()).await.is_err());
        // And by data-manager's own settings.
        let mut command = ground.command("chief", &["topology", "check"]);
        command.env_remove("DATA_MANAGER__TRANSPORT__NATS__USER").env_remove("DATA_MANAGER__TRANSPORT__NATS__PASSWORD");
        command.env("DATA_MANAGER__TRANSPORT__NATS__NKEY", &key.seed).arg(&ground.file);
        let told = crate::kit::fails(&mut command);
        assert!(told.contains("may this user publish on $JS.API.STREAM.LIST"), "{told}");
    }
}

#[test]
fn settings_come_from_a_file_as_from_the_environment() {
    let ground = Ground::text(ADMIN, VERSIONS[2]);
    let config = ground.file.with_file_name("data-manager.toml");
    let text = format!(
        "[transport.nats]\nservers = [{:?}]\nuser = \"chief\"\npassword = {:?}\ninbox_prefix = \"_INBOX_chief\"\n",
        ground.server.url(),
        password("CHIEF")
    );
    std::fs::write(&config, text).unwrap();
    let mut command = crate::kit::binary(&["topology", "check", "--config"]);
    succeeds(command.arg(&config).arg(&ground.file));
    // With the inbox that everybody has by default no answer comes back.
    let mut command = ground.command("chief", &["topology", "check"]);
    command.env_remove("DATA_MANAGER__TRANSPORT__NATS__INBOX_PREFIX").arg(&ground.file);
    crate::kit::fails(&mut command);
}

/// Denials are stronger than rights, and who may answer may do so once, and to those who asked.
#[tokio::test]
async fn denials_and_answers_are_as_the_file_says() {
    let declared = format!(
        "{ADMIN}[users.server]\npassword_env = \"SERVER\"\nsubscribe = [\"ask.>\", \"tell.> team\"]\n\
         deny_subscribe = [\"ask.private.>\"]\nallow_responses = {{ max = 1, expires = \"1m\" }}\n\
         [users.asker]\npassword_env = \"ASKER\"\npublish = [\"ask.>\", \"tell.a\"]\ndeny_publish = [\"ask.never\"]\n"
    );
    for version in VERSIONS {
        let ground = Ground::text(&declared, version);
        let (server, asker) = (ground.user("server").await, ground.user("asker").await);
        let mut asked = server.client.subscribe("ask.>").await.unwrap();
        let mut raw = Raw::open(&ground.server, &json!({"user": "server", "pass": password("SERVER")})).unwrap();
        // When its subscription is there the server has taken in the other's too, which was sent before.
        server.client.flush().await.unwrap();
        let denied = [
            Try::Subscribe("ask.private.>".to_owned()),
            Try::Subscribe("tell.a".to_owned()),
            Try::Queue("tell.a".to_owned(), "others".to_owned()),
            Try::Publish("anything".to_owned()),
            Try::Publish("_INBOX_asker.a.b".to_owned()),
        ];
        assert_eq!(raw.denied(&denied).len(), denied.len());
        assert!(raw.denied(&[Try::Subscribe("ask.a".into()), Try::Queue("tell.a".into(), "team".into())]).is_empty());
        let answers = async {
            let message = asked.next().await.unwrap();
            let reply = message.reply.unwrap();
            server.client.publish(reply.clone(), "answer".into()).await.unwrap();
            server.client.publish(reply, "another".into()).await.unwrap();
            std::future::pending::<Result<(), String>>().await
        };
        let ask = async { asker.client.request("ask.this", "?".into()).await.map_err(text) };
        let (told, answer) = tokio::join!(server.tries(answers), asker.does("ask", ask));
        assert_eq!(answer.payload.as_ref(), b"answer");
        let told = told.unwrap_err();
        assert!(told.contains("Permissions Violation for Publish to \"_INBOX_asker."), "the second answer: {told}");
        let mut raw = Raw::open(&ground.server, &json!({"user": "asker", "pass": password("ASKER")})).unwrap();
        let never = [Try::Publish("ask.never".to_owned())];
        assert_eq!(raw.denied(&never).len(), 1);
        assert!(raw.denied(&[Try::Publish("ask.other".to_owned())]).is_empty());
        assert!(never[0].is_logged(&ground.server.log(), "asker"));
    }
}
