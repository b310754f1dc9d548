//! The same frames are read however the bytes arrive. The first byte says in what pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_codec::dubbo::Dubbo;
use meltemi_fuzz::read_in_pieces;

fuzz_target!(|input: &[u8]| read_in_pieces(&Dubbo::new(), input));
