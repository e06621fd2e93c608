//! Every operator: its gradient rule against finite differences of its decomposition, run on
//! luminal's own CPU compiler.

use std::{cell::RefCell, collections::BTreeMap};

use luminal::prelude::Compiler;
use rustc_hash::FxHashMap;
use vitx::{
    backend::reference,
    dsl::Value as DslValue,
    graph::{
        Builder, Initializer, Value,
        activations::ACTIVATIONS,
        expression::Expression,
        ops::{
            Activation, AddSinusoid, Attention, AveragePool2d, Conv2d, CrossEntropy, Dropout, HeadProduct,
            ImageProduct, Layout, Lookup, MaskScores, MaxPool2d, Movement, Operand, Pool2d, RandomState, Rope,
            Translate,
        },
    },
    model::layers::{Arguments, find},
    passes::Autodiff,
};

type Build<'a> = &'a dyn Fn(&mut Builder, &[Value]) -> Value;

fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    Initializer::Uniform { limit: 1.0 }.fill(seed, 0, &mut values);
    values
}

/// A scalar of an operator's output: a weighted sum, so that every element of the gradient matters.
fn scalar(builder: &mut Builder, y: &Value, weights: &str) -> Value {
    let row = builder.reshape(y, &[1, y.len()]);
    let weights = builder.parameter(weights, &[y.len(), 1], &[y.len(), 1], Initializer::Zeros);
    let sum = builder.dense(&row, &weights, None);
    builder.reshape(&sum, &[1])
}

/// Compares every element of every input's gradient with central differences.
fn check(what: &str, shapes: &[&[usize]], build: Build) {
    let mut inputs: FxHashMap<String, Vec<f32>> = FxHashMap::default();
    for (index, shape) in shapes.iter().enumerate() {
        inputs.insert(format!("x{index}"), noise(index as u64 + 1, shape.iter().product()));
    }
    inputs.insert("random".into(), RandomState::new(5, 9).encode().to_vec());
    inputs.insert("seed".into(), vec![1.0]);
    let last = shapes[0][shapes[0].len() - 1];
    inputs.insert("mean".into(), vec![0.25; last]);
    inputs.insert("variance".into(), vec![1.0; last]);
    inputs.insert("labels".into(), vec![0.0, 4.0, 2.0]);
    inputs.insert("targets".into(), vec![0.0, 3.0, 0.25, 4.0, 4.0, 0.5, 2.0, 1.0, 0.875]);

    let graph = |inputs: &mut FxHashMap<String, Vec<f32>>| {
        let mut builder = Builder::for_training();
        let values: Vec<Value> = shapes
            .iter()
            .enumerate()
            .map(|(index, shape)| builder.parameter(&format!("x{index}"), shape, shape, Initializer::Zeros))
            .collect();
        let y = build(&mut builder, &values);
        inputs.entry("weights".into()).or_insert_with(|| noise(77, y.len()));
        let loss = scalar(&mut builder, &y, "weights");
        (builder, values, loss)
    };

    let (mut builder, values, loss) = graph(&mut inputs);
    let seed = builder.input("seed", &[1]);
    let gradients = RefCell::default();
    Autodiff { loss: &loss, seed: &seed, wanted: &values, gradients: &gradients }.compile(&mut builder.graph, ());
    let gradients: Vec<Value> = gradients.into_inner().into_iter().flatten().collect();
    assert_eq!(gradients.len(), values.len(), "{what}: an input has no gradient");
    for (value, gradient) in values.iter().zip(&gradients) {
        assert_eq!(value.len(), gradient.len(), "{what}");
    }
    let analytic = reference::run(builder, &inputs, &gradients).unwrap();

    let loss_at = |inputs: &mut FxHashMap<String, Vec<f32>>| {
        let (builder, _, loss) = graph(inputs);
        f64::from(reference::run(builder, inputs, &[loss]).unwrap()[0][0])
    };
    const STEP: f32 = 1.0 / 128.0;
    for (index, gradient) in analytic.iter().enumerate() {
        let name = format!("x{index}");
        for element in 0..gradient.len() {
            let start = inputs[&name][element];
            let mut at = |value: f32| {
                inputs.get_mut(&name).unwrap()[element] = value;
                loss_at(&mut inputs)
            };
            let numeric = (at(start + STEP) - at(start - STEP)) / f64::from(2.0 * STEP);
            at(start);
            let error = (numeric - f64::from(gradient[element])).abs();
            assert!(
                error < 2e-3 * (1.0 + numeric.abs()),
                "{what}, {name}[{element}]: {} is not {numeric}",
                gradient[element]
            );
        }
    }
}

