//! The language beyond layers: indices of repeats, conditions, values. What a text means is shown by the layers that
//! come of it.

use std::collections::{BTreeMap, HashSet};

use vitx::{
    backend::{AVERAGE, Backend, Batch, EngineOptions, Precision, Regions, Step},
    dsl::{Diagnostics, Source, Value, format},
    experiment::{
        Definition, Overrides,
        sweep::{Axis, Domain},
    },
    graph::{
        losses::Loss,
        optimizers::{Ema, Optimizer, Pattern},
    },
    model::{Architecture, ImageSpec, elaborate},
};

use crate::{
    networks::compare_gradients,
    support::{succeed, vitx},
};

const IMAGES: ImageSpec = ImageSpec { height: 32, width: 32, channels: 3, num_classes: 100 };

fn with(text: &str, overrides: &[(&str, Value)]) -> Result<Architecture, Diagnostics> {
    let overrides: BTreeMap<String, Value> =
        overrides.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    elaborate(&Source::new("model.vitx", text), &overrides, &IMAGES)
}

/// The layers of a model without its last two, one a line: path, arguments, output.
fn layers(body: &str) -> String {
    let text = format!(
        "model m(dim = 12, depth = 3, rate = 0.2, norm = \"layer\") {{ patches(8) dense(dim) {body}\nglobal_average_pool dense(num_classes) }}"
    );
    let model = with(&text, &[]).unwrap_or_else(|error| panic!("{body}: {error:?}"));
    listed(&model)
}

fn listed(model: &Architecture) -> String {
    let inner = &model.layers()[2..model.layers().len() - 2];
    let lines = inner.iter().map(|layer| format!("{}({})", layer.path, layer.arguments_text()));
    lines.collect::<Vec<_>>().join(" ")
}

fn rendered(report: &dyn miette::Diagnostic) -> String {
    let mut out = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor()).with_width(100);
    handler.render_report(&mut out, report).expect("writing to a string");
    out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn options_of_attention_that_do_not_fit() {
    let texts = [
        "attention(2, 6, positions = rope)",
        "attention(2, 8, positions = relative, grid = [3, 7])",
        "attention(2, 8, positions = rope, grid = [5, 4])",
        "attention(2, 8, positions = rope, grid = [3, 4])",
        "attention(2, 8, grid = [4, 4])",
        "class_token class_token attention(2, 8, positions = rope)",
        "class_token class_token attention(2, 8, positions = relative)",
        "attention(2, 8, mask = causal)",
        "let x = relu cross_attention(x, num_heads = 2, key_dim = 8)",
        "let x = relu cross_attention(x, x, x, num_heads = 2, key_dim = 8)",
        "let x = global_average_pool let y = relu cross_attention(x, y, num_heads = 2, key_dim = 8)",
        "let x = reshape([2, 8, 12]) let y = relu cross_attention(x, y, num_heads = 2, key_dim = 8)",
        "reshape([1, 192]) attention(2, 8, mask = diagonal)",
        "attention(2, 8, mask = shifted_windows)",
        "reshape([2, 1, 8, 12]) attention(2, 8, mask = shifted_windows)",
        "reshape([2, 1, 8, 12]) attention(2, 8, mask = shifted_windows, grid = [3, 3])",
        "reshape([2, 1, 8, 12]) attention(2, 8, mask = shifted_windows, grid = [4, 2], shift = [4, 1])",
        "reshape([2, 1, 8, 12]) attention(2, 8, mask = shifted_windows, grid = [8, 1])",
        "attention(2, 8, shift = 2)",
    ];
    let texts = texts.map(|body| {
        format!("model m {{\n    patches(8) dense(12)\n    {body}\n    global_average_pool dense(num_classes)\n}}")
    });
    insta::assert_snapshot!(mistakes(&texts.each_ref().map(String::as_str)));
}

/// The diagnostics of texts, each below its text.
fn mistakes(texts: &[&str]) -> String {
    let mut out = String::new();
    for text in texts {
        let Err(error) = with(text, &[]) else { panic!("{text} is no mistake") };
        out += &format!("{text}\n{}\n", rendered(&error));
    }
    out
}

/// The standard form of a body, which is one already.
fn assert_standard(body: &str) {
    let text = format!("model m {{\n{body}\n}}\n");
    assert_eq!(format(&Source::new("m", text.clone())).unwrap(), text);
}

#[test]
fn a_repeat_counts_its_rounds() {
    let expected = "drop_path0(rate = 0.0) drop_path1(rate = 0.1) drop_path2(rate = 0.2)";
    assert_eq!(layers("repeat drop_path(rate * i / (depth - 1)) ×depth as i"), expected);
    assert_eq!(layers("repeat ×depth as i { drop_path(rate * i / (depth - 1)) }"), expected);
    assert_eq!(
        layers("let i = 7 repeat (gelu -> scale(i)) ×1 as i scale(i)"),
        "gelu() scale0(factor = 0) scale1(factor = 7)"
    );
    assert_eq!(
        layers("repeat ×2 as i { repeat ×2 as j { scale(i * 2 + j) } }"),
        "scale0(factor = 0) scale1(factor = 1) scale2(factor = 2) scale3(factor = 3)"
    );
    // What is repeated no times is checked for its names.
    assert_eq!(layers("repeat scale(1 / i) ×0 as i"), "");
    assert_standard("    repeat scale(i) ×3 as i\n    repeat ×3 as i {\n        scale(i)\n    }");
    insta::assert_snapshot!(mistakes(&[
        "model m { patches(4) repeat drop_path(0.1) ×4 as { } }",
        "model m { patches(4) repeat drop_path(0.2 * i) ×4 }",
        "model m { patches(4) repeat drop_path(0.4 * i) ×4 as i global_average_pool dense(num_classes) }",
        "model m { patches(4) as: gelu }",
    ]));
}

