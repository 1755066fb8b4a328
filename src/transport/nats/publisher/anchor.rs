//! What a publisher tells: where the stream ends, how it publishes, why it does not.

use std::collections::BTreeMap;

use super::inherited::At;
use super::{COMPLAIN_EVERY, Publisher};
use crate::market::{GapMsg, GapStrength, Record, SubjectKind, TradeMsg};
use crate::telemetry::clock;
use crate::topology::change::Change;
use crate::transport::nats::backlog::{Backlog, Origin, without};
use crate::transport::nats::link::Link;
use crate::transport::nats::past::{Past, in_time};
use crate::transport::nats::read::Outcome;
use crate::transport::nats::status::NatsState;
use crate::transport::nats::stream_manager::StreamReport;
use crate::transport::nats::window::{Stored, Tail};

/// Hears what the stream holds of each route, once, when it has been read for the first time and before anything is
/// sent. Gaps that follow from it are sent in front of all that waits.
pub type OnAnchor = Box<dyn FnMut(u32, Anchor<'_>) -> Option<GapMsg>>;

/// What the stream holds of an instrument when a publisher begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor<'a> {
    /// Its last trade: an earlier run came that far. Where the last message alone does not tell, the recent past too.
    Trade(&'a TradeMsg, Option<&'a Past>),
    /// It came at least as far as this trade; how far cannot be read.
    AtLeast(&'a TradeMsg),
    /// Another instance publishes, and has come this far.
    Followed(&'a TradeMsg),
    /// No trade, in a stream that never held anything.
    Fresh,
    /// No trade, in a stream that holds others or held some: those of an earlier run may have gone by its limits, and
    /// nobody knows how far that run came.
    Forgotten,
}

impl Publisher {
    /// The stream has been read, and it is this instance that publishes.
    pub(super) fn settled(&mut self, outcome: Outcome) {
        let Outcome { link, stored, stream, pasts } = outcome;
        let first = !self.announced.live;
        if !self.shared.window.borrow_mut().believes(clock::now(), &stored) {
            return;
        }
        self.announce(&link, &stored, &stream);
        if first {
            // What is stored is not ours to send: another instance's, or what a venue tells again at a subscription.
            self.shared.window.borrow_mut().follow(clock::now(), &in_time(&stored, &pasts));
        }
        self.shared.window.borrow_mut().on_reconciled(clock::now(), &stored);
        if first {
            self.anchor(&stored, &pasts);
        }
        {
            let mut status = self.shared.status.borrow_mut();
            status.mode = Some(stored.mode);
            status.server = link.server();
            status.rewinds += u64::from(!first);
            status.stream = Some(stream);
        }
        self.unless_draining(NatsState::Publishing);
        self.link = Some(link);
    }

    /// Tells what the stream holds, and declares what follows from it before anything newer is sent: were we to die in
    /// between, nobody would know of the hole any more.
    pub(super) fn anchor(&mut self, stored: &Stored, pasts: &BTreeMap<u32, Past>) {
        let mut anchors = Vec::new();
        for Tail { key, last } in stored.tails.iter().filter(|tail| tail.key.kind == SubjectKind::Trades) {
            let record = last.and_then(|last| Record::from_bytes(&last.record).ok());
            let past = pasts.get(&key.route);
            let youngest = match record {
                Some(Record::Trade(trade)) => Some(past.map_or(trade, |past| past.youngest(trade))),
                _ => None,
            };
            let newest = youngest.map(|trade| past.map_or(trade, |past| past.end(trade)));
            let unread = past.is_some_and(|past| past.unread);
            let at = match &youngest {
                Some(_) if unread => At::Unread,
                None if stored.last_seq > 0 => At::Forgotten,
                youngest => At::from(youngest.as_ref()),
            };
            let left = self.left_behind(key.route, youngest.as_ref());
            self.set_out(key.route, at, past, left.as_ref());
            let left = left.filter(|left| is_beyond(left, newest.as_ref()));
            anchors.push((key.route, unread, left, newest, past));
        }
        self.held_against();
        for (route, unread, left, newest, past) in anchors {
            let anchor = match (&left, &newest) {
                (_, Some(newest)) if unread => Anchor::AtLeast(newest),
                (Some(left), _) => Anchor::Trade(left, past),
                (None, Some(newest)) => Anchor::Trade(newest, past),
                (None, None) if stored.last_seq > 0 => Anchor::Forgotten,
                (None, None) => Anchor::Fresh,
            };
            if let Some(gap) = (self.on_anchor)(route, anchor) {
                self.shared.window.borrow_mut().declare(route, gap);
                if let Some(backlog) = self.shared.backlog.borrow_mut().as_mut() {
                    backlog.trails.told(route, &gap);
                }
            }
        }
        self.give_up_early();
    }

    /// The stream has been read of all routes: what waits here is held against it, before anything new comes.
    pub(super) fn held_against(&self) {
        // Gaps that are open are filled from the venue's history, so nothing that waits may fill them too.
        let ends = &self.ends;
        self.shared.window.borrow_mut().leave_out(clock::now(), |route, record| ends.has_passed(route, record));
        if let Some(backlog) = self.shared.backlog.borrow_mut().as_mut() {
            backlog.anchored();
        }
    }

    /// Declares what the disk gave up before the stream had been read.
    pub(super) fn give_up_early(&mut self) {
        for gap in self.ends.known() {
            // Whatever it holds is older than the stream's end, or was left by an earlier run.
            self.given_up(Origin::Inherited, &gap);
        }
    }

    /// A route goes on behind what the stream holds of it, and misses what the stream declares: as far as it was read.
    pub(super) fn set_out(&mut self, route: u32, at: At, past: Option<&Past>, left: Option<&TradeMsg>) {
        let open = past.map(|past| past.open.as_slice()).unwrap_or_default();
        self.ends.set(route, at, open, left);
        let between = past.map(|past| self.between(route, at, past, left)).unwrap_or_default();
        if let Some(Backlog { trails, .. }) = self.shared.backlog.borrow_mut().as_mut() {
            if let At::Trade(id, ts) = at {
                trails.begin(route, (id, ts));
            }
            open.iter().chain(&between).for_each(|gap| trails.told(route, gap));
        }
        self.shared.declare(route, between);
    }

    /// What is missing in front of gaps that the stream declares ahead of it, and does not wait here.
    fn between(&self, route: u32, at: At, past: &Past, left: Option<&TradeMsg>) -> Vec<GapMsg> {
        let At::Trade(id, ts) = at else { return Vec::new() };
        let reach = left.map_or((id, ts), |left| (id.max(left.trade_id), ts.max(left.ts_event)));
        let missing = past.between(reach);
        if missing.is_empty() {
            return missing;
        }
        let waits = self.shared.window.borrow().waiting(route);
        let held: Vec<(u64, u64)> = waits.iter().map(|ids| (ids.first, ids.last)).collect();
        // What this run put to disk is not known yet: it may be there. Of a row for several fills so may the first one.
        let unknown = self.shared.spooled() > 0;
        let frames = waits.is_some_and(|ids| !ids.certain);
        let rest = |gap: &GapMsg| -> Vec<GapMsg> {
            let part = |(first, last)| match gap.part(first, last) {
                part if unknown => part.possible(),
                part if frames => GapMsg { strength: GapStrength::FramesLost as u8, ..part },
                part => part,
            };
            without(&held, gap.first_id, gap.last_id).into_iter().map(part).collect()
        };
        missing.iter().flat_map(rest).collect()
    }

    /// What an earlier run left on disk of an instrument, if that goes beyond what the stream holds.
    pub(super) fn left_behind(&self, route: u32, newest: Option<&TradeMsg>) -> Option<TradeMsg> {
        let id = self.universe.get(route as usize)?.id;
        let left = self.shared.backlog.borrow().as_ref()?.left_behind(id).copied()?;
        is_beyond(&left, newest).then_some(left)
    }

    pub(super) fn announce(&mut self, link: &Link, stored: &Stored, stream: &StreamReport) {
        let server = link.server();
        let name = self.stream().to_owned();
        if stream.created_now {
            let limit = stream.messages_per_subject;
            tracing::info!(stream = %name, replicas = stream.replicas, messages_per_subject = limit, "stream created");
        }
        let differences: Vec<String> = stream.differences.iter().map(Change::as_found).collect();
        if differences != self.announced.differences {
            for difference in &differences {
                tracing::warn!(stream = %name, "the stream differs and is left alone: {difference}");
            }
            self.announced.differences = differences;
        }
        if self.announced.mode != Some(stored.mode) {
            self.announced.mode = Some(stored.mode);
            let (mode, guarantee) = (stored.mode.as_str(), stored.mode.guarantee());
            tracing::info!(%server, stream = %name, mode, guarantee, "publishing");
        }
        self.announced.live = true;
    }

    /// Says why nothing is published: each reason when it comes up, the same one now and then.
    pub(super) fn complain(&mut self, text: &str) {
        let now = clock::now();
        let known = self.complained.as_ref().filter(|(last, _)| last == text);
        if known.is_none_or(|(_, at)| now.saturating_duration_since(*at) >= COMPLAIN_EVERY) {
            let waiting = self.shared.window.borrow().stats().waiting;
            tracing::warn!(stream = self.stream(), err = text, waiting, "cannot publish, trying again");
            self.complained = Some((text.to_owned(), now));
            self.announced.trouble = true;
        }
        text.clone_into(&mut self.shared.status.borrow_mut().last_error);
    }
}

fn is_beyond(left: &TradeMsg, end: Option<&TradeMsg>) -> bool {
    end.is_none_or(|end| left.trade_id > end.trade_id || left.ts_event > end.ts_event)
}