#[test]
fn dense() {
    check("dense", &[&[2, 3, 5], &[5, 4], &[4]], &|b, x| b.dense(&x[0], &x[1], Some(&x[2])));
    check("dense of one row", &[&[1, 1], &[1, 3], &[3]], &|b, x| b.dense(&x[0], &x[1], Some(&x[2])));
    check("dense without bias", &[&[3, 7], &[7, 1]], &|b, x| b.dense(&x[0], &x[1], None));
}

#[test]
fn layer_norm() {
    for shape in [&[2, 2, 5][..], &[1, 3], &[3, 1, 7], &[5, 2]] {
        let dim = &shape[shape.len() - 1..];
        // A large epsilon keeps the finite differences of rows of two finite.
        check("layer_norm", &[shape, dim, dim], &|b, x| b.layer_norm(&x[0], &x[1], &x[2], 1e-1));
    }
}

#[test]
fn batch_norm() {
    // The statistics are those of the batch: its rows are normalised together.
    for shape in [&[3, 2, 4][..], &[5, 3], &[2, 2, 3, 2]] {
        let dim = &shape[shape.len() - 1..];
        check("batch_norm", &[shape, dim, dim], &|b, x| {
            let moving = ["mean", "variance"].map(|name| b.input(name, dim));
            b.batch_norm(&x[0], [&x[1], &x[2]], [&moving[0], &moving[1]], 1e-1)
        });
    }
}

#[test]
fn convolutions() {
    let conv = |strides, padding, dilation, groups| Conv2d { strides, padding, dilation, groups };
    for (image, kernel, conv) in [
        ([2, 4, 5, 2], [3, 3, 2, 3], conv([1, 1], [[1, 1], [1, 1]], [1, 1], 1)),
        ([1, 5, 4, 4], [2, 3, 2, 2], conv([2, 1], [[0, 1], [2, 0]], [1, 1], 2)),
        ([1, 5, 6, 3], [2, 2, 1, 3], conv([1, 2], [[3, 0], [1, 2]], [2, 3], 3)),
        ([2, 3, 3, 2], [1, 1, 1, 4], conv([2, 2], [[0, 0], [0, 0]], [1, 1], 2)),
    ] {
        check("conv2d", &[&image, &kernel], &|b, x| b.apply_one(conv, &[&x[0], &x[1]]));
        check("conv2d with bias", &[&image, &kernel, &kernel[3..]], &|b, x| b.apply_one(conv, &[&x[0], &x[1], &x[2]]));
    }
}

#[test]
fn average_pool2d() {
    for (pool, strides, same) in [([2, 2], [2, 2], false), ([3, 2], [1, 2], true), ([2, 3], [3, 1], true)] {
        let pool = AveragePool2d(Pool2d { pool, strides, same });
        check("average_pool2d", &[&[2, 5, 4, 2]], &|b, x| b.apply_one(pool, &[&x[0]]));
    }
}

#[test]
fn attention() {
    for rate in [0.0, 0.4] {
        check("attention", &[&[2, 3, 4], &[2, 5, 4], &[2, 5, 6]], &|b, x| b.attention(&x[0], &x[1], &x[2], 2, rate));
        check("one head", &[&[1, 1, 3], &[1, 7, 3], &[1, 7, 1]], &|b, x| b.attention(&x[0], &x[1], &x[2], 1, rate));
        check("three heads", &[&[1, 5, 3], &[1, 2, 3], &[1, 2, 9]], &|b, x| b.attention(&x[0], &x[1], &x[2], 3, rate));
        check("itself", &[&[2, 3, 6]], &|b, x| b.attention(&x[0], &x[0], &x[0], 3, rate));
    }
}