#[test]
fn conditions_choose_braces() {
    assert_eq!(layers("if depth > 2 and norm == \"layer\" { layer_norm } else { gelu }"), "layer_norm(epsilon = 1e-6)");
    assert_eq!(layers("if depth > 3 { layer_norm } else if depth == 3 { gelu } else { relu }"), "gelu()");
    assert_eq!(layers("if not (depth < 4 or rate > 1) { layer_norm }"), "");
    assert_eq!(layers("repeat ×depth as i { if i % 2 == 1 { gelu } else { relu } }"), "relu0() gelu() relu1()");
    assert_eq!(layers("att: if true { gelu scale(2) }"), "att/gelu() att/scale(factor = 2)");
    // Which goes before which: products, sums, comparisons, `not`, `and`, `or`.
    let chosen = |condition: &str| layers(&format!("if {condition} {{ gelu }}")) == "gelu()";
    for (condition, expected) in [
        ("1 + 2 * 3 == 7 and 7 - 2 - 1 == 4 and 12 / 2 / 3 == 2 and 7 % 4 * 2 == 6", true),
        ("not depth == 3 or depth == 3", true),
        ("not (depth == 3 or depth == 3)", false),
        ("false and false or true", true),
        ("true or false and false", true),
        ("(true or false) and false", false),
        ("not false and not false", true),
        ("not true or not false and 1 < 2", true),
        ("-depth < 0 and 2 - -1 == depth", true),
    ] {
        assert_eq!(chosen(condition), expected, "{condition}");
    }
    // What is not chosen need not fit: neither its shapes nor its values.
    assert_eq!(layers("if depth == 0 { scale(1 / depth * 0 / (depth - 3)) take(99) dense(1 / 3) }"), "");
    assert_eq!(
        layers("let x = { gelu } x + if rate == 0.2 { relu } else { take(0) }"),
        "x/gelu() relu() add(formula = \"(x0 + x1)\")"
    );
    // A layer of a tensor that has a shape is no layer of the network either.
    assert_eq!(
        layers("let x = { gelu } x + if rate == 0.2 { relu } else { tanh(x) x * 2 }"),
        "x/gelu() relu() add(formula = \"(x0 + x1)\")"
    );
    assert_eq!(layers("if depth != 3 { scale(1 / 0) } else { residual { gelu } }"), "gelu() add()");
    assert_standard(
        "    if a > 1 and not (b or c) {\n        gelu // why\n    } else if b {\n        relu\n    } else {}\n    \
         require a >= 2, \"a \\\"b\\\"\"",
    );
    insta::assert_snapshot!(mistakes(&[
        "model m(n = 2) { patches(4) if n { gelu } }",
        "model m(n = 2) { patches(4) if n > 3 { gellu dense(units = unit, a = 1) } flatten dense(num_classes) }",
        "model m(n = 2) { patches(4) if n > 1 { gelu } elif n > 2 { relu } }",
        "model m(n = 2) { patches(4) if 1 < n < 3 { gelu } }",
        "model m(n = \"a\") { patches(4) if n == 3 { gelu } }",
        "model m(n = \"a\") { patches(4) if n < 3 { gelu } }",
        "model m { patches(4) let x = { gelu } if x > 3 { gelu } }",
        "model m(n = 2) { patches(4) if n > 1 || n < 3 { gelu } }",
        "model m(n = 2) { patches(4) if n = 2 { gelu } }",
        "model m(n = 2) { patches(4) if n = 2\n { gelu } }",
        "model m(n = 2) { patches(4) require n = 2 }",
        "model m(n = 2) { patches(4) if n == not true { gelu } }",
        "model m(n = 2) { patches(4) else { gelu } }",
    ]));
}

#[test]
fn conditions_choose_values() {
    assert_eq!(layers("scale(if depth > 2 { 1 } else { 1 / 0 })"), "scale(factor = 1)");
    assert_eq!(layers("let n = if depth > 9 { 1 } else if rate < 1 { 2 } else { 3 } scale(n)"), "scale(factor = 2)");
    assert_eq!(layers("let n = 1 + if false { 1 } else { dim } scale(n)"), "scale(factor = 13)");
    // What decides already is not gone beyond.
    assert_eq!(layers("if depth == 3 or 1 / 0 > 2 { gelu }"), "gelu()");
    assert_standard("    let n = if a { 1 } else { 2 }\n    scale(if a and b == c { 1 } else if d { 2 } else { 3 })");
    insta::assert_snapshot!(mistakes(&[
        "model m(n = 2) { let w = if n > 1 { 8 } patches(4) dense(w) }",
        "model m(n = 2) { let w = if n > 1 { 8 } else { wide } patches(4) dense(w) }",
        "model m(n = 2) { let w = if n > 1 { 8 } else { let a = 2 a } patches(4) dense(w) }",
    ]));
}

#[test]
fn functions_of_numbers() {
    assert_eq!(
        layers("scale(max(depth - 1, 1) + min(2, 3, 1)) scale(floor(dim / 5)) scale(sqrt(dim * 3))"),
        "scale0(factor = 3) scale1(factor = 2) scale2(factor = 6.0)"
    );
    assert_eq!(
        layers("let heads = max(1, round(dim / 5)) dense(ceil(heads * 1.5))"),
        "dense1(activation = \"none\", units = 3, use_bias = true)"
    );
    // A block of the file goes first.
    let text =
        "block max(n) { scale(n) } model m { patches(8) dense(3) max(4) global_average_pool dense(num_classes) }";
    assert_eq!(listed(&with(text, &[]).unwrap()), "max/scale(factor = 4)");
    insta::assert_snapshot!(mistakes(&[
        "model m { patches(4) dense(sqr(4)) }",
        "model m { patches(4) dense(sqrt(-4)) }",
        "model m { patches(4) dense(max(4)) }",
        "model m { patches(4) dense(max(a = 4, b = 2)) }",
        "model m { patches(4) dense(max) }",
        "model m { patches(4) let x = { gelu } dense(max(x, 2)) }",
        "model m { patches(4) max(2, 3) }",
    ]));
}

