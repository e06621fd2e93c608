//! One mistake, one message, at its place: slips of one character and of one token in the shipped models,
//! and what people write who come from other languages.

use std::{collections::BTreeMap, fmt::Write};

use vitx::{
    dsl::{Diagnostics, Source},
    model::{
        ImageSpec, elaborate,
        layers::{catalogue, markdown},
    },
};

const CIFAR: ImageSpec = ImageSpec { height: 32, width: 32, channels: 3, num_classes: 100 };
const DIGITS: ImageSpec = ImageSpec { height: 8, width: 8, channels: 1, num_classes: 10 };

fn problems(text: &str, data: &ImageSpec) -> Option<Diagnostics> {
    elaborate(&Source::new("model.vitx", text), &BTreeMap::new(), data).err()
}

/// A xorshift of a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Where the tokens of a text are, comments left out.
fn tokens(text: &str) -> Vec<(usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match first {
            c if c.is_whitespace() => c.len_utf8(),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            c => {
                let length = if is_word(c) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { c.len_utf8() };
                found.push((at, at + length));
                length
            }
        };
        at += length;
    }
    found
}

/// How far apart two places are, in tokens.
fn apart(tokens: &[(usize, usize)], a: usize, b: usize) -> usize {
    let index = |at: usize| tokens.partition_point(|(start, _)| *start <= at);
    index(a).abs_diff(index(b))
}

/// A text with one slip, and where that is.
fn mutant(text: &str, random: &mut Random) -> (String, usize) {
    const CHARACTERS: &[&str] = &[
        "(", ")", "[", "]", "{", "}", ",", ":", ";", "=", "-", "+", "*", "^", "#", "é", "\u{a0}", "−", "7", "q", "\"",
        "'", "@",
    ];
    const TOKENS: &[&str] = &[
        "for", "dense", "(", ")", "{", "}", "[", "]", ",", "=", "->", "//", "3", "0.5", "\"gelu\"", "let", "repeat",
        "==", "model", "return",
    ];
    let all = tokens(text);
    let (start, end) = *random.choose(&all);
    let mut out = text.to_owned();
    match random.below(6) {
        0 => out.replace_range(start..end, ""),
        1 => out.insert_str(start, &format!("{} ", random.choose(TOKENS))),
        2 => out.replace_range(start..end, random.choose::<&str>(TOKENS)),
        kind => {
            let letters: Vec<(usize, char)> = text[start..end].char_indices().collect();
            let (offset, letter) = *random.choose(&letters);
            let at = start + offset;
            let new = random.choose(CHARACTERS);
            match kind {
                3 => out.replace_range(at..at + letter.len_utf8(), ""),
                4 => out.insert_str(at, new),
                _ => out.replace_range(at..at + letter.len_utf8(), new),
            }
        }
    }
    (out, start)
}

