//! The memory that a plan gives to tensors.

use super::{Emulated, engine, sines, small};
use crate::backend::{
    Batch, Engine, Step,
    cuda::{compile::Planner, launch::Precision},
    plan::{self, Lifetime},
};

/// Tensors that live at the same time never overlap: a plan in which none shares memory gives the same bits.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn the_plan_keeps_living_tensors_apart() {
    let images = sines(5 * 108);
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1], mixed: None };
    let run = |planner: Planner| {
        let mut engine = engine(small(), Precision::Bf16, Emulated::default());
        engine.planner = planner;
        let step = Step { epoch: 0, step: 0, iteration: 0, learning_rate: 1e-3 };
        let loss = engine.train_step(&batch, &step).unwrap();
        (loss, engine.logits().to_vec(), engine.state().unwrap(), engine.memory.arena_bytes)
    };
    let apart = |buffers: &[Lifetime]| {
        let forever: Vec<Lifetime> =
            buffers.iter().map(|buffer| Lifetime { first: 0, last: usize::MAX, ..*buffer }).collect();
        plan::pack(&forever)
    };
    let (planned, apart) = (run(plan::pack), run(apart));
    assert_eq!((planned.0, &planned.1, &planned.2), (apart.0, &apart.1, &apart.2));
    assert!(4 * planned.3 < 3 * apart.3, "{} of {} bytes", planned.3, apart.3);
}