#[test]
fn a_requirement_says_what_its_values_are() {
    assert_eq!(layers("require dim % depth == 0, \"depth must divide dim\" gelu"), "gelu()");
    assert_eq!(layers("if false { require false, \"never\" } gelu"), "gelu()");
    let text = "block att(dim, heads) {
    require dim % heads == 0 and shape != [3], \"the heads must divide the width\"
    attention(heads, dim / heads)
}
model m(dim = 64, heads = 7) {
    patches(4)
    repeat att(dim, heads) ×2
    flatten
    dense(num_classes)
}";
    insta::assert_snapshot!(mistakes(&[
        text,
        "model m(n = 3) { require n > 3 flatten dense(num_classes) }",
        "model m { require 3, dense(3) }"
    ]));
    // A parameter that only a requirement reads has no effect.
    let text = "model m(n = 3) { require n > 2, \"large\" flatten dense(num_classes) }";
    assert_eq!(with(text, &[]).unwrap().unread(), ["n"]);
}

#[test]
fn shapes_are_values() {
    assert_eq!(
        layers(
            "let [n, c] = shape dense(n) let y = { take(-1) } let [d] = shape(y) scale(d + c) reshape([2, -1, n / 2]) reshape([-1, 4])"
        ),
        "dense1(activation = \"none\", units = 16, use_bias = true) y/take(index = -1) scale(factor = 28) reshape0(shape = [2, -1, 8]) reshape1(shape = [-1, 4])"
    );
    let model =
        with("model m { let [h, w, _] = shape reshape([h * w, -1]) take(-2) dense(num_classes) }", &[]).unwrap();
    assert_eq!(model.layers()[1].layer.output_shape(), [3]);
    assert!(model.warnings().is_empty(), "{:?}", model.warnings());
    // Arguments see the tensor that the layer takes.
    let block = "block widen(n) { dense(n) } model m { flatten dense(7) -> widen(n = 3) let [d] = shape dense(d) let [a] = [num_classes] dense(a) }";
    let model = with(block, &[]).unwrap();
    assert_eq!(model.layers()[3].layer.output_shape(), [3]);
    // A name of the text goes first.
    assert_eq!(layers("let shape = [2, 96] reshape(shape)"), "reshape(shape = [2, 96])");
    assert_standard("    let [h, w, _] = shape");
    insta::assert_snapshot!(mistakes(&[
        "model m { let [h, w] = shape flatten dense(num_classes) }",
        "model m { let [h, w] = 3 flatten dense(num_classes) }",
        "model m { let [h, w, c] = shape(3) flatten dense(num_classes) }",
        "model m(n = 3) { let [h, w, c] = shape(n) flatten dense(num_classes) }",
        "model m { reshape([-1, -1]) flatten dense(num_classes) }",
        "model m { reshape([-1, 5]) flatten dense(num_classes) }",
        "model m { patches(8) take(-17) dense(num_classes) }",
        "model m { let [] = shape flatten dense(num_classes) }",
    ]));
}

const CHOSEN: &str = "block encoder(dim, norm = layer_norm, act = gelu) {
    residual {
        norm
        dense(dim, activation = act)
    }
}
block own(n) { scale(n) }
model m(norm = layer_norm, dim = 12, mix = dense) {
    patches(8)
    dense(dim)
    encoder(dim, norm = norm, act = relu)
    let y = norm -> gelu
    mix(y, 12)
    encoder(dim, layer_norm(1e-3))
    encoder(norm = own(n = dim / 4), dim = dim)
    global_average_pool
    dense(num_classes)
}";

#[test]
fn layers_are_values() {
    let word = |text: &str| Value::Str(text.to_owned());
    let kinds = |overrides: &[(&str, Value)]| -> String {
        let model = with(CHOSEN, overrides).unwrap_or_else(|error| panic!("{error:?}"));
        let inner = &model.layers()[2..model.layers().len() - 2];
        inner.iter().map(|layer| format!("{}:{} ", layer.path, layer.kind)).collect()
    };
    insta::assert_snapshot!(listed(&with(CHOSEN, &[]).unwrap()).replace(") ", ")\n"));
    let softmax = kinds(&[("norm", word("softmax"))]);
    assert_eq!(
        softmax,
        kinds(&[]).replacen("layer_norm", "softmax", 2).replacen("layer_norm:layer_norm", "softmax:softmax", 1)
    );
    let given =
        with(CHOSEN, &[("norm", word("own(n = 7)")), ("mix", "dense(use_bias = false)".parse().unwrap())]).unwrap();
    assert!(listed(&given).contains("own/scale(factor = 7)"), "{}", listed(&given));
    assert!(listed(&given).contains("use_bias = false"), "{}", listed(&given));
    // The text that has the name itself in place of the value makes the same network.
    let plain = CHOSEN
        .replace("encoder(dim, norm = norm", "encoder(dim, norm = softmax")
        .replace("norm -> gelu", "softmax -> gelu");
    assert_eq!(with(&plain, &[]).unwrap().text(), with(CHOSEN, &[("norm", word("softmax"))]).unwrap().text());
    // In a repeat, a residual, arithmetic, a flow, behind a condition.
    assert_eq!(
        layers(
            "let f = if rate > 0 { \"silu\" } else { \"relu\" } repeat f ×2 residual f let y = f * f + 1 if f == \"silu\" { y -> f }"
        ),
        "silu0() silu1() silu2() add() y/silu0() y/silu1() y/add(formula = \"(x0 * x1 + 1)\") silu3()"
    );
    let rendered = |overrides: &[(&str, Value)]| rendered(&with(CHOSEN, overrides).unwrap_err());
    insta::assert_snapshot!(
        "layers_are_values_mistakes",
        [
            rendered(&[("norm", word("layer_nrm"))]),
            rendered(&[("norm", word("layer_norm(eps = 3)"))]),
            rendered(&[("norm", word("take(0)"))]),
            mistakes(&[
                "block b(norm) { norm(3) } model m { patches(4) b(layer_norm(1e-3)) flatten dense(num_classes) }",
                "block b(norm) { norm } model m { patches(4) b(3) flatten dense(num_classes) }",
                "block b(norm) { norm } model m { patches(4) b(gelu -> relu) flatten dense(num_classes) }",
                "block b(norm) { norm } model m { patches(4) b(layernorm) flatten dense(num_classes) }",
                "model m(act = gelu) { patches(4) dense(act) }",
            ]),
        ]
        .concat()
    );
}

