//! Any bytes as a segment of the ring.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| data_manager_fuzz::segment::run(data));
