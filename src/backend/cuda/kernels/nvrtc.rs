//! Every kernel, as the reference model and a model of odd shapes use it, goes through NVIDIA's compiler.
//!
//! `VITX_NVRTC` names the library (`libnvrtc.so.13`; PyPI's `nvidia-cuda-nvrtc` has it). Without it
//! the test says that it is skipped.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char, c_int, c_void},
    io::Write,
    ptr,
    sync::Arc,
};

use libloading::{Library, Symbol};

use super::*;
use crate::{
    backend::{
        cuda::{
            device::BLOCK_MEMORY,
            launch::{Element, Launch, Precision},
            merged::merged,
            ops::{average_pool2d, image_product, lookup, mask_scores, max_pool2d, rope, sinusoid},
            program::{Program, Work},
            region,
            tests::reference_model,
        },
        plan,
    },
    data::{Augmentation, Keys},
    dsl,
    graph::{
        activations::ACTIVATIONS,
        expression::Expression,
        ops::{self, Activation, ClipFactor},
        optimizers::{Ema, OPTIMIZERS, Optimizer},
    },
};

/// Bytes of registers that a kernel may put aside. Those of the slow path, and attention on operands of several parts, do not claim
/// to keep everything in registers. Attention with its projections takes all that there are; an address or two are put aside for
/// each head.
pub fn may_spill<P>(launch: &Launch<P>) -> u32 {
    let parts = launch.defines.iter().find(|(name, _)| *name == "PARTS");
    // A division in float64 is a call, around which registers are put aside.
    let divides = launch.source.name == bytes::SOURCE.name;
    let slow = divides || launch.source.name == attention::SOURCE.name;
    match launch.source.name {
        _ if slow || parts.is_some_and(|(_, parts)| parts != "1") => u32::MAX,
        name if name == attention_projected::SOURCE.name => 16,
        _ => 0,
    }
}

/// Products of projections' kernels, and sums over heads.
fn of_heads(precision: Precision, [rows, heads, dim]: [usize; 3]) -> Vec<Launch<()>> {
    let (a, b, c) = (['i', 'h', 'k'], ['j', 'h', 'k'], ['i', 'h', 'j']);
    let of = head_product::Shaped { product: ops::HeadProduct { a, b, c }, shapes: [[dim, heads, dim]; 2] };
    let strided = head_product::Strided { at: (), strides: [heads * dim, dim, 1] };
    let term = head_product::Term { of, a: strided, b: strided };
    let products = [
        head_product::product(&[term], precision.element(), strided),
        head_product::product(&[term; 2], Element::F32, strided),
    ];
    let sums = [None, Some(())].map(|bias| sum_heads::sum_heads([rows, heads, dim], precision, (), bias, ()));
    products.into_iter().flatten().chain(sums).collect()
}

/// Both directions of an attention with its projections, if there is such a kernel, with dropout and biases and without.
fn projected(attention: &attention::Attention) -> Vec<Launch<()>> {
    let Some(projected) = attention_projected::Projected::of(attention) else { return Vec::new() };
    let dropout = Dropout::new(&ops::Dropout::new(0.1, 1), 7, ());
    let [own, all] = [1, attention.heads].map(|heads| attention::Columns { at: (), row: heads * attention.key_dim });
    let statistics = attention::Statistics { logsum: (), kept: () };
    let to = attention_projected::Gradients { query: all, keys: own, value: all };
    let of = |dropout, bias| {
        let projection = attention_projected::Projection { kernel: all, bias };
        let inputs = attention_projected::ProjectedInputs { x: own, query: projection, value: projection, dropout };
        [projected.forward(&inputs, bias, (), statistics), projected.backward(&inputs, own, statistics, to)]
    };
    [of(Some(dropout), Some(())), of(None, None)].concat()
}

