//! What needs a process or a file system of its own: kill, other users, a full disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::super::*;
use super::{config, create, directory, path, trade};
use crate::telemetry::clock;

#[test]
fn a_file_system_without_room_refuses_at_start() {
    let dir = directory();
    let mount = dir.path().join("small");
    fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&mount).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("not run: mounting a small tmpfs is not permitted here");
        return;
    }
    let unmount = Unmount(&mount);
    let error = Writer::create(&config(&mount, 4_096), []).unwrap_err();
    let CreateError::NoSpace { needed, free, .. } = &error else { panic!("{error}") };
    assert_eq!(*needed, 8_192 + 4_096 * 64);
    assert!(*free > 0 && *free <= 256 << 10);
    let text = error.to_string();
    assert!(text.contains("0.3 MiB") && text.contains("shm_size"), "{text}");
    assert!(!names::filling_path(&path(&mount)).exists());

    // Room for one of 2,048 slots, not for two: the one of a writer that is gone gives way.
    for n in 0..3 {
        let mut writer = create(&mount, 2_048);
        writer.push(&trade(n));
        let mut reader = Reader::open(&path(&mount)).unwrap();
        assert_eq!(reader.poll(), Next::Record(trade(n), 0));
    }
    drop(unmount);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// Tells a test that it is a child process, and in which directory it works.
const CHILD: &str = "DATA_MANAGER_TEST_CHILD";

/// This test program once more, to run one test of this file as a child.
fn child(test: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("transport::ipc::tests::process::{test}"), "--nocapture"]).env(CHILD, directory);
    command
}

/// What the child does: seven whole records, half of an eighth, then SIGKILL.
fn torn_writer(directory: &Path) -> ! {
    let mut writer = create(directory, 64);
    for n in 0..7 {
        writer.push(&trade(n));
    }
    writer.publish();
    writer.push_half(&trade(7));
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("killed")
}

#[test]
fn a_writer_killed_between_the_two_sequence_stores_leaves_no_torn_record() {
    if let Some(directory) = std::env::var_os(CHILD) {
        torn_writer(Path::new(&directory));
    }
    let dir = directory();
    let this = "a_writer_killed_between_the_two_sequence_stores_leaves_no_torn_record";
    let output = child(this, dir.path()).output().unwrap();
    assert_eq!(output.status.signal(), Some(9), "{output:?}");

    let mut reader = Reader::open(&path(dir.path())).unwrap();
    for n in 0..7 {
        assert_eq!(reader.poll(), Next::Record(trade(n), n));
    }
    assert_eq!(reader.poll(), Next::Empty);
    let start = clock::now();
    assert_eq!(reader.check(start, Duration::from_secs(1)), None);
    let gone = reader.check(start + Duration::from_secs(2), Duration::from_secs(1));
    assert_eq!(gone, Some(Gone::Silent { for_: Duration::from_secs(2) }));

    // The kernel has given the lock back: the next writer starts at once, in a new epoch.
    let mut writer = create(dir.path(), 64);
    writer.push(&trade(100));
    assert_eq!(reader.poll(), Next::Empty);
    assert_eq!(reader.check(start, Duration::from_secs(1)), Some(Gone::Replaced));
    assert_eq!(reader.reopen().unwrap(), Reopened::New { epoch: writer.epoch() });
    assert_eq!(reader.poll(), Next::Record(trade(100), 0));
}

#[test]
fn readers_that_come_and_go_leave_nothing_behind() {
    let dir = directory();
    let mut writer = create(dir.path(), 64);
    let open_files = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let maps = || fs::read_to_string("/proc/self/maps").unwrap().matches(dir.path().to_str().unwrap()).count();
    let (files_before, maps_before) = (open_files(), maps());
    for n in 0..200 {
        let mut readers: Vec<Reader> = (0..64).map(|_| Reader::open(&path(dir.path())).unwrap()).collect();
        writer.push(&trade(n));
        for reader in &mut readers {
            reader.from_newest();
            assert!(matches!(reader.poll(), Next::Record(..)));
        }
        writer.publish();
    }
    assert_eq!(maps(), maps_before);
    // Other tests of this process open files too, but not the 12,800 that were opened here.
    assert!(open_files() < files_before + 1_000);
}

#[test]
fn a_reader_of_another_user_needs_the_mode_to_let_it_in() {
    if let Some(directory) = std::env::var_os(CHILD) {
        let error = Reader::open(&path(Path::new(&directory))).unwrap_err();
        assert!(matches!(error, OpenError::Permission { .. }), "{error}");
        return;
    }
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let _writer = Writer::create(&WriterConfig { mode: 0o600, ..config(dir.path(), 64) }, []).unwrap();
    let mut command = child("a_reader_of_another_user_needs_the_mode_to_let_it_in", dir.path());
    // Only root can become somebody else.
    let output = match command.uid(65_534).gid(65_534).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("not run: this process cannot run the test as another user ({error})");
            return;
        }
    };
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}
