//! Updates of wide parameters beside the backward pass: the same bits as one update at the end.

use super::{Emulated, lowered, options, reference_model, sines, small};
use crate::{
    backend::{
        Batch, Engine, EngineOptions, StateTensor, Step,
        cuda::{
            CudaEngine,
            emulated::Order,
            launch::Precision,
            program::{Base, Call, Line, Place},
        },
        plan,
    },
    graph::optimizers::{Ema, OPTIMIZERS, Optimizer, Pattern},
};

/// The small network's kernels count as wide.
const WIDE: Option<usize> = Some(64);

fn updates<'a>(calls: &'a [Call<Place>], rule: &str) -> Vec<&'a Call<Place>> {
    calls.iter().filter(|call| call.name == rule && call.line == Line::Fill).collect()
}

/// The state after three steps, the second of which has another batch size, and how many early updates they have.
fn trained(optimizer: &Optimizer, precision: Precision, device: Emulated) -> (Vec<StateTensor>, usize) {
    let lowering = lowered(small());
    let with = EngineOptions { optimizer: optimizer.clone(), ..options(precision) };
    let mut engine = CudaEngine::new(lowering, with, device).unwrap();
    for (iteration, size) in [4, 3, 4].into_iter().enumerate() {
        let images = sines(size * 108);
        let batch = Batch { images: &images, labels: &[0, 4, 2, 2][..size], mixed: None };
        let at = Step { epoch: 0, step: iteration as u32, iteration: iteration as u64, learning_rate: 1e-2 };
        engine.train_step(&batch, &at).unwrap();
    }
    let early = engine.programs.values().map(|program| updates(&program.calls, optimizer.rule.name).len()).sum();
    (engine.state().unwrap(), early)
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn updates_beside_the_backward_pass_give_the_same_bits() {
    for rule in OPTIMIZERS {
        let alike = Optimizer::of(rule);
        let groups = Optimizer {
            weight_decay: 0.1,
            no_decay: ["bias", "norm", "*/value/kernel"].map(Pattern::new).into(),
            rates: vec![(Pattern::new("*/query/*"), 3.0), (Pattern::new("*/dense1/kernel"), 0.5)],
            ..alike.clone()
        };
        let ema = Some(Ema { decay: 0.75, warmup: true, evaluate: true });
        let averaged = Optimizer { ema, ..groups.clone() };
        let clipped = Optimizer { clip_norm: Some(1e-2), ..alike.clone() };
        let accumulated = Optimizer { gradient_accumulation_steps: 2, ..groups.clone() };
        let free = [(&alike, true), (&groups, true), (&averaged, true), (&clipped, false), (&accumulated, false)];
        for (optimizer, expects) in free {
            let (expected, none) = trained(optimizer, Precision::Bf16, Emulated::default());
            assert_eq!(none, 0);
            let orders = [Order::Drawn(5), Order::AsGiven, Order::First(Line::Fill), Order::First(Line::Main)];
            // The lines are the same for all rules.
            let orders = if rule.name == "adamw" { &orders[..] } else { &orders[..1] };
            for &order in orders {
                let device = Emulated { order, wide: WIDE, watched: true, ..Emulated::default() };
                let (actual, early) = trained(optimizer, Precision::Bf16, device);
                assert!(actual == expected, "{} {order:?} {expects}", rule.name);
                // A rule for matrices has another rule for the rest, all of whose parameters are small here.
                let expects = expects && optimizer.rule.direction.is_none();
                assert_eq!(early > 0, expects, "{} {early}", rule.name);
            }
        }
    }
}

/// An update that waits for nothing comes too early: the test above can fail.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn an_update_that_does_not_wait_is_found() {
    let heedless =
        Emulated { order: Order::First(Line::Fill), heedless: Some(Line::Fill), wide: WIDE, ..Emulated::default() };
    let expected = trained(&Optimizer::default(), Precision::Bf16, Emulated::default()).0;
    assert!(trained(&Optimizer::default(), Precision::Bf16, heedless).0 != expected);
}

/// Both wide kernels of the head are updated in one launch, when the backward pass of the encoder begins; nothing that comes
/// later waits for it but the rest of the update.
#[test]
fn the_head_of_the_reference_model_is_updated_beside_the_encoder() {
    for precision in [Precision::F32, Precision::Bf16] {
        let program = reference_model::program(precision, plan::pack, false);
        let early: Vec<usize> = (0..program.calls.len())
            .filter(|&index| updates(&program.calls[index..=index], "adamw").len() == 1)
            .collect();
        let [update] = early[..] else { panic!("{early:?}") };
        let last = program.calls.len() - 1;
        let bytes = |index: usize| program.calls[index].cost.bytes;
        assert!(bytes(update) > 20 * bytes(last), "{} {}", bytes(update), bytes(last));
        let attention = |call: &Call<Place>| call.name.contains("attention_gradient");
        assert!(program.calls[..update].iter().all(|call| !attention(call)));
        // Two for each layer, where a head does not fit a block as a whole.
        let of_layer = if precision == Precision::F32 { 2 } else { 1 };
        assert_eq!(program.calls[update..].iter().filter(|call| attention(call)).count(), 8 * of_layer);
        let waits = program.waits();
        let waiting: Vec<usize> = (0..waits.len()).filter(|&index| waits[index].contains(&update)).collect();
        assert_eq!(waiting, [last]);
        let written = program.calls[update].touched.iter().flatten().filter(|extent| extent.written);
        let shadows = written.filter(|extent| extent.place.base == Base::Shadow).count();
        assert_eq!(shadows, if precision == Precision::Bf16 { 2 } else { 0 });
    }
}