#[test]
fn one_slip_is_one_message_at_its_place() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut wrong, mut single, mut near) = (0, 0, 0);
    let mut log = String::new();
    for (name, data) in [("digits_vit", DIGITS), ("cifar10_vit", CIFAR), ("cifar100_vit", CIFAR)] {
        let text = std::fs::read_to_string(format!("{}/experiments/{name}.vitx", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(problems(&text, &data).is_none());
        for _ in 0..400 {
            let (changed, at) = mutant(&text, &mut random);
            let Some(diagnostics) = problems(&changed, &data) else { continue };
            let place = diagnostics
                .problems()
                .iter()
                .flat_map(|problem| problem.places())
                .map(|span| apart(&tokens(&changed), span.start, at));
            let distance = place.min().unwrap_or(usize::MAX);
            wrong += 1;
            single += usize::from(diagnostics.len() == 1);
            near += usize::from(distance <= 2);
            if diagnostics.len() != 1 || distance > 2 {
                let line =
                    changed.lines().nth(changed[..at.min(changed.len())].matches('\n').count()).unwrap_or_default();
                let said: Vec<&str> = diagnostics.problems().iter().map(|problem| problem.message()).collect();
                writeln!(log, "{} at {distance}: {}\n    {}", said.len(), line.trim(), said.join("\n    ")).unwrap();
            }
        }
    }
    let shares = format!("{wrong} mistakes: {single} of one message, {near} at the place");
    println!("{log}{shares}");
    assert!(wrong > 700, "{shares}");
    assert!(single * 100 >= wrong * 97, "{log}{shares}");
    assert!(near * 100 >= wrong * 84, "{log}{shares}");
}

/// A diagnostic as a terminal without colour shows it.
fn shown(error: &Diagnostics) -> String {
    let mut out = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor()).with_width(100);
    handler.render_report(&mut out, error).expect("writing to a string");
    out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Each of `statements` in a model of its own gives one message; all of them are one snapshot.
fn snapshot(name: &str, statements: &[&str]) {
    let mut all = String::new();
    for statement in statements {
        let text = format!(
            "model m(dim = 64, depth = 2) {{\n    patches(4)\n    {statement}\n    global_average_pool\n    dense(num_classes)\n}}\n"
        );
        let error = problems(&text, &CIFAR).unwrap_or_else(|| panic!("{statement:?} has a mistake"));
        assert_eq!(error.len(), 1, "{statement}\n{}", shown(&error));
        writeln!(all, "==== {}\n{}", statement.escape_debug(), shown(&error)).unwrap();
    }
    insta::assert_snapshot!(name, all);
}

#[test]
fn comments_of_other_languages() {
    snapshot(
        "comments",
        &[
            "# pool",
            "/* pool */",
            "\"\"\"pool\"\"\"",
            "dense(dim) # wide",
            "let half = dim // 2\n    dense(half)",
            "dense(dim // 2)",
            "dense(dim // depth, activation = gelu)",
            "mlp([dim, dim // 2])",
            "repeat gelu ×depth // 2",
            "dense(64) // 2",
            "let h = (dim + 1) // depth\n    dense(h)",
        ],
    );
}

#[test]
fn notes_stay_comments() {
    for note in [
        "dense(dim) // classifier",
        "dense(64) // 16 tokens",
        "gelu // the exact one",
        "// 2",
        "dense(\n dim, // 2\n)",
        "gelu //",
        "dense(64) // TODO: 2",
    ] {
        let text =
            format!("model m(dim = 64) {{\n patches(4)\n {note}\n global_average_pool\n dense(num_classes)\n}}\n");
        if let Some(error) = problems(&text, &CIFAR) {
            panic!("{note}: {}", shown(&error));
        }
    }
}

#[test]
fn characters_are_named() {
    snapshot(
        "characters",
        &[
            "\u{a0}gelu",
            "de\u{200b}nse(64)",
            "d\u{435}nse(64)",
            "dense\u{ff08}64\u{ff09}",
            "dense(64, activation = “gelu”)",
            "dense(dim \u{2212} 2)",
            "gelu → dense(3)",
            "repeat gelu ✕ 2",
            "🙂",
            "dense(dim ÷ 2)",
            "let größe = 64\n    dense(größe)",
            "gelu \u{202e}",
            "\u{1b}[2Jgelu",
            "dense(dim × 2)",
        ],
    );
}

#[test]
fn words_and_forms_of_other_languages() {
    snapshot(
        "forms",
        &[
            "for i in range(3) {\n        dense(3)\n    }",
            "if dim == 2 {\n        dense(3)\n    } elif dim == 3 {\n        dense(4)\n    }",
            "if dim { gelu }\n    else { relu }",
            "while True:",
            "return x",
            "use blocks",
            "import keras",
            "from keras import layers",
            "def f(x):",
            "let in = 3",
            "let class = 3",
            "x = dense(64)(x)",
            "dense(64)(x)",
            "self.fc = nn.Linear(3, 4)",
            "nn.Linear(64, 32)",
            "layers.Dense(64)(x)",
            "attention(2, key_dim: 16)",
            "mlp((128, dim))",
            "gelu,",
            "gelu => dense(3)",
            "gelu |> dense(3)",
            "dropout(.1)",
            "dropout(0.)",
            "dense(2 ** 6)",
            "dense(dim ^ 2)",
            "dense(64, activation = None)",
            "dense(None)",
            "dense(64, use_bias = True)",
            "dense(64, activation = 'gelu')",
            "dense(64, activation = f\"gelu\")",
            "x[0]",
            "let x: int = 3",
            "repeat gelu ×depth + 1",
            "dense 64",
            "dense\n    (64)",
            "\"head\": dense(3)",
            "gelu \\",
            "@decorated",
            "let model = 3",
            "dense(64 activation = gelu)",
            "let a = 99999999999999999999\n    dense(a)",
            "repeat gelu",
            "dense(64 == 2)",
            "dim += 2",
        ],
    );
}

#[test]
fn brackets_and_strings() {
    snapshot(
        "brackets",
        &[
            "dense(dim, activation = \"gelu)",
            "dense(dim",
            "mlp([128, dim)",
            "dense(dim]",
            "residual {\n        gelu",
            "gelu }",
            "dense dim)",
            "mlp(128, dim])",
            "let a = [128, dim)\n    dense(3)",
        ],
    );
}

#[test]
fn names_of_other_libraries() {
    snapshot(
        "libraries",
        &[
            "LayerNormalization()",
            "nn.LayerNorm(64)",
            "keras.layers.MultiHeadAttention(2, 4)",
            "GlobalAveragePooling1D",
            "torch.cat",
            "swish",
            "nn.Conv2d(3, 64, 3)",
            "BatchNormalization",
            "PatchEmbed",
            "cls_token",
            "DropPath(0.1)",
            "banana",
            "dense(out_features = 3)",
            "dropout(p = 0.1)",
            "layer_norm(eps = 1e-6)",
            "attention(heads = 2, key_dim = 3)",
            "gelu(approximate = true)",
            "transformer_block(2, 8, [48], head_dim = 3)",
        ],
    );
}

#[test]
fn lists_of_parameters() {
    let mut all = String::new();
    for list in [
        "dim = 64 depth = 2",
        "dim: 64, depth = 2",
        "dim = 64; depth = 2",
        "dim = 2 ^ 6, depth = 2",
        "dim = 64 − 2, depth = 2",
        "dim: int = 64, depth = 2",
        "dim = 128 // 2, depth = 2",
        "dim = 64, depth = 2 units",
        "dim = 99999999999999999999, depth = 2",
        "dim = (64, depth = 2",
        "dim = [64, depth = 2",
        "if = 3, dim = 64, depth = 2",
        "dim = 64, depth = 2, sizes = (1, 2)",
        "dim = .5, depth = 2, rate = \"a",
    ] {
        let text = format!(
            "model m({list}) {{\n    patches(4)\n    dense(dim)\n    repeat dense(dim) ×depth\n    global_average_pool\n    dense(num_classes)\n}}\n"
        );
        let error = problems(&text, &CIFAR).unwrap_or_else(|| panic!("{list:?} has a mistake"));
        assert_eq!(error.len(), 1, "{list}\n{}", shown(&error));
        writeln!(all, "==== {list}\n{}", shown(&error)).unwrap();
    }
    insta::assert_snapshot!("parameters", all);
}

#[test]
fn pasted_from_elsewhere() {
    let texts = [
        "import torch.nn as nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc1 = nn.Linear(48, 64)\n\n    def forward(self, x):\n        x = self.fc1(x)\n        return x\n",
        "model = keras.Sequential([\n    layers.Dense(64, activation='relu'),\n    layers.Dropout(0.5),\n])\n",
        "{ \"name\": \"m\", \"layers\": [{ \"dense\": 64 }, { \"gelu\": null }] }\n",
        "model: m\nlayers:\n  - dense: 64\n  - gelu\n",
        "fn main() {\n    let x = dense(64);\n    println!(\"{x}\");\n}\n",
        "model m:\n    patches(4)\n    flatten\n    dense(num_classes)\n",
        "block a(n) { dense(n }\nmodel m { patches(4) a(3) flatten dense(num_classes) }\n",
        "model m { patches(4) residual { gelu flatten dense(num_classes)\nblock a { gelu }\n",
    ];
    let mut all = String::new();
    for text in texts {
        let error = problems(text, &CIFAR).unwrap_or_else(|| panic!("{text:?} has a mistake"));
        writeln!(all, "==== {text}{}", shown(&error)).unwrap();
    }
    insta::assert_snapshot!("pasted", all);
}

#[test]
fn bracketed_flows_stand_anywhere() {
    let text = "block b { gelu }\nmodel m(n = 2) {\n patches(4)\n (dense(3) -> gelu)\n let a = n\n (dense(a) -> relu)\n repeat (gelu -> dense(3)) ×n\n repeat ×n (gelu -> relu)\n repeat ×2 b\n residual (dense(3) -> gelu)\n residual b\n head: (flatten -> dense(num_classes))\n}";
    let source = Source::new("model.vitx", text);
    let network = elaborate(&source, &BTreeMap::new(), &CIFAR).unwrap();
    let kinds: Vec<&str> = network.layers().iter().map(|layer| layer.kind).collect();
    assert_eq!(kinds[..4], ["patches", "dense", "gelu", "dense"]);
    assert_eq!(kinds.iter().filter(|kind| **kind == "gelu").count(), 9);
    let formatted = vitx::dsl::format(&source).unwrap();
    let again = Source::new("model.vitx", formatted.as_str());
    assert_eq!(vitx::dsl::format(&again).unwrap(), formatted);
    assert_eq!(elaborate(&again, &BTreeMap::new(), &CIFAR).unwrap().text(), network.text());
    insta::assert_snapshot!("bracketed_flows", formatted);
}

#[test]
fn files_that_are_no_text() {
    let utf16: Vec<u8> = "model m { flatten }".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, expected) in [
        ([b"\xff\xfe".to_vec(), utf16.clone()].concat(), "UTF-16 text"),
        (utf16, "UTF-16 text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0".to_vec(), "a binary file"),
        (b"model m { fl\xe4che }".to_vec(), "not UTF-8 text"),
    ] {
        let error = Source::from_bytes("m.vitx", bytes).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    // Lines end with a CR alone, and are shown as lines.
    let error =
        problems("model m {\r    patches(4)\r    dence(3)\r    flatten\r    dense(num_classes)\r}\r", &CIFAR).unwrap();
    let shown = shown(&error);
    assert!(
        shown.contains("model.vitx:3:5") && shown.contains(" 2 │     patches(4)\n") && !shown.contains('\r'),
        "{shown}"
    );
}

#[test]
fn the_document_lists_the_layers() {
    let document = std::fs::read_to_string(format!("{}/docs/LANGUAGE.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let table = markdown(&catalogue());
    assert!(
        document.contains(&table),
        "docs/LANGUAGE.md does not hold what `vitx layers --format markdown` prints:\n{table}"
    );
    for layer in catalogue() {
        assert!(!layer.meaning.is_empty() && !layer.shape.is_empty() && !layer.source.is_empty(), "{layer:?}");
    }
}
