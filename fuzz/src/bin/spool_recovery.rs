//! A spool's directory in which anything may have happened.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| data_manager_fuzz::spool::run(data));