#[test]
fn attention_with_shared_keys_and_summed_heads() {
    for (shared_keys, summed) in [(true, false), (false, true), (true, true)] {
        for (rate, scale) in [(0.0, None), (0.4, Some(0.7))] {
            let keys = if shared_keys { 2 } else { 6 };
            check("attention", &[&[2, 3, 6], &[2, 5, keys], &[2, 5, 12]], &|b, x| {
                let dropout = Dropout::new(rate, 1);
                let operator = Attention { heads: 3, dropout, scale, shared_keys, summed, diagonal: false };
                let random = b.input("random", &[RandomState::LEN]);
                let inputs = [&x[0], &x[1], &x[2], &random];
                b.apply(operator, &inputs[..if rate > 0.0 { 4 } else { 3 }]).swap_remove(0)
            });
        }
    }
}

#[test]
fn attention_without_the_diagonal_and_of_windows() {
    for (rate, scale, diagonal) in [(0.0, Some(0.7), true), (0.4, None, true), (0.4, Some(1.0), false)] {
        for (shape, heads) in [(&[2, 3, 4][..], 2), (&[1, 2, 3], 3), (&[2, 3, 2, 4], 1), (&[1, 2, 2, 3, 2], 2)] {
            let mut values = shape.to_vec();
            *values.last_mut().unwrap() += heads;
            check("attention", &[shape, shape, &values], &|b, x| {
                b.attention_of([&x[0], &x[1], &x[2]], heads, rate, scale, diagonal)
            });
        }
    }
}

#[test]
fn lookup() {
    for times in [1, 4] {
        check("repeat_each", &[&[5]], &|b, x| b.apply_one(Lookup::RepeatEach { times }, &[&x[0]]));
    }
    for (grid, skipped, heads) in
        [([2, 3], 0, 2), ([3, 1], 0, 1), ([1, 4], 0, 3), ([1, 1], 0, 2), ([2, 2], 1, 2), ([1, 2], 3, 1), ([1, 1], 1, 2)]
    {
        let of_front = if skipped > 0 { 3 } else { 0 };
        let table = [(2 * grid[0] - 1) * (2 * grid[1] - 1) + of_front, heads];
        check("relative_positions", &[&table], &|b, x| {
            b.apply_one(Lookup::RelativePositions { grid, skipped, diagonal: true }, &[&x[0]])
        });
        if grid != [1, 1] || skipped > 0 {
            // What is left out is too much for a sum of products.
            check("relative_positions without the diagonal", &[&table], &|b, x| {
                let scores = b.apply_one(Lookup::RelativePositions { grid, skipped, diagonal: false }, &[&x[0]]);
                b.softmax(&scores)
            });
        }
    }
}

#[test]
fn rope() {
    for (shape, heads, grid, skipped) in [
        (&[2, 7, 8][..], 2, [2, 3], 1),
        (&[1, 4, 4], 1, [1, 4], 0),
        (&[1, 2, 5, 12], 1, [3, 1], 2),
        (&[3, 1, 8], 1, [1, 1], 0),
    ] {
        for inverse in [false, true] {
            let rope = Rope { heads, grid, skipped, base: 10.0, inverse };
            check("rope", &[shape], &|b, x| b.apply_one(rope, &[&x[0]]));
        }
    }
}

#[test]
fn image_product() {
    let axes = |text: &str| <[char; 3]>::try_from(text.chars().collect::<Vec<_>>()).unwrap();
    for (a, b, c, shapes) in [
        ("ihk", "jhk", "hij", [&[2, 2, 3, 4][..], &[2, 5, 3, 4]]),
        ("hij", "jhk", "ihk", [&[1, 2, 3, 2, 2], &[1, 2, 2, 3, 3]]),
        ("hik", "khj", "jhi", [&[3, 2, 3, 1], &[3, 1, 2, 4]]),
    ] {
        let operator = ImageProduct(HeadProduct { a: axes(a), b: axes(b), c: axes(c) });
        check(&format!("{operator:?}"), &[shapes[0], shapes[1]], &|builder, x| {
            builder.apply_one(operator, &[&x[0], &x[1]])
        });
    }
}

#[test]
fn head_product() {
    let axes = |text: &str| <[char; 3]>::try_from(text.chars().collect::<Vec<_>>()).unwrap();
    for (a, b, c, shapes) in [
        ("ihk", "jhk", "ihj", [[2, 3, 4], [5, 3, 4]]),
        ("ihk", "hkj", "ihj", [[1, 2, 3], [2, 3, 4]]),
        ("ihj", "ihk", "jhk", [[2, 1, 3], [2, 1, 1]]),
        ("ihj", "ihk", "hkj", [[2, 3, 3], [2, 3, 2]]),
        ("hik", "khj", "hij", [[2, 3, 1], [1, 2, 4]]),
    ] {
        let operator = HeadProduct { a: axes(a), b: axes(b), c: axes(c) };
        check(&format!("{operator:?}"), &[&shapes[0], &shapes[1]], &|builder, x| {
            builder.apply_one(operator, &[&x[0], &x[1]])
        });
    }
}

