#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::sv2_frame::run(data));
