//! A scripted JetStream: one stream on one leader, as far as a publisher can tell it from the real one.
//!
//! It models what decides order and doubles: the order of the server's checks (standalone and clustered differ), the
//! duplicate window, fast-ingest batches in gap mode `fail`, lazy fsync, a leader change, a transient refusal, a purge.
//! It models no replication and no disk but "synced up to here".

use std::collections::{BTreeMap, BTreeSet};

/// Simulated time, microseconds.
pub(crate) type Micros = u64;

/// A batch that is not heard of for this long is given up.
const BATCH_IDLE_MAX: Micros = 10_000_000;

/// A subject of nobody here.
pub(crate) const STRANGE: u32 = 9_998;

/// An earlier run sent what comes within this long, if there was one.
pub(crate) const FORERUN: Micros = 30_000;

/// JetStream's error codes that the model answers with.
pub(crate) mod code {
    /// The stream's last sequence is not the expected one.
    pub(crate) const WRONG_LAST_SEQUENCE: u16 = 10071;
    /// Its id is known, and it is not stored.
    pub(crate) const IN_PROCESS: u16 = 10158;
    /// Too many requests.
    pub(crate) const TOO_MANY_REQUESTS: u16 = 10167;
    /// A batch that the server does not know (any more).
    pub(crate) const UNKNOWN_BATCH: u16 = 10208;
}

/// One publish as it reaches the broker.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    /// The subject, as a number.
    pub(crate) subject: u32,
    /// `Nats-Msg-Id`.
    pub(crate) msg_id: Option<String>,
    /// `Nats-Expected-Last-Sequence`.
    pub(crate) expected_last: Option<u64>,
    /// `Nats-Expected-Last-Subject-Sequence`.
    pub(crate) expected_of_subject: Option<u64>,
    /// The place in a fast-ingest batch.
    pub(crate) batch: Option<BatchPlace>,
    /// Where the answer goes.
    pub(crate) reply: u64,
    /// The bytes.
    pub(crate) payload: Vec<u8>,
}

/// A message's place in a fast-ingest batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchPlace {
    /// The batch.
    pub(crate) batch: u64,
    /// 1 for the first message.
    pub(crate) seq: u64,
    /// Acks come every so many messages.
    pub(crate) flow: u64,
    /// What to do.
    pub(crate) op: BatchOp,
}

/// The operation of a fast-ingest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchOp {
    /// Store; the first or a later message.
    Store,
    /// Store, and end the batch.
    Commit,
    /// End the batch without storing.
    End,
    /// Say how far it is.
    Ping,
}

/// The broker's answer to one publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Stored, or known already.
    Stored {
        /// The stream sequence.
        seq: u64,
        /// It was there already.
        duplicate: bool,
    },
    /// Refused.
    Refused {
        /// A JetStream error code, 0 for "no responders".
        code: u16,
    },
    /// Everything in the batch up to `seq` is stored.
    BatchAck {
        /// Batch sequence.
        seq: u64,
        /// How many more until the next ack.
        msgs: u64,
    },
    /// The batch is over; `count` messages of it are stored.
    BatchEnd {
        /// Stored messages.
        count: u64,
        /// The stream sequence of the last one.
        seq: u64,
        /// A batch of one message, which was there already.
        duplicate: bool,
    },
}

/// A stored message.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The subject, as a number.
    pub(crate) subject: u32,
    /// The bytes.
    pub(crate) payload: Vec<u8>,
}

/// The knobs of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BrokerConfig {
    /// Duplicates are looked for before the expected sequence, as clusters do.
    pub(crate) clustered: bool,
    /// How long a message id is remembered.
    pub(crate) duplicate_window: Micros,
    /// How often the log reaches the disk.
    pub(crate) sync_interval: Micros,
    /// An earlier run has sent what is sent first, to a leader that went: their ids are known, and none is stored.
    pub(crate) forerunner: bool,
}

/// The broker.
#[derive(Debug)]
pub(crate) struct Broker {
    config: BrokerConfig,
    /// All that was ever stored and survived; sequence = index + 1.
    pub(crate) log: Vec<Stored>,
    /// Sequences up to here were purged: still counted, no longer readable.
    pub(crate) purged: u64,
    synced: usize,
    ids: BTreeMap<String, (Micros, u64)>,
    batches: BTreeMap<u64, Batch>,
    /// Whether it answers at all.
    pub(crate) up: bool,
    refuse: u32,
    /// Ids of messages that were taken and never stored.
    stale: BTreeSet<String>,
    /// So many messages are taken and never stored before another leader takes over; their ids are remembered.
    swallow: u32,
}

