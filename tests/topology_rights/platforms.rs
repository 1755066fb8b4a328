//! venue-platform.toml and prediction-pipeline.toml with real messages, from hand to hand as they are meant to go.

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::kit::{Ground, User, VERSIONS, text};

async fn publish(user: &User, subject: &str, value: &Value) {
    let sent = async {
        let ack = user.js().publish(subject.to_owned(), value.to_string().into()).await.map_err(text)?;
        ack.await.map_err(text)
    };
    user.does(subject, sent).await;
}

/// By a durable consumer; nothing is acknowledged yet.
async fn take(user: &User, stream: &str, durable: &str, count: usize) -> Vec<Message> {
    let work = async {
        let stream = user.js().get_stream_no_info(stream).await.map_err(text)?;
        let consumer: PullConsumer = stream.get_consumer(durable).await.map_err(text)?;
        let messages = consumer.fetch().max_messages(count).messages().await.map_err(text)?;
        let messages: Vec<_> = messages.collect().await;
        messages.into_iter().collect::<Result<Vec<_>, _>>().map_err(text)
    };
    let messages = user.does(stream, work).await;
    assert_eq!(messages.len(), count, "{stream} {durable}");
    messages
}

/// In order, by a consumer that nothing remembers.
async fn read(user: &User, stream: &str, count: usize) -> Vec<(String, Value)> {
    let work = async {
        let stream = user.js().get_stream(stream).await.map_err(text)?;
        let config = pull::OrderedConfig { name: Some(format!("own_{}", user.name)), ..Default::default() };
        let consumer = stream.create_consumer(config).await.map_err(text)?;
        let messages = consumer.messages().await.map_err(text)?.take(count);
        let messages: Vec<_> = messages.collect().await;
        messages.into_iter().collect::<Result<Vec<_>, _>>().map_err(text)
    };
    let all = user.does(stream, work).await;
    all.iter().map(|message| (message.subject.to_string(), parsed(&message.payload))).collect()
}

fn parsed(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).unwrap()
}

fn trade(at: u64) -> Value {
    json!({"id": at, "price": "61837.63", "size": "0.12345"})
}

async fn a_platform_trades_from_status_to_fill(version: &str) {
    let ground = Ground::example("venue-platform", version);
    let [scavenger, brain, execution, operator] = [
        ground.user("scavenger").await,
        ground.user("brain").await,
        ground.user("execution").await,
        ground.user("operator").await,
    ];
    let states = scavenger.js().get_key_value("venue-status").await.unwrap();
    let watched = brain.js().get_key_value("venue-status").await.unwrap();
    let mut watch = watched.watch_all().await.unwrap();
    for (at, state) in ["connecting", "up", "degraded"].into_iter().enumerate() {
        let put = async { states.put("binance", state.into()).await.map_err(text) };
        scavenger.does("put a state", put).await;
        publish(&scavenger, "venue.status.binance", &json!({"state": state})).await;
        publish(&scavenger, "venue.trades.binance.BTC", &trade(at as u64)).await;
        publish(&scavenger, "venue.books.binance.BTC", &json!({"bids": at})).await;
        let seen = async { watch.next().await.ok_or("the watch ended")?.map_err(text) };
        let seen = brain.does("watch", seen).await;
        assert_eq!((seen.key.as_str(), seen.value.as_ref()), ("binance", state.as_bytes()));
    }
    let last = async { watched.get("binance").await.map_err(text) };
    assert_eq!(brain.does("look", last).await.unwrap().as_ref(), b"degraded");
    let life = async { Ok(watched.status().await.map_err(text)?.max_age()) };
    assert_eq!(brain.does("ask how long states live", life).await.as_secs(), 300);

    let trades = read(&brain, "TRADES", 3).await;
    let expected: Vec<_> = (0..3).map(|at| ("venue.trades.binance.BTC".to_owned(), trade(at))).collect();
    assert_eq!(trades, expected);
    for user in [&brain, &execution] {
        assert_eq!(read(user, "ORDER_BOOKS", 3).await[2].1, json!({"bids": 2}));
    }
    for (at, event) in ["sent", "filled"].into_iter().enumerate() {
        publish(&execution, "execution.events.order-1", &json!({"order": 1, "event": event})).await;
        let mut told = take(&brain, "EXECUTION_EVENTS", "brain", 1).await;
        let message = told.remove(0);
        assert_eq!(parsed(&message.payload)["event"], event);
        assert_eq!(message.info().unwrap().consumer_sequence, at as u64 + 1);
        brain.does("acknowledge", async { message.double_ack().await.map_err(text) }).await;
    }
    let config = async {
        let store = operator.js().get_key_value("config").await.map_err(text)?;
        store.put("limits.btc", "5".into()).await.map_err(text)
    };
    operator.does("set", config).await;
    for user in [&brain, &execution, &scavenger] {
        let limit =
            async { user.js().get_key_value("config").await.map_err(text)?.get("limits.btc").await.map_err(text) };
        assert_eq!(user.does("look up", limit).await.unwrap().as_ref(), b"5");
    }
    // Who collects sees no orders, and who sends orders no trades.
    for (user, subject) in [
        (&scavenger, "$JS.API.CONSUMER.MSG.NEXT.EXECUTION_EVENTS.brain"),
        (&execution, "$JS.API.CONSUMER.CREATE.TRADES.own"),
        (&brain, "execution.events.order-2"),
    ] {
        assert_eq!(user.refused(), Vec::<String>::new());
        let asked = async { user.client.request(subject, "".into()).await.map_err(text) };
        let told = user.tries(asked).await.unwrap_err();
        assert!(told.contains(&format!("Permissions Violation for Publish to \"{subject}\"")), "{told}");
    }
}

