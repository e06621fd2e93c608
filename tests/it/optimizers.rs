//! Every optimizer: on the cpu as on the reference backend, in groups of parameters, and the same bits on any number of
//! threads and after an interruption.

use std::collections::BTreeMap;

use vitx::{
    backend::{AVERAGE, Backend, Batch, Engine, EngineOptions, Precision, Regions, StateTensor, Step},
    dsl::Source,
    graph::{
        losses::Loss,
        optimizers::{Decay, Ema, OPTIMIZERS, Optimizer, Others, Pattern, find},
    },
    model::{ImageSpec, elaborate},
};

/// Its first dense kernel has one row per image: 54 x 64 is in panels, and 64 x 7 is updated piece by piece in rows.
const MODEL: &str =
    "model wide { patches(3) dense(9) layer_norm flatten dense(64) gelu dense(7) relu dense(num_classes) }";
const PIXELS: usize = 9 * 6 * 2;

fn engine(backend: Backend, optimizer: &Optimizer, threads: usize) -> Result<Box<dyn Engine>, String> {
    engine_of(MODEL, backend, optimizer, threads)
}

fn engine_of(model: &str, backend: Backend, optimizer: &Optimizer, threads: usize) -> Result<Box<dyn Engine>, String> {
    let spec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };
    let architecture = elaborate(&Source::new("model", model), &BTreeMap::new(), &spec).unwrap();
    let options = EngineOptions {
        optimizer: optimizer.clone(),
        loss: Loss::default(),
        seed: 3,
        threads,
        precision: Precision::F32,
        regions: Regions::default(),
    };
    let lowering = Box::new(move |builder: &mut _, batch| architecture.lower(builder, batch));
    backend.engine(lowering, options).map_err(|error| error.to_string())
}

/// Trains some steps, of batches of different sizes.
fn train(engine: &mut dyn Engine, steps: std::ops::Range<u32>) {
    let labels = [0, 4, 2, 2, 1, 3, 0];
    let images: Vec<f32> = (0..labels.len() * PIXELS).map(|index| (index as f32 * 0.37).sin()).collect();
    for iteration in steps {
        let count = [7, 3, 5][iteration as usize % 3];
        let batch = Batch { images: &images[..count * PIXELS], labels: &labels[..count], mixed: None };
        let learning_rate = 1e-2 / (1.0 + iteration as f32);
        let step = Step { epoch: 0, step: iteration, iteration: iteration.into(), learning_rate };
        engine.train_step(&batch, &step).unwrap();
    }
}

fn sgd_with_momentum() -> Optimizer {
    Optimizer { weight_decay: 0.1, ..Optimizer::of(find("sgd").unwrap()).with("momentum", 0.9) }
}

