//! IO around the window: it carries out what the window wants, and tells it what comes back.
//!
//! It makes no decision about records. Everything of it runs on one thread; [`NatsTransport`] is the end that the
//! feeds push into, [`Publisher`] the end that talks to the server.

mod anchor;
mod inherited;
mod pair;
mod refill;
mod transport;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::backlog::{self, Back, Backlog, Worker};
use super::lease::Done;
use super::link::{Came, Link, NotSent};
use super::read::{self, Outcome, ReadError, Reading};
use super::status::{DrainReport, NatsState, NatsStatus};
use super::window::{Action, Answer, Config, Doubt, Phase, Query, Refusal, RefusedAt, Send, Window};
use super::wire::Subjects;
use crate::config::settings::{Nats, Retention};
use crate::market::Universe;
use crate::telemetry::clock;

/// Messages that are sent before answers get their turn.
const BURST: usize = 256;

/// A connection that cannot be had is complained of this often, at most.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);

pub use anchor::{Anchor, OnAnchor};
use pair::Pair;

/// The end that records are pushed into.
pub struct NatsTransport {
    shared: Rc<Shared>,
    pushed: bool,
}

/// The end that talks to the server.
pub struct Publisher {
    shared: Rc<Shared>,
    settings: Rc<Nats>,
    subjects: Rc<Subjects>,
    run: Rc<str>,
    sole: bool,
    universe: Rc<Universe>,
    /// Routes by instrument id.
    routes: HashMap<u32, u32>,
    horizon: Duration,
    on_anchor: OnAnchor,
    link: Option<Link>,
    reading: Option<ReadFuture>,
    /// By route: where the stream ended when it was read last.
    ends: inherited::Ends,
    /// Of several instances, whether it is this one that publishes.
    pair: Option<Pair>,
    epoch: u32,
    /// What the log was told last of why nothing is published, and when.
    complained: Option<(String, Instant)>,
    announced: Announced,
}

/// What is read back from the backlog at a time may stand in the outbox beyond its bound.
const REFILL_BYTES: usize = 4 << 20;

/// How far back the stream is read at the start, where its last messages leave a doubt, unless it is said otherwise.
const HORIZON: Duration = Duration::from_secs(900);

/// A reading under way.
type ReadFuture = Pin<Box<dyn Future<Output = Result<Outcome, ReadError>>>>;

/// What the log was told already.
#[derive(Default)]
struct Announced {
    mode: Option<super::window::Mode>,
    differences: Vec<String>,
    live: bool,
    /// Something is wrong, as far as the log knows.
    trouble: bool,
}

struct Shared {
    window: RefCell<Window>,
    /// What does not fit into the window's outbox.
    backlog: RefCell<Option<Backlog>>,
    /// Bytes that wait in the window before records go to the backlog.
    memory: usize,
    status: RefCell<NatsStatus>,
    wake: Notify,
}

/// What ended a wait.
enum Happening {
    Read(Box<Result<Outcome, ReadError>>),
    Came(Came),
    Leased(Done),
    Back(Back),
    Woken,
}

/// Both ends of a publisher for these instruments. `sole` says that no other publisher writes to the stream.
#[must_use]
pub fn new(settings: Nats, universe: &Universe, sole: bool, on_anchor: OnAnchor) -> (NatsTransport, Publisher) {
    let seed = fastrand::u64(..);
    let memory = usize::try_from(settings.outbox_memory.get()).unwrap_or(usize::MAX);
    let config = Config {
        window: settings.window,
        pack: settings.pack,
        linger: settings.linger.duration(),
        ack_timeout: settings.ack_timeout.duration(),
        outbox_bytes: memory,
        retain: settings.retain.duration(),
        retain_bytes: usize::try_from(settings.retain_bytes.get()).unwrap_or(usize::MAX),
        routes: u32::try_from(universe.instruments().len()).unwrap_or(u32::MAX),
        sole,
        oldest_removed_first: settings.jetstream.retention == Retention::Limits,
        seed,
    };
    let shared = Rc::new(Shared {
        window: RefCell::new(Window::new(config, clock::now())),
        backlog: RefCell::default(),
        memory,
        status: RefCell::new(NatsStatus {
            stream_name: settings.jetstream.stream_name.clone(),
            ..NatsStatus::default()
        }),
        wake: Notify::new(),
    });
    let mut publisher = Publisher {
        shared: Rc::clone(&shared),
        subjects: Rc::new(Subjects::new(&settings.jetstream.subject_prefix, universe)),
        settings: Rc::new(settings),
        run: format!("{seed:016x}").into(),
        sole,
        universe: Rc::new(universe.clone()),
        routes: (0..).zip(universe.instruments()).map(|(route, instrument)| (instrument.id, route)).collect(),
        horizon: HORIZON,
        on_anchor,
        link: None,
        reading: None,
        ends: inherited::Ends::new(universe.instruments().len()),
        pair: None,
        epoch: 0,
        complained: None,
        announced: Announced::default(),
    };
    publisher.pair = publisher.settings.pair.enabled.then(|| Pair::new(Rc::clone(&publisher.settings)));
    (NatsTransport { shared, pushed: false }, publisher)
}