#[test]
fn activations() {
    for rule in ACTIVATIONS {
        let activation = Activation::named(rule.name).unwrap();
        for shape in [&[3, 7][..], &[1, 1], &[2, 3, 5], &[13]] {
            check(rule.name, &[shape], &|b, x| b.activation(&x[0], activation));
        }
    }
}

#[test]
fn pointwise() {
    use Operand::{ImageMask, Mask, PerImage, Shared, Whole};
    let product = || Expression::new(2, |x| &x[0] * &x[1]);
    for shape in [&[3, 7][..], &[1, 1], &[2, 3, 5], &[2, 1, 3, 1, 2, 1, 3]] {
        check("a product", &[shape, shape], &|b, x| {
            b.pointwise("multiply", product(), &[(&x[0], Whole), (&x[1], Whole)])
        });
        check("a gate", &[shape, shape], &|b, x| {
            let gate = Expression::new(2, |x| &x[0] * x[1].sigmoid() - &x[0] * 0.5);
            b.pointwise("gate", gate, &[(&x[0], Whole), (&x[1], Whole)])
        });
        check("masks", &[shape], &|b, x| {
            let random = b.input("random", &[RandomState::LEN]);
            let both = Expression::new(3, |x| x[0].tanh() * &x[1] * &x[2]);
            let masks = [(&random, Mask(Dropout::new(0.4, 1))), (&random, ImageMask(Dropout::new(0.5, 2)))];
            b.pointwise("masks", both, &[(&x[0], Whole), masks[0], masks[1]])
        });
        check("a tensor with itself", &[shape], &|b, x| {
            b.pointwise("square", product(), &[(&x[0], Whole), (&x[0], Whole)])
        });
    }
    check("a row", &[&[2, 3, 5], &[5]], &|b, x| b.pointwise("scale", product(), &[(&x[0], Whole), (&x[1], Shared)]));
    check("rows of images", &[&[2, 3, 2, 5], &[2, 2, 5], &[2, 5], &[2]], &|b, x| {
        let f = Expression::new(4, |x| &x[1] * &x[0] + &x[2] * &x[3] + &x[0] * &x[3]);
        b.pointwise("rows", f, &[(&x[0], Whole), (&x[1], PerImage), (&x[2], PerImage), (&x[3], PerImage)])
    });
}

#[test]
fn softmax() {
    for shape in [&[2, 3, 5][..], &[3, 1], &[1, 2], &[2, 1, 9]] {
        check("softmax", &[shape], &|b, x| b.softmax(&x[0]));
    }
}

#[test]
fn dropout() {
    for (shape, rate) in [(&[3, 7][..], 0.3), (&[1, 1], 0.5), (&[2, 3, 5], 0.0), (&[17], 0.9)] {
        check("dropout", &[shape], &|b, x| b.dropout(&x[0], rate));
    }
}

