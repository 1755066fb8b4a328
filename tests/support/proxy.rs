//! A TCP proxy before a server, with the faults of a network: silence, cuts, delay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How many chunks may be on their way through a delay.
const CHUNKS: usize = 1_024;

/// What a black hole swallows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
    Both,
}

#[derive(Clone, Copy)]
struct State {
    hole: Option<Way>,
    delay: Duration,
    /// At most so many bytes are written at once, each time after this pause.
    slices: Option<(usize, Duration)>,
    /// Raised by a cut: connections of an older age end.
    age: u64,
    stop: bool,
}

impl State {
    fn passes(&self, way: Way) -> bool {
        self.hole.is_none_or(|hole| hole != Way::Both && hole != way)
    }
}

/// A proxy on a thread of its own, so that it works while a test blocks; gone when dropped, its connections reset.
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Forwards to `target`: a URL as of `Server::url`, or `host:port`. The target need not be there yet.
    #[must_use]
    pub fn start(target: &str) -> Self {
        let target = target.split_once("://").map_or(target, |(_, rest)| rest).to_owned();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let start = State { hole: None, delay: Duration::ZERO, slices: None, age: 0, stop: false };
        let (state, seen) = watch::channel(start);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(accept(listener, target.into(), seen));
        });
        Self { port, state, thread: Some(thread) }
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Forwards everything, whole and without delay; what a black hole or a delay held back arrives.
    pub fn pass(&self) {
        self.state.send_modify(|state| (state.hole, state.delay, state.slices) = (None, Duration::ZERO, None));
    }

    /// Hands on so many bytes at a time, with a pause before each: a slow line, or a frame in many pieces.
    pub fn slice(&self, bytes: usize, pause: Duration) {
        self.state.send_modify(|state| state.slices = Some((bytes.max(1), pause)));
    }

    /// Connections stay open and new ones are taken, but nothing gets through that way, as when a network drops it.
    pub fn black_hole(&self, way: Way) {
        self.state.send_modify(|state| state.hole = Some(way));
    }

    /// Everything arrives so much later than it came, both ways.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Resets every connection there is, at both ends; new ones are taken.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.age += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.stop = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: std::net::TcpListener, target: Arc<str>, state: watch::Receiver<State>) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut stopped = state.clone();
    loop {
        let client = tokio::select! {
            _ = stopped.wait_for(|state| state.stop) => return,
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => client,
                Err(_) => continue,
            },
        };
        tokio::spawn(connection(client, Arc::clone(&target), state.clone()));
    }
}

async fn connection(client: TcpStream, target: Arc<str>, state: watch::Receiver<State>) {
    // From here on dropping a socket resets its connection.
    let _ = client.set_zero_linger();
    let _ = client.set_nodelay(true);
    let age = state.borrow().age;
    let forwarding = async {
        if state.clone().wait_for(|state| state.passes(Way::ToServer)).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(&*target).await else { return };
        let _ = server.set_zero_linger();
        let _ = server.set_nodelay(true);
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::join!(
            forward(from_client, to_server, Way::ToServer, state.clone()),
            forward(from_server, to_client, Way::ToClient, state.clone()),
        );
    };
    let mut cut = state.clone();
    tokio::select! {
        _ = cut.wait_for(|state| state.age != age || state.stop) => {}
        () = forwarding => {}
    }
}

/// One way, through a queue in which every chunk waits for its time.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, mut state: watch::Receiver<State>) {
    let (into, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let mut seen = state.clone();
    let read = async move {
        let mut chunk = vec![0; 1 << 16];
        loop {
            let _ = seen.wait_for(|state| state.passes(way)).await;
            let Ok(length @ 1..) = from.read(&mut chunk).await else { return };
            if into.send((Instant::now(), chunk[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((read_at, chunk)) = queue.recv().await {
            loop {
                let due = read_at + state.borrow_and_update().delay;
                tokio::select! {
                    () = tokio::time::sleep_until(due) => break,
                    changed = state.changed() => if changed.is_err() { return },
                }
            }
            let _ = state.wait_for(|state| state.passes(way)).await;
            if hand_on(&mut to, &chunk, &state).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

/// Writes a chunk, in slices while that is asked for.
async fn hand_on(to: &mut OwnedWriteHalf, mut chunk: &[u8], state: &watch::Receiver<State>) -> std::io::Result<()> {
    while !chunk.is_empty() {
        let slices = state.borrow().slices;
        let (now, rest) = match slices {
            Some((bytes, pause)) => {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                chunk.split_at(bytes.min(chunk.len()))
            }
            None => (chunk, &[][..]),
        };
        to.write_all(now).await?;
        chunk = rest;
    }
    Ok(())
}
