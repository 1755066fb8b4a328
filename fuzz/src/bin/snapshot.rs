//! Any bytes as a stream's snapshot.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| data_manager_fuzz::snapshot::run(data));
