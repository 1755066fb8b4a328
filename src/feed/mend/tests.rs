//! What reaches the broker while holes are repaired, in time, late, or never.

use super::*;
use crate::market::GapStrength;
use crate::telemetry::clock;

const HOLD: Duration = Duration::from_secs(5);

fn trade(id: u64, flags: u8) -> Record {
    let msg = TradeMsg { trade_id: id, ts_event: id * 1_000, flags, kind: 1, ..bytemuck::Zeroable::zeroed() };
    Record::Trade(msg)
}

fn gap(first_id: u64, last_id: u64, flags: u8) -> Record {
    Record::Gap(GapMsg {
        first_id,
        last_id,
        missing: last_id - first_id + 1,
        strength: GapStrength::Proved as u8,
        reason: GapReason::VenueDisconnect as u8,
        flags,
        kind: 2,
        ..bytemuck::Zeroable::zeroed()
    })
}

fn said(out: &Out) -> String {
    let part = |(route, record): &(u32, Record)| match record {
        Record::Trade(msg) if msg.flag_set().has(Flags::AFTER_GAP) => format!("{route}:{}!", msg.trade_id),
        Record::Trade(msg) if msg.flag_set().has(Flags::BACKFILLED) => format!("{route}:{}b", msg.trade_id),
        Record::Trade(msg) => format!("{route}:{}", msg.trade_id),
        Record::Gap(gap) if gap.flags != 0 => format!("{route}:filled {}-{}", gap.first_id, gap.last_id),
        Record::Gap(gap) => format!("{route}:gap {}-{}({})", gap.first_id, gap.last_id, gap.missing),
    };
    out.iter().map(part).collect::<Vec<_>>().join(" ")
}

struct Scene {
    mender: Mender,
    now: Instant,
}

fn scene(bound: usize) -> Scene {
    Scene { mender: Mender::new(HOLD, bound, vec![true, true, false]), now: clock::now() }
}

impl Scene {
    fn take(&mut self, records: &[(u32, Record)]) -> String {
        let mut out = Out::new();
        for (route, record) in records {
            match self.mender.passes(*route, record) {
                true => out.push((*route, *record)),
                false => self.mender.take(self.now, *route, *record, &mut out),
            }
        }
        said(&out)
    }

    fn wait(&mut self, time: Duration) -> String {
        self.now += time;
        let mut out = Out::new();
        self.mender.poll(self.now, &mut out);
        said(&out)
    }
}

#[test]
fn a_hole_that_is_filled_in_time_leaves_no_trace_but_the_flag() {
    let mut scene = scene(1 << 20);
    assert_eq!(
        scene.take(&[(0, trade(1, 0)), (0, gap(2, 3, 0)), (0, trade(4, Flags::AFTER_GAP)), (1, trade(9, 0))]),
        "0:1 1:9"
    );
    assert_eq!(scene.take(&[(0, trade(2, Flags::BACKFILLED)), (0, trade(3, Flags::BACKFILLED)), (0, trade(5, 0))]), "");
    assert_eq!(scene.take(&[(0, gap(2, 3, Flags::BACKFILLED))]), "0:2b 0:3b 0:4 0:5");
    assert_eq!(scene.take(&[(0, trade(6, 0))]), "0:6");
    let stats = scene.mender.stats();
    assert_eq!((stats.waiting, stats.bytes, stats.mended, stats.overdue), (0, 0, 1, 0));
}

#[test]
fn past_its_time_the_rest_is_declared_and_what_was_found_stands_in_order() {
    let mut scene = scene(1 << 20);
    scene.take(&[(0, gap(2, 6, 0)), (0, trade(7, Flags::AFTER_GAP))]);
    scene.take(&[(0, trade(2, Flags::BACKFILLED)), (0, trade(5, Flags::BACKFILLED))]);
    assert_eq!(scene.wait(HOLD - Duration::from_millis(1)), "");
    assert_eq!(scene.wait(Duration::from_millis(1)), "0:2b 0:gap 3-6(4) 0:5b 0:7!");
    // The late filling still lands.
    let late = [(0, trade(3, Flags::BACKFILLED)), (0, gap(2, 6, Flags::BACKFILLED)), (0, trade(8, 0))];
    assert_eq!(scene.take(&late), "0:3b 0:filled 2-6 0:8");
    assert_eq!(scene.mender.stats().overdue, 1);
}

#[test]
fn two_holes_of_a_symbol_go_out_in_order_whichever_is_filled_first() {
    let mut scene = scene(1 << 20);
    scene.take(&[
        (0, gap(2, 2, 0)),
        (0, trade(3, Flags::AFTER_GAP)),
        (0, gap(4, 4, 0)),
        (0, trade(5, Flags::AFTER_GAP)),
    ]);
    assert_eq!(scene.take(&[(0, trade(4, Flags::BACKFILLED)), (0, gap(4, 4, Flags::BACKFILLED))]), "");
    let filled = scene.take(&[(0, trade(2, Flags::BACKFILLED)), (0, gap(2, 2, Flags::BACKFILLED))]);
    assert_eq!(filled, "0:2b 0:3 0:4b 0:5");
}

