//! Lines of calls: whatever order they allow, a step comes to the same bits.

use std::collections::BTreeSet;

use super::{
    Device, Emulated, engine,
    fit::{AUGMENTATION, fit},
    reference_model, sines, small,
};
use crate::backend::{
    Batch, Engine, StateTensor, Step,
    cuda::{
        emulated::Order,
        launch::Precision,
        lines::Waits,
        program::{Base, Call, Line, Place, Work},
    },
    plan::{self, Lifetime},
};

const ORDERS: [Order; 7] = [
    Order::First(Line::Main),
    Order::First(Line::Side),
    Order::First(Line::Fill),
    Order::Drawn(1),
    Order::Drawn(2),
    Order::Drawn(3),
    Order::Drawn(4),
];

/// What two steps and a pass for gradients leave: losses, logits, gradients, state.
fn steps<D: Device>(precision: Precision, device: D) -> (Vec<u32>, Vec<f32>, Vec<StateTensor>, Vec<StateTensor>) {
    let mut engine = engine(small(), precision, device);
    let images = sines(5 * 108);
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1], mixed: None };
    let step = |iteration: u32| Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate: 1e-3 };
    // Bits, for what goes wrong may be a NaN.
    let losses = [0, 1].map(|iteration| engine.train_step(&batch, &step(iteration)).map_or(0, f32::to_bits));
    let logits = engine.logits().to_vec();
    let gradients = engine.inspect().gradients(&batch).unwrap_or_default();
    (losses.to_vec(), logits, gradients, engine.state().unwrap())
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn every_order_that_the_lines_allow_gives_the_same_bits() {
    for precision in [Precision::F32, Precision::Bf16] {
        for plain in [false, true] {
            let device = Emulated { plain, ..Emulated::default() };
            let expected = steps(precision, device);
            assert!(expected.1.iter().all(|logit| logit.is_finite()) && !expected.2.is_empty());
            // Wide parameters are updated beside the backward pass.
            for (order, wide) in ORDERS.into_iter().flat_map(|order| [(order, None), (order, Some(64))]) {
                let device = Emulated { order, wide, ..device };
                assert!(steps(precision, device) == expected, "{precision:?} {plain} {order:?} {wide:?}");
            }
        }
    }
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn every_order_trains_alike_on_kept_images() {
    for precision in [Precision::F32, Precision::Bf16] {
        let run = |order| {
            let (epochs, state) =
                fit(&mut engine(small(), precision, Emulated { order, ..Emulated::default() }), &AUGMENTATION, 1);
            let losses: Vec<_> = epochs.iter().map(|epoch| (epoch.loss, epoch.val_loss, epoch.accuracy)).collect();
            (losses, state)
        };
        let expected = run(Order::AsGiven);
        for order in ORDERS {
            assert!(run(order) == expected, "{precision:?} {order:?}");
        }
    }
}

/// What orders the lines is what calls say that they touch: they touch nothing else.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn calls_touch_what_they_say() {
    for precision in [Precision::F32, Precision::Bf16] {
        for plain in [false, true] {
            let device = Emulated { plain, wide: Some(64), ..Emulated::default() };
            assert!(
                steps(precision, Emulated { watched: true, ..device }) == steps(precision, device),
                "{precision:?} {plain}"
            );
        }
        let run = |watched| {
            fit(&mut engine(small(), precision, Emulated { watched, ..Emulated::default() }), &AUGMENTATION, 1).1
        };
        assert!(run(true) == run(false), "{precision:?}");
    }
}

/// The orders are not the same one after all: a line that does not wait for the other spoils a step.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn a_line_that_does_not_wait_is_found() {
    let expected = steps(Precision::Bf16, Emulated::default());
    for line in [Line::Main, Line::Side] {
        let heedless = Emulated { order: Order::First(line), heedless: Some(line), ..Emulated::default() };
        assert!(steps(Precision::Bf16, heedless) != expected, "{line:?}");
    }
}

/// Whether the lines and these waits order all calls that meet in memory, byte for byte as ranges say.
fn all_ordered(calls: &[Call<Place>], waits: &[Waits]) -> bool {
    let ends = |call: &Call<Place>| -> Option<Vec<(Place, usize, bool)>> {
        let touched = call.touched.as_ref()?;
        Some(touched.iter().map(|extent| (extent.place, extent.place.offset + extent.bytes, extent.written)).collect())
    };
    let meet = |one: &Call<Place>, other: &Call<Place>| {
        let (Some(one), Some(other)) = (ends(one), ends(other)) else { return true };
        one.iter().any(|&(a, a_end, a_written)| {
            other.iter().any(|&(b, b_end, b_written)| {
                a.base == b.base && a.offset.max(b.offset) < a_end.min(b_end) && (a_written || b_written)
            })
        })
    };
    // What is done when a call is: it, what its line has done, what it waited for, and all that was done when those were.
    let mut done: Vec<BTreeSet<usize>> = Vec::new();
    calls.iter().zip(waits).enumerate().all(|(index, (call, waits))| {
        let before = (0..index).rev().find(|&before| calls[before].line == call.line);
        let mut own: BTreeSet<usize> = waits.iter().chain(&before).flat_map(|&other| done[other].clone()).collect();
        let free = (0..index).all(|before| own.contains(&before) || !meet(&calls[before], call));
        own.insert(index);
        done.push(own);
        free
    })
}

