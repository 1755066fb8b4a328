//! Repairs at work: jobs and looks of one venue, over one client, within one allowance.

mod outcome;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::budget::RestBudget;
use super::job::{Aim, Job, Step};
use super::queue::{Ask, RepairQueue};
use super::watch::Watch;
use crate::exchange::{Exchange, HistoryRule, Reply, Trades, Want};
use crate::feed::rest::{AskError, RestClient};
use crate::feed::{Deliver, Sequencer};
use crate::market::{Instrument, TradeMsg};
use crate::telemetry::clock;

/// Requests to a venue that are under way at a time.
const FLYING_MAX: usize = 4;
/// How often silent symbols are looked for.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// A request takes no longer than this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);
/// Jobs that wait, at most; what is asked beyond them is left declared.
const JOBS_MAX: usize = 10_000;

/// What repairs of a venue are to do.
#[derive(Clone, Debug)]
pub struct RepairSpec {
    /// The venue.
    pub exchange: &'static dyn Exchange,
    /// REST base.
    pub rest_url: String,
    /// Routes and instruments.
    pub instruments: Vec<(u32, Instrument)>,
    /// The routes of each line.
    pub lines: Vec<Vec<u32>>,
    /// How far back trades are fetched.
    pub horizon: Duration,
}

/// What repairs share with the daemon, all on one thread.
pub struct RepairShared<D> {
    /// The sequencer of a route.
    pub sequencers: BTreeMap<u32, Rc<RefCell<Sequencer>>>,
    /// Where records go.
    pub deliver: Rc<RefCell<D>>,
    /// What is asked for.
    pub queue: Rc<RepairQueue>,
    /// What may be asked of the venue. It outlives a life of the repairs: the venue remembers, too.
    pub budget: Rc<RefCell<RestBudget>>,
}

/// A request that has come back.
struct Landed {
    task: Task,
    reply: Result<Reply, AskError>,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    /// A page of the job with this number.
    Page(u64, Want),
    /// A look for this line at this route.
    Look(usize, u32),
}

type Flight = Pin<Box<dyn Future<Output = Landed>>>;

struct Repairs<D> {
    spec: RepairSpec,
    shared: RepairShared<D>,
    rule: HistoryRule,
    client: RestClient,
    trades: Trades,
    /// Jobs with their numbers, and whether one of their requests is under way.
    jobs: VecDeque<(u64, bool, Job)>,
    looks: VecDeque<(usize, u32)>,
    watches: Vec<Watch>,
    flying: FuturesUnordered<Flight>,
    counted: u64,
    /// What the log was told last.
    complained: String,
}

/// Repairs the holes of one venue until `stop`. A venue without a history needs none of this. When it ends, however it
/// does, what it was about to repair stays declared, and nothing is asked of it any more.
pub async fn run<D: Deliver>(spec: RepairSpec, shared: RepairShared<D>, stop: CancellationToken) {
    let queue = Rc::clone(&shared.queue);
    let _attendance = queue.attendance();
    let Some(rule) = spec.exchange.profile().history else { return };
    let client = match RestClient::new(&spec.rest_url, REQUEST_TIMEOUT) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(err = %error, "no history can be asked for: holes stay declared");
            return;
        }
    };
    let now = clock::now();
    let trades = Trades::of(spec.instruments.iter().map(|(route, instrument)| (*route, instrument)));
    let watches = spec.lines.iter().enumerate().map(|(line, routes)| Watch::new(line, routes, now)).collect();
    let mut repairs = Repairs {
        jobs: VecDeque::new(),
        looks: VecDeque::new(),
        flying: FuturesUnordered::new(),
        counted: 0,
        complained: String::new(),
        spec,
        shared,
        rule,
        client,
        trades,
        watches,
    };
    let mut tick = tokio::time::interval(WATCH_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        repairs.admit();
        let wake = repairs.launch(clock::now());
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(landed) = repairs.flying.next(), if !repairs.flying.is_empty() => repairs.landed(landed),
            () = queue.wake.notified() => {}
            _ = tick.tick() => repairs.watch(clock::now()),
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
}

