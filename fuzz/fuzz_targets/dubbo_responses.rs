//! No response makes the codec panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_codec::Direction;
use meltemi_codec::dubbo::Dubbo;

fuzz_target!(|bytes: &[u8]| meltemi_fuzz::use_all(&Dubbo::new(), Direction::Response, bytes));
