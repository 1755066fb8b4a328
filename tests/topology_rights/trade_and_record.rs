//! trade-and-record.toml with real trades: everybody live, a record of all, work that is shared and done once.

use std::collections::BTreeMap;
use std::time::Instant;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt as _;

use crate::kit::{DEADLINE, Ground, User, VERSIONS, text};
use crate::support::read_all_within;

/// Subject and payload.
type Told = (String, Vec<u8>);

const MESSAGES: usize = 300;

/// Two trades, then a depth, again and again.
fn messages() -> Vec<Told> {
    let of = |at: usize| {
        let kind = if at % 3 == 2 { "depth" } else { "trade" };
        let symbol = ["BTC", "ETH"][at % 2];
        // No text: any bytes go through.
        let payload = [format!("{kind} {at} ").as_bytes(), &[0, 255, 13, 10, u8::try_from(at % 256).unwrap()]].concat();
        (format!("TRADE.{kind}.{symbol}"), payload)
    };
    (0..MESSAGES).map(of).collect()
}

fn only<'a>(all: &'a [Told], kind: &str) -> Vec<&'a Told> {
    all.iter().filter(|(subject, _)| subject.contains(kind)).collect()
}

/// Waits until the server has so many subscriptions to it.
async fn heard_by(ground: &Ground, subject: &str, count: usize) {
    let start = Instant::now();
    loop {
        let page = ground.server.monitor("/connz?subs=1").unwrap_or_default();
        if page.matches(&format!("\"{subject}\"")).count() >= count {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "nobody subscribes to {subject}: {page}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn recorded(chief: &User, count: usize) -> Vec<Told> {
    let start = Instant::now();
    loop {
        let read = read_all_within(&chief.client, "RECORD", DEADLINE).await;
        if read.len() >= count || start.elapsed() > DEADLINE {
            return read.into_iter().map(|(_, subject, payload)| (subject, payload)).collect();
        }
    }
}

/// The next job, and whether it was brought before.
async fn job(consumer: &PullConsumer) -> Result<Option<(Message, bool)>, String> {
    let mut batch = consumer.fetch().max_messages(1).messages().await.map_err(text)?;
    let Some(message) = batch.next().await else { return Ok(None) };
    let message = message.map_err(text)?;
    let again = message.info().map_err(text)?.delivered > 1;
    Ok(Some((message, again)))
}

/// Two workers do all jobs; the first drops its first one, as one that dies on it does, and hands its second back.
async fn work(ground: &Ground, jobs: usize) -> BTreeMap<Vec<u8>, usize> {
    let users = [ground.user("worker").await, ground.user("worker").await];
    let mut consumers = Vec::new();
    for user in &users {
        let stream = user.js().get_stream_no_info("RECORD").await.unwrap();
        let consumer = async { stream.get_consumer::<_>("workers").await.map_err(text) };
        consumers.push(user.does("find the queue", consumer).await);
    }
    let (mut done, mut again, mut dropped, mut by) = (BTreeMap::new(), 0, 0, [0, 0]);
    let start = Instant::now();
    while done.values().sum::<usize>() < jobs {
        assert!(start.elapsed() < 2 * DEADLINE, "{} of {jobs} jobs are done", done.len());
        for (nth, (user, consumer)) in users.iter().zip(&consumers).enumerate() {
            let Some((message, is_again)) = user.does("take a job", job(consumer)).await else { continue };
            again += usize::from(is_again);
            if nth == 0 && dropped < 2 {
                if dropped == 1 {
                    user.does("hand back", async { message.ack_with(AckKind::Nak(None)).await.map_err(text) }).await;
                }
                dropped += 1;
                continue;
            }
            user.does("finish", async { message.double_ack().await.map_err(text) }).await;
            *done.entry(message.payload.to_vec()).or_default() += 1;
            by[nth] += 1;
        }
    }
    assert_eq!(again, 2, "what was dropped and what was handed back came again");
    assert!(by.iter().all(|count| *count > jobs / 4), "they shared it: {by:?}");
    assert!(users.iter().all(|user| user.refused().is_empty()));
    done
}

async fn live_is_for_everybody_and_the_record_is_whole(version: &str) {
    let ground = Ground::example("trade-and-record", version);
    let viewers = [ground.user("viewer").await, ground.user("viewer").await, ground.user("viewer").await];
    let mut live = Vec::new();
    for viewer in &viewers {
        live.push(viewer.client.subscribe("live.trade").await.unwrap());
    }
    heard_by(&ground, "live.trade", viewers.len()).await;
    let (publisher, all) = (ground.user("publisher").await, messages());
    for (subject, payload) in &all {
        publisher.client.publish(subject.clone(), payload.clone().into()).await.unwrap();
    }
    publisher.client.flush().await.unwrap();
    let trades = only(&all, "trade");
    for (viewer, live) in viewers.iter().zip(&mut live) {
        let seen = async { Ok(live.take(trades.len()).collect::<Vec<_>>().await) };
        let seen = viewer.does("look", seen).await;
        let seen: Vec<&[u8]> = seen.iter().map(|message| message.payload.as_ref()).collect();
        assert_eq!(seen, trades.iter().map(|(_, payload)| payload.as_slice()).collect::<Vec<_>>());
    }
    assert_eq!(publisher.refused(), Vec::<String>::new());

    let expected: Vec<Told> =
        all.iter().map(|(subject, payload)| (subject.replace("TRADE.", "record."), payload.clone())).collect();
    let chief = ground.user("admin").await;
    assert_eq!(recorded(&chief, expected.len()).await, expected, "nats-server {version}");
    let done = work(&ground, trades.len()).await;
    assert_eq!(done.len(), trades.len());
    assert!(done.values().all(|times| *times == 1), "each is done once: {done:?}");
    assert!(trades.iter().all(|(_, payload)| done.contains_key(payload)));

    // What is live is gone by now, or soon; the record stays.
    let start = Instant::now();
    while !read_all_within(&chief.client, "TRADE", DEADLINE).await.is_empty() {
        assert!(start.elapsed() < DEADLINE, "TRADE keeps what it has");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(recorded(&chief, expected.len()).await, expected);
    for viewer in &viewers {
        assert_eq!(viewer.refused(), Vec::<String>::new());
    }
    drop(live);
}

#[tokio::test]
async fn live_is_for_everybody_and_the_record_is_whole_on_2_10() {
    live_is_for_everybody_and_the_record_is_whole(VERSIONS[0]).await;
}

#[tokio::test]
async fn live_is_for_everybody_and_the_record_is_whole_on_2_12() {
    live_is_for_everybody_and_the_record_is_whole(VERSIONS[1]).await;
}

#[tokio::test]
async fn live_is_for_everybody_and_the_record_is_whole_on_2_15() {
    live_is_for_everybody_and_the_record_is_whole(VERSIONS[2]).await;
}