/// Launches of a training step: a batch of images of `tokens`, `heads` of `dim` each.
fn launches(precision: Precision, [batch, tokens, heads, dim]: [usize; 4]) -> Vec<Launch<()>> {
    let element = precision.element();
    let (rows, act) = (batch * tokens, (element, ()));
    let dropout = || Some(Dropout::new(&ops::Dropout::new(0.1, 1), 7, ()));
    let attention = attention::Attention {
        batch,
        tokens,
        sources: tokens,
        heads,
        key_dim: dim,
        value_dim: dim,
        scale: 1.0 / (dim as f32).sqrt(),
        diagonal: false,
        shared_keys: false,
        summed: false,
        precision,
        block_memory: BLOCK_MEMORY,
    };
    let columns = attention::Columns { at: (), row: heads * dim };
    let inputs = attention::Inputs { q: columns, k: columns, v: columns, dropout: dropout() };
    let statistics = attention::Statistics { logsum: (), kept: () };
    let with =
        attention::Backward { out: (), dout: columns, statistics, delta: (), dq: columns, dk: columns, dv: columns };
    let written = || dropout().map(|layer| layer.written(()));
    let residual = layer_norm::Residual { b: (), bias: Some(()), dropout: written(), sum: () };
    let epilogue = |activation, residual| pointwise::Epilogue {
        bias: Some(()),
        kept: Some(()),
        activation: Some(activation),
        dropout: written(),
        residual,
    };
    let masks = dropout().map(|layer| masks::of_attention([batch, heads, tokens, tokens], layer, ()));
    let class_weights: Arc<[f32]> = (0..100).map(|class| class as f32 / 7.0).collect();
    let smoothed = |per_class| ops::CrossEntropy {
        label_smoothing: 0.1,
        per_class,
        class_weights: per_class.then(|| class_weights.clone()),
    };
    let losses = cross_entropy::Rows { losses: (), places: () };
    let mut all = vec![
        attention.forward(inputs.clone(), (), statistics),
        attention.forward(attention::Inputs { dropout: None, ..inputs.clone() }, (), statistics),
        layer_norm::forward(rows, dim, 1e-6, precision, (), None, (), (), (), (), ()),
        layer_norm::forward(rows, dim, 1e-6, precision, (), Some(residual), (), (), (), (), ()),
        pointwise::add(rows * dim, element, (), tokens * dim, Element::F32, (), ()),
        pointwise::scale(rows * dim, 0.5, element, (), element, ()),
        cross_entropy::rows(
            batch,
            100,
            element,
            (),
            ((), false),
            &ops::CrossEntropy::default(),
            1.0,
            Some((element, ())),
            losses.clone(),
        ),
        cross_entropy::rows(
            batch,
            100,
            element,
            (),
            ((), true),
            &smoothed(false),
            1.0,
            Some((element, ())),
            losses.clone(),
        ),
        cross_entropy::rows(
            batch,
            100,
            element,
            (),
            ((), true),
            &smoothed(true),
            1.0,
            Some((element, ())),
            losses.clone(),
        ),
        cross_entropy::finish(batch, 5, losses, (), (), (), ()),
        update::shadow(9, ()),
        step::advance([(); 3], [batch, batch, 50_000], (), [9, 2]),
        images::take((9, (), ()), (3, (), ())),
        reduce::find_bad(rows, element, (), ()),
        softmax::forward(rows, dim, precision, (), ()),
        softmax::backward(rows, dim, precision, (), (), ()),
        layout::slice([batch, tokens, dim], 0, 1, act, act),
        layout::place([batch, tokens, dim], 0, 1, act, act),
        layout::expand(batch, dim, (Element::F32, ()), act),
        layout::pad([batch, tokens, dim], 1, 0, act, act),
        layout::mean([batch, tokens, dim], act, act),
        layout::mean_gradient([batch, tokens, dim], act, act),
        layout::permute(&[batch, 12, 6, 12, 6, 3], &[0, 1, 3, 2, 4, 5], act, act),
        layout::permute(&[batch, tokens, dim], &[0, 2, 1], act, act),
    ];
    all.extend(masks);
    let ema = Some(Ema { decay: 0.5, warmup: false, evaluate: true });
    for (clip_norm, ema) in [(None, None), (Some(1.0), ema)] {
        let with = |rule| Optimizer { clip_norm, ema, ..Optimizer::of(rule) };
        all.extend(OPTIMIZERS.iter().map(|rule| update::step(9, (), (), (), (), &with(rule))));
        let matrices = OPTIMIZERS.iter().filter(|rule| rule.direction.is_some());
        all.extend(matrices.map(|rule| update::direction(9, (), (), (), (), &with(rule))));
    }
    all.extend(orthogonal::normalise([64, 48], 192, (), (), (element, ())));
    all.push(orthogonal::polynomial(48, 1.0, element, (), (), ()));
    all.extend([None, Some(4)].map(|ends| accumulate::accumulate(4096, ops::Accumulate { ends }, (), (), ())));
    all.extend(global_norm::clip_factor(4096, ClipFactor { clip_norm: 1.0 }, (), (), ()));
    let pool = ops::MaxPool2d(ops::Pool2d { pool: [3, 3], strides: [2, 2], same: true });
    let image = [batch, tokens, 8, dim];
    let types = [("GRADIENT", element, ()), ("FROM", element, ()), ("TO", element, ())];
    all.push(max_pool2d::launch("backward", pool, &image, 9, types));
    all.push(max_pool2d::launch("forward", pool, &image, 9, [types[1], types[2]]));
    let average = ops::AveragePool2d(ops::Pool2d { pool: [3, 3], strides: [2, 2], same: true });
    all.push(average_pool2d::launch("forward", average, &image, 9, act, act));
    all.push(average_pool2d::launch("backward", average, &image, 9, act, act));
    let windows = ops::MaskScores::Windows { window: [2, 3], shift: [1, 1] };
    all.push(mask_scores::launch(windows, &[batch, 2, 2, heads, 6, 6], act, act));
    all.push(mask_scores::launch(ops::MaskScores::Diagonal, &[batch, heads, tokens, tokens], act, act));
    for layout in [ops::Layout::Line, ops::Layout::Grid { columns: 1 }] {
        all.push(sinusoid::launch(ops::AddSinusoid { layout }, [batch, tokens, 4 * dim], act, act));
    }
    let movement = |axis, cyclic| ops::Movement { axis, by: 1, length: if cyclic { dim } else { tokens }, cyclic };
    all.push(layout::translate(&[batch, tokens, dim], &[movement(1, false), movement(2, true)], act, act));
    for groups in [1, 2] {
        let conv = ops::Conv2d { strides: [2, 1], padding: [[1, 1]; 2], dilation: [1, 2], groups };
        let windows = conv.windows([tokens, 8], [3, 2]);
        let patches = conv2d::Patches { images: batch, channels: dim, first: 0, own: dim / groups, windows };
        all.extend([patches.gather(act, act), patches.spread(act, act)]);
        let bias = (groups == 1).then_some(());
        let depthwise = depthwise::Depthwise { images: batch, channels: dim, windows };
        all.push(depthwise.forward(act, (), bias, act));
        all.push(depthwise.input_gradient(act, (), bias, act));
        all.extend(depthwise.kernel_gradient(act, act, (), ()));
    }
    if precision == Precision::Bf16 {
        let conv = |size, [channels, filters]: [usize; 2], stride| {
            let conv = ops::Conv2d { strides: [stride; 2], padding: [[1, 1]; 2], dilation: [1, 1], groups: 1 };
            let windows = conv.windows(size, [3, 3]);
            let shape = ops::ConvShape { images: batch, channels, windows, taps: 9, own: channels, filters, groups: 1 };
            conv2d_mma::Conv::new(&shape).expect("a convolution for tensor cores")
        };
        let convs = if dim == 64 {
            vec![
                conv([32, 32], [3, 64], 1),
                conv([32, 32], [64, 64], 1),
                conv([32, 32], [64, 128], 2),
                conv([8, 8], [256, 256], 1),
            ]
        } else {
            vec![conv([7, 5], [40, 72], 2), conv([14, 14], [256, 256], 1)]
        };
        for conv in convs {
            all.extend(conv.forward((), (), Some(()), ()));
            all.extend(conv.input_gradient(&(), &(), Some(&()), &()).into_iter().flatten());
            all.extend(conv.kernel_gradient((), (), (), ()).expect("a gradient"));
        }
    }
    let norm = batch_norm::BatchNorm { rows, channels: dim, epsilon: 1e-3 };
    let parameters = batch_norm::Parameters { gamma: (), beta: (), mean: (), variance: () };
    all.extend(norm.moments(act, (), (), ()));
    all.push(batch_norm::statistics(rows, dim, (), (), (), ()));
    all.push(batch_norm::moving_average(dim, 0.9, (), (), (), Some(())));
    for activation in [None, Activation::named("gelu"), Activation::named("relu")] {
        let residual = batch_norm::Addend { at: (), before_activation: true };
        all.push(norm.normalise(act, parameters, activation, None, act));
        all.push(norm.normalise(act, parameters, activation, Some(residual), act));
        all.extend(norm.gradient_sums(act, act, parameters, activation, (), ()));
        all.push(norm.gradient(0.5, act, act, parameters, [(); 2], activation, act));
    }
    let gate = Expression::new(5, |x| &x[0] * &x[1].sigmoid() * &x[3] + &x[2].normal_cdf() * &x[4]);
    let mask = dropout().expect("a mask");
    for suffix in [dim, 7] {
        let operands = vec![
            expression::Operand::Whole { element, at: () },
            expression::Operand::PerImage { element, at: (), suffix },
            expression::Operand::Shared { element: Element::F32, at: (), suffix },
            expression::Operand::Mask(mask),
            expression::Operand::ImageMask(mask),
        ];
        all.push(expression::evaluate(&gate, [batch * 8 * suffix, 8 * suffix], operands, element, ()));
    }
    let named = |name| Activation::named(name).expect("an activation");
    for activation in ACTIVATIONS.iter().map(|rule| named(rule.name)) {
        all.push(pointwise::forward(rows * dim, dim, precision, (), epilogue(activation, None), ()));
        all.push(pointwise::backward(
            rows * dim,
            precision,
            (),
            Some((activation, ())),
            dropout().map(|layer| layer.read(())),
            (),
        ));
    }
    all.push(pointwise::forward(rows * dim, dim, precision, (), epilogue(named("gelu"), Some(())), ()));
    all.push(pointwise::backward(rows * dim, precision, (), None, dropout(), ()));
    all.extend(attention.backward(&inputs, &with));
    // Any number of tokens, and heads of any width.
    let rotary = ops::Rope { heads, grid: [1, tokens - 1], skipped: 1, base: 100.0, inverse: false };
    all.push(rope::launch(rotary, &[batch, tokens, heads * dim], act, act));
    let (a, c) = (['i', 'h', 'd'], ['h', 'i', 'j']);
    let product = ops::ImageProduct(ops::HeadProduct { a, b: ['j', 'h', 'd'], c });
    all.push(image_product::launch(&product, [&[batch, tokens, heads, dim]; 2], [act; 3]));
    all.extend(of_heads(precision, [rows, heads, dim]));
    let exact = (Element::F32, ());
    for (table, rows) in [
        (ops::Lookup::RepeatEach { times: dim }, 2 * tokens - 1),
        (ops::Lookup::RelativePositions { grid: [1, tokens], skipped: 0, diagonal: false }, 2 * tokens - 1),
        (ops::Lookup::RelativePositions { grid: [1, tokens - 1], skipped: 1, diagonal: true }, 2 * tokens),
    ] {
        all.push(lookup::launch("forward", table, &[rows, heads], 9, exact, act));
        all.push(lookup::launch("backward", table, &[rows, heads], 9, act, exact));
    }
    for attention in [
        attention::Attention { diagonal: true, ..attention },
        attention::Attention { shared_keys: true, summed: true, ..attention },
        attention::Attention { tokens: 4 * tokens, ..attention },
        attention::Attention { key_dim: dim + 128, ..attention },
    ] {
        all.push(attention.forward(inputs.clone(), (), statistics));
        all.extend(attention.backward(&inputs, &with));
    }
    // Only where there is one head, or as many images as a device has multiprocessors, is there a kernel with projections.
    for (heads, diagonal) in [(1, true), (heads, false)] {
        let own = attention::Attention { heads, diagonal, shared_keys: true, summed: true, ..attention };
        all.extend(projected(&own));
    }
    all.extend(layer_norm::backward(rows, dim, precision, (), (), (), (), (), Some(()), (), (), ()));
    all.extend(reduce::sum_rows(rows, dim, element, (), (), ()));
    let input = images::Input {
        images: (),
        labels: (),
        order: (),
        tables: (),
        channels: 3,
        from: (32, 32),
        to: (72, 72),
        augmentation: Some(((), Augmentation::Keys(Keys { flip: true, rotation: 0.02, zoom: 0.2 }).plan([72, 72]))),
        mixing: None,
        shrink: None,
        repeats: 1,
        count: 50_000,
    };
    all.extend(images::batch(&input, batch, (), [(); 2], (element, ()), ()));
    let list = "[random_crop, random_erasing, random_rotation, rand_augment, mixup]";
    let plan = serde_yaml::from_str::<Augmentation>(list).expect("a list").plan([72, 72]);
    let input = images::Input { augmentation: Some(((), plan)), ..input };
    let shrink = Some(((), (48, 48)));
    all.extend(images::batch(
        &images::Input { mixing: Some(()), shrink, repeats: 3, ..input },
        batch,
        (),
        [(); 2],
        (element, ()),
        (),
    ));
    all
}

