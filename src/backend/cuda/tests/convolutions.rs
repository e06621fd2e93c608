//! Which kernels a network of convolutions runs by.

use std::collections::BTreeMap;

use super::reference_model::program_of;
use crate::{
    backend::{
        cuda::{launch::Precision, program::Work},
        plan,
    },
    dsl::Source,
};

/// A ResNet has twelve convolutions of 3 x 3 besides its stem, two of them strided, two of one tap, and a dense layer.
#[test]
fn a_resnet_makes_no_patches() {
    let text = Source::new("resnet.vitx", include_str!("../../../../experiments/zoo/resnet_speedrun.vitx"));
    let calls = |precision| {
        let program = program_of(&text, 1024, precision, plan::pack, false);
        let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
        for call in &program.calls {
            let name = match &call.work {
                Work::Launch(launch) => launch.entry,
                Work::Gemm(..) => "gemm",
            };
            *calls.entry(name).or_default() += 1;
        }
        ["conv2d_mma", "conv2d_kernel_mma", "patches", "spread", "gemm"]
            .map(|name| calls.get(name).copied().unwrap_or(0))
    };
    // A strided convolution's gradient takes four launches. One tap is a product forward, and two backward.
    assert_eq!(calls(Precision::Bf16), [13 + 10 + 2 * 4, 13, 0, 0, 3 * 3]);
    let [forward, backward, patches, spread, _] = calls(Precision::Tf32);
    assert_eq!([forward, backward], [0, 0]);
    assert!(patches >= 2 * 13 && spread >= 12, "{patches} {spread}");
}