#[test]
fn blocks_take_tensors() {
    let text = "block gate(x, y, act = sigmoid) {
    let z = y -> act
    multiply(x, z)
}
model m {
    patches(8)
    let a = dense(7)
    let b = { dense(7) gelu }
    let g = gate(a, y = (b))
    gate(g, a, act = tanh)
    global_average_pool
    dense(num_classes)
}";
    let model = with(text, &[]).unwrap();
    let inputs: Vec<String> = model.layers().iter().map(|layer| format!("{} {:?}", layer.path, layer.inputs)).collect();
    insta::assert_snapshot!(inputs.join("\n"));
    assert!(model.warnings().is_empty(), "{:?}", model.warnings());
    insta::assert_snapshot!(
        "blocks_take_tensors_mistakes",
        mistakes(&[
            "block gate(x, y) { multiply(x, y) } model m { patches(4) let a = gelu gate(a, 3) flatten dense(num_classes) }",
            "block gate(x, y) { multiply(x, y) } model m { patches(4) let a = gelu gate(a, dense(8) -> gelu) flatten dense(num_classes) }",
            "block gate(x, y) { multiply(x, y) } model m { patches(4) let a = gelu let b = dense(7) gate(a, b) flatten dense(num_classes) }",
            "block wide(n) { dense(n) } model m { patches(4) let a = gelu wide(a) flatten dense(num_classes) }",
        ])
    );
}

/// What a model is made of tells its trials apart, and whatever makes the same text the same.
/// A residual whose inside is the caller's, once or several times, with names of both sides.
const BRACES: &str = "block encoder(dim, body, after = { layer_norm }, rate = 0.1) {
    let hidden = 2 * dim
    residual {
        after
        repeat body ×2
        dense(hidden) -> dense(dim)
        drop_path(rate)
    }
}
block twice(body) { encoder(12, body = body) body }
model m(width = 12, act = gelu) {
    patches(8) dense(width)
    let hidden = 3
    let side = dense(width)
    encoder(width, {
        dense(hidden * width, activation = act)
        dense(width)
    })
    encoder(width, body = { encoder(12, { x: dense(12) + side }, rate = 0.2) }, after = { act })
    twice({ frozen affine })
    named: twice(body = { body: relu })
    global_average_pool
    dense(num_classes)
}";

#[test]
fn braces_are_arguments_of_blocks() {
    let model = with(BRACES, &[]).unwrap_or_else(|error| panic!("{error:?}"));
    assert!(model.warnings().is_empty(), "{:?}", model.warnings());
    insta::assert_snapshot!(model.text());
    assert_standard(
        "    let x = encoder(64, body = { dense(8) -> gelu })\n    encoder({\n        // here\n        gelu\n    })\n    \
         encoder(\n        {\n            gelu\n            relu\n        },\n        { gelu },\n        64,\n    )\n    encoder({ gelu }, y = {\n        gelu\n        relu\n    })",
    );
    // Braces that nothing calls are looked at as those that no condition chooses.
    let unused = "block b(x, body = { gelu }) { if x > 2 { body } else { relu } } model m { flatten b(1, { dense(8) }) dense(num_classes) }";
    assert!(with(unused, &[]).unwrap().warnings().is_empty());
    let deep = |depth: usize| {
        let calls = (0..depth).fold("gelu".to_owned(), |inner, _| format!("b({{ {inner} }})"));
        with(&format!("block b(body) {{ body }} model m {{ flatten {calls} dense(num_classes) }}"), &[])
    };
    assert!(deep(15).is_ok());
    insta::assert_snapshot!(
        "braces_are_arguments_of_blocks_mistakes",
        mistakes(&[
            "block b(body) { body } model m { flatten b({ dense(8) dens(3) }) dense(num_classes) }",
            "block b(body) { body(3) } model m { flatten b({ dense(8) }) dense(num_classes) }",
            "block b(body) { dense(body) } model m { flatten b({ dense(8) }) dense(num_classes) }",
            "block b(body) { let inner = 3 body } model m { flatten b({ dense(inner) }) dense(num_classes) }",
            "block b(n, body) { if n > 1 { body } } model m { flatten b(1, { dens(3) }) dense(num_classes) }",
            "block b(body) { body } model m { flatten dense(b({ gelu }), { 3 }) dense(num_classes) }",
            "block b(body) { residual { body } } model m { flatten b({ dense(8) }) dense(num_classes) }",
            "block b(body) { c({ body }) } block c(body) { b({ body }) } model m { flatten b({ gelu }) dense(num_classes) }",
            "block b(body = { dens(3) }) { body } model m { flatten dense(num_classes) }",
            "model m(body = { gelu }) { flatten body dense(num_classes) }",
        ])
    );
    assert!(format!("{:?}", deep(40).unwrap_err()).contains("nested more than"));
}