/// Every rule, and with what a rule may be given besides.
fn optimizers() -> Vec<(String, Optimizer)> {
    let mut all: Vec<(String, Optimizer)> =
        OPTIMIZERS.iter().map(|rule| (rule.name.to_owned(), Optimizer::of(rule))).collect();
    let sgd = Optimizer::of(find("sgd").unwrap());
    all.push(("nesterov".into(), sgd.with("momentum", 0.9).with("nesterov", 1.0)));
    let warming = Optimizer { total_steps: 4, ..sgd_with_momentum() }.with("momentum_warmup", 0.75);
    all.push(("momentum that warms up".into(), warming.with("nesterov", 1.0)));
    let mut muon = Optimizer::of(find("muon").unwrap()).with("nesterov", 0.0).with("ns_steps", 3.0);
    let parameters = vec![Pattern::new("dense3/kernel")];
    muon.others = Some(Box::new(Others { optimizer: sgd_with_momentum(), rate: 0.5, parameters }));
    all.push(("muon beside sgd".into(), muon));
    let groups = |optimizer: Optimizer| Optimizer {
        weight_decay: 0.1,
        decay: Decay::Plain,
        no_decay: ["bias", "norm", "1d"].map(Pattern::new).into(),
        rates: vec![(Pattern::new("dense3/*"), 10.0), (Pattern::new("*/kernel"), 0.5)],
        ..optimizer
    };
    // So small a norm that all steps are clipped, and one that clips none.
    for (what, clip_norm) in [("clipped", 1e-2), ("not clipped", 1e6)] {
        let clipped = |optimizer: Optimizer| Optimizer { clip_norm: Some(clip_norm), ..optimizer };
        all.extend(OPTIMIZERS.iter().map(|rule| (format!("{} {what}", rule.name), clipped(Optimizer::of(rule)))));
    }
    for (what, warmup, clip_norm) in [("averaged", false, None), ("averaged sooner and clipped", true, Some(1e-2))] {
        let ema = Some(Ema { decay: 0.75, warmup, evaluate: true });
        let averaged = |optimizer: Optimizer| Optimizer { ema, clip_norm, ..optimizer };
        all.extend(OPTIMIZERS.iter().map(|rule| (format!("{} {what}", rule.name), averaged(Optimizer::of(rule)))));
    }
    all.extend(OPTIMIZERS.iter().map(|rule| (format!("{} in groups", rule.name), groups(Optimizer::of(rule)))));
    let ema = Some(Ema { decay: 0.75, warmup: true, evaluate: true });
    for (what, clip_norm, ema) in [("accumulated", None, None), ("accumulated with all", Some(1e-2), ema)] {
        let accumulated =
            |optimizer: Optimizer| Optimizer { gradient_accumulation_steps: 2, clip_norm, ema, ..groups(optimizer) };
        all.extend(OPTIMIZERS.iter().map(|rule| (format!("{} {what}", rule.name), accumulated(Optimizer::of(rule)))));
    }
    all
}

fn assert_near(what: &str, actual: &[StateTensor], expected: &[StateTensor]) {
    for (actual, expected) in actual.iter().zip(expected) {
        assert_eq!(actual.name, expected.name);
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
        let difference = norm(&mut actual.data.iter().zip(&expected.data).map(|(a, b)| a - b));
        let size = norm(&mut expected.data.iter().copied());
        assert!(difference <= 2e-4 * size + 1e-6, "{what}: {} is {difference:e} of {size:e} away", actual.name);
    }
}

/// Rates by layer are those that are written down one by one, also of batches where they meet others.
#[test]
fn rates_by_layer_are_rates_by_name() {
    let model = "model m { patches(3) embed: dense(8) repeat ×3 { encoder: encoder } norm: layer_norm flatten \
                 classify: dense(num_classes) }\nblock encoder { residual { layer_norm -> dense(8, activation = gelu) } }";
    let rule = Optimizer::of(find("adamw").unwrap());
    let rates = |all: &[(&str, f32)]| all.iter().map(|(name, rate)| (Pattern::new(*name), *rate)).collect::<Vec<_>>();
    let own = rates(&[("*/layer_norm/gamma", 3.0)]);
    let layered = Optimizer { layer_decay: Some(0.5), rates: own, ..rule.clone() };
    let by_name = rates(&[
        ("encoder2/layer_norm/gamma", 1.5),
        ("encoder1/layer_norm/gamma", 0.75),
        ("encoder0/layer_norm/gamma", 0.375),
        ("encoder2/*", 0.5),
        ("encoder1/*", 0.25),
        ("encoder0/*", 0.125),
        ("norm/*", 1.0),
        ("classify/*", 1.0),
        ("*", 0.0625),
    ]);
    let named = Optimizer { rates: by_name, ..rule.clone() };
    let [layered, named, plain] = [&layered, &named, &rule].map(|optimizer| {
        let mut engine = engine_of(model, Backend::Cpu, optimizer, 2).unwrap();
        train(engine.as_mut(), 0..3);
        engine.state().unwrap()
    });
    assert_eq!(layered, named);
    assert_ne!(layered, plain);
    let wrong = engine(Backend::Cpu, &Optimizer { layer_decay: Some(0.5), ..rule }, 1).err().unwrap();
    assert!(wrong.contains("no repeated blocks"), "{wrong}");
}

