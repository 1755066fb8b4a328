//! Simulated time, the link between a publisher and the broker, and the run of one schedule.
//!
//! Everything happens in one queue ordered by time; a seed decides all of it, so a seed is a reproduction.

mod faults;
mod publisher;
mod verdict;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

pub(crate) use faults::Fault;
pub(crate) use publisher::{Input, Output, Publisher};
pub(crate) use verdict::{Read, Verdict};

use crate::broker::{Broker, BrokerConfig, Micros, Publish, Stored};

/// Bounds of one run, so that a liveness fault ends as a finding and not as a hang.
const EVENTS_MAX: usize = 400_000;
/// After the last fault everything must drain within this.
const DRAIN_MAX: Micros = 180_000_000;

/// One run, as a seed makes it.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// The seed.
    pub(crate) seed: u64,
    /// How many trades.
    pub(crate) trades: u64,
    /// Over how many subjects.
    pub(crate) subjects: u32,
    /// Which faults may come.
    pub(crate) faults: Vec<Fault>,
    /// How far apart, on average.
    pub(crate) fault_every: Micros,
    /// The broker's knobs.
    pub(crate) broker: BrokerConfig,
    /// Some trades come late, flagged, behind younger ones: a hole was filled after its time.
    pub(crate) late: bool,
}

#[derive(Debug)]
enum Event {
    /// Reaches the broker, if its connection still counts.
    Arrive {
        connection: u64,
        message: Publish,
    },
    /// A question reaches the broker.
    Ask {
        connection: u64,
        question: Question,
    },
    /// Reaches the publisher, if its connection still counts.
    Deliver {
        connection: u64,
        input: Input,
    },
    /// The next trade of the schedule is due.
    Trade,
    /// A dial succeeds, if the broker is up.
    DialDone {
        connection: u64,
    },
    /// The next fault of the schedule is due.
    Fault,
    Restart,
    Sync,
    Wake,
}

/// What a publisher asks of the broker.
#[derive(Clone, Copy, Debug)]
enum Question {
    /// The last sequence.
    Stream,
    /// A subject's last message.
    Tail(u32),
    /// The messages of a range of sequences.
    Places(u64, u64),
}

/// The queue's entry; the number keeps what happens at one time in order.
type Entry = Reverse<(Micros, u64)>;

/// The world of one run.
pub(crate) struct World {
    schedule: Schedule,
    rng: fastrand::Rng,
    now: Micros,
    queue: BinaryHeap<Entry>,
    events: BTreeMap<u64, Event>,
    next: u64,
    /// The broker.
    pub(crate) broker: Broker,
    connection: u64,
    alive: bool,
    /// Messages of dead connections up to this number still arrive: the kernel had them.
    black_hole: bool,
    to_broker_free: Micros,
    to_client_free: Micros,
    slow_until: Micros,
    faults: u64,
    last_fault: Micros,
    /// What was read of messages before they were purged.
    purged: Vec<Read>,
    wake_at: Option<Micros>,
    /// Trades given so far.
    given: u64,
    /// What is given, in order: subject, id, and whether it comes late.
    order: Vec<(u32, u64, bool)>,
    /// No fault comes after this.
    faults_end: Micros,
    /// Events that are not for ever: none left, and the publisher idle, is the end.
    open: usize,
}

impl World {
    /// The world of a schedule.
    pub(crate) fn new(schedule: Schedule) -> Self {
        let rng = fastrand::Rng::with_seed(schedule.seed);
        let broker = Broker::new(schedule.broker);
        Self {
            rng,
            now: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            broker,
            connection: 0,
            alive: false,
            black_hole: false,
            to_broker_free: 0,
            to_client_free: 0,
            slow_until: 0,
            faults: 0,
            last_fault: 0,
            purged: Vec::new(),
            wake_at: None,
            given: 0,
            order: order(&schedule),
            faults_end: schedule.trades * 200,
            open: 0,
            schedule,
        }
    }

