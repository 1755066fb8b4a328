//! The only IO of a feed: name, TCP, TLS, WebSocket. It decides nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{FutureExt as _, Sink, SinkExt as _, Stream as _, StreamExt as _};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{self, Message, http};

use super::session::DialFailure;
use crate::exchange;

/// tungstenite clears its whole read buffer before each read, and frames of trades are small.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// Unacknowledged data or probes for this long mean that the peer is gone, whatever TCP would still try.
const USER_TIMEOUT: Duration = Duration::from_secs(15);
/// A peer that does not take a close or a small message in this time is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How to dial.
#[derive(Clone, Debug)]
pub struct Dialer {
    tls: Arc<rustls::ClientConfig>,
    timeout: Duration,
    frame_bytes_max: usize,
}

/// Why TLS cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket {
    ws: WebSocketStream<Transport>,
}

/// What came out of a socket.
#[derive(Debug)]
pub enum Incoming {
    /// A message: data, ping or pong. Pings are answered already.
    Message(Message),
    /// The connection is over.
    Closed {
        /// The close code, if the peer sent one.
        code: Option<u16>,
        /// For people.
        why: String,
    },
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Dialer {
    /// A dialer that trusts the system's certificates, or the bundled ones where the system has none.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(timeout: Duration, frame_bytes_max: usize) -> Result<Self, TlsError> {
        let mut roots = rustls::RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self::with_roots(roots, timeout, frame_bytes_max)
    }

    /// A dialer that trusts just these certificates.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn with_roots(
        roots: rustls::RootCertStore,
        timeout: Duration,
        frame_bytes_max: usize,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(config), timeout, frame_bytes_max })
    }

    /// Opens a WebSocket: name, TCP, TLS and handshake, all within the time-out.
    ///
    /// # Errors
    /// [`DialFailure`], with the venue's HTTP status and `Retry-After` where it came that far.
    pub async fn dial(&self, url: &str) -> Result<Socket, DialFailure> {
        match tokio::time::timeout(self.timeout, self.dial_unbounded(url)).await {
            Ok(result) => result,
            Err(_) => Err(failure(format!("{url}: no connection within {:?}", self.timeout))),
        }
    }

    async fn dial_unbounded(&self, url: &str) -> Result<Socket, DialFailure> {
        let mut request = url.into_client_request().map_err(|error| failure(format!("{url}: {error}")))?;
        let agent = http::HeaderValue::from_static(concat!("data-manager/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(http::header::USER_AGENT, agent);
        let secure = request.uri().scheme_str() == Some("wss");
        let host = request.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = request.uri().port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|error| failure(format!("{host}:{port}: {error}")))?;
        tune(&stream).map_err(|error| failure(format!("{host}:{port}: {error}")))?;
        let transport = if secure { self.secure(&host, stream).await? } else { Transport::Plain(stream) };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(self.frame_bytes_max))
            .max_frame_size(Some(self.frame_bytes_max));
        let (ws, _) = tokio_tungstenite::client_async_with_config(request, transport, Some(config))
            .await
            .map_err(|error| refused(url, &error))?;
        Ok(Socket { ws })
    }

    async fn secure(&self, host: &str, stream: TcpStream) -> Result<Transport, DialFailure> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failure(format!("{host}: {error}")))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        Ok(Transport::Tls(Box::new(tls.map_err(|error| failure(format!("TLS with {host}: {error}")))?)))
    }
}

impl Socket {
    /// Polls for the next thing that came.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        Pin::new(&mut self.ws).poll_next(cx).map(incoming)
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Incoming> {
        self.ws.next().now_or_never().map(incoming)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Why the connection is over.
    pub async fn send(&mut self, message: Message) -> Result<(), String> {
        match tokio::time::timeout(SEND_TIMEOUT, self.ws.send(message)).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err("the venue takes nothing any more".to_owned()),
        }
    }

    /// Says good-bye, without waiting for the answer.
    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let closing = async {
            let _ = self.ws.send(Message::Close(Some(frame))).await;
            let _ = std::future::poll_fn(|cx| Pin::new(&mut self.ws).poll_flush(cx)).await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(200), closing).await;
    }
}

fn incoming(next: Option<Result<Message, tungstenite::Error>>) -> Incoming {
    match next {
        Some(Ok(Message::Close(frame))) => Incoming::Closed {
            code: frame.as_ref().map(|frame| frame.code.into()),
            why: frame.map_or_else(
                || "closed by the venue, without a code".to_owned(),
                |frame| format!("closed by the venue: {} {}", u16::from(frame.code), frame.reason),
            ),
        },
        Some(Ok(message)) => Incoming::Message(message),
        Some(Err(error)) => Incoming::Closed { code: None, why: error.to_string() },
        None => Incoming::Closed { code: None, why: "the connection ended".to_owned() },
    }
}

/// No delay, and a dead peer is noticed even when nothing is sent.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let alive =
        TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5)).with_retries(3);
    socket.set_tcp_keepalive(&alive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

fn failure(message: String) -> DialFailure {
    DialFailure { message, ..DialFailure::default() }
}

fn refused(url: &str, error: &tungstenite::Error) -> DialFailure {
    let tungstenite::Error::Http(response) = error else { return failure(format!("{url}: {error}")) };
    let status = response.status();
    let after = response.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    DialFailure {
        message: format!("{url}: the venue answered HTTP {status}"),
        status: Some(status.as_u16()),
        retry_after: after.and_then(exchange::retry_after),
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
