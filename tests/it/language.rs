//! The language beyond layers: indices of repeats, conditions, values. What a text means is shown by the layers that
//! come of it.

use std::collections::BTreeMap;

use vitx::{
    dsl::{Diagnostics, Source, Value, format},
    model::{Architecture, ImageSpec, elaborate},
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