/// What is wrong in the arguments of a layer is told there, also behind another layer on the line.
#[test]
fn lines_of_several_layers() {
    let many = format!("model m {{ flatten let x = gelu concat({}) dense(num_classes) }}", ["x"; 300].join(", "));
    let told = rendered(&with(&many, &[]).unwrap_err());
    assert!(told.contains("`concat` takes at most 255 tensors, not 300"), "{told}");
    insta::assert_snapshot!(mistakes(&[
        "model m { flatten dense(2 ** 3) dense(num_classes) }",
        "model m { flatten dense(3, activation = if true { gelu }) dense(num_classes) x = 3 }",
        "model m { flatten dense(3) (gelu -> relu) dense(num_classes) }",
        "model m { flatten dense(3)(4) dense(num_classes) }",
        "model m { flatten dense(units: [3) dense(num_classes) }",
        "model m { flatten let x = dense(3) x = gelu(x) dense(num_classes) }",
    ]));
}

/// ConvNeXt V2's response normalization, CBAM's attention over places, and vectors of rows and columns.
const STRETCHED: &str = "block grn {
    let x = {}
    let g = { x * x -> reduce_mean([0, 1], keepdims = true) }
    x * (g / (reduce_mean(g, 2, keepdims = true) + 1e-6)) + x
}
model m {
    conv2d(6, 3, strides = 2)
    grn
    let x = {}
    let mask = { conv2d(1, 3) sigmoid }
    let rows = { reduce_mean(1, keepdims = true) dense(1) }
    let columns = { reduce_mean([0, 2], keepdims = true) }
    multiply(x * mask + rows, rows * columns, mask)
    let y = {}
    add(columns, y, rows)
    global_average_pool
    dense(5) * { dense(1) tanh }
    dense(num_classes)
}";

#[test]
fn axes_of_one_entry_are_stretched() {
    let model = with(STRETCHED, &[]).unwrap_or_else(|error| panic!("{error:?}"));
    let shapes = model.layers().iter().map(|layer| format!("{}: {:?}", layer.path, layer.layer.output_shape()));
    insta::assert_snapshot!(shapes.collect::<Vec<_>>().join("\n"));
    let spec = ImageSpec { height: 8, width: 10, channels: 3, num_classes: 5 };
    let engine = |backend: Backend| {
        let architecture = elaborate(&Source::new("model", STRETCHED), &BTreeMap::new(), &spec).unwrap();
        let options = EngineOptions {
            optimizer: Optimizer::default(),
            loss: Loss::default(),
            seed: 3,
            threads: 2,
            precision: Precision::F32,
            regions: Regions::default(),
        };
        backend.engine(Box::new(move |builder, batch| architecture.lower(builder, batch)), options).unwrap()
    };
    let (mut cpu, mut reference) = (engine(Backend::Cpu), engine(Backend::Reference));
    let images: Vec<f32> = (0..5 * 8 * 10 * 3).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1], mixed: None };
    compare_gradients("stretched axes", cpu.as_mut(), reference.as_mut(), &batch, 2e-3);
    let (ours, theirs) = (cpu.evaluate(&batch).unwrap(), reference.evaluate(&batch).unwrap());
    assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "{ours} {theirs}");
    // By hand: a tensor of ones, over which one entry is stretched.
    let loss = |text: &str| {
        let architecture = elaborate(&Source::new("model", text), &BTreeMap::new(), &spec).unwrap();
        let options = EngineOptions {
            optimizer: Optimizer::default(),
            loss: Loss::default(),
            seed: 3,
            threads: 1,
            precision: Precision::F32,
            regions: Regions::default(),
        };
        let lowering = Box::new(move |builder: &mut _, batch| architecture.lower(builder, batch));
        Backend::Cpu.engine(lowering, options).unwrap().evaluate(&batch).unwrap()
    };
    let of = |product: &str| {
        loss(&format!(
            "model m {{ let x = {{}} let g = {{ reduce_mean(2, keepdims = true) }} {product} conv2d(4, 3) flatten last: dense(num_classes) }}"
        ))
    };
    let (stretched, joined) = (of("x * g"), of("let wide = concat(g, g, g) x * wide"));
    assert!((stretched - joined).abs() < 1e-5 * joined, "{stretched} {joined}");
    insta::assert_snapshot!(
        "axes_of_one_entry_mistakes",
        mistakes(&[
            "model m { let x = { conv2d(1, 3) } let y = { reduce_mean(2) } x + y flatten dense(num_classes) }",
            "model m { let x = { conv2d(2, 3) } let y = conv2d(6, 3) x * y flatten dense(num_classes) }",
            "model m { let x = { conv2d(2, 3) } let y = conv2d(6, 3) maximum(x, y) flatten dense(num_classes) }",
        ])
    );
}

#[test]
fn structure_is_an_axis_of_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.vitx"), CHOSEN).unwrap();
    let experiment = "model: m.vitx\ndata: { name: digits }\ntrain: { epochs: 1, batch_size: 8 }\n";
    std::fs::write(folder.path().join("m.yaml"), experiment).unwrap();
    let definition = Definition::read(&folder.path().join("m.yaml"), &Overrides::default()).unwrap();
    let Domain::Values(values) = Axis::parse("norm=layer_norm,softmax,\"own(n = 3)\"").unwrap().domain else {
        panic!("an interval")
    };
    let identities: Vec<String> =
        values.iter().map(|value| definition.with(&[("norm".to_owned(), value.clone())]).unwrap().identity()).collect();
    assert_eq!(identities.iter().collect::<HashSet<_>>().len(), 3);
    assert!(identities.iter().all(|identity| *identity != definition.identity()));
}