/// NVRTC, by the path that `VITX_NVRTC` names.
pub struct Compiler(Library);

impl Compiler {
    /// Or nothing, and word on standard error of what is skipped without it.
    pub fn find(skipped: &str) -> Option<Self> {
        let Some(library) = crate::folders::absolute("VITX_NVRTC") else {
            // Not by `eprintln`, which is only shown when a test fails.
            let _ = writeln!(std::io::stderr(), "skipped: {skipped}, as VITX_NVRTC is not set");
            return None;
        };
        // SAFETY: NVRTC's initialisers do no more than any library's.
        Some(Self(unsafe { Library::new(&library) }.unwrap_or_else(|error| panic!("{library:?}: {error}"))))
    }

    fn call<T: Copy>(&self, name: &str) -> Symbol<'_, T> {
        // SAFETY: each caller names a function of NVRTC and its type as `nvrtc.h` has it.
        unsafe { self.0.get(name.as_bytes()) }.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The log, and the cubin if it compiled.
    pub fn compile<P>(&self, launch: &Launch<P>, architecture: &str) -> (String, Option<Vec<u8>>) {
        type Create = unsafe extern "C" fn(
            *mut *mut c_void,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(*mut c_void, c_int, *const *const c_char) -> c_int;
        type Size = unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int;
        type Log = unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int;
        type Cubin = unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int;
        type Destroy = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
        let text = |text: &str| CString::new(text).expect("no zero bytes in a source");
        let mut options = launch.compiler_options(architecture);
        options.push("--ptxas-options=-v".to_owned());
        let options: Vec<CString> = options.iter().map(|option| text(option)).collect();
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let (source, name) = (text(launch.source.text), text(launch.source.name));
        let headers = HEADERS.map(|(name, code)| [text(name), text(code)]);
        let [names, texts] = [0, 1].map(|part| headers.each_ref().map(|header| header[part].as_ptr()));
        let mut program = ptr::null_mut();
        let mut size = 0;
        // SAFETY: the types are those of `nvrtc.h`; all strings outlive the calls; the log has the
        // size that was asked for, its closing zero included.
        unsafe {
            let create = self.call::<Create>("nvrtcCreateProgram");
            let count = HEADERS.len() as c_int;
            let created = create(&mut program, source.as_ptr(), name.as_ptr(), count, texts.as_ptr(), names.as_ptr());
            assert_eq!(created, 0, "nvrtcCreateProgram");
            let compile = self.call::<Compile>("nvrtcCompileProgram");
            let compiled = compile(program, options.len() as c_int, options.as_ptr()) == 0;
            assert_eq!(self.call::<Size>("nvrtcGetProgramLogSize")(program, &mut size), 0);
            let mut log = vec![0_u8; size.max(1)];
            assert_eq!(self.call::<Log>("nvrtcGetProgramLog")(program, log.as_mut_ptr().cast()), 0);
            let cubin = compiled.then(|| {
                assert_eq!(self.call::<Size>("nvrtcGetCUBINSize")(program, &mut size), 0);
                let mut cubin = vec![0_u8; size];
                assert_eq!(self.call::<Cubin>("nvrtcGetCUBIN")(program, cubin.as_mut_ptr().cast()), 0);
                cubin
            });
            self.call::<Destroy>("nvrtcDestroyProgram")(&mut program);
            let log = CStr::from_bytes_until_nul(&log).map(|log| log.to_string_lossy().into_owned());
            (log.unwrap_or_default(), cubin)
        }
    }
}

/// What a kernel takes, from the assembler's report.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Bytes that a thread puts aside for want of registers.
    pub spilled: u32,
    /// 32-bit registers of a thread.
    pub registers: u32,
    /// Bytes of static shared memory of a block.
    pub shared: u32,
}

