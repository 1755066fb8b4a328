//! A venue's end of real sockets: every test writes here what the venue does, frame by frame or byte by byte.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

/// Opcodes of WebSocket frames, with which [`Conn::raw`] builds what the library would never send.
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const PING: u8 = 0x9;
/// Set on the last frame of a message.
pub(crate) const FIN: u8 = 0x80;

/// A listening venue on loopback.
pub(crate) struct Venue {
    listener: TcpListener,
}

/// One connection, its handshake done.
pub(crate) struct Conn<S> {
    ws: WebSocketStream<S>,
}

/// A certificate for these names, and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Venue {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind(("127.0.0.1", 0)).await.unwrap() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port())
    }

    /// The next TCP connection, nothing read from it.
    pub(crate) async fn tcp(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// The next WebSocket.
    pub(crate) async fn accept(&self) -> Conn<TcpStream> {
        Conn { ws: tokio_tungstenite::accept_async(self.tcp().await).await.unwrap() }
    }

    /// The next WebSocket on Binance, its one subscribe answered.
    pub(crate) async fn accept_binance(&self) -> Conn<TcpStream> {
        let mut conn = self.accept().await;
        let subscribe = conn.json().await;
        assert_eq!(subscribe["method"], "SUBSCRIBE");
        conn.text(&format!(r#"{{"result":null,"id":{}}}"#, subscribe["id"])).await;
        conn
    }

    /// The next WebSocket behind TLS.
    pub(crate) async fn accept_tls(&self, identity: &Identity) -> std::io::Result<Conn<TlsStream<TcpStream>>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())
            .unwrap();
        let stream = TlsAcceptor::from(Arc::new(config)).accept(self.tcp().await).await?;
        Ok(Conn { ws: tokio_tungstenite::accept_async(stream).await.unwrap() })
    }

    /// Answers the next upgrade with this status line and these headers instead.
    pub(crate) async fn refuse(&self, status: &str, headers: &str) {
        let mut stream = self.tcp().await;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the request ended early");
        }
        let answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    /// Whether a dial is waiting, after every task that can run now has run.
    pub(crate) async fn is_dialled_within(&self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.tcp()).await.is_ok()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// The next text from the other end, pings and pongs skipped.
    pub(crate) async fn json(&mut self) -> serde_json::Value {
        loop {
            match self.ws.next().await.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// What comes next from the other end, as it is.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.ws.next().await.transpose().ok().flatten()
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.ws.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn binary(&mut self, bytes: &[u8]) {
        self.ws.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    pub(crate) async fn ping(&mut self, payload: &'static [u8]) {
        self.ws.send(Message::Ping(payload.into())).await.unwrap();
    }

    /// Closes with this code.
    pub(crate) async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "the venue closes".into() };
        self.ws.close(Some(frame)).await.unwrap();
        while self.ws.next().await.is_some_and(|message| message.is_ok()) {}
    }

    /// Bytes on the transport, past the library.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.ws.get_mut().write_all(bytes).await.unwrap();
        self.ws.get_mut().flush().await.unwrap();
    }
}

impl Conn<TcpStream> {
    /// Ends the connection by RST: what is under way is lost.
    pub(crate) fn reset(self) {
        SockRef::from(self.ws.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Identity {
    pub(crate) fn of(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        Self { certificate: made.cert.der().clone(), key }
    }
}

/// A frame as a server writes it: unmasked, payload below 64 KiB.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut bytes = vec![first];
    match u8::try_from(length) {
        Ok(short) if short < 126 => bytes.push(short),
        _ => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// A Binance trade with this id.
pub(crate) fn trade(id: u64) -> String {
    trade_of("BTCUSDT", id)
}

pub(crate) fn trade_of(symbol: &str, id: u64) -> String {
    let time = 1_731_000_000_000 + id;
    let stream = format!("{}@trade", symbol.to_lowercase());
    let data = serde_json::json!({
        "e": "trade", "E": time, "s": symbol, "t": id, "p": "70123.40", "q": "0.5", "T": time, "m": true, "M": true,
    });
    serde_json::json!({ "stream": stream, "data": data }).to_string()
}

/// As [`trade`], with a venue time of zero.
pub(crate) fn timeless(id: u64) -> String {
    let time = 1_731_000_000_000 + id;
    trade(id).replace(&format!(r#""T":{time}"#), r#""T":0"#)
}

/// A Coinbase match with this id.
pub(crate) fn coinbase_match(product: &str, id: u64) -> String {
    serde_json::json!({
        "type": "match", "trade_id": id, "maker_order_id": "a", "taker_order_id": "b", "side": "sell", "size": "0.5",
        "price": "70123.40", "product_id": product, "sequence": 9, "time": "2024-11-07T17:20:00.5Z",
    })
    .to_string()
}
