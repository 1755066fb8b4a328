//! Files that are no ring, or not all of one: each is refused with the daemon's own words, and none by a signal.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use data_manager::transport::ipc::{OpenError, Reader, layout};

use crate::kit::{Dump, Probe, Ring, programs, run};

/// What the daemon's own reader says of a file.
fn verdict(path: &Path) -> String {
    match Reader::open(path) {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The bytes of a real segment.
fn segment() -> Vec<u8> {
    let mut ring = Ring::new(64);
    ring.write(10);
    ring.close();
    fs::read(ring.path()).unwrap()
}

#[test]
fn what_is_no_ring_is_refused_in_the_daemons_words() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let good = segment();
    let patched = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let half = layout::HEADER_BYTES / 2;
    fs::write(path("empty"), []).unwrap();
    fs::write(path("short"), &good[..half]).unwrap();
    fs::write(path("header-alone"), &good[..layout::HEADER_BYTES]).unwrap();
    fs::write(path("truncated"), &good[..good.len() - 1]).unwrap();
    fs::write(path("foreign"), vec![b'x'; 10_000]).unwrap();
    fs::write(path("zeros"), vec![0; 10_000]).unwrap();
    fs::write(path("other-version"), patched(8, &[2])).unwrap();
    fs::write(path("magic-of-another"), patched(7, &[2])).unwrap();
    fs::write(path("huge"), patched(24, &(1_u64 << 30).to_le_bytes())).unwrap();
    fs::write(path("beyond"), patched(96, &(u64::MAX - 63).to_le_bytes())).unwrap();
    fs::write(path("no-text"), patched(48, &[0xff])).unwrap();
    fs::write(path("no-name"), patched(48, &[0; 32])).unwrap();
    fs::create_dir(path("directory")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    fs::write(path("good"), &good).unwrap();
    symlink(path("good"), path("link")).unwrap();
    let names = [
        "missing",
        "empty",
        "short",
        "header-alone",
        "truncated",
        "foreign",
        "zeros",
        "other-version",
        "magic-of-another",
        "huge",
        "beyond",
        "no-text",
        "no-name",
        "directory",
        "pipe",
        "link",
    ];
    for programs in programs() {
        for name in names {
            let path = path(name);
            let done = Dump::start(programs, &["--oldest", path.to_str().unwrap()]).end();
            assert_eq!((done.code, done.out.len()), (Some(1), 0), "{}, {name}: {}", programs.name, done.err);
            let expected = verdict(&path);
            assert_ne!(expected, "ok");
            assert_eq!(done.err, format!("dump: {expected}\n"), "{}", programs.name);
        }
        let good = path("good");
        let done = Dump::start(programs, &["--oldest", "--raw", "--count", "10", good.to_str().unwrap()]).end();
        assert_eq!((done.code, done.out.len(), done.err.as_str()), (Some(0), 480, ""), "the file that was spoiled");
    }
}

#[test]
fn what_may_not_be_read_is_told_with_the_cure() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, segment()).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    // The programs of the build may lie where only their owner gets.
    let program = directory.path().join("dump");
    fs::copy(&programs()[0].dump, &program).unwrap();
    let mut command = Command::new(&program);
    command.arg(&path);
    if rustix::process::geteuid().is_root() {
        // Nothing is forbidden to root; to nobody it is.
        command.uid(65_534).gid(65_534);
    }
    let done = run(&mut command);
    let expected = OpenError::Permission { path };
    assert_eq!((done.code, done.err), (Some(1), format!("dump: {expected}\n")));
}

#[test]
fn any_header_is_judged_as_the_daemon_judges_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let good = segment();
    let mut random = fastrand::Rng::with_seed(11);
    let mut probes: Vec<Probe> = programs().iter().map(Probe::idle).collect();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..1_500 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..4) {
            // The fixed part, and now and then the words that change.
            let range = if random.u8(..4) == 0 { 8..layout::AT_WAITING } else { 24..layout::AT_HEAD };
            let at = random.usize(range);
            bytes[at] = match random.u8(..4) {
                0 => random.u8(..),
                1 => bytes[at] ^ (1 << random.u8(..8)),
                2 => u8::MAX,
                _ => 0,
            };
        }
        fs::write(&path, bytes).unwrap();
        let expected = verdict(&path);
        *(if expected == "ok" { &mut taken } else { &mut refused }) += 1;
        for probe in &mut probes {
            assert_eq!(probe.ask(&format!("open {}", path.display())), expected);
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused: one of them was hardly tried");
    probes.into_iter().for_each(Probe::end);
}