/// By kernel.
pub fn usage(log: &str) -> BTreeMap<String, Usage> {
    let mut all = BTreeMap::new();
    let mut entry = String::new();
    for line in log.lines() {
        let number = |what: &str| line.split_once(what)?.0.rsplit(' ').next()?.parse::<u32>().ok();
        if let Some((_, name)) = line.split_once("Function properties for ") {
            entry = name.trim().to_owned();
        } else if line.contains(" bytes spill stores") {
            let spilled = number(" bytes spill stores").expect("a number");
            all.entry(entry.clone()).or_insert_with(Usage::default).spilled = spilled;
        } else if line.contains(" registers") && line.contains(": Used ") {
            let usage: &mut Usage = all.entry(entry.clone()).or_default();
            usage.registers = number(" registers").expect("a number");
            usage.shared = number(" bytes smem").unwrap_or(0);
        }
    }
    all
}

/// Compiles what these steps launch, and asserts that no kernel spills but those which may.
fn check(architecture: &str, steps: &[(Precision, [usize; 4])]) -> Vec<&'static str> {
    let launches = steps.iter().flat_map(|&(precision, shape)| launches(precision, shape));
    check_all(architecture, launches)
}

fn check_all(architecture: &str, launches: impl Iterator<Item = Launch<()>>) -> Vec<&'static str> {
    let Some(compiler) = Compiler::find(&format!("kernels for {architecture}")) else {
        return SOURCES.iter().map(|source| source.name).collect();
    };
    let mut modules: BTreeMap<String, (Launch<()>, Vec<&str>)> = BTreeMap::new();
    for launch in launches {
        let key = format!("{} {:?}", launch.source.name, launch.defines);
        let entry = launch.entry;
        modules.entry(key).or_insert_with(|| (launch, Vec::new())).1.push(entry);
    }
    for (key, (launch, entries)) in &modules {
        let (log, cubin) = compiler.compile(launch, architecture);
        assert!(cubin.is_some(), "{key} for {architecture}: {log}");
        let usage = usage(&log);
        for entry in entries {
            let bytes = usage.get(*entry).map(|usage| usage.spilled);
            let allowed = bytes.is_some_and(|bytes| bytes <= may_spill(launch));
            assert!(allowed, "{entry} of {key} for {architecture} spills {bytes:?} bytes: {log}");
        }
    }
    modules.values().map(|(launch, _)| launch.source.name).collect()
}