#[test]
fn the_cpu_is_the_decomposition() {
    for (name, optimizer) in optimizers() {
        let [mut cpu, mut reference] =
            [Backend::Cpu, Backend::Reference].map(|backend| engine(backend, &optimizer, 2).unwrap());
        for step in 0..3 {
            // From the same state, for a sign may turn on rounding.
            reference.load_state(&cpu.state().unwrap()).unwrap();
            train(cpu.as_mut(), step..step + 1);
            train(reference.as_mut(), step..step + 1);
            assert_near(&format!("{name}, step {step}"), &cpu.state().unwrap(), &reference.state().unwrap());
        }
    }
}

#[test]
fn threads_and_interruptions_change_no_bit() {
    for (name, optimizer) in optimizers() {
        let [mut whole, mut first, mut second] =
            [1, 2, 2].map(|threads| engine(Backend::Cpu, &optimizer, threads).unwrap());
        train(whole.as_mut(), 0..5);
        train(first.as_mut(), 0..2);
        second.load_state(&first.state().unwrap()).unwrap();
        train(second.as_mut(), 2..5);
        assert_eq!(whole.state().unwrap(), second.state().unwrap(), "{name}");
        let slots = optimizer.slots();
        let names: Vec<String> = whole.tensors().into_iter().map(|(name, _)| name).collect();
        assert!(slots.iter().all(|slot| names.contains(&format!("optimizer/{slot}/dense1/kernel"))), "{names:?}");
    }
}

/// Kernels of convolutions are matrices of `height * width * in` rows; moving averages are of no optimizer, and averaged
/// by none.
#[test]
fn convolutions_and_their_moving_averages() {
    let model = "model convolutional { conv2d(6, 3, use_bias = false) -> batch_norm(momentum = 0.75) -> relu \
                 depthwise_conv2d(3, strides = 2, use_bias = false) -> batch_norm conv2d(8, [3, 2], groups = 2, padding = 2) gelu \
                 global_average_pool dense(num_classes) }";
    let images: Vec<f32> = (0..4 * PIXELS).map(|index| (index as f32 * 0.71).cos()).collect();
    let batch = Batch { images: &images, labels: &[1, 2, 0, 4], mixed: None };
    for (rule, gradient_accumulation_steps) in OPTIMIZERS.iter().zip([1, 2, 2, 1]) {
        let ema = Some(Ema { decay: 0.5, warmup: false, evaluate: true });
        let optimizer = Optimizer { ema, clip_norm: Some(0.1), gradient_accumulation_steps, ..Optimizer::of(rule) };
        let of = |backend, threads| engine_of(model, backend, &optimizer, threads).unwrap();
        let (mut cpu, mut single, mut reference) =
            (of(Backend::Cpu, 2), of(Backend::Cpu, 1), of(Backend::Reference, 1));
        for step in 0..2 {
            reference.load_state(&cpu.state().unwrap()).unwrap();
            for engine in [&mut cpu, &mut single, &mut reference] {
                train(engine.as_mut(), step..step + 1);
            }
            assert_near(&format!("{}, step {step}", rule.name), &cpu.state().unwrap(), &reference.state().unwrap());
        }
        let [ours, theirs] = [&mut cpu, &mut reference].map(|engine| engine.evaluate(&batch).unwrap());
        assert!((ours - theirs).abs() < 1e-3 * theirs, "{}: {ours}, not {theirs}", rule.name);
        assert_eq!(cpu.state().unwrap(), single.state().unwrap(), "{}", rule.name);
        let moving = |tensors: Vec<StateTensor>| -> Vec<Vec<f32>> {
            let moving = tensors.into_iter().filter(|tensor| tensor.name.ends_with("moving_mean"));
            moving.filter(|tensor| !tensor.name.starts_with(AVERAGE)).map(|tensor| tensor.data).collect()
        };
        let (own, evaluated) = (moving(cpu.state().unwrap()), moving(cpu.weights().unwrap()));
        assert!(!own.is_empty() && own == evaluated, "{}", rule.name);
    }
}