#[test]
fn shapes() {
    for shape in [&[2, 3, 4][..], &[1, 1], &[5], &[3, 1, 7]] {
        check("add", &[shape, shape], &|b, x| b.add(&x[0], &x[1]));
        check("scale", &[shape], &|b, x| b.scale(&x[0], -1.5));
        check("reshape", &[shape], &|b, x| b.reshape(&x[0], &[1, x[0].len()]));
        check("expand", &[shape], &|b, x| b.expand(&x[0], 3));
    }
    check("add of a suffix", &[&[2, 3, 4], &[3, 4]], &|b, x| b.add(&x[0], &x[1]));
    check("add of a row", &[&[5, 1, 3], &[3]], &|b, x| b.add(&x[0], &x[1]));
    check("concat", &[&[2, 3, 4], &[2, 1, 4], &[2, 2, 4]], &|b, x| b.concat(&[&x[0], &x[1], &x[2]], 1));
    check("concat of columns", &[&[3, 1], &[3, 5]], &|b, x| b.concat(&[&x[0], &x[1]], 1));
    check("concat of a tensor with itself", &[&[1, 2, 3]], &|b, x| b.concat(&[&x[0], &x[0]], 2));
    check("slice", &[&[2, 5, 3]], &|b, x| b.slice(&x[0], 1, 1, 3));
    check("slice of one", &[&[3, 7]], &|b, x| b.slice(&x[0], 1, 6, 1));
    check("slice of all", &[&[1, 3, 2]], &|b, x| b.slice(&x[0], 2, 0, 2));
    check("transpose", &[&[2, 3, 4]], &|b, x| b.transpose(&x[0], &[2, 0, 1]));
    check("transpose of a matrix", &[&[1, 5]], &|b, x| b.transpose(&x[0], &[1, 0]));
    check("transpose in five axes", &[&[1, 2, 3, 1, 2]], &|b, x| b.transpose(&x[0], &[0, 3, 2, 4, 1]));
    let moves = |axis, by, length, cyclic| Movement { axis, by, length, cyclic };
    for movements in [
        vec![moves(1, 2, 4, false)],
        vec![moves(1, -1, 2, false), moves(2, 2, 5, true)],
        vec![moves(0, 1, 3, false), moves(2, -4, 3, false)],
        vec![moves(1, -5, 4, true), moves(2, 1, 9, false), moves(3, -1, 2, true)],
    ] {
        check("translate", &[&[2, 4, 5, 2]], &|b, x| b.apply_one(Translate { movements: movements.clone() }, &[&x[0]]));
    }
    for shape in [[1, 2, 2, 1, 6, 6], [1, 1, 2, 2, 6, 6]] {
        check("mask_windows", &[&shape], &|b, x| {
            let masked = b.apply_one(MaskScores::Windows { window: [3, 2], shift: [2, 1] }, &[&x[0]]);
            b.softmax(&masked)
        });
    }
    for shape in [&[2, 3, 3][..], &[1, 2, 1, 4, 4], &[2, 2, 2]] {
        check("mask_diagonal", &[shape], &|b, x| {
            let masked = b.apply_one(MaskScores::Diagonal, &[&x[0]]);
            b.softmax(&masked)
        });
    }
    for (layout, shape) in [(Layout::Line, [2, 3, 5]), (Layout::Grid { columns: 2 }, [1, 6, 8])] {
        check("add_sinusoid", &[&shape], &|b, x| b.apply_one(AddSinusoid { layout }, &[&x[0]]));
    }
    check("mean", &[&[2, 3, 4]], &|b, x| b.mean(&x[0], 1));
    check("mean of one", &[&[3, 1, 5]], &|b, x| b.mean(&x[0], 1));
    check("mean of the last", &[&[2, 7]], &|b, x| b.mean(&x[0], 1));
    check("a value used twice", &[&[2, 3]], &|b, x| {
        let doubled = b.add(&x[0], &x[0]);
        b.activation(&doubled, Activation::named("tanh").unwrap())
    });
}

#[test]
fn max_pool2d() {
    for (shape, pool, strides, same) in [
        ([2, 4, 5, 3], [2, 2], [2, 2], false),
        ([1, 4, 5, 2], [2, 3], [1, 2], true),
        ([1, 1, 1, 1], [3, 3], [2, 2], true),
        ([1, 5, 3, 1], [1, 2], [3, 1], false),
    ] {
        let pool = MaxPool2d(Pool2d { pool, strides, same });
        check(&format!("{pool:?}"), &[&shape], &|b, x| b.apply_one(pool, &[&x[0]]));
    }
}