#[test]
fn kernels_start_as_they_are_told() {
    let starts = |text: &str| -> Vec<String> {
        let model = with(text, &[]).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let specs = model.layers().iter().flat_map(|layer| layer.parameters());
        specs.filter(|spec| spec.name.ends_with("kernel")).map(|spec| format!("{:?}", spec.initializer)).collect()
    };
    // Whoever says what holds anyway changes nothing.
    let default =
        "model m { patches(4) patch_encoder(8) attention(2, 4) mlp([6, 8]) sequence_pool dense(num_classes) }";
    let said =
        default.replace("(8) a", "(8, kernel = glorot_uniform) a").replace("4) m", "4, kernel = glorot_uniform) m");
    let said = said.replace("8])", "8], kernel = glorot_uniform)").replace("pool", "pool(kernel = glorot_uniform)");
    let said = said.replace("classes)", "classes, kernel = glorot_uniform)");
    assert_eq!(said.matches("glorot").count(), 5);
    assert_eq!(starts(default), starts(&said));
    assert_eq!(starts(default).len(), 9);
    let text = "block b(start) { dense(4, kernel = start) }
    model m(start = truncated_normal(0.02)) {
        flatten
        let other = he_uniform
        b(start)
        b(zeros)
        dense(4, kernel = \"lecun_normal\")
        b(other)
        dense(4, kernel = variance_scaling(2, fan_out))
        dense(3, kernel = orthogonal)
        if false { dense(3, kernel = random_normal(1)) }
        dense(num_classes, kernel = constant(value = 2))
    }";
    assert_eq!(
        starts(text),
        [
            "TruncatedNormal { stddev: 0.02 }",
            "Zeros",
            "TruncatedNormal { stddev: 0.5684236 }",
            "Uniform { limit: 1.2247449 }",
            "TruncatedNormal { stddev: 0.8038724 }",
            "Orthogonal { gain: 1.0, rows: 4, columns: 3 }",
            "Constant { value: 2.0 }"
        ]
    );
    insta::assert_snapshot!(mistakes(&[
        "model m { flatten dense(num_classes, kernel = he_norml) }",
        "model m { flatten dense(num_classes, kernel = truncated_normal(-0.1)) }",
        "model m { flatten dense(num_classes, kernel = 3) }",
        "model m { flatten dense(num_classes, kernel_initializer = zeros) }",
    ]));
}

const SHARED: &str = "block encoder(dim, heads = 2) {
    residual {
        layer_norm
        attention(heads, dim / heads)
    }
    residual {
        rms_norm
        mlp([dim * 2, dim])
    }
}
model m(dim = 8) {
    patches(8)
    dense(dim)
    let encode = shared encoder(dim)
    let project = shared dense(5, activation = gelu)
    repeat encode ×2
    let y = { project global_average_pool dense(5) }
    encode
    project
    global_average_pool
    project(y) + {}
    dense(num_classes)
}";

#[test]
fn weights_are_shared() {
    let text = SHARED.replace("project(y) + {}", "concat(y, {})");
    let model = with(&text, &[]).unwrap_or_else(|error| panic!("{error:?}"));
    insta::assert_snapshot!(model.text());
    // Each is there once: encoder, projection, and the layers that are not shared.
    let encoder = 2 * 8 + 4 * (8 * 8 + 8) + 8 + (8 * 16 + 16) + (16 * 8 + 8);
    let expected = (192 * 8 + 8) + encoder + (8 * 5 + 5) + (5 * 5 + 5) + (10 * 100 + 100);
    assert_eq!(model.summary().parameters, expected);
    assert_eq!(model.summary().learned, expected);
    let listing = serde_json::to_string(&model.listing()).unwrap();
    assert_eq!(listing.matches("\"weights_of\":\"encode/attention\"").count(), 2);
    // A block may be handed one.
    let text =
        "block twice(f) { f f } model m { flatten let f = shared dense(7) dense(7) twice(f) f dense(num_classes) }";
    assert_eq!(with(text, &[]).unwrap().summary().parameters, (3072 * 7 + 7) + (7 * 7 + 7) + (7 * 100 + 100));
    // Braces have their weights on levels of the name.
    let text = "model m(n = 7) { flatten dense(n) let f = shared { dense(2 * n, activation = gelu) out: dense(n) } f let x = dense(n) f(x) dense(num_classes) }";
    let model = with(text, &[]).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(
        model.summary().parameters,
        (3072 * 7 + 7) + (7 * 14 + 14) + (14 * 7 + 7) + (7 * 7 + 7) + (7 * 100 + 100)
    );
    let paths: Vec<&str> = model.layers().iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(paths[2..7], ["f/dense", "f/out", "x", "f_again0/dense", "f_again0/out"]);
    let text = "block twice(body) { let f = shared body f f } model m { flatten dense(7) twice({ dense(7) }) dense(num_classes) }";
    assert_eq!(with(text, &[]).unwrap().summary().parameters, (3072 * 7 + 7) + (7 * 7 + 7) + (7 * 100 + 100));
    // Where the first is called does not matter to what the logits need.
    let text = "model m { flatten let f = shared dense(7) let a = f let b = { f } add(a, b) dense(num_classes) }";
    assert_eq!(with(text, &[]).unwrap().summary().parameters, (3072 * 7 + 7) + (7 * 100 + 100));
    assert_standard(
        "    let a = shared dense(64, activation = gelu)\n    let c = shared {\n        dense(8)\n    }\n    let shared = 3\n    let b = shared",
    );
    insta::assert_snapshot!(
        "weights_are_shared_mistakes",
        mistakes(&[
            "model m { flatten let f = shared dense(7) f f dense(num_classes) }",
            "block b(n) { if n > 1 { gelu } dense(3) } model m { flatten let f = shared b dense(3) f(1) f(2) dense(num_classes) }",
            "model m { flatten let f = shared 3 f dense(num_classes) }",
            "block b { dense(7) batch_norm } model m { flatten let f = shared b dense(7) f f dense(num_classes) }",
            "model m { flatten let f = shared dens(3) f dense(num_classes) }",
            "model m { flatten let f = shared dense(3) f dense(f) }",
            "model m { flatten let f = shared { dense(3072) batch_norm } f f dense(num_classes) }",
            "model m { flatten let f = shared { dense(7) } f f dense(num_classes) }",
            "model m { flatten let f = shared { dens(3) } dense(num_classes) }",
            "model m { flatten repeat shared dense(3072) ×3 dense(num_classes) }",
        ])
    );
    assert_eq!(
        with("model m { flatten let f = shared dense(3) dense(num_classes) }", &[]).unwrap().warnings().len(),
        1
    );
}