#[test]
fn a_pattern_of_no_parameter_is_refused() {
    let optimizer = Optimizer { no_decay: vec![Pattern::new("head/*")], ..Optimizer::default() };
    let Err(error) = engine(Backend::Cpu, &optimizer, 1) else { panic!("no parameter is named so") };
    insta::assert_snapshot!(error);
}

/// Gradients as long as `clip_norm` or shorter stay as they are, to the bit; longer ones become as long, so that steps are
/// shorter by the same factor.
#[test]
fn clipping_scales_all_gradients_by_one_factor() {
    let after = |clip_norm: Option<f32>| {
        let optimizer = Optimizer { clip_norm, ..Optimizer::of(find("sgd").unwrap()) };
        let mut engine = engine(Backend::Cpu, &optimizer, 2).unwrap();
        let before = engine.weights().unwrap();
        train(engine.as_mut(), 0..1);
        let after = engine.weights().unwrap();
        let changes = before.iter().zip(&after).flat_map(|(before, after)| before.data.iter().zip(&after.data));
        changes.map(|(before, after)| f64::from(before - after) / 1e-2).collect::<Vec<f64>>()
    };
    let plain = after(None);
    let norm = plain.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert_eq!(after(Some(norm as f32 * 1.01)), plain);
    for share in [0.5, 0.01] {
        let clipped = after(Some((norm * share) as f32));
        let distance = plain.iter().zip(&clipped).map(|(a, b)| (a * share - b).powi(2)).sum::<f64>().sqrt();
        assert!(distance < 2e-3 * share * norm, "{distance:e} of {:e}", share * norm);
    }
}

/// What is evaluated and kept as weights is the average; training itself is as without one.
#[test]
fn evaluation_takes_the_average() {
    let images: Vec<f32> = (0..4 * PIXELS).map(|index| (index as f32 * 0.71).cos()).collect();
    let batch = Batch { images: &images, labels: &[1, 2, 0, 4], mixed: None };
    for backend in [Backend::Cpu, Backend::Reference] {
        let with = |evaluate| {
            let ema = Some(Ema { decay: 0.75, warmup: false, evaluate });
            engine(backend, &Optimizer { ema, ..Optimizer::default() }, 2).unwrap()
        };
        let (mut averaged, mut aside) = (with(true), with(false));
        let mut plain = engine(backend, &Optimizer::default(), 2).unwrap();
        // Before the first step the average is the weights.
        assert_eq!(averaged.evaluate(&batch).unwrap(), plain.evaluate(&batch).unwrap());
        for engine in [&mut averaged, &mut aside, &mut plain] {
            train(engine.as_mut(), 0..1);
        }
        // The first step copies.
        assert_eq!(averaged.evaluate(&batch).unwrap(), plain.evaluate(&batch).unwrap());
        let first = plain.weights().unwrap();
        for engine in [&mut averaged, &mut aside, &mut plain] {
            train(engine.as_mut(), 1..2);
        }
        let without = |state: Vec<StateTensor>| -> Vec<StateTensor> {
            state.into_iter().filter(|tensor| !tensor.name.starts_with(AVERAGE)).collect()
        };
        let trained = plain.state().unwrap();
        assert_eq!(without(averaged.state().unwrap()), trained);
        assert_eq!(without(aside.state().unwrap()), trained);
        assert_eq!(aside.weights().unwrap(), plain.weights().unwrap());
        assert_eq!(aside.evaluate(&batch).unwrap(), plain.evaluate(&batch).unwrap());

        let average = averaged.weights().unwrap();
        for ((average, first), second) in average.iter().zip(&first).zip(plain.weights().unwrap()) {
            assert_eq!(average.name, second.name);
            for ((average, first), second) in average.data.iter().zip(&first.data).zip(&second.data) {
                assert!((average - (0.75 * first + 0.25 * second)).abs() < 1e-6, "{average} of {first}, {second}");
            }
        }
        let loss = averaged.evaluate(&batch).unwrap();
        assert_ne!(loss, plain.evaluate(&batch).unwrap());
        plain.load_state(&average).unwrap();
        assert_eq!(loss, plain.evaluate(&batch).unwrap());
        // Weights alone, as of the best epoch, are evaluated as they are.
        let mut restored = with(true);
        restored.load_state(&average).unwrap();
        assert_eq!((restored.evaluate(&batch).unwrap(), restored.weights().unwrap()), (loss, average));
    }
}

