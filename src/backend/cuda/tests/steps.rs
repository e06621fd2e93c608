//! Single steps: the same bits again, what is not finite, batches that do not fit.

use super::{Emulated, engine, sines, small};
use crate::backend::{
    Batch, Engine, Step,
    cuda::{device::Device, launch::Precision},
};

/// The same seed gives the same bits, and a state that is loaded goes on as the one that was saved.
pub(super) fn training_is_deterministic<D: Device>(device: impl Fn() -> D) {
    let images = sines(4 * 108);
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2], mixed: None };
    let step = |iteration: u32| Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-3 };
    let new = || engine(small(), Precision::Bf16, device());
    let (mut whole, mut first, mut second) = (new(), new(), new());
    for iteration in 0..3 {
        whole.train_step(&batch, &step(iteration)).unwrap();
    }
    first.train_step(&batch, &step(0)).unwrap();
    second.load_state(&first.state().unwrap()).unwrap();
    for iteration in 1..3 {
        second.train_step(&batch, &step(iteration)).unwrap();
    }
    assert_eq!(whole.state().unwrap(), second.state().unwrap());
    let unknown = crate::backend::StateTensor { name: "nothing".into(), shape: vec![1], data: vec![0.0] };
    assert!(second.load_state(&[unknown]).is_err());
}

/// A loss that is not finite names the first operator, and spoils nothing.
pub(super) fn not_finite<D: Device>(device: impl Fn() -> D) {
    let mut engine = engine(small(), Precision::F32, device());
    let mut state = engine.state().unwrap();
    let name = "transformer_block1/mlp/dense1/kernel";
    state.iter_mut().find(|tensor| tensor.name == name).unwrap().data[3] = f32::INFINITY;
    engine.load_state(&state).unwrap();
    let step = Step { epoch: 2, step: 5, iteration: 50, learning_rate: 1e-3 };
    let error = engine
        .train_step(&Batch { images: &[0.5; 2 * 108], labels: &[0, 1], mixed: None }, &step)
        .unwrap_err()
        .to_string();
    let expected =
        format!("epoch 3, step 6: first non-finite values in dense of {name}, transformer_block1/mlp/dense1/bias");
    assert!(error.ends_with(&expected), "{error}");
    assert_eq!(engine.state().unwrap(), state);
}

#[test]
fn a_batch_that_does_not_fit_is_an_error() {
    let mut engine = engine(small(), Precision::F32, Emulated::default());
    for (images, labels) in [(&[0.0; 108][..], &[][..]), (&[0.0; 107], &[0]), (&[0.0; 107], &[0, 1])] {
        assert!(engine.evaluate(&Batch { images, labels, mixed: None }).is_err());
    }
    let kept = engine.resident().unwrap().train_kept(&Step::STILL, 1);
    assert_eq!(kept.unwrap_err().to_string(), "the Training images are not kept");
}
