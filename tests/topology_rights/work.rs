//! Each kind of work, done whole by a client: everything that it is for, each way at least once.

use std::time::Duration;

use async_nats::jetstream::consumer::push::OrderedConfig as PushOrdered;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, PushConsumer, pull};
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, AckKind, Message};
use data_manager::topology::model::{self, Topology};
use data_manager::topology::rights::Work;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};

use crate::kit::{DEADLINE, User, text};
use crate::spec::{self, concrete};

type Done = Result<(), String>;

/// Does all that this work is for. What is read has to be there.
pub(crate) async fn whole(user: &User, work: &Work, topology: &Topology) -> Done {
    let done = match work {
        Work::Publish(stream) => publish(user, &topology.streams[stream]).await,
        Work::Resume(stream) => resume(user, stream, &topology.streams[stream]).await,
        Work::Consume(stream, consumer) => {
            consume(user, stream, consumer, &topology.streams[stream].consumers[consumer]).await
        }
        Work::Read(stream) => read(user, stream, &topology.streams[stream]).await,
        Work::KvRead(bucket) => kv_read(user, bucket).await,
        Work::KvWrite(bucket) => kv_write(user, bucket).await,
        Work::Monitor => monitor(user, topology).await,
        Work::Admin => admin(user, topology).await,
    };
    done.map_err(|error| format!("{work}: {error}"))
}

async fn publish(user: &User, stream: &model::Stream) -> Done {
    for subject in stream.subjects.iter().map(|subject| concrete(subject)) {
        if stream.no_ack {
            user.client.publish(subject, "told".into()).await.map_err(text)?;
            user.client.flush().await.map_err(text)?;
        } else {
            let ack = user.js().publish(subject, "told".into()).await.map_err(text)?;
            ack.await.map_err(text)?;
        }
    }
    Ok(())
}

async fn resume(user: &User, name: &str, declared: &model::Stream) -> Done {
    let stream = user.js().get_stream(name).await.map_err(text)?;
    stream.get_raw_message(stream.cached_info().state.last_sequence).await.map_err(text)?;
    for subject in &declared.subjects {
        stream.get_last_raw_message_by_subject(subject).await.map_err(text)?;
    }
    Ok(())
}

async fn next(messages: impl Stream<Item = Result<Message, impl std::fmt::Display>>) -> Result<Message, String> {
    let mut messages = std::pin::pin!(messages);
    let next = tokio::time::timeout(DEADLINE, messages.next()).await;
    next.map_err(|_| "no message".to_owned())?.ok_or("the messages ended")?.map_err(text)
}

async fn consume(user: &User, stream: &str, consumer: &str, declared: &model::Consumer) -> Done {
    let stream = user.js().get_stream_no_info(stream).await.map_err(text)?;
    let message = if declared.push.is_some() {
        let consumer: PushConsumer = stream.get_consumer(consumer).await.map_err(text)?;
        let mut messages = consumer.messages().await.map_err(text)?;
        // Enough that the server asks whether there is room, where it does.
        for _ in 0..if declared.push.as_ref().is_some_and(|push| push.flow_control) { MANY / 2 } else { 0 } {
            let message = next(&mut messages).await?;
            if declared.ack != model::AckPolicy::None {
                message.ack().await.map_err(text)?;
            }
        }
        next(&mut messages).await?
    } else {
        let consumer: PullConsumer = stream.get_consumer(consumer).await.map_err(text)?;
        let batch = consumer.batch().max_messages(1).expires(DEADLINE / 2).messages().await.map_err(text)?;
        next(batch).await?
    };
    if declared.ack == model::AckPolicy::None {
        return Ok(());
    }
    // All that a client may say about a message, at last that it is done, which the server answers.
    message.ack_with(AckKind::Progress).await.map_err(text)?;
    message.double_ack().await.map_err(text)
}

/// So many messages are read where there are more; when they are long the server asks whether there is room.
pub(crate) const MANY: usize = 400;