impl<D: Deliver> Repairs<D> {
    /// Takes what was asked for.
    fn admit(&mut self) {
        let now = clock::now();
        while let Some(ask) = self.shared.queue.take() {
            match ask {
                Ask::Subscribed { line } => {
                    if let Some(watch) = self.watches.get_mut(line) {
                        watch.subscribed(now);
                    }
                }
                Ask::Fill { route, gap, aim } if self.jobs.len() < JOBS_MAX => {
                    // By the venue's own clock, since ours may have been set meanwhile; unless it cannot be right.
                    let timed = gap.ts_end.abs_diff(clock::wall_ns()) < ns(DAY);
                    let horizon = if timed { gap.ts_end.saturating_sub(ns(self.spec.horizon)) } else { 0 };
                    self.counted += 1;
                    let job = Job::new(now, route, gap, aim, self.rule.order, horizon, self.spec.horizon);
                    self.jobs.push_back((self.counted, false, job));
                }
                Ask::Fill { route, gap, .. } => self.shared.deliver.borrow_mut().give_up(route, &gap),
            }
        }
        self.shared.queue.status.borrow_mut().open = self.jobs.len() as u64;
    }

    /// Starts what is allowed now; the time at which to come back.
    fn launch(&mut self, now: Instant) -> Instant {
        let mut wake = now + Duration::from_secs(3_600);
        let mut done = Vec::new();
        let room = self.shared.deliver.borrow().has_room();
        for place in 0..self.jobs.len() {
            if self.flying.len() >= FLYING_MAX {
                break;
            }
            let Some((number, busy, job)) = self.jobs.get_mut(place).filter(|(_, busy, _)| !busy) else { continue };
            if is_settled(&self.shared.sequencers, job) {
                done.push(*number);
                continue;
            }
            if job.aim == Aim::Broker && !room {
                wake = wake.min(now + WATCH_EVERY);
                continue;
            }
            match job.step(now) {
                Step::Done => done.push(*number),
                Step::Wait(until) => wake = wake.min(until),
                Step::Ask(want) => match self.shared.budget.borrow_mut().take(now, self.rule.page_weight) {
                    Ok(()) => {
                        *busy = true;
                        let (task, route) = (Task::Page(*number, want), job.route);
                        self.send(task, route, want);
                    }
                    Err(later) => {
                        wake = wake.min(later);
                        break;
                    }
                },
            }
        }
        for number in done {
            self.ended(number);
        }
        // The next job gets its turn first.
        self.jobs.rotate_left(1.min(self.jobs.len()));
        while self.flying.len() < FLYING_MAX && !self.looks.is_empty() {
            let taken = self.shared.budget.borrow_mut().take(now, self.rule.look_weight);
            match taken {
                Ok(()) => {
                    let Some((line, route)) = self.looks.pop_front() else { break };
                    self.shared.queue.status.borrow_mut().looks += 1;
                    self.send(Task::Look(line, route), route, Want::Latest);
                }
                Err(later) => return wake.min(later),
            }
        }
        wake
    }

    fn send(&self, task: Task, route: u32, want: Want) {
        let symbol = self.venue_symbol(route);
        let path = symbol.and_then(|symbol| self.spec.exchange.history_path(&symbol, want));
        let client = self.client.clone();
        self.shared.queue.status.borrow_mut().requests += 1;
        self.flying.push(Box::pin(async move {
            let reply = match path {
                Some(path) => client.get(&path).await,
                None => Err(AskError { url: client.base().to_owned(), reason: "it cannot be asked for that".into() }),
            };
            Landed { task, reply }
        }));
    }

