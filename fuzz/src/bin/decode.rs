//! Frames of the venue that `FUZZ_VENUE` names.

#![no_main]

use std::sync::LazyLock;

use data_manager::exchange::Exchange;
use data_manager_fuzz::decode;

static VENUE: LazyLock<&'static dyn Exchange> = LazyLock::new(decode::venue);

libfuzzer_sys::fuzz_target!(|data: &[u8]| decode::run(*VENUE, data));