async fn read(user: &User, name: &str, declared: &model::Stream) -> Done {
    let mut stream = user.js().get_stream(name).await.map_err(text)?;
    let state = &stream.info().await.map_err(text)?.state;
    let (last, count) = (state.last_sequence, usize::try_from(state.messages).unwrap());
    if declared.allow_direct {
        stream.direct_get(last).await.map_err(text)?;
        for subject in &declared.subjects {
            stream.direct_get_last_for_subject(subject.clone()).await.map_err(text)?;
        }
    }
    stream.get_raw_message(last).await.map_err(text)?;
    for subject in declared.subjects.iter().chain([&">".to_owned()]) {
        // By name with a filter, and by one that only this client knows.
        let named = pull::Config {
            name: Some(format!("own_{}", user.name)),
            filter_subject: subject.clone(),
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(60),
            ..pull::Config::default()
        };
        let mut consumer = stream.create_consumer(named).await.map_err(text)?;
        let own = consumer.info().await.map_err(text)?.name.clone();
        next(consumer.batch().max_messages(1).expires(DEADLINE / 2).messages().await.map_err(text)?).await?;
        stream.delete_consumer(&own).await.map_err(text)?;
    }
    // Where others have consumers, one's own have to be named.
    let own = |way: &str| (!declared.consumers.is_empty()).then(|| format!("{way}_{}", user.name));
    let pulled = pull::OrderedConfig {
        name: own("pull"),
        filter_subjects: declared.subjects.clone(),
        ..pull::OrderedConfig::default()
    };
    let consumer = stream.create_consumer(pulled).await.map_err(text)?;
    let mut messages = consumer.messages().await.map_err(text)?;
    next(&mut messages).await?;
    // As many as there are: the server asks on the way whether there is room.
    let pushed = PushOrdered { name: own("push"), deliver_subject: user.client.new_inbox(), ..PushOrdered::default() };
    let consumer = stream.create_consumer(pushed).await.map_err(text)?;
    let mut messages = consumer.messages().await.map_err(text)?;
    for _ in 0..count.min(MANY) {
        next(&mut messages).await?;
    }
    Ok(())
}

async fn kv_read(user: &User, bucket: &str) -> Done {
    let store = user.js().get_key_value(bucket).await.map_err(text)?;
    let keys: Vec<String> = store.keys().await.map_err(text)?.try_collect().await.map_err(text)?;
    let key = keys.first().ok_or("no keys")?;
    let entry = store.entry(key).await.map_err(text)?.ok_or("no entry")?;
    store.entry_for_revision(key, entry.revision).await.map_err(text)?;
    let history: Vec<_> = store.history(key).await.map_err(text)?.try_collect().await.map_err(text)?;
    if history.is_empty() {
        return Err("no history".to_owned());
    }
    store.status().await.map_err(text)?;
    let mut watch = store.watch_with_history(">").await.map_err(text)?;
    for _ in 0..keys.len().min(MANY) {
        watch.next().await.ok_or("the watch ended")?.map_err(text)?;
    }
    Ok(())
}

async fn kv_write(user: &User, bucket: &str) -> Done {
    let store = user.js().get_key_value(bucket).await.map_err(text)?;
    // To create one anew that was there before is to read first that it is gone.
    let (key, gone) = (format!("of.{}", user.name), format!("gone.{}", fastrand::u64(..)));
    let revision = store.put(&key, "one".into()).await.map_err(text)?;
    store.update(&key, "two".into(), revision).await.map_err(text)?;
    store.create(&gone, "short".into()).await.map_err(text)?;
    store.delete(&gone).await.map_err(text)?;
    store.purge(&gone).await.map_err(text)
}