#[derive(Debug)]
struct Batch {
    last: u64,
    acked: u64,
    stream_seq: u64,
    touched: Micros,
}

impl Broker {
    /// An empty stream.
    pub(crate) fn new(config: BrokerConfig) -> Self {
        Self {
            config,
            log: Vec::new(),
            purged: 0,
            synced: 0,
            ids: BTreeMap::new(),
            batches: BTreeMap::new(),
            up: true,
            refuse: 0,
            stale: BTreeSet::new(),
            swallow: 0,
        }
    }

    /// The stream's last sequence.
    pub(crate) fn last_seq(&self) -> u64 {
        self.log.len() as u64
    }

    /// The last readable message of a subject, with its sequence.
    pub(crate) fn last_of(&self, subject: u32) -> Option<(u64, &Stored)> {
        let readable = self.log.iter().enumerate().skip(self.purged as usize);
        readable.rev().find(|(_, stored)| stored.subject == subject).map(|(index, stored)| (index as u64 + 1, stored))
    }

    /// The readable messages of a range of sequences.
    pub(crate) fn between(&self, first: u64, last: u64) -> Vec<(u64, Stored)> {
        let places = first.max(self.purged + 1)..=last.min(self.last_seq());
        places.map(|seq| (seq, self.log[seq as usize - 1].clone())).collect()
    }

    /// Somebody else's message is stored.
    pub(crate) fn stranger(&mut self) {
        if self.up {
            self.log.push(Stored { subject: STRANGE, payload: vec![0; 48] });
        }
    }

    /// Refuses the next `count` messages, as a full disk or an overloaded server does for a moment.
    pub(crate) fn refuse(&mut self, count: u32) {
        self.refuse = count;
    }

    /// The process dies; what the kernel holds survives.
    pub(crate) fn kill(&mut self, now: Micros) {
        self.up = false;
        self.forget(now);
    }

    /// The power fails: what was not synced is gone.
    pub(crate) fn power_loss(&mut self, now: Micros) {
        self.log.truncate(self.synced);
        self.kill(now);
    }

    /// Another leader takes over: batches end, nothing stored is lost.
    pub(crate) fn change_leader(&mut self, now: Micros) {
        self.forget(now);
    }

    /// The leader steps down with messages on their way: none of them is stored, and all are taken for known later.
    pub(crate) fn swallow(&mut self, count: u32) {
        self.swallow = count;
    }

    /// Removes all readable messages; sequences go on.
    pub(crate) fn purge(&mut self) {
        self.purged = self.last_seq();
    }

    /// Batches are state of the leader. Ids are rebuilt from the log.
    fn forget(&mut self, now: Micros) {
        self.batches.clear();
        let last = self.last_seq();
        let horizon = now.saturating_sub(self.config.duplicate_window);
        self.ids.retain(|_, (at, seq)| *at >= horizon && *seq <= last);
    }

    /// The sync timer fires.
    pub(crate) fn synced(&mut self) {
        self.synced = self.log.len();
    }

    /// Takes one publish; gives its answers, none if the broker is down or a batch message needs none.
    pub(crate) fn publish(&mut self, now: Micros, message: &Publish) -> Vec<Reply> {
        if !self.up {
            return Vec::new();
        }
        if self.swallow > 0 {
            self.swallow -= 1;
            let last = self.last_seq();
            self.ids.extend(message.msg_id.clone().map(|id| (id, (now, last))));
            self.stale.extend(message.msg_id.clone());
            if self.swallow == 0 {
                self.change_leader(now);
            }
            return Vec::new();
        }
        if self.config.forerunner && now < FORERUN {
            let last = self.last_seq();
            // Some were stored by nobody, and some were never sent: they lie scattered.
            let sent = |id: &String| id.bytes().map(u32::from).sum::<u32>() % 3 > 0;
            let unknown = message.msg_id.clone().filter(|id| sent(id) && !self.ids.contains_key(id));
            self.ids.extend(unknown.clone().map(|id| (id, (now, last))));
            self.stale.extend(unknown);
        }
        match message.batch {
            Some(place) => self.publish_in_batch(now, message, place),
            None => vec![self.publish_alone(now, message)],
        }
    }