/// The regions of programs, each text once.
fn regions(programs: &[Program]) -> Vec<Launch<()>> {
    let mut texts = BTreeMap::new();
    for call in programs.iter().flat_map(|program| &program.calls) {
        if let Work::Launch(launch) = &call.work
            && launch.source.name == region::NAME
        {
            texts.entry(launch.source.text).or_insert_with(|| launch.clone().map(|_| ()));
        }
    }
    texts.into_values().collect()
}

/// Compiles the regions of programs, and asserts that none spills.
fn check_regions(architecture: &str, programs: &[Program]) {
    let Some(compiler) = Compiler::find(&format!("regions for {architecture}")) else { return };
    let launches = regions(programs);
    assert!(launches.len() > 3, "{} regions", launches.len());
    for launch in launches {
        let (log, cubin) = compiler.compile(&launch, architecture);
        assert!(cubin.is_some(), "for {architecture}: {log}\n{}", launch.source.text);
        // The text has launch bounds, so that its block has as many registers as there are.
        assert!(
            usage(&log).values().all(|usage| usage.spilled == 0),
            "for {architecture}: {log}\n{}",
            launch.source.text
        );
    }
}

/// Programs with regions: of the reference model, of a narrower model of fewer tokens, of one with odd shapes, and of one with convolutions
/// of each channel by itself.
fn programs() -> Vec<Program> {
    let of = |name, text: &str, batch| {
        reference_model::program_of(&dsl::Source::new(name, text), batch, Precision::Bf16, plan::pack, true)
    };
    vec![
        of("reference", include_str!("../../../../experiments/cifar100_vit.vitx"), 256),
        of("narrow", include_str!("../../../../experiments/cifar10_vit.vitx"), 128),
        of(
            "odd",
            "model odd { patches(4) patch_encoder(80) repeat transformer_block(3, key_dim = 16, units = [144, 80], dropout = 0.1) ×1
             layer_norm flatten dense(num_classes) }",
            5,
        ),
        of(
            "depthwise",
            "model depthwise {
             conv2d(96, 3) -> batch_norm -> relu6 depthwise_conv2d(3, strides = 2, use_bias = false) -> batch_norm -> relu6
             conv2d(256, 1) -> batch_norm -> gelu residual { depthwise_conv2d(3) -> batch_norm -> gelu }
             conv2d(128, 1) -> batch_norm residual { depthwise_conv2d(5, activation = gelu) -> batch_norm }
             conv2d(80, 1) -> batch_norm depthwise_conv2d(7) -> relu
             global_average_pool dense(num_classes) }",
            128,
        ),
    ]
}

