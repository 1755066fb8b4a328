//! Asking a silent connection for a sign of life: a network that drops everything looks like a venue with nothing to
//! say.

use std::time::{Duration, Instant};

use super::{Action, ConnId, Link, Session};

/// A connection on which nothing was heard for this long is pinged, and has this long to answer.
const PROBE_AFTER: Duration = Duration::from_secs(5);
const PROBE_WITHIN: Duration = Duration::from_secs(4);

impl Session {
    pub(super) fn probe(&mut self, now: Instant, conn: ConnId, out: &mut Vec<Action>) {
        let Some(link) = self.link(conn).filter(|link| link.probed.is_none() && probe_at(link) <= now) else { return };
        // It counts as a message, and is too rare to wait for its turn.
        let _ = link.pace.take(now);
        link.probed = Some(now + PROBE_WITHIN);
        out.push(Action::Ping(conn));
    }
}

/// When a connection is to be asked for a sign of life, or has to have given one.
pub(super) fn probe_at(link: &Link) -> Instant {
    link.probed.unwrap_or(link.heard + PROBE_AFTER)
}