    fn publish_alone(&mut self, now: Micros, message: &Publish) -> Reply {
        if self.refuse > 0 {
            self.refuse -= 1;
            return Reply::Refused { code: code::TOO_MANY_REQUESTS };
        }
        let wrong = self.unexpected(message);
        let known = self.known(now, message);
        let stale = message.msg_id.as_ref().is_some_and(|id| self.stale.contains(id));
        if stale && (self.config.clustered || !wrong) {
            return Reply::Refused { code: code::IN_PROCESS };
        }
        match (self.config.clustered, known, wrong) {
            (true, Some(seq), _) | (false, Some(seq), false) => Reply::Stored { seq, duplicate: true },
            (_, _, true) => Reply::Refused { code: code::WRONG_LAST_SEQUENCE },
            (_, None, false) => Reply::Stored { seq: self.store(now, message), duplicate: false },
        }
    }

    fn publish_in_batch(&mut self, now: Micros, message: &Publish, place: BatchPlace) -> Vec<Reply> {
        let started = place.seq == 1 && matches!(place.op, BatchOp::Store | BatchOp::Commit);
        if started {
            if self.unexpected(message) {
                return vec![Reply::Refused { code: code::WRONG_LAST_SEQUENCE }];
            }
            let fresh = Batch { last: 0, acked: 0, stream_seq: self.last_seq(), touched: now };
            self.batches.insert(place.batch, fresh);
        }
        if self.batches.get(&place.batch).is_some_and(|batch| now - batch.touched > BATCH_IDLE_MAX) {
            self.batches.remove(&place.batch);
        }
        let Some(batch) = self.batches.get_mut(&place.batch) else {
            return vec![Reply::Refused { code: code::UNKNOWN_BATCH }];
        };
        batch.touched = now;
        match place.op {
            BatchOp::End => self.end(place.batch),
            BatchOp::Ping if place.seq > batch.last => self.end(place.batch),
            // As measured: a ping brings the last due acknowledgement back, it does not make a new one due.
            BatchOp::Ping => vec![Reply::BatchAck { seq: batch.acked, msgs: place.flow }],
            _ if place.seq != batch.last + 1 => self.end(place.batch),
            _ if self.refuse > 0 => {
                self.refuse -= 1;
                self.end(place.batch)
            }
            BatchOp::Store | BatchOp::Commit => self.store_in_batch(now, message, place),
        }
    }

    fn store_in_batch(&mut self, now: Micros, message: &Publish, place: BatchPlace) -> Vec<Reply> {
        let known = self.known(now, message);
        let seq = match known {
            Some(seq) => seq,
            None => self.store(now, message),
        };
        let Some(batch) = self.batches.get_mut(&place.batch) else { return Vec::new() };
        batch.last = place.seq;
        batch.stream_seq = seq;
        if place.op == BatchOp::Commit {
            let duplicate = known.is_some() && place.seq == 1;
            self.batches.remove(&place.batch);
            return vec![Reply::BatchEnd { count: place.seq, seq, duplicate }];
        }
        let mut replies = Vec::new();
        if place.seq == 1 {
            replies.push(Reply::BatchAck { seq: 0, msgs: place.flow });
        }
        if batch.last - batch.acked >= place.flow {
            batch.acked = batch.last;
            replies.push(Reply::BatchAck { seq: batch.last, msgs: place.flow });
        }
        replies
    }

    fn end(&mut self, batch: u64) -> Vec<Reply> {
        let ended = self.batches.remove(&batch);
        ended
            .into_iter()
            .map(|batch| Reply::BatchEnd { count: batch.last, seq: batch.stream_seq, duplicate: false })
            .collect()
    }

    fn unexpected(&self, message: &Publish) -> bool {
        let of_subject = || self.last_of(message.subject).map_or(0, |(seq, _)| seq);
        message.expected_last.is_some_and(|expected| expected != self.last_seq())
            || message.expected_of_subject.is_some_and(|expected| expected != of_subject())
    }

    fn known(&self, now: Micros, message: &Publish) -> Option<u64> {
        let (at, seq) = self.ids.get(message.msg_id.as_ref()?)?;
        (now - at <= self.config.duplicate_window).then_some(*seq)
    }

    fn store(&mut self, now: Micros, message: &Publish) -> u64 {
        self.log.push(Stored { subject: message.subject, payload: message.payload.clone() });
        let seq = self.last_seq();
        if let Some(id) = &message.msg_id {
            self.ids.insert(id.clone(), (now, seq));
        }
        seq
    }
}