impl Publisher {
    /// Lets records wait on disk where they do not fit into memory, if the settings say so. The body that comes back is
    /// to be run on a thread of its own. Each shard has its own place there; `elsewhere` are the instruments of other
    /// shards, whose records it keeps and does not send.
    pub fn spooling(&self, shard: usize, elsewhere: BTreeSet<u32>) -> Option<Worker> {
        let (backlog, worker) = backlog::new(&self.settings, shard, self.routes.keys().copied().collect(), elsewhere)?;
        *self.shared.backlog.borrow_mut() = Some(backlog);
        self.shared.window.borrow_mut().widen(REFILL_BYTES);
        Some(worker)
    }

    /// How far back a gap can still be repaired: that much of the stream is read at the start, where it leaves a doubt.
    #[must_use]
    pub const fn repairing(mut self, horizon: Duration) -> Self {
        self.horizon = horizon;
        self
    }

    /// Publishes until `stop`, then what waits, for at most `drain`.
    pub async fn run(mut self, stop: CancellationToken, drain: Duration) -> DrainReport {
        let mut deadline = None;
        loop {
            self.pump().await;
            if deadline.is_none() && stop.is_cancelled() {
                deadline = Some(clock::now() + drain);
                self.shared.window.borrow_mut().drain();
                self.state(NatsState::Draining);
                continue;
            }
            if deadline.is_some() && self.stands_by() {
                break;
            }
            if deadline.is_some_and(|at| self.shared.is_drained() || clock::now() >= at) {
                break;
            }
            let stopping = deadline.is_some();
            tokio::select! {
                biased;
                happening = self.wait(deadline) => self.handle(happening),
                () = stop.cancelled(), if !stopping => {}
            }
        }
        self.state(NatsState::Stopped);
        let stats = self.shared.window.borrow().stats();
        // What waits in an instance that stands by is another's to publish.
        let waiting = stats.waiting + stats.in_flight_records + self.shared.spooled();
        let unacked = if self.stands_by() { 0 } else { waiting };
        self.leave_behind().await;
        if let Some(pair) = self.pair {
            pair.keeper.give_up().await;
        }
        DrainReport { acked: stats.acked, unacked, dropped: stats.dropped }
    }

    /// Does what the window wants, until it wants nothing more or answers should get their turn.
    async fn pump(&mut self) {
        if !self.shared.is_open() {
            return;
        }
        if !self.may_publish() {
            self.refill();
            return self.stand_by();
        }
        self.refill();
        for _ in 0..BURST {
            let action = self.shared.window.borrow_mut().next(clock::now());
            match action {
                None => return,
                Some(Action::Send(send)) => self.send(send).await,
                Some(Action::Reconcile(query)) => self.reconcile(query),
            }
        }
        // More may be wanted: come back after one look at what came in.
        self.shared.wake.notify_one();
    }

    async fn send(&mut self, send: Send) {
        let Some(link) = &self.link else { return self.gone("not connected") };
        let sent = link.send(&self.subjects, send).await;
        match sent {
            Ok(()) => {}
            Err(NotSent::TooLarge) => {
                self.answered(Answer::Refused { at: RefusedAt::Last, refusal: Refusal::TooLarge });
            }
            Err(NotSent::Gone(why)) => self.gone(&why),
        }
    }

    fn reconcile(&mut self, query: Query) {
        // The old connection is left without looking back.
        self.link = None;
        self.epoch = query.epoch;
        match &query.doubt {
            // These were told when they came up, or are steps on the way.
            Doubt::Start | Doubt::Unreadable { .. } | Doubt::Growing | Doubt::Disconnected | Doubt::Refused(_) => {}
            doubt => {
                let stream = self.stream();
                tracing::info!(stream, why = %doubt, epoch = query.epoch, "in doubt: reading what is stored");
                self.shared.status.borrow_mut().last_error = doubt.to_string();
            }
        }
        self.unless_draining(if query.first { NatsState::Connecting } else { NatsState::Reconciling });
        self.reading = Some(Box::pin(read::read(self.to_read(None), query)));
    }

