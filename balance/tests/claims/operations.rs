//! Random sequences of operations keep every promise: the fuzz target's machine, fed by proptest.

use proptest::prelude::*;

#[path = "../../fuzz/machine/mod.rs"]
mod machine;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_sequence_of_operations_breaks_a_promise(bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
        machine::run(&bytes);
    }
}