    /// Runs the schedule to its end. `id_of` reads the trade ids of a stored message.
    pub(crate) fn run(mut self, publisher: &mut dyn Publisher, read: &dyn Fn(&Stored) -> Read) -> Verdict {
        self.plan();
        let mut out = Vec::new();
        out.push(Output::Dial);
        self.carry_out(&mut out);
        let mut stuck = true;
        for _ in 0..EVENTS_MAX {
            let Some(Reverse((at, number))) = self.queue.pop() else {
                stuck = !publisher.idle();
                break;
            };
            self.now = at;
            let Some(event) = self.take(number) else { continue };
            if self.given == self.schedule.trades && self.open == 0 && event.is_for_ever() && publisher.idle() {
                stuck = false;
                break;
            }
            if self.now > self.last_fault.max(self.faults_end) + DRAIN_MAX {
                break;
            }
            if let Some(input) = self.happen(event, read) {
                publisher.step(self.now, input, &mut out);
                self.carry_out(&mut out);
            }
        }
        self.verdict(stuck, read)
    }

    fn plan(&mut self) {
        self.push(1_000, Event::Trade);
        let first = self.rng.u64(1_000..self.schedule.fault_every);
        self.push(first, Event::Fault);
        self.push(self.schedule.broker.sync_interval, Event::Sync);
    }

    /// The next trade of the schedule; the one after it is planned.
    fn trade(&mut self) -> Option<Input> {
        let (subject, id, late) = *self.order.get(self.given as usize)?;
        self.given += 1;
        let at = self.now + self.rng.u64(0..400);
        self.push(at, Event::Trade);
        Some(Input::Trade { subject, id, late })
    }

    fn push(&mut self, at: Micros, event: Event) {
        self.next += 1;
        self.open += usize::from(!event.is_for_ever());
        self.queue.push(Reverse((at.max(self.now), self.next)));
        self.events.insert(self.next, event);
    }

    fn take(&mut self, number: u64) -> Option<Event> {
        let event = self.events.remove(&number)?;
        self.open -= usize::from(!event.is_for_ever());
        Some(event)
    }

    /// Does what a publisher wants.
    fn carry_out(&mut self, out: &mut Vec<Output>) {
        for output in out.drain(..) {
            match output {
                Output::Dial => self.dial(),
                Output::Publish(message) => {
                    let at = self.broker_arrival();
                    let connection = self.connection;
                    self.push(at, Event::Arrive { connection, message });
                }
                Output::AskStream => self.ask(Question::Stream),
                Output::AskTail(subject) => self.ask(Question::Tail(subject)),
                Output::AskPlaces(first, last) => self.ask(Question::Places(first, last)),
                Output::WakeAt(at) => {
                    if self.wake_at.is_none_or(|planned| at < planned || planned <= self.now) {
                        self.wake_at = Some(at);
                        self.push(at, Event::Wake);
                    }
                }
            }
        }
    }

    fn ask(&mut self, question: Question) {
        let at = self.broker_arrival();
        let connection = self.connection;
        self.push(at, Event::Ask { connection, question });
    }

    /// A fresh connection; of the old one's messages on the way, some still arrive, the rest never does.
    fn dial(&mut self) {
        self.strand();
        self.connection += 1;
        let connection = self.connection;
        let at = self.now + self.rng.u64(500..20_000);
        self.push(at, Event::DialDone { connection });
    }

    /// The connection ends: a prefix of what is under way was in the kernel already and arrives, maybe late.
    fn strand(&mut self) {
        self.alive = false;
        let keep_all = self.rng.u8(0..4) == 0;
        let delay = if self.rng.bool() { self.rng.u64(0..60_000) } else { 0 };
        let mut survive = true;
        let mut late = Vec::new();
        for (number, event) in &self.events {
            if matches!(event, Event::Arrive { connection, .. } if *connection == self.connection) {
                survive &= keep_all || self.rng.u8(0..20) != 0;
                late.push((*number, survive && !self.black_hole));
            }
        }
        for (number, survives) in late {
            let Some(Event::Arrive { message, .. }) = self.take(number) else { continue };
            if survives {
                self.push(self.now + delay, Event::Arrive { connection: 0, message });
            }
        }
        self.black_hole = false;
    }