    fn to_read(&self, link: Option<Link>) -> Reading {
        Reading {
            settings: Rc::clone(&self.settings),
            subjects: Rc::clone(&self.subjects),
            run: Rc::clone(&self.run),
            sole: self.sole,
            chained: self.pair.is_some(),
            universe: Rc::clone(&self.universe),
            horizon: self.horizon,
            link: RefCell::new(link),
        }
    }

    async fn wait(&mut self, deadline: Option<Instant>) -> Happening {
        let far = clock::now() + Duration::from_secs(3_600);
        let due = match &self.pair {
            // Nothing is done before the disk has been looked at, and it tells when it has.
            _ if !self.shared.is_open() => None,
            Some(pair) if pair.stands_by => pair.due,
            _ => self.shared.window.borrow().poll_at(),
        };
        let until = self.pair.as_ref().and_then(Pair::until);
        let wake_at = [due, until, deadline].into_iter().flatten().min().unwrap_or(far);
        let Self { reading, link, shared, pair, .. } = self;
        let leased = async {
            match pair {
                Some(pair) => pair.keeper.next().await,
                None => std::future::pending().await,
            }
        };
        let read = async {
            match reading {
                Some(reading) => Box::new(reading.await),
                None => std::future::pending().await,
            }
        };
        let came = async {
            match link {
                Some(link) => link.next().await,
                None => std::future::pending().await,
            }
        };
        let back = std::future::poll_fn(|cx| shared.poll_backlog(cx));
        tokio::select! {
            biased;
            result = read => Happening::Read(result),
            back = back => Happening::Back(back),
            done = leased => Happening::Leased(done),
            came = came => Happening::Came(came),
            () = shared.wake.notified() => Happening::Woken,
            () = tokio::time::sleep_until(wake_at.into()) => Happening::Woken,
        }
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Woken => {}
            Happening::Leased(done) => self.leased(&done),
            Happening::Back(back) => self.came_back(&back),
            Happening::Read(result) => {
                self.reading = None;
                match *result {
                    Ok(outcome) if self.stands_by() => self.followed(outcome),
                    Err(error) if self.stands_by() => self.not_followed(&error),
                    Ok(outcome) => self.settled(outcome),
                    Err(error) => self.unreadable(&error),
                }
            }
            Happening::Came(Came::Answer(_, Ok(answer))) => self.answered(answer),
            Happening::Came(Came::Answer(_, Err(text))) => {
                tracing::warn!(err = text, "an answer of the server cannot be understood");
                self.gone("an answer that cannot be understood");
            }
            Happening::Came(Came::Word(text)) => tracing::debug!(text, "the NATS connection says"),
            Happening::Came(Came::Gone(why)) => self.gone(&why),
        }
    }

    fn unreadable(&mut self, error: &ReadError) {
        let text = error.to_string();
        self.complain(&text);
        self.shared.window.borrow_mut().on_reconcile_failed(clock::now(), &text);
        if error.is_unreachable() {
            self.shared.status.borrow_mut().server.clear();
            self.unless_draining(NatsState::Connecting);
        }
    }

    fn answered(&mut self, answer: Answer) {
        match &answer {
            // What follows a refused one is refused for it too: that one was told.
            Answer::Refused { .. } if *self.shared.window.borrow().phase() != Phase::Steady => {}
            Answer::Refused { refusal, .. } => {
                self.complain(&format!("a publish was refused: {refusal}"));
                self.unless_draining(NatsState::Reconciling);
            }
            _ => {
                self.shared.status.borrow_mut().last_ack_ns = clock::wall_ns();
                if std::mem::take(&mut self.announced.trouble) {
                    let waiting = self.shared.window.borrow().stats().waiting;
                    let server = self.shared.status.borrow().server.clone();
                    tracing::info!(%server, stream = self.stream(), waiting, "publishing again");
                }
            }
        }
        self.shared.window.borrow_mut().on_answer(clock::now(), self.epoch, answer);
    }

    fn gone(&mut self, why: &str) {
        if self.link.take().is_some() {
            self.complain(why);
        }
        self.unless_draining(NatsState::Reconciling);
        self.shared.window.borrow_mut().on_disconnect(clock::now());
    }

    fn unless_draining(&self, state: NatsState) {
        let mut status = self.shared.status.borrow_mut();
        if status.state != NatsState::Draining {
            status.state = state;
        }
    }

    /// The stream's name, for the log.
    fn stream(&self) -> &str {
        &self.settings.jetstream.stream_name
    }

    fn state(&self, state: NatsState) {
        self.shared.status.borrow_mut().state = state;
    }
}
