//! The same frames are read however the bytes arrive. The first byte says in what pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_codec::Direction;
use meltemi_codec::dubbo::Dubbo;
use meltemi_fuzz::frames;

fuzz_target!(|input: &[u8]| {
    let Some((&seed, bytes)) = input.split_first() else {
        return;
    };
    let (whole, whole_end) = frames(&Dubbo::new(), Direction::Request, bytes, || usize::MAX / 2);
    let mut state = u32::from(seed);
    let (pieces, pieces_end) = frames(&Dubbo::new(), Direction::Request, bytes, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 28) as usize
    });
    for ((end, frame), (other_end, other)) in whole.iter().zip(&pieces) {
        assert_eq!(end, other_end);
        assert_eq!(format!("{frame:?}"), format!("{other:?}"));
    }
    assert_eq!((pieces.len(), pieces_end), (whole.len(), whole_end));
});
