//! No response makes the codec panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_codec::Direction;
use meltemi_codec::thrift::Thrift;

fuzz_target!(|bytes: &[u8]| meltemi_fuzz::use_all(&Thrift::new(), Direction::Response, bytes));