async fn data_becomes_predictions_and_their_routes(version: &str) {
    let ground = Ground::example("prediction-pipeline", version);
    let [collector, predictor, router, analyst] = [
        ground.user("collector").await,
        ground.user("predictor").await,
        ground.user("router").await,
        ground.user("analyst").await,
    ];
    for at in 0..6 {
        let subject = ["market.data.ohlcv", "market.data.news", "market.data.economic"][at % 3];
        publish(&collector, subject, &json!({"at": at})).await;
    }
    let input = take(&predictor, "MARKET_DATA", "predictor", 6).await;
    for (at, message) in input.iter().enumerate() {
        assert_eq!(parsed(&message.payload), json!({"at": at}));
        let kind = if at % 2 == 0 { "normal" } else { "earnings" };
        publish(&predictor, &format!("predictions.{kind}.AAPL"), &json!({"of": at})).await;
        publish(&predictor, &format!("explanations.{kind}.AAPL"), &json!({"because": at})).await;
    }
    publish(&predictor, "models.metrics.gbm", &json!({"mae": "0.12"})).await;
    // The last one acknowledges all in front of it.
    predictor.does("acknowledge", async { input[5].double_ack().await.map_err(text) }).await;
    let admin = ground.user("admin").await;
    let waiting = async {
        let stream = admin.js().get_stream("MARKET_DATA").await.map_err(text)?;
        let info = stream.consumer_info("predictor").await.map_err(text)?;
        Ok((info.num_ack_pending, info.num_pending, info.ack_floor.stream_sequence))
    };
    assert_eq!(admin.does("look", waiting).await, (0, 0, 6));
    for (at, message) in take(&router, "PREDICTIONS", "router", 6).await.iter().enumerate() {
        assert_eq!(parsed(&message.payload), json!({"of": at}));
        publish(&router, &format!("routing.desk-{at}"), &json!({"to": at})).await;
        router.does("acknowledge", async { message.double_ack().await.map_err(text) }).await;
    }
    for (stream, count, subject) in [
        ("PREDICTIONS", 6, "predictions.earnings.AAPL"),
        ("EXPLANATIONS", 6, "explanations.earnings.AAPL"),
        ("MODEL_METRICS", 1, "models.metrics.gbm"),
        ("ROUTING", 6, "routing.desk-5"),
    ] {
        let all = read(&analyst, stream, count).await;
        assert_eq!((all.len(), all[count - 1].0.as_str()), (count, subject));
    }
    for user in [&collector, &predictor, &router, &analyst] {
        assert_eq!(user.refused(), Vec::<String>::new(), "{}", user.name);
    }
}

#[tokio::test]
async fn a_platform_trades_from_status_to_fill_on_2_10() {
    a_platform_trades_from_status_to_fill(VERSIONS[0]).await;
}

#[tokio::test]
async fn a_platform_trades_from_status_to_fill_on_2_12() {
    a_platform_trades_from_status_to_fill(VERSIONS[1]).await;
}

#[tokio::test]
async fn a_platform_trades_from_status_to_fill_on_2_15() {
    a_platform_trades_from_status_to_fill(VERSIONS[2]).await;
}

#[tokio::test]
async fn data_becomes_predictions_and_their_routes_on_2_10() {
    data_becomes_predictions_and_their_routes(VERSIONS[0]).await;
}

#[tokio::test]
async fn data_becomes_predictions_and_their_routes_on_2_12() {
    data_becomes_predictions_and_their_routes(VERSIONS[1]).await;
}

#[tokio::test]
async fn data_becomes_predictions_and_their_routes_on_2_15() {
    data_becomes_predictions_and_their_routes(VERSIONS[2]).await;
}
