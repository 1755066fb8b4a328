//! What a durable consumer delivers, put back into the stream's order, each message once. Pure.
//!
//! A server delivers in order, until something was delivered in vain: to a process that was killed, into a connection
//! that was lost, or with an acknowledgement that never came. Those messages come again after `ack_wait`, behind newer
//! ones. Each delivery carries the consumer's own number, one higher than the delivery before, so deliveries that went
//! elsewhere show as a jump in it. From then on messages are held until the consumer says that it waits for the
//! acknowledgement of nothing that has not arrived here.

use std::collections::BTreeMap;

/// What the consumer says of itself, and its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Number of its last delivery.
    pub(super) delivered: u64,
    /// Everything up to this stream sequence is acknowledged.
    pub(super) floor: u64,
    /// Messages delivered and not acknowledged.
    pub(super) pending: u64,
    /// The oldest sequence that the stream still has; 0 where that is not known.
    pub(super) first: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It will be handed out.
    New,
    /// It was handed out, or waits here already.
    Again,
    /// It was never here, and a later one was handed out: it can only be told.
    Late,
}

/// Messages on their way to the caller.
#[derive(Debug)]
pub(super) struct Order<M> {
    /// Stream sequence of the last message that was handed out, or that the caller has from an earlier life.
    last: u64,
    /// Everything up to this sequence is acknowledged by us, or was had by the caller when this began.
    acknowledged: u64,
    /// Number of the last delivery that arrived here.
    delivered: u64,
    /// What was handed out up to here may come again, as from a consumer that was made anew.
    handed: u64,
    /// What has arrived and is not handed out, by stream sequence.
    held: BTreeMap<u64, M>,
    /// What has arrived and is not acknowledged: stream sequence, and the number of its first delivery here.
    arrived: BTreeMap<u64, u64>,
    /// Whether something that was delivered elsewhere may have to come in between.
    doubt: bool,
}

impl<M> Order<M> {
    /// Nothing has arrived; the caller has everything up to `last`.
    pub(super) const fn new(last: u64) -> Self {
        Self {
            last,
            acknowledged: last,
            delivered: 0,
            handed: 0,
            held: BTreeMap::new(),
            arrived: BTreeMap::new(),
            doubt: true,
        }
    }

    /// The caller has, or gets in another way, everything up to here, as if it had been acknowledged.
    pub(super) fn advance(&mut self, sequence: u64) {
        self.last = self.last.max(sequence);
        self.held = self.held.split_off(&(sequence + 1));
        self.acknowledge(sequence);
    }

    /// The consumer was made anew: what it delivered before counts no more, and what was handed out may come again.
    pub(super) fn renew(&mut self) {
        self.handed = self.last;
        self.delivered = 0;
        self.held.clear();
        self.arrived.clear();
    }

    /// A connection begins: what was on its way over an earlier one will come again.
    pub(super) fn begin(&mut self, standing: Standing) {
        self.delivered = standing.delivered;
        self.doubt = true;
        self.settle(standing, false);
    }

    /// Takes a delivery: a message's stream sequence, and the delivery's own number.
    pub(super) fn take(&mut self, sequence: u64, delivery: u64, message: M) -> Taken {
        if delivery > self.delivered + 1 {
            self.doubt = true;
        }
        self.delivered = self.delivered.max(delivery);
        let seen = self.arrived.contains_key(&sequence) || sequence <= self.acknowledged.max(self.handed);
        self.arrived.entry(sequence).or_insert(delivery);
        if seen {
            return Taken::Again;
        }
        if sequence <= self.last {
            return Taken::Late;
        }
        self.held.insert(sequence, message);
        Taken::New
    }

    /// Whether [`Self::settle`] has to be told how the consumer stands before anything is handed out.
    pub(super) const fn is_in_doubt(&self) -> bool {
        self.doubt
    }

    /// Ends a doubt if nothing is missing in what has arrived. `patient` says that the doubt has lasted longer than it
    /// takes for everything to be delivered again.
    pub(super) fn settle(&mut self, standing: Standing, patient: bool) {
        // What is acknowledged, or removed from the stream, is not waited for.
        let gone = standing.floor.max(standing.first.saturating_sub(1));
        self.arrived = self.arrived.split_off(&(gone + 1));
        if self.delivered < standing.delivered {
            return; // Deliveries are on their way.
        }
        let here = self.arrived.values().filter(|delivery| **delivery <= standing.delivered).count() as u64;
        // More than that are here where a message was removed from the middle of the stream.
        if here == standing.pending || patient && here > standing.pending {
            self.doubt = false;
        }
    }

    /// The next message in the stream's order.
    pub(super) fn next(&mut self) -> Option<M> {
        if self.doubt {
            return None;
        }
        let (sequence, message) = self.held.pop_first()?;
        self.last = sequence;
        Some(message)
    }

    /// Stream sequence of the last message that was handed out, or that the caller had before.
    pub(super) const fn reached(&self) -> u64 {
        self.last
    }

