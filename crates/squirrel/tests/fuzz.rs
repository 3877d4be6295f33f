//! Every input of the fuzzer's corpora is replayed.

mod fuzz_targets;

use fuzz_targets::{Target, corpus, try_input};

#[test]
fn the_corpora_run_clean() {
    for target in Target::ALL {
        let inputs = corpus(target);
        assert!(inputs.len() >= 5, "the corpus of {target:?} is missing");
        for input in inputs {
            try_input(target, &input);
        }
    }
}