/// The gradient of shared weights is the sum of those of each use, on every backend.
#[test]
fn shared_weights_train_as_on_the_reference() {
    let text = SHARED.replace("project(y) + {}", "concat(y, {})");
    let spec = ImageSpec { height: 16, width: 24, channels: 3, num_classes: 5 };
    let engine = |backend: Backend| {
        let architecture = elaborate(&Source::new("model", text.as_str()), &BTreeMap::new(), &spec).unwrap();
        let options = EngineOptions {
            optimizer: Optimizer::default(),
            loss: Loss::default(),
            seed: 3,
            threads: 2,
            precision: Precision::F32,
            regions: Regions::default(),
        };
        backend.engine(Box::new(move |builder, batch| architecture.lower(builder, batch)), options).unwrap()
    };
    let (mut cpu, mut reference) = (engine(Backend::Cpu), engine(Backend::Reference));
    assert_eq!(cpu.state().unwrap(), reference.state().unwrap());
    let pixels = 16 * 24 * 3;
    let images: Vec<f32> = (0..7 * pixels).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1, 3, 0], mixed: None };
    compare_gradients("shared weights", cpu.as_mut(), reference.as_mut(), &batch, 2e-3);
    for iteration in 0..3 {
        let step = Step { epoch: 0, step: iteration as u32, iteration, learning_rate: 1e-3 };
        let (ours, theirs) = (cpu.train_step(&batch, &step).unwrap(), reference.train_step(&batch, &step).unwrap());
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {iteration}: {ours} {theirs}");
    }
    let (ours, theirs) = (cpu.evaluate(&batch).unwrap(), reference.evaluate(&batch).unwrap());
    assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "{ours} {theirs}");
}

const FROZEN: &str = "block pair(dim, norm = batch_norm) { dense(dim) norm dropout(0.5) }
model m(tune = false) {
    stem: dense(6)
    frozen {
        embed: conv2d(4, 3, strides = 4) -> batch_norm(momentum = 0.5) -> relu
        repeat ×2 { dense(4) layer_norm }
    }
    side: frozen residual { pair(4) }
    let mix = shared dense(5)
    let [h, w, _] = shape
    if tune { pair(4, norm = layer_norm) } else { frozen pair(4, norm = layer_norm) }
    reshape([h * w, 4])
    frozen repeat attention(2, 3) ×2
    frozen (mix -> dense(4) -> mix)
    flatten
    last: frozen dense(12, activation = relu)
    dense(num_classes)
}";

#[test]
fn layers_are_frozen() {
    let model = with(FROZEN, &[]).unwrap_or_else(|error| panic!("{error:?}"));
    insta::assert_snapshot!(model.text());
    // But for the word, the network is the one without it.
    let plain = with(&FROZEN.replace("frozen ", ""), &[]).unwrap();
    let names = |model: &Architecture| {
        let tensors = model.listing().layers.into_iter().flat_map(|layer| layer.tensors);
        tensors.map(|tensor| (tensor.name, tensor.shape)).collect::<Vec<_>>()
    };
    assert_eq!(names(&model), names(&plain));
    let (summary, of_plain) = (model.summary(), plain.summary());
    assert_eq!((summary.parameters, of_plain.frozen), (of_plain.parameters, 0));
    let trained = (3 * 6 + 6) + (12 * 100 + 100);
    let tuned = (4 * 4 + 4) + 8;
    assert_eq!((summary.learned, summary.learned + summary.frozen), (trained, summary.parameters));
    let summary = with(FROZEN, &[("tune", Value::Bool(true))]).unwrap().summary();
    assert_eq!(summary.learned, trained + tuned);
    // What an experiment freezes is added.
    let mut more = with(FROZEN, &[]).unwrap();
    more.freeze(&[Pattern::new("stem/*")], None).unwrap();
    assert_eq!(more.summary().learned, 12 * 100 + 100);
    assert!(more.freeze(&[], Some("nowhere")).is_err() && more.freeze(&[Pattern::new("dense3/*")], None).is_err());
    assert_standard(
        "    frozen {\n        dense(8)\n    }\n    let x = frozen dense(4, activation = relu)\n    frozen repeat dense(8) ×2\n    \
         head: frozen dense(8) -> gelu\n    residual {\n        frozen (dense(8) -> gelu)\n    }\n    frozen x",
    );
    insta::assert_snapshot!(
        "layers_are_frozen_mistakes",
        mistakes(&[
            "model m { frozen { flatten dense(num_classes) } }",
            "model m { flatten let x = dense(3) frozen x dense(num_classes) }",
            "model m { flatten let f = shared dense(3072) f frozen f dense(num_classes) }",
            "model m { flatten let f = shared dense(3072) frozen { f } f dense(num_classes) }",
            "model m(frozen = true) { flatten dense(num_classes) }",
            "model m { flatten frozen 3 dense(num_classes) }",
            "model m(n = 3) { flatten frozen n dense(num_classes) }",
            "model m { flatten dense(8, trainable = false) dense(num_classes) }",
            "model m { flatten dense(8, frozen = true) dense(num_classes) }",
            "model m { flatten freeze(dense(8)) dense(num_classes) }",
            "model m { flatten dense(num_classes) frozen }",
        ])
    );
}