/// Those of the reference model for this architecture are held to more in `resources`.
#[test]
fn regions_for_hopper() {
    check_regions("sm_90", &programs()[1..]);
}

#[test]
fn regions_for_ampere_and_blackwell() {
    let programs = programs();
    check_regions("sm_80", &programs[..1]);
    check_regions("sm_80", &programs[3..]);
    check_regions("sm_100", &programs[1..2]);
}

const SEED: [usize; 4] = [256, 144, 4, 64];
const ODD: [usize; 4] = [5, 37, 3, 20];

#[test]
fn for_ampere() {
    check("sm_80", &[(Precision::Bf16, SEED)]);
}

#[test]
fn for_hopper() {
    let sources = check("sm_90", &[(Precision::Bf16, SEED), (Precision::Tf32, SEED), (Precision::F32, SEED)]);
    assert!(SOURCES.iter().all(|source| sources.contains(&source.name)), "{sources:?}");
}

#[test]
fn for_hopper_in_odd_shapes() {
    check("sm_90", &[(Precision::Bf16, ODD), (Precision::Tf32, ODD), (Precision::F32, ODD)]);
}

#[test]
fn for_blackwell() {
    check("sm_100", &[(Precision::Bf16, SEED)]);
}

/// One launch for four variants.
fn packed(launch: Launch<()>) -> Launch<()> {
    let packed: [_; 1] = merged(vec![launch.map(|()| 0); 4]).try_into().expect("one launch");
    packed.into_iter().next().expect("it").map(|_| ())
}

/// In their packed form, too, kernels keep everything in registers.
#[test]
fn of_several_variants_at_once() {
    check_all("sm_90", launches(Precision::Bf16, SEED).into_iter().map(packed));
}

/// All but a few: the addresses of a variant are in a table, and so in registers, not in constants.
#[test]
fn regions_of_several_variants_at_once() {
    let Some(compiler) = Compiler::find("regions of several variants") else { return };
    let programs = programs();
    for launch in regions(&programs[1..2]).into_iter().chain(regions(&programs[3..])) {
        let launch = packed(launch);
        let (log, cubin) = compiler.compile(&launch, "sm_90");
        assert!(cubin.is_some(), "{log}");
        assert!(usage(&log).values().all(|usage| usage.spilled <= 64), "{log}\n{}", launch.source.text);
    }
}