#[test]
fn what_the_other_connection_brings_late_fills_the_hole_too() {
    let mut scene = scene(1 << 20);
    scene.take(&[(0, gap(2, 2, 0)), (0, trade(3, Flags::AFTER_GAP))]);
    assert_eq!(scene.take(&[(0, trade(2, 0)), (0, gap(2, 2, Flags::BACKFILLED))]), "0:2 0:3");
}

#[test]
fn a_repair_that_fails_is_not_waited_for() {
    let mut scene = scene(1 << 20);
    scene.take(&[(0, gap(2, 2, 0)), (0, trade(3, Flags::AFTER_GAP)), (1, gap(5, 5, 0))]);
    let (mut out, Record::Gap(failed)) = (Out::new(), gap(2, 2, 0)) else { panic!("no gap") };
    scene.mender.give_up(scene.now, 0, &failed, &mut out);
    assert_eq!(said(&out), "0:gap 2-2(1) 0:3!");
    assert_eq!(scene.mender.poll_at(), Some(scene.now + HOLD));
}

#[test]
fn the_bound_in_bytes_declares_the_oldest_hole_first() {
    let mut scene = scene(size_of::<Item>() * 4);
    scene.take(&[(0, gap(2, 2, 0)), (0, trade(3, Flags::AFTER_GAP))]);
    scene.now += Duration::from_secs(1);
    scene.take(&[(1, gap(2, 2, 0)), (1, trade(3, Flags::AFTER_GAP))]);
    assert_eq!(scene.take(&[(1, trade(4, 0))]), "0:gap 2-2(1) 0:3!");
}

#[test]
fn what_cannot_be_repaired_is_declared_at_once() {
    let mut scene = scene(1 << 20);
    assert_eq!(scene.take(&[(2, gap(2, 3, 0)), (2, trade(4, Flags::AFTER_GAP))]), "2:gap 2-3(2) 2:4!");
    let Record::Gap(lost) = gap(2, 3, 0) else { panic!("no gap") };
    for other in [
        GapMsg { reason: GapReason::OutboxOverflow as u8, ..lost },
        GapMsg { strength: GapStrength::Possible as u8, first_id: 0, last_id: 0, ..lost },
    ] {
        let said = scene.take(&[(0, Record::Gap(other))]);
        assert!(said.starts_with("0:gap"), "{said}");
    }
}

#[test]
fn the_end_lets_everything_go() {
    let mut scene = scene(1 << 20);
    scene.take(&[
        (0, gap(2, 2, 0)),
        (0, trade(3, Flags::AFTER_GAP)),
        (0, gap(4, 4, 0)),
        (0, trade(5, Flags::AFTER_GAP)),
    ]);
    let mut out = Out::new();
    scene.mender.finish(&mut out);
    assert_eq!(said(&out), "0:gap 2-2(1) 0:3! 0:gap 4-4(1) 0:5!");
    assert_eq!((scene.mender.stats().waiting, scene.mender.poll_at()), (0, None));
}

#[test]
fn a_trade_of_a_venue_that_counts_anew_fills_no_hole_of_the_old_count() {
    let mut scene = scene(1 << 20);
    let unknown = Record::Gap(GapMsg {
        strength: GapStrength::Possible as u8,
        reason: GapReason::VenueDisconnect as u8,
        kind: 2,
        ..bytemuck::Zeroable::zeroed()
    });
    let anew = [1, 2, 3].map(|id| (0, trade(id, 0)));
    assert_eq!(scene.take(&[(0, gap(2, 3, 0)), (0, trade(4, 0)), (0, unknown)]), "");
    assert_eq!(scene.take(&anew), "");
    // What the history brings is of the old count still.
    assert_eq!(scene.take(&[(0, trade(2, Flags::BACKFILLED))]), "");
    assert_eq!(scene.wait(HOLD), "0:2b 0:gap 3-3(1) 0:4! 0:gap 0-0(0) 0:1 0:2 0:3");
    assert_eq!(scene.mender.stats().waiting, 0);
}

#[test]
fn a_filling_without_a_venue_time_does_not_turn_the_rest_of_its_gap_around() {
    let (mut scene, mut out) = (scene(1 << 20), Out::new());
    let Record::Gap(hole) = gap(2, 5, 0) else { panic!("no gap") };
    let hole = GapMsg { ts_start: 1_000, ts_end: 6_000, ..hole };
    let Record::Trade(late) = trade(2, Flags::BACKFILLED) else { panic!("no trade") };
    let late = TradeMsg { ts_event: 90_000, ts_recv: 90_000, ..late };
    assert_eq!(scene.take(&[(0, Record::Gap(hole)), (0, Record::Trade(late))]), "");
    scene.mender.poll(scene.now + HOLD, &mut out);
    assert_eq!(said(&out), "0:2b 0:gap 3-5(3)");
    assert!(matches!(out.last(), Some((_, Record::Gap(rest))) if (rest.ts_start, rest.ts_end) == (6_000, 6_000)));
}
