//! Ways round: rights that are each harmless, put together to reach what is somebody else's.

use async_nats::jetstream::consumer::PullConsumer;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::kit::{Ground, VERSIONS, text};
use crate::raw::Try;

const QUEUE: &str = r#"
[streams.JOBS]
subjects = ["jobs.>"]
allow_direct = true
[streams.JOBS.consumers.workers]
[streams.JOBS.consumers.auditors]

[streams.NOTES]
subjects = ["notes.>"]
[streams.NOTES.consumers.7]

[users.giver]
password_env = "GIVER"
work = ["publish JOBS", "publish NOTES"]
[users.worker]
password_env = "WORKER"
work = ["consume JOBS/workers"]
[users.reader]
password_env = "READER"
work = ["read JOBS"]
[users.both]
password_env = "BOTH"
work = ["read JOBS", "consume JOBS/workers"]
[users.noter]
password_env = "NOTER"
work = ["consume NOTES/7"]
[users.chief]
password_env = "CHIEF"
work = ["admin"]
"#;

async fn publish(ground: &Ground, subject: &str) {
    let giver = ground.user("giver").await;
    giver.js().publish(subject.to_owned(), "done once".into()).await.unwrap().await.unwrap();
}

async fn config(ground: &Ground, stream: &str, consumer: &str) -> Value {
    let chief = ground.user("chief").await;
    let info = chief.client.request(format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"), "".into()).await.unwrap();
    let info: Value = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(info["name"], consumer, "{info}");
    info["config"].clone()
}

/// A request that names in its body whom its subject does not name.
async fn a_reader_does_not_change_a_consumer_by_its_body(version: &str) {
    let ground = Ground::text(QUEUE, version);
    let before = config(&ground, "JOBS", "workers").await;
    for (key, subject) in [
        ("name", "$JS.API.CONSUMER.CREATE.JOBS"),
        ("durable_name", "$JS.API.CONSUMER.CREATE.JOBS"),
        ("name", "$JS.API.CONSUMER.CREATE.JOBS.another"),
        ("durable_name", "$JS.API.CONSUMER.CREATE.JOBS.another"),
        ("name", "$JS.API.CONSUMER.CREATE.JOBS.another.jobs.a"),
    ] {
        for action in ["", "update"] {
            let mut changed = before.clone();
            let map = changed.as_object_mut().unwrap();
            map.remove("name");
            map.remove("durable_name");
            map.insert(key.to_owned(), "workers".into());
            map.insert("max_deliver".to_owned(), 1.into());
            let body = json!({"stream_name": "JOBS", "config": changed, "action": action});
            let reader = ground.user("reader").await;
            let asked = async { reader.client.request(subject, body.to_string().into()).await.map_err(text) };
            let answer =
                reader.tries(asked).await.map(|message| String::from_utf8_lossy(&message.payload).into_owned());
            let after = config(&ground, "JOBS", "workers").await;
            assert_eq!(after, before, "nats-server {version}, {key} on {subject}, {action:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_reader_does_not_change_a_consumer_by_its_body_on_2_10() {
    a_reader_does_not_change_a_consumer_by_its_body(VERSIONS[0]).await;
}

#[tokio::test]
async fn a_reader_does_not_change_a_consumer_by_its_body_on_2_12() {
    a_reader_does_not_change_a_consumer_by_its_body(VERSIONS[1]).await;
}

#[tokio::test]
async fn a_reader_does_not_change_a_consumer_by_its_body_on_2_15() {
    a_reader_does_not_change_a_consumer_by_its_body(VERSIONS[2]).await;
}

/// Who consumes may read beside it, and still gets what comes by its consumer.
#[tokio::test]
async fn reading_takes_nothing_from_consuming() {
    let ground = Ground::text(QUEUE, VERSIONS[2]);
    publish(&ground, "jobs.one").await;
    let both = ground.user("both").await;
    let work = async {
        let stream = both.js().get_stream("JOBS").await.map_err(text)?;
        let consumer: PullConsumer = stream.get_consumer("workers").await.map_err(text)?;
        let mut messages = consumer.fetch().max_messages(1).messages().await.map_err(text)?;
        let message = messages.next().await.ok_or("nothing came")?.map_err(text)?;
        message.double_ack().await.map_err(text)
    };
    both.does("consume", work).await;
    // That of others is none of its own.
    let asked = async { both.client.request("$JS.API.CONSUMER.MSG.NEXT.JOBS.auditors", "".into()).await.map_err(text) };
    let told = both.tries(asked).await.unwrap_err();
    assert!(told.contains("for Publish to \"$JS.API.CONSUMER.MSG.NEXT.JOBS.auditors\""), "{told}");
}

/// An acknowledgement may ask for the next message. In its second form, domain and account in front, a right to
/// acknowledge could be read as one to the consumers of everybody, in the first form.
#[tokio::test]
async fn an_acknowledgement_takes_no_message_of_another() {
    let ground = Ground::text(QUEUE, VERSIONS[2]);
    publish(&ground, "jobs.one").await;
    let noter = ground.user("noter").await;
    let subject = "$JS.ACK.JOBS.workers.NOTES.7.1.1.1";
    let asked = async { noter.client.request(subject, "+NXT".into()).await.map_err(text) };
    let told = noter.tries(asked).await.expect_err("it got a job");
    assert!(told.contains(&format!("for Publish to \"{subject}\"")), "{told}");
    assert!(Try::Publish(subject.to_owned()).is_logged(&ground.server.log(), "noter"));
}

/// What the help of `topology acl` says that no rights hold: where an answer goes.
#[tokio::test]
async fn answers_go_where_the_asker_says() {
    let ground = Ground::text(QUEUE, VERSIONS[2]);
    publish(&ground, "jobs.one").await;
    let reader = ground.user("reader").await;
    let ask = reader.client.publish_with_reply("$JS.API.DIRECT.GET.JOBS.jobs.one", "notes.forged", "".into());
    reader.does("ask", async { ask.await.map_err(text) }).await;
    let chief = ground.user("chief").await;
    let stored = async {
        loop {
            let mut stream = chief.js().get_stream("NOTES").await.map_err(text)?;
            if stream.info().await.map_err(text)?.state.messages > 0 {
                return stream.get_raw_message(1).await.map_err(text);
            }
        }
    };
    let forged = chief.does("look", stored).await;
    assert_eq!((forged.subject.as_str(), forged.payload.as_ref()), ("notes.forged", b"done once".as_slice()));
}
