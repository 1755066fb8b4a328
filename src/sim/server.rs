//! The port of a simulated venue: accepts TCP, answers REST, and upgrades to WebSocket on the same port.
//!
//! What is answered is the venue's; this file only carries it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::Body;
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::connection;
use super::faults::{RestFault, spoil};
use super::twin::{Answer, Session, Target};
use super::venue::Venue;
use crate::telemetry::clock;

/// Most clients of a venue at a time, REST included.
const CLIENTS_MAX: usize = 1_024;
/// Longest message that a client may send.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// What is gathered before it is written to the socket.
const WRITE_BYTES: usize = 128 * 1024;
/// A client has this long for the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// A connection that becomes a WebSocket once its answer is out.
type Upgrading = Rc<RefCell<Option<(OnUpgrade, Box<dyn Session>)>>>;

/// Serves a venue until it is dropped.
pub(super) async fn serve(venue: Rc<Venue>, listener: TcpListener) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if clients.len() < CLIENTS_MAX => {
                    clients.spawn_local(client(Rc::clone(&venue), stream));
                }
                Ok(_) => {}
                // Out of file descriptors, most likely: a client less is a descriptor more.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(ended) = clients.join_next(), if !clients.is_empty() => {
                if let Err(err) = ended {
                    tracing::error!(exchange = venue.public.exchange, %err, "a simulated connection failed");
                }
            }
        }
    }
}

async fn client(venue: Rc<Venue>, stream: TcpStream) {
    // Small frames go out at once; where the system refuses, they are merely later.
    let _ = stream.set_nodelay(true);
    let upgrading = Upgrading::default();
    let service = service_fn(|request| {
        let (answer, delay) = answer(&venue, &upgrading, request);
        async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    // An error is the client's going away, or its not speaking HTTP.
    let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    let Some((upgrade, session)) = upgrading.take() else { return };
    let Ok(upgraded) = upgrade.await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
    let config = WebSocketConfig::default().write_buffer_size(WRITE_BYTES).max_message_size(Some(REQUEST_BYTES_MAX));
    let read = parts.read_buf.to_vec();
    let socket = WebSocketStream::from_partially_read(parts.io.into_inner(), read, Role::Server, Some(config)).await;
    connection::run(venue, socket, session).await;
}

/// The answer to a request, and how much later it is to be given.
fn answer(venue: &Venue, upgrading: &Upgrading, request: Request<Incoming>) -> (Response<Body>, Duration) {
    let at_once = |answer| (answer, Duration::ZERO);
    let uri = request.uri().clone();
    let mut target = Target { path: uri.path(), query: uri.query().unwrap_or_default(), rows_max: usize::MAX };
    if asks_for_websocket(request.headers()) {
        return at_once(upgrade(venue, upgrading, request, &target));
    }
    let counters = &venue.public.counters;
    let refusal = venue.pending.borrow_mut().refused_rest();
    if let Some(refusal) = refusal {
        counters.refused.fetch_add(1, Relaxed);
        return at_once(respond(refusal.into()));
    }
    counters.rest_requests.fetch_add(1, Relaxed);
    if request.method() != http::Method::GET {
        return at_once(respond(Answer::new(405, String::new())));
    }
    let page = venue.twin.borrow().asks_for_trades(&target);
    let fault = venue.pending.borrow_mut().rest(page, |symbol| target.names(symbol));
    if fault.is_some() {
        counters.bad_answers.fetch_add(1, Relaxed);
    }
    match fault {
        Some(RestFault::Empty) => target.rows_max = 0,
        Some(RestFault::Short(rows)) => target.rows_max = usize::try_from(rows).unwrap_or(usize::MAX),
        _ => {}
    }
    let book = venue.public.book();
    let mut answer = venue.twin.borrow_mut().rest(clock::now(), clock::wall_ns(), &target, &book);
    match fault {
        Some(RestFault::Slow(delay)) => return (respond(answer), delay),
        Some(RestFault::Broken) => answer.body.truncate(spoil::half(&answer.body).len()),
        _ => {}
    }
    at_once(respond(answer))
}

fn upgrade(
    venue: &Venue,
    upgrading: &Upgrading,
    mut request: Request<Incoming>,
    target: &Target<'_>,
) -> Response<Body> {
    let refusal = venue.pending.borrow_mut().upgrade();
    if let Some(refusal) = refusal {
        venue.public.counters.refused.fetch_add(1, Relaxed);
        return respond(refusal.into());
    }
    let version = request.headers().get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let (Some(key), Some(b"13")) = (key, version) else {
        return respond(Answer::new(426, String::new()).with("sec-websocket-version", 13));
    };
    let session = match venue.twin.borrow().accept(clock::now(), target) {
        Ok(session) => session,
        Err(answer) => return respond(answer),
    };
    *upgrading.borrow_mut() = Some((hyper::upgrade::on(&mut request), session));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(key) = HeaderValue::try_from(key) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    }
    response
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn respond(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}
