//! Publish policies that are known to be bad, kept as negative controls: a simulator that no longer catches them is
//! itself broken.
//!
//! All three keep a window of messages in flight, time acknowledgements out, and come back after a broken connection.
//! None asks the stream what it holds, and none lets the server refuse what comes after a hole.

use std::collections::VecDeque;

use crate::broker::{Micros, Publish, Reply};
use crate::world::{Input, Output, Publisher};

/// Messages in flight.
const WINDOW: usize = 32;
/// An acknowledgement is waited for this long.
const ACK_TIMEOUT: Micros = 50_000;

/// A bad policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Each failed publish is sent again on its own.
    Retry,
    /// The same, with `Nats-Msg-Id`.
    RetryWithId,
    /// On any failure everything from the first unacknowledged message on is sent again, with `Nats-Msg-Id`.
    GoBackWithId,
}

/// A publisher with a bad policy.
#[derive(Debug)]
pub(crate) struct BadPublisher {
    policy: Policy,
    waiting: VecDeque<(u32, u64)>,
    flying: VecDeque<Flying>,
    connected: bool,
    replies: u64,
}

#[derive(Debug)]
struct Flying {
    subject: u32,
    id: u64,
    reply: u64,
    sent: Micros,
    acked: bool,
}

impl BadPublisher {
    /// A publisher with this policy.
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, waiting: VecDeque::new(), flying: VecDeque::new(), connected: false, replies: 0 }
    }

    fn send(&mut self, now: Micros, index: usize, out: &mut Vec<Output>) {
        self.replies += 1;
        let (policy, reply) = (self.policy, self.replies);
        let Some(flying) = self.flying.get_mut(index) else { return };
        flying.reply = reply;
        flying.sent = now;
        let with_id = policy != Policy::Retry;
        out.push(Output::Publish(Publish {
            subject: flying.subject,
            msg_id: with_id.then(|| format!("{}-{}", flying.subject, flying.id)),
            expected_last: None,
            expected_of_subject: None,
            batch: None,
            reply,
            payload: flying.id.to_le_bytes().to_vec(),
        }));
    }

    fn send_again(&mut self, now: Micros, from: usize, out: &mut Vec<Output>) {
        let indices: Vec<usize> = match self.policy {
            Policy::Retry | Policy::RetryWithId => vec![from],
            Policy::GoBackWithId => (from..self.flying.len()).collect(),
        };
        for index in indices {
            if !self.flying[index].acked {
                self.send(now, index, out);
            }
        }
    }

    fn fill(&mut self, now: Micros, out: &mut Vec<Output>) {
        while self.connected && self.flying.len() < WINDOW {
            let Some((subject, id)) = self.waiting.pop_front() else { break };
            self.flying.push_back(Flying { subject, id, reply: 0, sent: now, acked: false });
            self.send(now, self.flying.len() - 1, out);
        }
        if let Some(oldest) = self.flying.iter().map(|flying| flying.sent).min() {
            out.push(Output::WakeAt(oldest + ACK_TIMEOUT));
        }
    }
}

impl Publisher for BadPublisher {
    fn step(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Trade { subject, id, .. } => self.waiting.push_back((subject, id)),
            Input::Connected => {
                self.connected = true;
                for index in 0..self.flying.len() {
                    if !self.flying[index].acked {
                        self.send(now, index, out);
                    }
                }
            }
            Input::Disconnected => {
                self.connected = false;
                out.push(Output::Dial);
            }
            Input::Answer { reply, answer } => {
                let Some(index) = self.flying.iter().position(|flying| flying.reply == reply) else { return };
                match answer {
                    Reply::Stored { .. } => self.flying[index].acked = true,
                    _ => self.send_again(now, index, out),
                }
                while self.flying.front().is_some_and(|flying| flying.acked) {
                    self.flying.pop_front();
                }
            }
            Input::Wake => {
                let late = self.flying.iter().position(|flying| !flying.acked && now >= flying.sent + ACK_TIMEOUT);
                if let (Some(index), true) = (late, self.connected) {
                    self.send_again(now, index, out);
                }
            }
            Input::Stream { .. } | Input::Tail { .. } | Input::Places(_) => {}
        }
        self.fill(now, out);
    }

    fn idle(&self) -> bool {
        self.waiting.is_empty() && self.flying.is_empty()
    }
}