    /// Everything up to here is acknowledged.
    pub(super) const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Messages that wait here.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether a message is dealt with: acknowledged, or had by the caller when this began.
    pub(super) const fn is_acknowledged(&self, sequence: u64) -> bool {
        sequence <= self.acknowledged
    }

    /// Everything up to here is acknowledged.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        self.acknowledged = self.acknowledged.max(sequence);
        self.arrived = self.arrived.split_off(&(sequence + 1));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A consumer as a server keeps it: what it has delivered, and what is to come again.
    struct Consumer {
        stream: u64,
        next: u64,
        deliveries: u64,
        floor: u64,
        /// Delivered and not acknowledged, and whether it is to be delivered again.
        pending: BTreeMap<u64, bool>,
    }

    const MAX_PENDING: usize = 20;

    impl Consumer {
        fn new(stream: u64) -> Self {
            Self { stream, next: 1, deliveries: 0, floor: 0, pending: BTreeMap::new() }
        }

        fn standing(&self) -> Standing {
            Standing { delivered: self.deliveries, floor: self.floor, pending: self.pending.len() as u64, first: 1 }
        }

        /// The next delivery: what is to come again first, as servers do it.
        fn deliver(&mut self) -> Option<(u64, u64)> {
            let again = self.pending.iter().find(|(_, again)| **again).map(|(sequence, _)| *sequence);
            let sequence = again.or_else(|| {
                if self.pending.len() >= MAX_PENDING {
                    return None;
                }
                // Every third message is on another subject.
                while self.next <= self.stream && self.next.is_multiple_of(3) {
                    self.next += 1;
                }
                self.next += 1;
                (self.next <= self.stream + 1).then_some(self.next - 1)
            })?;
            self.deliveries += 1;
            self.pending.insert(sequence, false);
            Some((sequence, self.deliveries))
        }

        fn acknowledge(&mut self, sequence: u64) {
            self.floor = self.floor.max(sequence);
            self.pending = self.pending.split_off(&(self.floor + 1));
        }

        /// `ack_wait` is over for everything that is pending.
        fn time_out(&mut self) {
            self.pending.values_mut().for_each(|again| *again = true);
        }
    }

    #[test]
    fn whatever_is_delivered_in_vain_each_message_is_handed_out_once_in_order() {
        const MESSAGES: u64 = 120;
        for seed in 0..3_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut server = Consumer::new(MESSAGES);
            let mut kept = 0;
            let mut got = Vec::new();
            let mut order = Order::new(kept);
            order.begin(server.standing());
            for step in 0.. {
                assert!(step < 100_000, "seed {seed}: stuck at {kept}, {order:?}");
                match random.u32(0..100) {
                    // Into a connection that is lost, or to another process.
                    0..8 => drop(server.deliver()),
                    8..70 => {
                        if let Some((sequence, delivery)) = server.deliver() {
                            let taken = order.take(sequence, delivery, sequence);
                            assert_ne!(taken, Taken::Late, "seed {seed}: {sequence} behind {kept}");
                        }
                    }
                    // Rarely enough that what is pending is delivered between two of them.
                    70 => server.time_out(),
                    71..90 if order.is_in_doubt() => order.settle(server.standing(), false),
                    // The process is killed; what it had handed out is kept by the caller.
                    90 => {
                        order = Order::new(kept);
                        order.begin(server.standing());
                    }
                    91 => order.begin(server.standing()),
                    // The acknowledgement may be lost.
                    92..96 if kept > 0 => {
                        order.acknowledge(kept);
                        if random.bool() {
                            server.acknowledge(kept);
                        }
                    }
                    _ => {}
                }
                while let Some(sequence) = order.next() {
                    got.push(sequence);
                    kept = sequence;
                }
                if kept == MESSAGES - 1 {
                    break;
                }
            }
            let wanted: Vec<u64> = (1..MESSAGES).filter(|sequence| !sequence.is_multiple_of(3)).collect();
            assert_eq!(got, wanted, "seed {seed}");
        }
    }

    #[test]
    fn a_message_that_was_removed_is_not_waited_for() {
        let mut order = Order::new(0);
        order.begin(Standing { delivered: 2, floor: 0, pending: 2, first: 1 });
        assert_eq!(order.take(2, 3, 2), Taken::New);
        order.settle(Standing { delivered: 3, floor: 0, pending: 2, first: 1 }, false);
        assert_eq!(order.next(), None, "1 is to come");
        order.settle(Standing { delivered: 3, floor: 0, pending: 1, first: 2 }, false);
        assert_eq!(order.next(), Some(2));
    }

    #[test]
    fn what_comes_behind_younger_ones_is_told() {
        let mut order = Order::new(0);
        order.begin(Standing::default());
        order.take(5, 1, 5);
        assert_eq!(order.next(), Some(5));
        assert_eq!(order.take(4, 2, 4), Taken::Late);
        assert_eq!(order.take(5, 3, 5), Taken::Again);
    }
}