async fn monitor(user: &User, topology: &Topology) -> Done {
    let js = user.js();
    let _advisories = user.client.subscribe("$JS.EVENT.ADVISORY.>").await.map_err(text)?;
    let _metrics = user.client.subscribe("$JS.EVENT.METRIC.>").await.map_err(text)?;
    js.query_account().await.map_err(text)?;
    let names: Vec<String> = js.stream_names().try_collect().await.map_err(text)?;
    let _: Vec<_> = js.streams().try_collect().await.map_err(text)?;
    for (name, declared) in spec::streams(topology) {
        if !names.contains(&name) {
            return Err(format!("no stream {name} among {names:?}"));
        }
        let stream = js.get_stream(&name).await.map_err(text)?;
        let consumers: Vec<String> = stream.consumer_names().try_collect().await.map_err(text)?;
        let _: Vec<_> = stream.consumers().try_collect().await.map_err(text)?;
        for consumer in declared.consumers.keys() {
            if !consumers.contains(consumer) {
                return Err(format!("no consumer {consumer} among {consumers:?}"));
            }
            stream.consumer_info(consumer).await.map_err(text)?;
        }
    }
    Ok(())
}

async fn admin(user: &User, topology: &Topology) -> Done {
    let js = user.js();
    let _advisories = user.client.subscribe("$JS.EVENT.ADVISORY.>").await.map_err(text)?;
    let mut config = Config {
        name: format!("OF_{}", user.name),
        subjects: vec![format!("admin.{}.>", user.name)],
        ..Config::default()
    };
    js.create_stream(config.clone()).await.map_err(text)?;
    config.description = Some("changed".to_owned());
    js.update_stream(&config).await.map_err(text)?;
    let stream = js.get_stream(&config.name).await.map_err(text)?;
    let durable = pull::Config { durable_name: Some("durable".to_owned()), ..pull::Config::default() };
    stream.create_consumer(durable).await.map_err(text)?;
    stream.delete_consumer("durable").await.map_err(text)?;
    stream.purge().await.map_err(text)?;
    js.delete_stream(&config.name).await.map_err(text)?;
    let bucket = format!("of_{}", user.name);
    let config = jetstream::kv::Config { bucket: bucket.clone(), ..jetstream::kv::Config::default() };
    js.create_key_value(config).await.map_err(text)?;
    js.delete_key_value(&bucket).await.map_err(text)?;
    // Everything that is stored, as it reads it: with flow control where there is much.
    let names: Vec<String> = js.stream_names().try_collect().await.map_err(text)?;
    for name in spec::streams(topology).into_iter().map(|(name, _)| name).filter(|name| names.contains(name)) {
        let mut stream = js.get_stream(&name).await.map_err(text)?;
        let info = stream.info().await.map_err(text)?;
        let is_brief = (1..60).contains(&info.config.max_age.as_secs());
        let count = if is_brief { 0 } else { usize::try_from(info.state.messages).unwrap() };
        let pushed = PushOrdered { deliver_subject: user.client.new_inbox(), ..PushOrdered::default() };
        let mut messages = stream.create_consumer(pushed).await.map_err(text)?.messages().await.map_err(text)?;
        for _ in 0..count.min(MANY) {
            next(&mut messages).await?;
        }
    }
    let (first, _) = spec::streams(topology).remove(0);
    snapshot(user, &first).await
}

/// The stream as the server packs it, each part acknowledged.
async fn snapshot(user: &User, stream: &str) -> Done {
    let inbox = user.client.new_inbox();
    let mut parts = user.client.subscribe(inbox.clone()).await.map_err(text)?;
    let body = format!("{{\"deliver_subject\": \"{inbox}\"}}");
    user.client.request(format!("$JS.API.STREAM.SNAPSHOT.{stream}"), body.into()).await.map_err(text)?;
    while let Some(part) = parts.next().await {
        match part.reply {
            Some(reply) if !part.payload.is_empty() => {
                user.client.publish(reply, "".into()).await.map_err(text)?;
            }
            _ => return Ok(()),
        }
    }
    Err("the parts ended".to_owned())
}
