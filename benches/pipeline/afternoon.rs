//! What one would write with the same libraries in an afternoon: the other leg, in a process of its own.

use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture};
use async_nats::jetstream::message::PublishMessage;
use data_manager::telemetry::clock;
use futures_util::stream::FuturesOrdered;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// Tells this program that it is the other leg, and where its venue is.
pub(super) const CHILD: &str = "DATA_MANAGER_BENCH_VENUE";
pub(super) const SERVER: &str = "DATA_MANAGER_BENCH_SERVER";
pub(super) const SYMBOLS: &str = "DATA_MANAGER_BENCH_SYMBOLS";

/// Acknowledgements in flight.
const WINDOW: usize = 1_024;

/// Receive time of one of its messages, nanoseconds since the Unix epoch.
pub(super) fn received(payload: &[u8]) -> u64 {
    serde_json::from_slice::<Value>(payload).unwrap()["ts_recv"].as_u64().unwrap()
}

pub(super) fn run(venue: &str) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(publish(venue));
}

async fn publish(venue: &str) {
    let client = super::support::client(&std::env::var(SERVER).unwrap()).await;
    let context = ContextBuilder::new().timeout(Duration::from_secs(60)).max_ack_inflight(8_192).build(client);
    let (mut socket, _) = dial(&format!("{venue}/stream")).await;
    let symbols = std::env::var(SYMBOLS).unwrap();
    let params: Vec<String> = symbols.split(',').map(|symbol| format!("{}@trade", symbol.to_lowercase())).collect();
    let subscribe = json!({"method": "SUBSCRIBE", "params": params, "id": 1});
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    let mut flight = FuturesOrdered::<<PublishAckFuture as IntoFuture>::IntoFuture>::new();
    loop {
        tokio::select! {
            message = socket.next() => {
                let Some(Ok(message)) = message else { return };
                let recv = clock::wall_ns();
                let Message::Text(text) = message else { continue };
                let Some((subject, id, payload)) = trade(&text, recv) else { continue };
                if flight.len() == WINDOW {
                    flight.next().await.unwrap().unwrap();
                }
                let message = PublishMessage::build().payload(payload.into()).message_id(id);
                flight.push_back(context.send_publish(subject, message).await.unwrap().into_future());
            }
            Some(ack) = flight.next() => {
                ack.unwrap();
            }
        }
    }
}

async fn dial(
    url: &str,
) -> (
    tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>,
    tokio_tungstenite::tungstenite::handshake::client::Response,
) {
    let address = url.trim_start_matches("ws://").split('/').next().unwrap().to_owned();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    tokio_tungstenite::client_async(url, stream).await.unwrap()
}

/// Subject, message id and payload of a frame that holds a trade.
fn trade(text: &str, recv: u64) -> Option<(String, String, Vec<u8>)> {
    let frame: Value = serde_json::from_str(text).ok()?;
    let data = frame.get("data")?;
    let symbol = data["s"].as_str()?;
    let number = |key: &str| data[key].as_str()?.parse::<f64>().ok();
    let side = if data["m"].as_bool()? { "sell" } else { "buy" };
    let trade = json!({
        "symbol": symbol, "price": number("p")?, "size": number("q")?, "side": side, "id": data["t"].as_u64()?,
        "ts_event": data["T"].as_u64()?, "ts_recv": recv,
    });
    let id = format!("{symbol}-{}", data["t"]);
    Some((format!("market.binance.{symbol}.trades"), id, serde_json::to_vec(&trade).ok()?))
}
