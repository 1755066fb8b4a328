//! Loaded into the daemon by `LD_PRELOAD`: its wall clock stands off the host's by as many nanoseconds as the first
//! eight bytes of the file say that `STEPPED_CLOCK` names. Every other clock is left as it is.
//!
//! No part of the suite's own program: `tests/chaos/clock.rs` compiles it when a row needs it.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

const CLOCK_REALTIME: c_int = 0;
const SECOND: i64 = 1_000_000_000;
/// The next definition of a symbol, behind this library's own.
const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;
const PROT_READ: c_int = 1;
const MAP_SHARED: c_int = 1;

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

type ClockGettime = unsafe extern "C" fn(c_int, *mut Timespec) -> c_int;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn mmap(at: *mut c_void, length: usize, protection: c_int, flags: c_int, file: c_int, offset: i64) -> *mut c_void;
}

/// How far the wall clock stands off, nanoseconds: in memory that the test writes to.
fn step() -> i64 {
    static STEP: OnceLock<Option<&'static AtomicI64>> = OnceLock::new();
    let step = STEP.get_or_init(|| {
        let file = std::fs::File::open(std::env::var_os("STEPPED_CLOCK")?).ok()?;
        // SAFETY: eight bytes of a file that the test made that long, mapped for the life of the process.
        let at = unsafe { mmap(std::ptr::null_mut(), 8, PROT_READ, MAP_SHARED, file.as_raw_fd(), 0) };
        // SAFETY: a mapping begins on a page, so it is aligned; it is never taken away.
        (at as isize != -1).then(|| unsafe { &*at.cast::<AtomicI64>() })
    });
    step.map_or(0, |step| step.load(Relaxed))
}

/// `clock_gettime`, in front of the C library's.
///
/// # Safety
/// As `clock_gettime`: `time` points to a `timespec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    static REAL: OnceLock<ClockGettime> = OnceLock::new();
    // SAFETY: the C library's function of this name has this signature.
    let real = REAL.get_or_init(|| unsafe {
        std::mem::transmute::<*mut c_void, ClockGettime>(dlsym(RTLD_NEXT, c"clock_gettime".as_ptr()))
    });
    // SAFETY: handed on as it came.
    let result = unsafe { real(clock, time) };
    if clock == CLOCK_REALTIME && result == 0 {
        // SAFETY: the call has just written it.
        let time = unsafe { &mut *time };
        let total = time.seconds * SECOND + time.nanoseconds + step();
        (time.seconds, time.nanoseconds) = (total.div_euclid(SECOND), total.rem_euclid(SECOND));
    }
    result
}