#[test]
fn cross_entropy() {
    for shape in [&[3, 5][..], &[3, 7], &[3, 11]] {
        check("cross_entropy", &[shape], &|b, x| {
            let labels = b.input("labels", &[3]);
            b.cross_entropy(&x[0], &labels)
        });
        check("smoothed cross_entropy", &[shape], &|b, x| {
            let labels = b.input("labels", &[3]);
            b.apply_one(CrossEntropy { label_smoothing: 0.3, ..CrossEntropy::default() }, &[&x[0], &labels])
        });
        for label_smoothing in [0.0, 0.3] {
            check("cross_entropy of mixed targets", &[shape], &|b, x| {
                let targets = b.input("targets", &[3, 3]);
                b.apply_one(CrossEntropy { label_smoothing, ..CrossEntropy::default() }, &[&x[0], &targets])
            });
            check("binary cross_entropy", &[shape], &|b, x| {
                let targets = b.input("targets", &[3, 3]);
                b.apply_one(CrossEntropy { label_smoothing, per_class: true, class_weights: None }, &[&x[0], &targets])
            });
            for per_class in [false, true] {
                check("cross_entropy with class weights", &[shape], &|b, x| {
                    let targets = b.input("targets", &[3, 3]);
                    let class_weights = Some((0..shape[1]).map(|class| class as f32 / 3.0).collect());
                    b.apply_one(CrossEntropy { label_smoothing, per_class, class_weights }, &[&x[0], &targets])
                });
            }
        }
    }
}

#[test]
fn spread() {
    check("spread", &[&[2, 3, 5]], &|b, x| b.spread(&x[0], 1, 4));
    check("spread over a last axis", &[&[3, 2]], &|b, x| b.spread(&x[0], 2, 3));
}

/// Layers that are made of operators, by their gradients.
#[test]
fn layers_of_operators() {
    use DslValue::{Bool, Float, Int, List};
    let epsilon = || vec![("epsilon", Float(0.1))];
    let groups = |groups| vec![("epsilon", Float(0.1)), ("groups", Int(groups))];
    let axes = |axes: &[i64], keepdims| {
        vec![("axis", List(axes.iter().copied().map(Int).collect())), ("keepdims", Bool(keepdims))]
    };
    for (kind, arguments, shapes) in [
        ("rms_norm", epsilon(), &[&[2, 3, 5][..], &[5]][..]),
        ("rms_norm", epsilon(), &[&[3, 1], &[1]]),
        ("rms_norm", epsilon(), &[&[1, 2, 2, 3], &[3]]),
        ("affine", vec![], &[&[2, 3, 4], &[4], &[4]]),
        ("sequence_pool", vec![], &[&[2, 3, 5], &[5, 1], &[1]]),
        ("sequence_pool", vec![], &[&[3, 1, 4], &[4, 1], &[1]]),
        ("group_norm", groups(2), &[&[2, 2, 3, 6], &[6], &[6]]),
        ("group_norm", groups(1), &[&[3, 2, 5], &[5], &[5]]),
        ("group_norm", groups(-1), &[&[2, 5, 3], &[3], &[3]]),
        ("group_norm", groups(3), &[&[2, 6], &[6], &[6]]),
        ("reduce_mean", axes(&[0], false), &[&[2, 3, 4, 2]]),
        ("reduce_mean", axes(&[-1, 0], true), &[&[2, 3, 2, 4]]),
        ("reduce_mean", axes(&[2, 1], false), &[&[1, 3, 2, 4]]),
        ("reduce_max", axes(&[1], false), &[&[2, 2, 5, 3]]),
        ("reduce_max", axes(&[2, 0], false), &[&[2, 3, 2, 3]]),
        ("reduce_max", axes(&[0, 1], true), &[&[2, 3, 5]]),
        ("softmax", vec![("axis", Int(0))], &[&[2, 3, 4]]),
        ("softmax", vec![("axis", Int(-2))], &[&[1, 2, 5, 3]]),
    ] {
        let found = find(kind).unwrap();
        let arguments = Arguments(BTreeMap::from_iter(arguments));
        let layer = (found.build)(found, &[shapes[0][1..].to_vec()], &arguments).unwrap();
        check(kind, shapes, &|b, x| layer.lower(b, &x[..1], &x[1..]));
    }
    for normalization in ["fast", "softmax", "none"] {
        let kind = find("weighted_sum").unwrap();
        let arguments = Arguments([("normalization", DslValue::Str(normalization.into()))].into());
        let layer = (kind.build)(kind, &[vec![3, 4], vec![3, 4], vec![3, 4]], &arguments).unwrap();
        check(normalization, &[&[2, 3, 4], &[2, 3, 4], &[2, 3, 4], &[3]], &|b, x| {
            // None of the weights may be near the kink of relu, nor their sum near zero.
            let far = Expression::new(1, |x| &x[0] * 0.3 + 1.0);
            let weights = b.pointwise("far", far, &[(&x[3], Operand::Whole)]);
            layer.lower(b, &x[..3], &[weights])
        });
    }
}
