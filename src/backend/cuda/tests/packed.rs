//! Trials packed on one device: each comes to the bits that it comes to alone.

use std::{collections::BTreeMap, thread, time::Duration};

use super::{
    Emulated,
    fit::{Silent, split},
    options, reference_model,
};
use crate::{
    backend::{
        BackendError, Engine, EngineOptions, Regions, StateTensor,
        cuda::{
            CudaEngine, Pack, SharedDevice,
            device::Device,
            launch::Precision,
            pack::{Launches, joint},
            program::{Call, Place, Program, Work},
        },
        plan,
    },
    data::{Augmentation, Keys, Pipeline, Statistics},
    dsl::Source,
    graph::{Builder, optimizers::Optimizer},
    model::{ImageSpec, elaborate},
    train::{Fit, FitError, Interrupt, Monitor, Schedule, Stop, schedules},
    trial::history,
};

/// A trial of a sweep over what is no shape.
#[derive(Clone, Copy)]
struct Trial {
    /// Has a layer `dropout(0.3)`, of which each trial has its own.
    model: &'static str,
    regions: Regions,
    seed: u64,
    learning_rate: f32,
    weight_decay: f32,
    dropout: &'static str,
    rotation: f32,
    epochs: u32,
    /// Ends after its first epoch.
    impatient: bool,
}

const FIRST: Trial = Trial {
    model: super::MODEL,
    regions: Regions::Off,
    seed: 3,
    learning_rate: 2e-3,
    weight_decay: 1e-4,
    dropout: "0.3",
    rotation: 0.05,
    epochs: 3,
    impatient: false,
};

const TRIALS: [Trial; 4] = [
    FIRST,
    Trial { seed: 11, learning_rate: 1e-2, dropout: "0.05", ..FIRST },
    // Its second step is not finite.
    Trial { learning_rate: 1e30, ..FIRST },
    Trial { seed: 4, weight_decay: 0.1, dropout: "0.5", rotation: 0.2, impatient: true, ..FIRST },
];

/// What is left of a trial: how it ended, its record without times, and its state to the bit.
#[derive(Debug, PartialEq)]
struct Left {
    error: Option<String>,
    epochs: Vec<(u32, u64, u64, Option<u64>)>,
    state: Vec<(String, Vec<u32>)>,
}

fn train<D: Device>(trial: Trial, precision: Precision, device: D) -> Left {
    let spec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };
    let text = trial.model.replace("dropout(0.3)", &format!("dropout({})", trial.dropout));
    let architecture = elaborate(&Source::new("small", &text), &BTreeMap::new(), &spec).unwrap();
    let lowering = Box::new(move |builder: &mut Builder, batch| architecture.lower(builder, batch));
    let optimizer = Optimizer { weight_decay: trial.weight_decay, ..Optimizer::default() };
    let options = EngineOptions { optimizer, seed: trial.seed, regions: trial.regions, ..options(precision) };
    let mut engine = CudaEngine::new(lowering, options, device).unwrap();
    let (train, validation) = (split(11, 1), split(5, 2));
    let statistics = Statistics::of(&train, 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fit = Fit {
        train: &train,
        validation: &validation,
        test: &validation,
        pipeline: &Pipeline::new(&statistics, (6, 4), 2, (9, 6)),
        augmentation: &Augmentation::Keys(Keys { flip: true, rotation: trial.rotation, zoom: 0.2 }),
        workers: 1,
        epochs: trial.epochs,
        until: None,
        linger: Duration::ZERO,
        batch_size: 4,
        repeats: 1,
        seed: trial.seed,
        learning_rate: trial.learning_rate,
        schedule: Schedule { warmup_epochs: 0.5, ..Schedule::of(schedules::find("cosine").unwrap()) },
        monitor: Monitor::default(),
        sizes: &[],
        evaluates_average: false,
        stop: trial.impatient.then_some(Stop { patience: None, monitor: Monitor::default(), max_seconds: Some(0.0) }),
        folder: folder.path(),
        interrupt: &Interrupt::default(),
    };
    let error = match fit.run(&mut engine, &mut Silent) {
        Ok(_) => None,
        Err(FitError::Backend(error @ BackendError::NonFinite { .. })) => Some(error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let epochs = history::read(folder.path()).unwrap().into_iter();
    let epochs = epochs
        .map(|epoch| (epoch.epoch, epoch.loss.to_bits(), epoch.accuracy.to_bits(), epoch.val_loss.map(f64::to_bits)));
    let bits = |tensor: StateTensor| (tensor.name, tensor.data.iter().map(|value| value.to_bits()).collect());
    Left { error, epochs: epochs.collect(), state: engine.state().unwrap().into_iter().map(bits).collect() }
}

fn alone(precision: Precision) -> Vec<Left> {
    TRIALS.map(|trial| train(trial, precision, Emulated::default())).into()
}

fn packed(trials: &[Trial], precision: Precision, patience: Duration) -> (Vec<Left>, Launches) {
    packed_on(Emulated::default, trials, precision, patience)
}

/// Trials in threads of their own on one device; with how they were launched.
fn packed_on<D: Device + 'static>(
    device: fn() -> D,
    trials: &[Trial],
    precision: Precision,
    patience: Duration,
) -> (Vec<Left>, Launches) {
    let pack = Pack::start(move || Ok(device()), patience).unwrap();
    // All are there before the first begins.
    let members: Vec<_> = trials.iter().map(|_| pack.member().unwrap()).collect();
    let left = thread::scope(|scope| {
        let threads: Vec<_> = trials
            .iter()
            .zip(members)
            .map(|(&trial, member)| scope.spawn(move || train(trial, precision, member)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let launches = pack.launches().unwrap();
    (left, launches)
}

pub(super) fn packed_trials_come_to_the_bits_of_trials_alone_on<D: Device + 'static>(device: fn() -> D) {
    let of = |trial| Trial { regions: Regions::On, ..trial };
    for trials in [TRIALS, TRIALS.map(of)] {
        let expected = trials.map(|trial| train(trial, Precision::Bf16, device()));
        let (left, launches) = packed_on(device, &trials, Precision::Bf16, EVER);
        assert!(left == expected);
        assert!(launches.together > launches.all / 2, "{launches:?}");
    }
}

/// So long that nobody is given up.
const EVER: Duration = Duration::from_secs(600);

#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn packed_trials_come_to_the_bits_of_trials_alone() {
    for precision in [Precision::F32, Precision::Bf16] {
        let expected = alone(precision);
        assert_eq!(expected.iter().map(|left| left.epochs.len()).collect::<Vec<_>>(), [3, 3, 0, 1]);
        assert_eq!(expected.iter().map(|left| left.error.is_some()).collect::<Vec<_>>(), [false, false, true, false]);
        for count in 1..=TRIALS.len() {
            let (left, launches) = packed(&TRIALS[..count], precision, EVER);
            assert!(left == expected[..count], "{precision:?}: {count} trials");
            assert_eq!(launches.together > launches.all / 2, count > 1, "{launches:?}");
        }
    }
}

/// Kernels of regions, of rows and of slices of images, and attention with its projections.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn packed_regions_come_to_the_bits_of_regions_alone() {
    let models = [
        "model one_head {
            patches(3)
            patch_encoder(16)
            transformer_block(1, key_dim = 16, units = [32, 16], dropout = 0.2)
            layer_norm
            dropout(0.3)
            flatten
            dense(num_classes)
        }",
        "model depthwise {
            conv2d(16, 1, use_bias = false) -> batch_norm -> relu
            depthwise_conv2d(3, padding = same, use_bias = false) -> batch_norm -> relu
            conv2d(16, 1)
            dropout(0.3)
            global_average_pool
            dense(num_classes)
        }",
    ];
    for model in models {
        let of = |trial| Trial { model, regions: Regions::On, ..trial };
        let trials = [of(TRIALS[0]), of(TRIALS[1]), of(TRIALS[3])];
        let expected = trials.map(|trial| train(trial, Precision::Bf16, Emulated::default()));
        let (left, launches) = packed(&trials, Precision::Bf16, EVER);
        assert!(left == expected, "{model}");
        assert!(launches.together > launches.all / 2, "{launches:?}");
    }
}