/// A network with a convolution and a batch norm in front, of which some parameters are frozen.
fn frozen(
    backend: Backend,
    optimizer: &Optimizer,
    threads: usize,
    freeze: &[&str],
    until: Option<&str>,
) -> Box<dyn Engine> {
    const MODEL: &str = "model m { conv2d(4, 3) batch_norm(momentum = 0.5) relu patches(3) dense(8) layer_norm \
                         attention(num_heads = 2, key_dim = 4) flatten dense(num_classes) }";
    let spec = ImageSpec { height: 9, width: 6, channels: 2, num_classes: 5 };
    let mut architecture = elaborate(&Source::new("model", MODEL), &BTreeMap::new(), &spec).unwrap();
    let patterns: Vec<Pattern> = freeze.iter().map(|text| Pattern::new(*text)).collect();
    architecture.freeze(&patterns, until).unwrap();
    let optimizer = optimizer.clone();
    let options = EngineOptions {
        optimizer,
        loss: Loss::default(),
        seed: 3,
        threads,
        precision: Precision::F32,
        regions: Regions::default(),
    };
    let lowering = Box::new(move |builder: &mut _, batch| architecture.lower(builder, batch));
    backend.engine(lowering, options).unwrap()
}

/// What is frozen is not updated, and nothing is kept of it but its average; all else learns as on the reference backend.
#[test]
fn what_is_frozen_stays_as_it_is() {
    let ema = Some(Ema { decay: 0.75, warmup: false, evaluate: true });
    let adamw = Optimizer { weight_decay: 0.1, ..Optimizer::default() };
    let averaged = Optimizer { ema, clip_norm: Some(1e-2), ..adamw.clone() };
    let muon = Optimizer::of(find("muon").unwrap());
    let cases: [(&[&str], Option<&str>); 4] = [
        (&[], Some("dense0")),
        (&["conv2d/*", "*/query/kernel", "layer_norm/beta"], None),
        (&["batch_norm/*"], None),
        (&["dense*", "norm"], Some("batch_norm")),
    ];
    for (optimizer, (freeze, until)) in [adamw, averaged, muon].iter().flat_map(|one| cases.map(|case| (one, case))) {
        let of = |backend, threads| frozen(backend, optimizer, threads, freeze, until);
        let [mut cpu, mut alone, mut reference] = [(Backend::Cpu, 2), (Backend::Cpu, 1), (Backend::Reference, 1)]
            .map(|(backend, threads)| of(backend, threads));
        let start = cpu.state().unwrap();
        for step in 0..3 {
            reference.load_state(&cpu.state().unwrap()).unwrap();
            for engine in [&mut cpu, &mut alone, &mut reference] {
                train(engine.as_mut(), step..step + 1);
            }
            let state = cpu.state().unwrap();
            // Of a bias that has no gradient, rounding alone decides the way.
            let of_note = |mut state: Vec<StateTensor>| {
                state.retain(|tensor| {
                    !["attention/key/bias", "conv2d/bias"].iter().any(|name| tensor.name.ends_with(name))
                });
                state
            };
            let theirs = of_note(reference.state().unwrap());
            assert_near(&format!("{freeze:?} {until:?} {step}"), &of_note(state.clone()), &theirs);
            assert_eq!(state, alone.state().unwrap());
        }
        let meant = |name: &str| {
            let before = |layers: &[&str]| layers.iter().any(|layer| name.starts_with(layer));
            freeze.iter().any(|text| Pattern::new(*text).fits(name, &[0, 0]))
                || until == Some("dense0") && before(&["conv2d/", "batch_norm/"])
                || until == Some("batch_norm") && before(&["conv2d/"])
        };
        let end = cpu.state().unwrap();
        for (before, after) in start.iter().zip(&end) {
            let name = before.name.strip_prefix(AVERAGE).unwrap_or(&before.name);
            assert!(!(name.starts_with("optimizer/") && meant(name.rsplit_once("/m/").map_or("", |(_, name)| name))));
            // A bias that a norm takes off again has no gradient to speak of.
            if name != "attention/key/bias" && name != "conv2d/bias" {
                assert_eq!(before.data == after.data, meant(name), "{freeze:?} {until:?}: {}", before.name);
            }
        }
        // Evaluation has them, too.
        let batch = Batch { images: &[0.5; PIXELS], labels: &[1], mixed: None };
        let [a, b] = [&mut cpu, &mut reference].map(|engine| engine.evaluate(&batch).unwrap());
        assert!((a - b).abs() < 1e-3 * b, "{a} {b}");
    }
}

