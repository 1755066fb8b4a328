//! The times of a record as it comes in: when it was received, and a stand-in where the venue's own cannot be right.
//! Pure.

use crate::market::TradeMsg;

/// No trade that a venue sends is older than the first block of the first of these coins, nanoseconds since the Unix
/// epoch: 2009-01-03.
const EARLIEST_NS: u64 = 1_230_940_800_000_000_000;
/// Clocks differ, but not by more than a day.
const AHEAD_MAX_NS: u64 = 86_400_000_000_000;

/// Puts the receive time in, also in place of a venue time that cannot be right: zero, of another unit, days ahead.
/// Whether the venue's time could stay; [`TradeMsg::has_venue_time`] tells it from then on.
pub fn stamp(msg: &mut TradeMsg, recv: u64) -> bool {
    msg.ts_recv = recv;
    let possible = (EARLIEST_NS..=recv.saturating_add(AHEAD_MAX_NS)).contains(&msg.ts_event);
    if !possible {
        msg.ts_event = recv;
    }
    possible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_right_is_replaced_and_known_as_such() {
        const RECV: u64 = 1_731_000_000_000_000_000;
        let at = |ts_event| TradeMsg { ts_event, ..bytemuck::Zeroable::zeroed() };
        for right in [EARLIEST_NS, RECV - 5, RECV + 5, RECV + AHEAD_MAX_NS] {
            let mut msg = at(right);
            assert!(stamp(&mut msg, RECV) && msg.has_venue_time());
            assert_eq!((msg.ts_event, msg.ts_recv), (right, RECV));
        }
        for wrong in [0, RECV / 1_000_000_000, RECV / 1_000, RECV + AHEAD_MAX_NS + 1, u64::MAX] {
            let mut msg = at(wrong);
            assert!(!stamp(&mut msg, RECV) && !msg.has_venue_time());
            assert_eq!((msg.ts_event, msg.ts_recv), (RECV, RECV));
        }
    }
}
