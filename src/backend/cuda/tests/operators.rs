//! Single operators, and what products take into themselves.

use super::{Emulated, distance, engine, options, sines, small};
use crate::backend::{
    Backend, Batch, Engine, Step,
    cuda::{CudaEngine, device::Device, launch::Precision},
    operators,
};

/// Every operator as of the CPU backend, on odd shapes.
pub(super) fn every_operator<D: Device>(device: impl Fn() -> D, shapes: &[(usize, [usize; 2])]) {
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, 2e-2)] {
        for (name, apply) in operators::OPERATORS {
            for &(size, sizes) in shapes {
                let what = format!("{name}, {precision:?}, batch {size}, {sizes:?}");
                let lowering =
                    || Box::new(move |builder: &mut _, batch| operators::network(builder, batch, sizes, apply));
                let mut cpu = Backend::Cpu.engine(lowering(), options(Precision::F32)).unwrap();
                let mut cuda = CudaEngine::new(lowering(), options(precision), device()).unwrap();
                let (images, labels) = operators::batch(size, sizes);
                let batch = Batch { images: &images, labels: &labels, mixed: None };
                let (ours, theirs) = (cuda.evaluate(&batch).unwrap(), cpu.evaluate(&batch).unwrap());
                assert!((ours - theirs).abs() <= tolerance * (1.0 + theirs.abs()), "{what}: {ours} {theirs}");
                assert!(distance(cuda.logits(), cpu.logits()) < tolerance, "{what}: logits");
                // Sums over few rows cancel, and what was rounded before them does not. Where rounding moves a
                // value over the kink of relu, its whole gradient comes or goes.
                let factor = if name == "relu" { 6.0 } else { 3.0 };
                operators::compare_gradients(&what, &mut cuda, cpu.as_mut(), &batch, factor * tolerance);
            }
        }
    }
}

/// Epilogues by the product and by the launches that replace them come to the same.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn products_without_epilogues_give_the_same_training() {
    let images = sines(5 * 108);
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1], mixed: None };
    let run = |plain| {
        let mut engine = engine(small(), Precision::F32, Emulated { plain, ..Emulated::default() });
        let step = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 1e-3 };
        let loss = engine.train_step(&batch, &step).unwrap();
        (loss, engine.inspect().gradients(&batch).unwrap())
    };
    let ((fused, fused_gradients), (plain, plain_gradients)) = (run(false), run(true));
    assert!((fused - plain).abs() < 1e-5 * plain, "{fused} {plain}");
    for (fused, plain) in fused_gradients.iter().zip(&plain_gradients) {
        assert!(distance(&fused.data, &plain.data) < 1e-4, "{}", fused.name);
    }
}
