//! A client of a simulated venue: one WebSocket, and requests to its REST API. It knows no venue but for subscribing.

use std::time::Duration;

use data_manager::market::Decimal;
use data_manager::sim::{Sim, SimConfig, SimTrade, Source, VenueConfig};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Long enough for any machine; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(30);

/// A simulation of one venue with one symbol that issues so many trades a second.
pub(crate) fn one(exchange: &str, symbol: &str, rate: f64) -> SimConfig {
    let venue = VenueConfig { exchange: exchange.to_owned(), symbols: vec![symbol.to_owned()] };
    SimConfig { venues: vec![venue], source: Source::Generate { rate }, ..SimConfig::default() }
}

/// A WebSocket to a venue.
pub(crate) struct Client {
    ws: WebSocketStream<TcpStream>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(sim: &Sim, exchange: &str, path: &str) -> Self {
        Self::try_connect(sim, exchange, path).await.unwrap()
    }

    pub(crate) async fn try_connect(sim: &Sim, exchange: &str, path: &str) -> Result<Self, Error> {
        let url = sim.endpoint(exchange).unwrap().ws_url;
        let address = url.strip_prefix("ws://").unwrap();
        let stream = TcpStream::connect(address).await?;
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let connecting = tokio_tungstenite::client_async_with_config(format!("{url}{path}"), stream, Some(config));
        Ok(Self { ws: connecting.await?.0 })
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.try_send(text).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, text: &str) -> Result<(), Error> {
        self.ws.send(Message::text(text)).await
    }

    pub(crate) async fn ping(&mut self) {
        self.ws.send(Message::Ping("there?".into())).await.unwrap();
    }

    /// Whether nothing comes for so long.
    pub(crate) async fn is_silent_for(&mut self, wait: Duration) -> bool {
        timeout(wait, self.ws.next()).await.is_err()
    }

    /// The next message, whatever it is; `None` at the end, and an error where the end is none.
    pub(crate) async fn next(&mut self) -> Option<Result<Message, Error>> {
        timeout(DEADLINE, self.ws.next()).await.expect("nothing came")
    }

    /// The next text, pings and pongs skipped.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            match self.next().await.expect("the connection has ended").unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    /// As [`Self::text`], as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Reads to the end, and returns the close code, if there was one.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some(Ok(message)) = self.next().await {
            if let Message::Close(frame) = message {
                code = frame.map(|frame| frame.code.into());
            }
        }
        code
    }
}

/// Status and body of a REST answer.
pub(crate) async fn get(sim: &Sim, exchange: &str, path: &str) -> (u16, String) {
    let url = sim.endpoint(exchange).unwrap().rest_url;
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut text)).await.expect("no answer").unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Waits until this gives something.
pub(crate) async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what} never came"))
}

/// What the oracle says of a trade, as far as a frame says it too: id, price, size, venue time in milliseconds.
pub(crate) fn told(trade: &SimTrade) -> (u64, String, String, u64) {
    let plain = |text: &str| Decimal::parse(text).unwrap().to_string();
    (trade.id, plain(&trade.price), plain(&trade.size), trade.ts_event / 1_000_000)
}
