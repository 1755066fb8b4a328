//! Reading a stream once: over lost connections, beside a writer, and when what is read goes away.

use data_manager::config::settings::Nats;
use data_manager::transport::nats::consumer::{Filter, Since, TailError};
use data_manager::transport::nats::scan::Scan;
use data_manager::transport::nats::stream_manager;

use crate::kit::{STREAM, Scene, trades};
use crate::support::{Proxy, client};

fn settings(url: &str) -> Nats {
    let mut settings = Nats { servers: vec![url.to_owned()], ..Nats::default() };
    settings.jetstream.max_bytes = (1 << 30).into();
    settings
}

async fn open(url: &str) -> Scan {
    Scan::open(&settings(url), Filter::default(), Since::Start).await.unwrap()
}

/// The sequences of so many messages, or of all that are left.
async fn take(scan: &mut Scan, count: usize) -> Vec<u64> {
    let mut sequences = Vec::new();
    while sequences.len() < count {
        match scan.next().await.unwrap() {
            Some(stored) => sequences.push(stored.sequence),
            None => break,
        }
    }
    sequences
}

#[tokio::test]
async fn a_connection_that_is_cut_costs_the_reader_nothing() {
    let scene = Scene::of(&trades(1..=3_000)).await;
    let proxy = Proxy::start(&scene.server.url());
    let mut scan = open(&proxy.url()).await;
    let mut sequences = take(&mut scan, 700).await;
    for _ in 0..2 {
        proxy.cut();
        sequences.extend(take(&mut scan, 700).await);
    }
    sequences.extend(take(&mut scan, usize::MAX).await);
    assert!(sequences.into_iter().eq(1..=3_000));
}

#[tokio::test]
async fn what_is_stored_after_the_start_is_not_read() {
    let scene = Scene::of(&trades(1..=1_000)).await;
    let mut scan = open(&scene.server.url()).await;
    scene.store(&trades(1_001..=1_100)).await;
    assert_eq!(scan.last_sequence(), 1_000);
    assert!(take(&mut scan, usize::MAX).await.into_iter().eq(1..=1_000));
    assert!(take(&mut scan, 1).await.is_empty());
}

#[tokio::test]
async fn reading_ends_when_the_rest_is_removed() {
    let scene = Scene::of(&trades(1..=5_000)).await;
    let mut scan = open(&scene.server.url()).await;
    assert_eq!(take(&mut scan, 3).await, [1, 2, 3]);
    scene.context.get_stream(STREAM).await.unwrap().purge().await.unwrap();
    let rest = take(&mut scan, usize::MAX).await;
    assert!(rest.len() < 4_997, "what was on its way may come, and no more");
    let done = scene.verify(&[]).expect_code(1);
    done.tells("holds no trades");
}

#[tokio::test]
async fn another_stream_under_the_same_name_is_told() {
    let scene = Scene::of(&trades(1..=5_000)).await;
    let mut scan = open(&scene.server.url()).await;
    assert_eq!(take(&mut scan, 3).await, [1, 2, 3]);
    scene.context.delete_stream(STREAM).await.unwrap();
    let client = client(&scene.server.url()).await;
    stream_manager::ensure(&client, &settings(&scene.server.url())).await.unwrap();
    let error = loop {
        match scan.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended as if all had been read"),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, TailError::Read { reason, .. } if reason.contains("made anew")), "{error}");
}