/// Every wait of the reference model's program is needed, and no other.
#[test]
fn a_dropped_wait_is_found() {
    for precision in [Precision::F32, Precision::Bf16] {
        let program = reference_model::program(precision, plan::pack, false);
        let waits = program.waits();
        assert!(all_ordered(&program.calls, &waits));
        for (index, waiting) in waits.iter().enumerate() {
            for dropped in waiting {
                let mut fewer = waits.clone();
                fewer[index].retain(|other| other != dropped);
                // The next wait of the line may be for more; this one's call still runs too early.
                assert!(!all_ordered(&program.calls, &fewer), "{index}: {:?}", program.calls[index]);
            }
        }
    }
}

/// Calls of the reference model's program on the side line.
const BESIDE: usize = 120;
/// Calls of its main line that wait for the side line before the update does.
const STALLS: usize = 6;

#[test]
fn the_seeds_kernel_gradients_are_on_the_side_line() {
    let program = reference_model::program(Precision::Bf16, plan::pack, false);
    let update = program.calls.len() - 1;
    assert_eq!((program.calls[update].name.as_str(), program.calls[update].line), ("adamw", Line::Main));
    let of = |line: Line| program.calls.iter().filter(|call| call.line == line).collect::<Vec<_>>();
    let (main, beside) = (of(Line::Main), of(Line::Side));
    let products = |calls: &[&Call<Place>]| {
        let kernel = |call: &Call<Place>| matches!(call.work, Work::Gemm(..)) && call.name.contains("kernel_gradient");
        calls.iter().filter(|call| kernel(call)).count()
    };
    // Of each block four, of the patches one, of the head three.
    assert_eq!((products(&main), products(&beside)), (0, 8 * 4 + 1 + 3));
    // Each leaves gradients or the loss, but for first stages, which leave scratch, and gradients of kernels that are products, two of
    // each block.
    let fixed = |call: &&&Call<Place>| call.outputs.iter().all(|output| output.place.base != Base::Arena);
    assert_eq!((beside.iter().filter(fixed).count(), beside.len()), (BESIDE - 2 * 8, BESIDE));
    let waits = program.waits();
    let waits_for_side = |index: &usize| {
        let side = waits[*index].iter().any(|&other| program.calls[other].line == Line::Side);
        program.calls[*index].line == Line::Main && side
    };
    let stalls = (0..update).filter(waits_for_side);
    assert_eq!(stalls.count(), STALLS);
}

/// Where no memory is used again, the main line waits for what is made ahead (the products of kernels of each attention, and its masks), and for
/// the side line once: before the update.
#[test]
fn the_main_line_waits_for_memory_alone() {
    let apart = |buffers: &[Lifetime]| {
        let forever: Vec<Lifetime> =
            buffers.iter().map(|buffer| Lifetime { first: 0, last: usize::MAX, ..*buffer }).collect();
        plan::pack(&forever)
    };
    let program = reference_model::program(Precision::Bf16, apart, false);
    let waits = program.waits();
    let on_main = (0..waits.len()).filter(|&index| program.calls[index].line == Line::Main);
    let (waiting, free): (Vec<usize>, Vec<usize>) = on_main.partition(|&index| !waits[index].is_empty());
    let (last, waiting) = waiting.split_last().unwrap();
    assert_eq!(*last, program.calls.len() - 1);
    let ahead: Vec<usize> = waiting
        .iter()
        .map(|&index| {
            let [ahead] = waits[index][..] else { panic!("{:?}", waits[index]) };
            assert_eq!(program.calls[ahead].line, Line::Fill);
            let masks = program.calls[ahead].name == "attention_masks";
            assert_eq!(program.calls[index].name == "attention", masks, "{}", program.calls[index].name);
            ahead
        })
        .collect();
    // They are made in the order in which they are wanted, before anything else: of a block two kernels and their biases, then masks.
    assert!(ahead.is_sorted() && ahead.last() == Some(&(8 * 5 - 1)), "{ahead:?}");
    assert_eq!(ahead.len(), 8 * 5);
    assert_eq!(free.iter().filter(|&&index| program.calls[index].name.contains("attention_gradient")).count(), 8);
}
