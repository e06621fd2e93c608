//! Batches that are made while the step before runs: the same training however an epoch is cut, and in every order.

use super::{
    Emulated,
    fit::{AUGMENTATION, split},
    lowered, options_with, small,
};
use crate::{
    backend::{
        Drawing, Engine, ImageSet, Part, Resident, StateTensor, Step, Task,
        cuda::{
            CudaEngine,
            emulated::Order,
            launch::Precision,
            program::{Call, Line, Place, Work},
        },
    },
    data::{Augmentation, Pipeline, Statistics},
    dsl::Source,
    metrics::Means,
    model::{Architecture, ImageSpec, elaborate},
};

const BATCH: usize = 4;
/// Of all steps: two epochs of three.
const RATES: [f32; 6] = [1e-2, 2e-2, 1e-2, 5e-3, 1e-2, 1e-2];

/// What two epochs on so many images leave, and the means of each epoch. Whole epochs at once, or step by step with an
/// evaluation after each.
fn trained(
    architecture: Architecture,
    augmentation: &Augmentation,
    count: usize,
    whole: bool,
    device: Emulated,
) -> (Vec<StateTensor>, Vec<Means>, CudaEngine<Emulated>) {
    let options = options_with(Precision::Bf16, augmentation);
    let lowering = lowered(architecture);
    let mut engine = CudaEngine::new(lowering, options, device).unwrap();
    let (train, validation) = (split(count, 1), split(9, 2));
    let statistics = Statistics::of(&train, 2).unwrap();
    let pipeline = Pipeline::new(&statistics, (6, 4), 2, (9, 6));
    let plan = augmentation.plan(pipeline.size());
    let drawing = Drawing { seed: 9, repeats: 1, augmentation: &plan, rates: &RATES, sizes: &[] };
    let set = |split, drawing| ImageSet { split, pipeline: &pipeline, batch_size: BATCH, drawing };
    assert!(engine.keep_images(Part::Validation, &set(&validation, None)).unwrap());
    assert!(engine.keep_images(Part::Training, &set(&train, Some(drawing))).unwrap());
    let steps = count.div_ceil(BATCH) as u32;
    let mut means = Vec::new();
    for epoch in 0..2 {
        let at = |step: u32| {
            let iteration = u64::from(epoch * steps + step);
            Step { epoch, step, iteration, learning_rate: RATES[iteration as usize] }
        };
        if whole {
            means.push(engine.train_kept(&at(0), steps).unwrap().means());
        } else {
            for step in 0..steps {
                engine.train_kept(&at(step), 1).unwrap();
                engine.evaluate_kept(Part::Validation).unwrap();
            }
        }
        means.push(engine.evaluate_kept(Part::Validation).unwrap().means());
    }
    (engine.state().unwrap(), means, engine)
}

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn however_an_epoch_is_cut_it_trains_alike() {
    let mixed: Augmentation = serde_yaml::from_str("[random_crop: { padding: 1 }, mixup]").unwrap();
    for augmentation in [&AUGMENTATION, &mixed] {
        // With a last batch of fewer images, without, and with no other.
        for count in [11, 8, 3] {
            let (expected, means, _) = trained(small(), augmentation, count, true, Emulated::default());
            let orders = [Order::Drawn(3), Order::AsGiven, Order::First(Line::Fill), Order::First(Line::Main)];
            for &order in if count == 11 { &orders[..] } else { &orders[..1] } {
                let device = Emulated { order, watched: true, ..Emulated::default() };
                let (whole, again, _) = trained(small(), augmentation, count, true, device);
                assert!(whole == expected && again == means, "{augmentation:?} {count} {order:?}");
                let (cut, evaluations, _) = trained(small(), augmentation, count, false, device);
                assert!(cut == expected, "{augmentation:?} {count} {order:?}");
                assert!(evaluations.iter().eq(means.iter().skip(1).step_by(2)), "{augmentation:?} {count} {order:?}");
            }
        }
    }
}

fn kernels(calls: &[Call<Place>], line: Line) -> Vec<(usize, &'static str)> {
    let kernel = |call: &Call<Place>| match &call.work {
        Work::Launch(launch) if call.line == line && call.name == "images" => Some(launch.entry),
        _ => None,
    };
    calls.iter().enumerate().filter_map(|(index, call)| Some((index, kernel(call)?))).collect()
}

/// A network that reads its images once has them in place, and the next ones are made once the labels are read too; where
/// images are read to the end, and in evaluations, whose end reads the labels, a copy is taken.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn pictures_stay_in_place_where_a_program_is_done_with_them_early() {
    let convolution = "model net { conv2d(8, 3, padding = 1) relu global_average_pool dense(num_classes) }";
    let spec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };
    let by_convolution = elaborate(&Source::new("net", convolution), &Default::default(), &spec).unwrap();
    for (architecture, in_place) in [(small(), true), (by_convolution, false)] {
        let (.., engine) = trained(architecture, &AUGMENTATION, 11, true, Emulated::default());
        for (&(task, batch, part, _), program) in &engine.programs {
            let (main, fill) = (kernels(&program.calls, Line::Main), kernels(&program.calls, Line::Fill));
            let takes = if task == Task::Train && in_place { vec![] } else { vec![(0, "take")] };
            assert_eq!(main, takes, "{task:?} {batch} {part:?}");
            let made: Vec<&str> = fill.iter().map(|(_, kernel)| *kernel).collect();
            let passes: &[&str] = if part == Some(Part::Training) { &["prepare", "again"] } else { &["prepare"] };
            assert_eq!(made, if batch == BATCH { passes } else { &[] }, "{task:?} {batch} {part:?}");
            if task == Task::Train && in_place && batch == BATCH {
                // Nothing reads labels after the loss.
                let before = &program.calls[fill[0].0 - 1].name;
                assert!(
                    before.contains("cross_entropy") && fill[0].0 < program.calls.len() * 3 / 4,
                    "{before} {fill:?}"
                );
            }
        }
    }
}