    /// When the next message on the way to the broker arrives: in order.
    fn broker_arrival(&mut self) -> Micros {
        let at = self.now + self.rng.u64(30..300);
        self.to_broker_free = self.to_broker_free.max(at);
        self.to_broker_free
    }

    /// When the next message on the way to the publisher arrives: in order, late while answers are slow.
    fn client_arrival(&mut self) -> Micros {
        let slow = if self.now < self.slow_until { self.rng.u64(20_000..120_000) } else { 0 };
        let at = self.now + self.rng.u64(30..300) + slow;
        self.to_client_free = self.to_client_free.max(at);
        self.to_client_free
    }

    /// Lets an event happen; what the publisher learns comes back.
    fn happen(&mut self, event: Event, read: &dyn Fn(&Stored) -> Read) -> Option<Input> {
        match event {
            Event::Arrive { connection, message } => {
                let live = connection == self.connection && self.alive && !self.black_hole;
                if !live && connection != 0 {
                    return None;
                }
                for answer in self.broker.publish(self.now, &message) {
                    if live {
                        self.answer(Input::Answer { reply: message.reply, answer });
                    }
                }
                None
            }
            Event::Ask { connection, question } => {
                if connection == self.connection && self.alive && !self.black_hole && self.broker.up {
                    let input = match question {
                        Question::Stream => Input::Stream { last_seq: self.broker.last_seq() },
                        Question::Places(first, last) => Input::Places(self.broker.between(first, last)),
                        Question::Tail(subject) => {
                            let stored = self.broker.last_of(subject).map(|(seq, stored)| (seq, stored.clone()));
                            Input::Tail { subject, stored }
                        }
                    };
                    self.answer(input);
                }
                None
            }
            Event::Deliver { connection, input } => {
                (connection == self.connection && self.alive && !self.black_hole).then_some(input)
            }
            Event::Trade => self.trade(),
            Event::DialDone { connection } => self.dial_done(connection),
            Event::Fault => self.fault(read),
            Event::Restart => {
                self.broker.up = true;
                None
            }
            Event::Sync => {
                if self.broker.up {
                    self.broker.synced();
                }
                self.push(self.now + self.schedule.broker.sync_interval, Event::Sync);
                None
            }
            Event::Wake => {
                self.wake_at = None;
                Some(Input::Wake)
            }
        }
    }

    fn answer(&mut self, input: Input) {
        let at = self.client_arrival();
        let connection = self.connection;
        self.push(at, Event::Deliver { connection, input });
    }

    fn dial_done(&mut self, connection: u64) -> Option<Input> {
        if connection != self.connection {
            return None;
        }
        if !self.broker.up {
            let at = self.now + 5_000;
            self.push(at, Event::DialDone { connection });
            return None;
        }
        self.alive = true;
        Some(Input::Connected)
    }
}

impl Event {
    /// What goes on for ever and means nothing by itself.
    fn is_for_ever(&self) -> bool {
        matches!(self, Self::Sync | Self::Wake)
    }
}

/// The trades of a schedule, in the order in which they are given.
fn order(schedule: &Schedule) -> Vec<(u32, u64, bool)> {
    let subjects = u64::from(schedule.subjects);
    let mut order = Vec::new();
    let mut held: Vec<(u64, (u32, u64, bool))> = Vec::new();
    for number in 0..schedule.trades {
        let (subject, id) = ((number % subjects) as u32, number / subjects + 1);
        let due = number + 9 * subjects + id % 7;
        if schedule.late && id % 13 >= 11 && due < schedule.trades {
            held.push((due, (subject, id, true)));
        } else {
            order.push((subject, id, false));
        }
        held.retain(|(due, trade)| {
            let waits = *due > number;
            if !waits {
                order.push(*trade);
            }
            waits
        });
    }
    order
}
