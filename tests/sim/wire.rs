//! What a test of any venue must know of its wire format: how to subscribe, and where a trade has its fields.

use data_manager::sim::{Scripted, Sim, SimConfig};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Error;

use crate::client::{Client, one};

/// A venue, with one symbol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pub(crate) exchange: &'static str,
    pub(crate) symbol: &'static str,
    path: &'static str,
    subscribe: &'static str,
    /// The page of its latest trades.
    pub(crate) page: &'static str,
    /// Names of id, price, size and time.
    fields: [&'static str; 4],
}

/// A trade as it stands on the wire; numbers and texts alike as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: u64,
    pub(crate) price: String,
    pub(crate) size: String,
    pub(crate) time: String,
}

pub(crate) const WIRES: [Wire; 3] = [
    Wire {
        exchange: "binance",
        symbol: "BTCUSDT",
        path: "/ws",
        subscribe: r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}"#,
        page: "/api/v3/trades?symbol=BTCUSDT",
        fields: ["t", "p", "q", "T"],
    },
    Wire {
        exchange: "coinbase",
        symbol: "BTCUSD",
        path: "/",
        subscribe: r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches"]}"#,
        page: "/products/BTC-USD/trades",
        fields: ["trade_id", "price", "size", "time"],
    },
    Wire {
        exchange: "okx",
        symbol: "BTCUSDT",
        path: "/ws/v5/public",
        subscribe: r#"{"op":"subscribe","args":[{"channel":"trades","instId":"BTC-USDT"}]}"#,
        page: "/api/v5/market/trades?instId=BTC-USDT",
        fields: ["tradeId", "px", "sz", "ts"],
    },
];

impl Wire {
    /// A simulation of this venue that issues so many trades as fast as they are taken, with these faults.
    pub(crate) fn sim(&self, limit: u64, script: Vec<Scripted>) -> Sim {
        Sim::spawn(SimConfig { limit: Some(limit), script, ..one(self.exchange, self.symbol, 0.0) }).unwrap()
    }

    pub(crate) async fn connect(&self, sim: &Sim) -> Client {
        Client::connect(sim, self.exchange, self.path).await
    }

    /// A connection that has asked for its trades. What the venue says first is not read yet.
    pub(crate) async fn subscribe(&self, sim: &Sim) -> Client {
        let mut client = self.connect(sim).await;
        client.send(self.subscribe).await;
        client
    }

    /// As [`Self::subscribe`], where the venue may refuse or break off.
    pub(crate) async fn try_subscribe(&self, sim: &Sim) -> Result<Client, Error> {
        let mut client = Client::try_connect(sim, self.exchange, self.path).await?;
        client.try_send(self.subscribe).await?;
        Ok(client)
    }

    /// A connection that is subscribed, past what the venue says first: the ack, and the trade from before.
    pub(crate) async fn listen(&self, sim: &Sim) -> Client {
        let mut client = self.subscribe(sim).await;
        for _ in 0..self.said_first() {
            client.text().await;
        }
        client
    }

    /// How many frames come before the first new trade.
    pub(crate) fn said_first(&self) -> usize {
        if self.exchange == "binance" { 1 } else { 2 }
    }

    /// A frame's trade. `None` where it is none that anybody could use.
    pub(crate) fn read(&self, text: &str) -> Option<Told> {
        let frame: Value = serde_json::from_str(text).ok()?;
        let row = frame.pointer("/data/0").unwrap_or(&frame);
        let plain = |name: &str| match row.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let [id, price, size, time] = self.fields.map(plain);
        let usable = |text: &String| text.parse::<f64>().is_ok_and(|number| number.is_finite() && number > 0.0);
        Some(Told { id: id?.parse().ok()?, price: price.filter(usable)?, size: size.filter(usable)?, time: time? })
    }

    /// The next trade.
    pub(crate) async fn trade(&self, client: &mut Client) -> Told {
        let text = client.text().await;
        self.read(&text).unwrap_or_else(|| panic!("no trade: {text}"))
    }

    /// The ids of the next trades.
    pub(crate) async fn ids(&self, client: &mut Client, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.trade(client).await.id);
        }
        ids
    }

    /// The ids of the rows that were issued.
    pub(crate) fn issued(&self, sim: &Sim) -> Vec<u64> {
        sim.rows(self.exchange, self.symbol).iter().map(|row| row.id).collect()
    }

    pub(crate) fn exchange(&self) -> String {
        self.exchange.to_owned()
    }
}

/// These faults before the first trade, in this order.
pub(crate) fn at_start(faults: impl IntoIterator<Item = data_manager::sim::Fault>) -> Vec<Scripted> {
    faults.into_iter().map(|fault| Scripted { after: 0, fault }).collect()
}
