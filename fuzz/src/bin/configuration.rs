//! Layers of configuration.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| data_manager_fuzz::configuration::run(data));