    fn venue_symbol(&self, route: u32) -> Option<String> {
        let found = self.spec.instruments.iter().find(|(known, _)| *known == route);
        found.map(|(_, instrument)| instrument.venue_symbol.clone())
    }

    fn landed(&mut self, Landed { task, reply }: Landed) {
        let now = clock::now();
        let (route, want) = match task {
            Task::Look(_, route) => (route, Want::Latest),
            Task::Page(number, want) => {
                let Some((_, busy, job)) = self.jobs.iter_mut().find(|(known, ..)| *known == number) else { return };
                *busy = false;
                (job.route, want)
            }
        };
        match self.read(now, route, want, reply) {
            Ok((rows, page)) => match task {
                Task::Look(line, route) => self.looked(now, line, route, rows.iter().max_by_key(|row| row.trade_id)),
                Task::Page(number, _) => {
                    let mut out = Vec::new();
                    let Some((.., job)) = self.jobs.iter_mut().find(|(known, ..)| *known == number) else { return };
                    job.page(want, rows, page, &mut out);
                    let (aim, route) = (job.aim, job.route);
                    self.hand_over(aim, route, out);
                }
            },
            Err(limited) => match task {
                Task::Look(line, route) => self.looked(now, line, route, None),
                Task::Page(number, _) if !limited => {
                    if let Some((.., job)) = self.jobs.iter_mut().find(|(known, ..)| *known == number) {
                        job.failed(now);
                    }
                }
                Task::Page(..) => {}
            },
        }
    }

    /// The trades of a reply; the error says whether it was the venue's limits that refused it.
    fn read(
        &mut self,
        now: Instant,
        route: u32,
        want: Want,
        reply: Result<Reply, AskError>,
    ) -> Result<(Vec<TradeMsg>, crate::exchange::Page), bool> {
        let reply = reply.map_err(|error| self.complain(&error.to_string()))?;
        if let Some(used) = self.rule.used_header.and_then(|name| reply.header(name)).and_then(|text| text.parse().ok())
        {
            self.shared.budget.borrow_mut().reported(now, used);
        }
        self.trades.clear();
        let symbol = self.venue_symbol(route).unwrap_or_default();
        match self.spec.exchange.parse_history(&symbol, want, &reply, &mut self.trades) {
            Ok(page) => {
                self.shared.budget.borrow_mut().answered();
                self.shared.queue.status.borrow_mut().last_error.clear();
                self.complained.clear();
                Ok((self.trades.rows().iter().map(|row| row.msg).collect(), page))
            }
            Err(crate::exchange::Refused::Limited(words)) => {
                let wait = self.shared.budget.borrow_mut().refused(now, reply.status, reply.retry_after());
                self.shared.queue.status.borrow_mut().limited += 1;
                let exchange = self.spec.exchange.profile().name;
                tracing::warn!(exchange, words, ?wait, "the venue's REST limits are reached; repairs wait");
                Err(true)
            }
            Err(refused) => Err(self.complain(&format!("{symbol}: {refused}"))),
        }
    }

    /// Counts a failure, and tells each new one once. Always false: it was not the venue's limits.
    fn complain(&mut self, text: &str) -> bool {
        let mut status = self.shared.queue.status.borrow_mut();
        status.failed += 1;
        text.clone_into(&mut status.last_error);
        if self.complained != text {
            tracing::warn!(exchange = self.spec.exchange.profile().name, err = text, "the history could not be read");
            text.clone_into(&mut self.complained);
        }
        false
    }
}

/// Whether nobody misses what a job is after any more: another connection has brought it, or the gap is forgotten.
fn is_settled(sequencers: &BTreeMap<u32, Rc<RefCell<Sequencer>>>, job: &Job) -> bool {
    let open = |sequencer: &Rc<RefCell<Sequencer>>| sequencer.borrow().is_open(job.route, &job.gap);
    job.aim == Aim::Everywhere && sequencers.get(&job.route).is_some_and(|sequencer| !open(sequencer))
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