/// Where nobody waits, trials meet by chance alone, and come to the same.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn it_does_not_matter_who_comes_when() {
    let expected = alone(Precision::F32);
    let (left, _) = packed(&TRIALS, Precision::F32, Duration::ZERO);
    assert!(left == expected);
}

/// One that panics, and one that never comes to a launch, hold up nobody.
#[test]
#[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
fn who_falls_out_is_not_waited_for() {
    let expected = train(FIRST, Precision::F32, Emulated::default());
    let pack = Pack::start(|| Ok(Emulated::default()), EVER).unwrap();
    let [member, falling] = [(); 2].map(|()| pack.member().unwrap());
    thread::scope(|scope| {
        let fallen = scope.spawn(move || {
            let _device = falling;
            panic!("as wanted");
        });
        assert!(train(FIRST, Precision::F32, member) == expected);
        assert!(fallen.join().is_err());
    });
    drop(pack);
    let pack = Pack::start(|| Ok(Emulated::default()), Duration::from_millis(1)).unwrap();
    let [member, idle] = [(); 2].map(|()| pack.member().unwrap());
    assert!(train(FIRST, Precision::F32, member) == expected);
    drop(idle);
    let refused = Pack::<Emulated>::start(|| Err(BackendError::Other("no device".into())), EVER).err();
    assert_eq!(refused.map(|error| error.to_string()).as_deref(), Some("no device"));
}

/// For what one member has no room, another may be the reason; alone it is its own failure.
#[test]
fn no_room_for_a_program_beside_others_is_not_its_own_failure() {
    let device = Emulated { no_program: true, ..Emulated::default() };
    let pack = Pack::start(move || Ok(device), EVER).unwrap();
    let [mut member, other] = [(); 2].map(|()| pack.member().unwrap());
    let error = member.prepare(Vec::new()).err().unwrap();
    assert!(matches!(&error, BackendError::Shared(_)), "{error:?}");
    assert_eq!(error.to_string(), "out of device memory: a program; 2 trials share the device");
    drop(other);
    let error = member.prepare(Vec::new()).err().unwrap();
    assert!(matches!(&error, BackendError::Other(_)), "{error:?}");
    assert_eq!(error.to_string(), "out of device memory: a program");
}

/// All that the reference model launches is merged: of its calls only products are as many as variants.
#[test]
fn every_launch_of_a_step_is_merged() {
    for regions in [false, true] {
        is_merged(&reference_model::program(Precision::Bf16, plan::pack, regions));
    }
}

fn is_merged(program: &Program) {
    let variant = |number: u64| -> Vec<Call<u64>> {
        let address = move |Place { base, offset }: Place| ((number + 1) << 40) + ((base as u64) << 36) + offset as u64;
        program.calls.iter().map(|call| call.map(&address)).collect()
    };
    let variants = [0, 1, 2].map(variant);
    let products = variants[0].iter().filter(|call| matches!(call.work, Work::Gemm(..))).count();
    let joint = joint::joint(&variants.each_ref().map(|calls| &calls[..]));
    assert_eq!(joint.len(), variants[0].len());
    assert_eq!(joint.concat().len(), variants[0].len() + 2 * products);
    // Alone they are what they were.
    assert_eq!(joint::joint(&[&variants[1]]).concat(), variants[1]);
}
