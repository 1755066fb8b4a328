//! The rows of the fault matrix: what each injects and what must hold. The suite, its report and the check of
//! docs/reliability.md read this one table.

/// A row: its id, the test's name, what is injected, what must hold.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    /// Empty: no test of this suite; the text says what there is instead.
    pub(crate) test: &'static str,
    pub(crate) inject: &'static str,
    pub(crate) hold: &'static str,
}

const fn row(id: &'static str, test: &'static str, inject: &'static str, hold: &'static str) -> Row {
    Row { id, test, inject, hold }
}

/// In the order of the documentation.
pub(crate) const ROWS: [Row; 44] = [
    row("X01", "x01_silent_stall", "silent stall: sockets open, pings answered, no data", "replaced; nothing lost"),
    row("X02", "x02_half_open", "half-open sockets; a line that is dead one way", "replaced; nothing lost"),
    row("X03", "x03_closes", "close codes 1000 to 4000, RST, FIN without a close frame", "back, with backoff; whole"),
    row(
        "X04",
        "x04_refused_upgrades",
        "429, 403, 418, 451, 503; no DNS, expired certificate, mute TLS",
        "others go on",
    ),
    row("X05", "x05_malformed", "nine kinds of broken frames, garbage, huge frames", "counted, fetched anew; whole"),
    row("X06", "x06_doubles", "doubles in a session, replay of the last 1,000", "each id once; doubles counted"),
    row("X07", "x07_ids", "late trades, skipped ids, one id with two payloads, ids that restart", "exact gaps; whole"),
    row("X08", "x08_rotations", "the venue's notice and its close, again and again", "no gap, nothing lost"),
    row("X09", "x09_burst", "100 times the rate on every venue at once", "nothing lost; queues within bounds"),
    row("X10", "x10_all_venues_drop", "every connection of every venue is reset at once", "back within limits; whole"),
    row(
        "X11",
        "x11_subscribes",
        "a symbol refused; acks missing, late or of another symbol",
        "told; others flow; whole",
    ),
    row("X12", "x12_slow_lines", "a few bytes at a time; jitter; lines A and B out of step", "in order; whole"),
    row(
        "X13",
        "x13_venue_times",
        "venue times of zero, the future, seconds, microseconds",
        "no impossible time stored",
    ),
    row("B01", "b01_kill_broker", "kill -9 of the broker, back after 0.1 s and 3 s", "whole"),
    row("B02", "b02_orderly_ends", "SIGTERM, lame duck, configuration reload", "whole"),
    row("B03", "b03_stream_deleted", "the stream is deleted under load", "told, made anew; whole from there on"),
    row("B04", "b04_stream_purged", "the stream is purged, and rolls by its limits", "goes on; no false gap"),
    row("B05", "b05_disk_full", "the broker's file system is full, then has room again", "told, held back; whole"),
    row(
        "B06",
        "b06_limits",
        "a full stream that refuses; max_payload lowered at run time",
        "told, waited for, split; whole",
    ),
    row("B07", "b07_rights", "publish right withdrawn, password changed, certificate changed", "told; whole"),
    row("B08", "b08_slow_acks", "a stopped server for 1 s and 6 s; acks that never come", "few resent; whole"),
    row("B09", "b09_partition", "no packet either way, longer than the duplicate window", "whole"),
    row("B10", "b10_bad_line", "resets in mid-message, slices, 100 KB/s", "whole"),
    row("B11", "b11_cluster", "R3: leader killed, steps down, two of three down, peer removed", "whole"),
    row(
        "B12",
        "b12_power_loss",
        "kill -9 and a store from seconds ago; with and without retention",
        "whole; or declared",
    ),
    row(
        "B13",
        "b13_bit_flip",
        "one bit of a stored block flipped while the broker is down",
        "`verify` tells each loss",
    ),
    row("B14", "b14_duplicate_window", "outages longer than a duplicate window of 100 ms", "no double, by sequence"),
    row(
        "B15",
        "b15_second_writer",
        "a second daemon on the stream, without and with pair mode",
        "whole; one publishes",
    ),
    row("D01", "d01_kill_daemon", "kill -9 of the daemon at random moments", "whole, by the venues' history"),
    row(
        "D02",
        "d02_drain",
        "SIGTERM under load; SIGTERM while the broker is away",
        "exit 0; else 1 with a count; whole",
    ),
    row("D03", "d03_signals", "a second SIGTERM while it drains", "leaves at once; whole after the next start"),
    row("D04", "d04_clock", "clocks of venues and host step, by an hour and less", "no connection replaced; whole"),
    row("D05", "d05_starved", "SIGSTOP, a tenth of a CPU, little memory, 64 open files", "whole; never silent"),
    row("D06", "d06_crash", "SIGABRT, as a panic in the publisher ends it", "whole after the restart"),
    row(
        "D07",
        "d07_configuration",
        "wrong keys and values; secrets missing, unreadable, in use",
        "exit 78; no secret told",
    ),
    row(
        "S01",
        "s01_slow_reader",
        "a reader that is lapped once and many times",
        "`Lagged` is exact; the stream is whole",
    ),
    row("S02", "s02_no_room", "shared memory that is too small for the ring", "refused at start; no SIGBUS"),
    row("S03", "s03_writer_killed", "kill -9 of the writer, and its next life", "noticed, followed; no torn record"),
    row(
        "S04",
        "s04_readers_come_and_go",
        "64 readers attach and detach; a reader is killed",
        "no effect on the writer",
    ),
    row(
        "S05",
        "s05_bad_segments",
        "segments removed, cut off, of another magic, version, size",
        "typed errors; no SIGBUS",
    ),
    row("S06", "", "weak memory", "not run here: it is for loom, Miri and TSan, not for a running daemon"),
    row("K01", "kill_broker_loop", "kill -9 of the broker, again and again", "whole"),
    row("K02", "kill_daemon_loop", "kill -9 of the daemon, again and again", "whole, by the venues' history"),
    row("M01", "mixed", "faults of every family by chance, for a long time", "nothing lost without a gap"),
];