/// Frozen layers stay to the bit while all others move, on every backend; the optimizer has nothing of them, and an average
/// of the weights has them as they are.
#[test]
fn frozen_layers_stay_as_they_are() {
    let spec = ImageSpec { height: 8, width: 12, channels: 3, num_classes: 5 };
    let optimizer = Optimizer {
        weight_decay: 0.1,
        clip_norm: Some(0.5),
        ema: Some(Ema { decay: 0.5, warmup: false, evaluate: true }),
        ..Optimizer::default()
    };
    let engine = |backend: Backend, threads, gradient_accumulation_steps| {
        let architecture = elaborate(&Source::new("model", FROZEN), &BTreeMap::new(), &spec).unwrap();
        let options = EngineOptions {
            optimizer: Optimizer { gradient_accumulation_steps, ..optimizer.clone() },
            loss: Loss::default(),
            seed: 3,
            threads,
            precision: Precision::F32,
            regions: Regions::default(),
        };
        backend.engine(Box::new(move |builder, batch| architecture.lower(builder, batch)), options).unwrap()
    };
    let pixels = 8 * 12 * 3;
    let images: Vec<f32> = (0..8 * pixels).map(|index| (index as f32 * 0.37).sin()).collect();
    let batch = Batch { images: &images, labels: &[0, 4, 2, 2, 1, 3, 0, 1], mixed: None };
    let trained = |name: &str| ["stem/", "dense3/"].iter().any(|layer| name.starts_with(layer));
    for accumulated in [1, 2] {
        let mut engines = [(Backend::Cpu, 2), (Backend::Cpu, 1), (Backend::Reference, 1)]
            .map(|(backend, threads)| engine(backend, threads, accumulated));
        let start = engines[0].state().unwrap();
        for iteration in 0..4 {
            let step = Step { epoch: 0, step: iteration as u32, iteration, learning_rate: 1e-2 };
            let losses = engines.each_mut().map(|engine| engine.train_step(&batch, &step).unwrap());
            assert!((losses[0] - losses[2]).abs() <= 1e-4 * losses[2].abs(), "{accumulated}, {iteration}: {losses:?}");
        }
        for (index, engine) in engines.iter_mut().enumerate() {
            let end = engine.state().unwrap();
            assert_eq!(start.len(), end.len());
            for (before, after) in start.iter().zip(&end) {
                let name = before.name.strip_prefix(AVERAGE).unwrap_or(&before.name);
                if let Some(state) = name.strip_prefix("optimizer/") {
                    let parameter = state.split_once('/').unwrap().1;
                    assert!(trained(parameter), "{name}");
                } else {
                    assert_eq!(before.data == after.data, !trained(name), "{accumulated}, engine {index}: {name}");
                }
            }
        }
        assert_eq!(engines[0].state().unwrap(), engines[1].state().unwrap());
        let [loss, _, reference] = engines.each_mut().map(|engine| engine.evaluate(&batch).unwrap());
        assert!((loss - reference).abs() <= 1e-4 * reference.abs(), "{loss} {reference}");
    }
}

#[test]
fn patches_may_be_rectangles() {
    let spec = ImageSpec { height: 12, width: 20, channels: 2, num_classes: 3 };
    let shape = |text: &str| -> Vec<usize> {
        let model = elaborate(&Source::new("m", text), &BTreeMap::new(), &spec).unwrap();
        model.layers()[0].layer.output_shape()
    };
    assert_eq!(shape("model m { patches([3, 10]) flatten dense(num_classes) }"), [8, 60]);
    assert_eq!(
        shape("model m { patches([4, 4]) flatten dense(num_classes) }"),
        shape("model m { patches(4) flatten dense(num_classes) }")
    );
    insta::assert_snapshot!(mistakes(&[
        "model m { patches([4, 5]) flatten dense(num_classes) }",
        "model m { patches([4, 4, 3]) flatten dense(num_classes) }",
        "model m { patches(5) flatten dense(num_classes) }",
    ]));
}

#[test]
fn comments_are_notes_of_parameters() {
    let text = "model m(
    dim = 12, // width of a token
    // How many rounds.
    depth = 2,
    plain = 3,
) {
    flatten
    repeat dense(dim + plain) ×depth
    dense(num_classes)
}
";
    let model = with(text, &[]).unwrap();
    let notes: Vec<String> = model.notes().iter().map(|(name, note)| format!("{name}: {note}")).collect();
    assert_eq!(notes, ["depth: How many rounds.", "dim: width of a token"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.vitx"), text).unwrap();
    let out = succeed(vitx(folder.path(), &["summary", "m.vitx"]));
    assert!(out.contains("\n  depth = 2: How many rounds.\n  dim = 12: width of a token\n"), "{out}");
    let out = succeed(vitx(folder.path(), &["layers", "transformer_block"]));
    assert!(out.contains("epsilon    of the norms; default 1e-6"), "{out}");
}