/// One batch of 6 images, or three of 2 whose gradients are added up, come to the same, update by update; until the last of
/// the three, no parameter changes.
#[test]
fn micro_batches_are_one_batch() {
    let labels = [0, 4, 2, 2, 1, 3, 0, 1, 4, 4, 3, 2];
    let images: Vec<f32> = (0..labels.len() * PIXELS).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = |from: usize, count: usize| Batch {
        images: &images[from * PIXELS..(from + count) * PIXELS],
        labels: &labels[from..from + count],
        mixed: None,
    };
    let step = |iteration: u32, learning_rate: f32| Step {
        epoch: 0,
        step: iteration,
        iteration: iteration.into(),
        learning_rate,
    };
    let ema = Some(Ema { decay: 0.75, warmup: true, evaluate: true });
    for rule in OPTIMIZERS {
        for backend in [Backend::Cpu, Backend::Reference] {
            let of = |gradient_accumulation_steps| {
                let all = Optimizer { weight_decay: 0.1, clip_norm: Some(0.3), ema, ..Optimizer::of(rule) };
                engine(backend, &Optimizer { gradient_accumulation_steps, ..all }, 2).unwrap()
            };
            let (mut whole, mut parts) = (of(1), of(3));
            let parameters = |engine: &dyn Engine| -> Vec<StateTensor> {
                let state = engine.state().unwrap().into_iter();
                state.filter(|tensor| !tensor.name.starts_with("optimizer/gradient_accumulator/")).collect()
            };
            for update in 0..2 {
                let rate = 1e-2 / (1.0 + update as f32);
                whole.train_step(&batch(6 * update, 6), &step(update as u32, rate)).unwrap();
                let before = parameters(parts.as_ref());
                for part in 0..3 {
                    assert_eq!(parameters(parts.as_ref()), before, "{}", rule.name);
                    let iteration = (3 * update + part) as u32;
                    parts.train_step(&batch(6 * update + 2 * part, 2), &step(iteration, rate)).unwrap();
                }
                assert_near(
                    &format!("{} {backend:?}, update {update}", rule.name),
                    &parameters(parts.as_ref()),
                    &parameters(whole.as_ref()),
                );
                let sums = parts.state().unwrap().into_iter();
                let mut sums = sums.filter(|tensor| tensor.name.starts_with("optimizer/gradient_accumulator/"));
                assert!(sums.all(|sum| sum.data.iter().all(|&value| value == 0.0)), "{}", rule.name);
                // A sign, or Adam's first steps, may turn on rounding.
                let state = parameters(whole.as_ref());
                parts.load_state(&state).unwrap();
            }
        }
    }
}
