use std::{fs, path::Path, sync::Arc};

use miette::{NamedSource, SourceSpan};

use super::{Experiment, ExperimentError, builtin, identity::home, places::Places};
use crate::dsl::{self, Source};

/// The longest file that is read. Parsers of YAML take time quadratic in the depth of nesting.
const MAX_BYTES: usize = 1 << 15;

impl Experiment {
    /// Reads a file; `model` becomes relative to the working directory. A file that is not there is
    /// taken from the binary, if it carries one of that name (see `builtin.rs`).
    ///
    /// # Errors
    /// Unknown keys, wrong types and bad values, with their place.
    pub fn read(path: &Path) -> Result<Self, ExperimentError> {
        Self::of_source(&source(path)?, path)
    }

    /// Reads the text of a file that stands, or would, at `path`.
    pub(super) fn of_source(source: &Source, path: &Path) -> Result<Self, ExperimentError> {
        let mut experiment = Self::parse(&source.name, &source.text)?;
        if let Some(folder) = path.parent() {
            experiment.model = folder.join(home(&experiment.model));
        }
        Ok(experiment)
    }

    /// Reads a text that diagnostics call `name`.
    ///
    /// # Errors
    /// As [`Experiment::read`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ExperimentError> {
        let text = without_mark(text);
        if text.len() > MAX_BYTES {
            return Err(too_long(name, text.len() as u64));
        }
        let refuse = |message: String, place: Option<SourceSpan>, help: Option<String>| ExperimentError::Yaml {
            message,
            text: Arc::new(NamedSource::new(name, text.to_owned())),
            place,
            help,
        };
        let places = Places::of(text);
        if let Some((tag, place)) = &places.tag {
            let help = "values stand in the file itself, without tags";
            return Err(refuse(format!("`{tag}` is not read"), Some(place.clone().into()), Some(help.into())));
        }
        if let Some(second) = &places.second {
            let help = "a file has one experiment: a second one behind `---` is a file of its own";
            let message = "a second document begins here".to_owned();
            return Err(refuse(message, Some(second.clone().into()), Some(help.into())));
        }
        if let Some((key, _, again)) = &places.repeated {
            return Err(refuse(format!("`{key}` is given twice"), Some(again.clone().into()), None));
        }
        let experiment: Self = serde_yaml::from_str(text).map_err(|error| {
            let message = error.to_string();
            let place = error.location().map(|location| word_at(text, location.index()));
            let (message, help) = told(without_place(&message));
            refuse(message, place, help)
        })?;
        match experiment.out_of_range() {
            Some(fault) => {
                let place = places.get(&fault.key).map(|place| place.value.clone().into());
                Err(refuse(fault.message, place, fault.help))
            }
            None => Ok(experiment),
        }
    }
}

/// The text of an experiment file, or the one that the binary carries.
///
/// # Errors
/// A file that cannot be read, or is no text.
pub(super) fn source(path: &Path) -> Result<Source, ExperimentError> {
    match builtin::text(path) {
        Some(text) if !path.exists() => Ok(Source::new(path.display().to_string(), text)),
        _ => {
            // Models may be longer.
            if let Some(length) =
                fs::metadata(path).ok().map(|about| about.len()).filter(|&length| length > MAX_BYTES as u64)
            {
                return Err(too_long(&path.display().to_string(), length));
            }
            let source = Source::read(path)?;
            Ok(Source { text: without_mark(&source.text).to_owned(), ..source })
        }
    }
}

fn too_long(name: &str, length: u64) -> ExperimentError {
    let message = format!("`{name}` is {length} bytes long; an experiment file has at most {MAX_BYTES}");
    dsl::Diagnostics::from(dsl::Problem::new("vitx::experiment::size", message)).into()
}

/// Without the mark that some editors put before the first character.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

pub(super) use crate::data::transforms::HELP;

/// A message of serde's in words, and what to do about it.
pub(super) fn told(message: &str) -> (String, Option<String>) {
    match message.split_once(HELP) {
        Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
        None => (in_words(message), suggestion(message)),
    }
}

/// The message without the line and column at its end: the snippet shows them.
pub(super) fn without_place(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

/// A message of serde's without the names of Rust's types.
fn in_words(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else { return message.to_owned() };
    let plain = match expected {
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, at least 0",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a string" | "path string" | "string or map" => "a text",
        "a map" => "keys with values",
        "a sequence" => "a list",
        "a tuple of size 2" => "two values",
        // What can be any value is only refused for its size.
        "any YAML value" => "a whole number below 2^64",
        _ if expected.starts_with("variant identifier") || expected.starts_with("enum ") => "a word",
        _ if expected.starts_with("struct ") => "keys with values",
        other => other,
    };
    let found = found.replace("unit value", "nothing").replace("sequence", "a list").replace(": map", ": keys");
    let found = found.replace(" as u128", "").replace(" as i128", "");
    format!("{found}, expected {plain}")
}

/// The word at a character, for the caret.
fn word_at(text: &str, index: usize) -> SourceSpan {
    let offset = text.char_indices().nth(index).map_or(text.len(), |(offset, _)| offset);
    let rest = &text[offset..];
    let word = rest.find(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)).unwrap_or(rest.len());
    let first = rest.chars().next().map_or(0, char::len_utf8);
    (offset, word.max(first)).into()
}

/// "did you mean" for a message that names an unknown field and the known ones, all in backticks.
pub(super) fn suggestion(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown field").or_else(|| message.split_once("unknown variant"))?;
    let mut names = rest.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    dsl::nearest(unknown, names).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use miette::Diagnostic;

    use super::*;
    use crate::wait::PATIENCE;

    fn refused(rest: &str) -> (String, String, usize) {
        let text = format!("model: m.vitx\ndata: {{name: digits}}\n{rest}\n");
        let error = Experiment::parse("a.yaml", &text).unwrap_err();
        let help = error.help().map(|help| help.to_string()).unwrap_or_default();
        let label = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
        (error.to_string(), help, label)
    }

    #[test]
    fn unknown_keys_get_the_nearest_name_and_the_place() {
        let (message, help, offset) = refused("train: {epoch: 3}");
        assert!(message.contains("unknown field `epoch`"), "{message}");
        assert_eq!(help, "did you mean `epochs`?");
        assert!(offset >= 36, "{offset}");
    }

    #[test]
    fn bad_values_are_refused_at_their_key() {
        let (message, _, offset) = refused("train: {batch_size: 8, optimizer: {learning_rate: .nan}}");
        assert_eq!(message, "`train.optimizer.learning_rate` must be greater than 0");
        assert_eq!(offset, 85);
        for rest in ["train: {epochs: 0}", "train: {batch_size: -1}", "train: {schedule: {kind: cosin}}", "- 1"] {
            refused(rest);
        }
        assert!(Experiment::parse("a.yaml", "").is_err());
    }

    /// What is shown of an experiment that is refused.
    fn shown(text: &str) -> String {
        let error = Experiment::parse("a.yaml", text).unwrap_err();
        let mut shown = String::new();
        let theme = miette::GraphicalTheme::unicode_nocolor();
        miette::GraphicalReportHandler::new_themed(theme).render_report(&mut shown, &error).unwrap();
        shown
    }

    #[test]
    fn values_in_another_form_are_explained() {
        let params = [
            "params: { width: { values: [4, 8] } }",
            "params: { width: { min: 4, max: 8 } }",
            "params: { rate: { distribution: log_uniform_values, min: 1e-4, max: 0.1 } }",
            "params:\n    train:\n      epochs: [1, 2]",
            "params: { width: }",
            "params: { width: [4, null] }",
            "params: { rate: [0.1, .nan] }",
            "params: { rate: .inf }",
            "params: [width]",
            "when: { rate: 3 }",
            "when: { rate: { kind: cosine } }",
            "zip: width",
            "seeds: 0",
            "stop: { rule: halving, factor: 1 }",
            "stop: { rule: halving, min_epochs: 0 }",
            "stop: halving",
        ];
        let head = "model: m.vitx\ndata: { name: digits }\nsweep:\n  ";
        let all: Vec<String> = params.iter().map(|text| shown(&format!("{head}{text}\n"))).collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn files_in_another_form_are_explained() {
        let digits = "data: { name: digits }\n";
        let texts = [
            format!("model: !include m.vitx\n{digits}"),
            format!("model: m.vitx\n{digits}params: !map {{ a: 1 }}\n"),
            format!("model:\n{digits}"),
            format!("model: ''\n{digits}"),
            format!("model: m.vitx\n{digits}train: {{ optimizer: {{ learning_rate: 1e39 }} }}\n"),
            format!("model: m.vitx\n{digits}train: {{ optimizer: {{ epsilon: 1e-50 }} }}\n"),
            format!("model: m.vitx\n{digits}train: {{ schedule: {{ warmup_epochs: 1e39 }} }}\n"),
        ];
        let all: Vec<String> = texts.iter().map(|text| shown(text)).collect();
        insta::assert_snapshot!(all.join("\n"));
        // A mark before the first character is none of it, and places are right behind it.
        let marked = format!("\u{feff}model: m.vitx\n{digits}");
        assert_eq!(
            Experiment::parse("a.yaml", &marked).unwrap(),
            Experiment::parse("a.yaml", marked.trim_start_matches('\u{feff}')).unwrap()
        );
        assert!(shown("\u{feff}modle: m\n").contains("1 │ modle: m"), "{}", shown("\u{feff}modle: m\n"));
    }

    #[test]
    fn transforms_in_another_form_are_explained() {
        let lists = [
            "random_flip",
            "[random_flp]",
            "[flip, zoom: 0.2]",
            "{ random_flip: true }",
            "{ flip: true, rotate: 0.1 }",
            "[random_rotation: { angle: 0.1 }]",
            "[random_rotation: { factr: 0.1 }]",
            "[random_rotation: 1.5]",
            "[random_rotation: .nan]",
            "[random_rotation: -0.1]",
            "[random_rotation: [0.2, 0.1]]",
            "[random_rotation: [0.2]]",
            "[random_rotation: [a, b]]",
            "[random_rotation: { factor: fast }]",
            "[random_rotation: { factor: { low: 1 } }]",
            "[random_rotation: { factor: }]",
            "[random_zoom: 1]",
            "[random_flip: { mode: horizontl }]",
            "[random_flip: { mode: 3 }]",
            "[random_flip, random_zoom, random_flip: vertical]",
            "[{ random_flip: vertical, random_zoom: 0.2 }]",
            "\n  - random_zoom:\n    height_factor: 0.2",
            "[3]",
            "[{}]",
            "[[random_flip]]",
        ];
        let head = "model: m.vitx\ndata: { name: digits }\naugmentation: ";
        let all: Vec<String> = lists.iter().map(|text| shown(&format!("{head}{text}\n"))).collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn mixing_and_intervals_that_cannot_be_are_explained() {
        let texts = [
            "[mixup, random_flip]",
            "[mixup: { probability: 0.7 }, cutmix: { probability: 0.4 }]",
            "[mixup: { probability: 1.5 }]",
            "[mixup: 0]",
            "[cutmix: { until: 0 }]",
            "[mix_up]",
            "[cutmix]\ntrain: { batch_size: 1 }",
            "[random_flip, grayscale]",
            "[auto_augment: imagenet]",
            "[rand_augment: { layers: 0 }]",
            "[random_erasing: { area: 0.3 }]",
            "[random_resized_crop: { area: [0.5, 0.2] }]",
            "[random_resized_crop: { ratio: [0.5, 2, 3] }]",
            "[rand_augment: { from_epoch: 5 }]",
            "[rand_augment: { from_epoch: { 0: 3 } }]",
            "[rand_augment: { from_epoch: { later: 3 } }]",
            "[rand_augment: { from_epoch: { 5: { magnitude: 30 } } }]",
            "[rand_augment: { from_epoch: { 5: { strength: 3 } } }]",
            "[rand_augment: { from_epoch: { 5: { from_epoch: { 6: 3 } } } }]",
            "[rand_augment: { from_epoch: { 10: 3 } }]",
            "[random_crop: { from_epoch: { 5: { fill: reflect } } }]",
            "[mixup: { probability: 0.2, from_epoch: { 3: { probability: 0.7 } } }, cutmix: { probability: 0.4 }]",
        ];
        let head = "model: m.vitx\ndata: { name: digits }\naugmentation: ";
        let all: Vec<String> = texts.iter().map(|text| shown(&format!("{head}{text}\n"))).collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn normalization_that_cannot_be_is_explained() {
        let texts = [
            "digits, normalization: { mean: [127], deviation: [60] }",
            "digits, normalization: { mean: [0.5], deviation: [0] }",
            "cifar10, normalization: { mean: [0.5], deviation: [0.25] }",
            "cifar10, normalization: { mean: [0.5, 0.5, 0.5] }",
            "cifar10, normalization: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] }",
        ];
        let all: Vec<String> =
            texts.iter().map(|text| shown(&format!("model: m.vitx\ndata: {{ name: {text} }}\n"))).collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn transforms_that_are_near_none_get_all_names() {
        for name in ["augment_everything", "3: 4"] {
            let (message, help, offset) = refused(&format!("augmentation: [{name}]"));
            assert!(message.contains("unknown transform"), "{message}");
            assert!(help.starts_with("there are `") && help.contains("`random_flip`, `"), "{help}");
            assert_eq!(offset, 50);
        }
    }

    #[test]
    fn transforms_are_read_in_every_form() {
        let of = |text: &str| {
            let text = format!("model: m.vitx\ndata: {{ name: digits }}\naugmentation: {text}\n");
            serde_json::to_string(&Experiment::parse("a.yaml", &text).unwrap().augmentation).unwrap()
        };
        assert_eq!(
            of("[random_flip, random_rotation: 0.02]"),
            of("\n  - random_flip:\n  - random_rotation:\n      factor: 0.02")
        );
        assert_eq!(of("[random_rotation: [-0.1, 0.1], random_flip: true]"), r#"["random_rotation","random_flip"]"#);
        assert_eq!(
            of("[random_rotation: [0, 0.1], random_flip: false]"),
            r#"[{"random_rotation":{"factor":[0.0,0.1]}}]"#
        );
        assert_eq!(of("[random_zoom: { width_factor: 0.2 }]"), r#"[{"random_zoom":{"width_factor":0.2}}]"#);
        assert_eq!(of("[random_zoom: { width_factor: ~, fill_mode: reflect }]"), r#"["random_zoom"]"#);
        assert_eq!(of("[random_flip: false]"), of("{}"));
        let staged = "[rand_augment: { from_epoch: { 7: true, 5: false, 3: 4, 2: { layers: 3, deviation: 0.5 } }, magnitude: 2 }]";
        let written = r#"[{"rand_augment":{"magnitude":2.0,"from_epoch":{"2":{"layers":3},"3":{"magnitude":4.0},"5":false,"7":true}}}]"#;
        assert_eq!(of(staged), written);
        assert_eq!(of(written), written);
    }

    /// Whatever stands where: no message has a name of Rust's.
    #[test]
    fn no_message_names_types_of_rust() {
        let odd =
            ["3", "-1", "2.5", "true", "text", "''", "[1]", "[]", "{ a: 1 }", "{}", "~", ".nan", "1e400", "[[~]]"];
        let keys = [
            "model",
            "params",
            "params.a",
            "data",
            "data.name",
            "data.path",
            "data.image_size",
            "data.validation_split",
            "data.train_limit",
            "augmentation",
            "augmentation.flip",
            "augmentation.rotation",
            "augmentation.random_crop",
            "train",
            "train.epochs",
            "train.batch_size",
            "train.seed",
            "train.optimizer",
            "train.optimizer.learning_rate",
            "train.schedule",
            "train.schedule.kind",
            "train.schedule.warmup_epochs",
            "sweep",
            "sweep.params",
            "sweep.params.a",
            "sweep.zip",
            "sweep.when",
            "sweep.when.a",
            "sweep.strategy",
            "sweep.trials",
            "sweep.search_seed",
            "sweep.stop",
            "sweep.stop.rule",
            "sweep.stop.factor",
            "sweep.seeds",
        ];
        let rust = [
            "struct",
            "enum",
            "variant of",
            "u32",
            "u64",
            "f32 ",
            "f64",
            "usize",
            "i64",
            "unit",
            "newtype",
            "sequence",
            "map,",
            "tuple",
            "Option",
            "untagged",
            "serde",
            "path string",
        ];
        let mut refused = 0;
        for key in keys {
            for value in odd {
                let mut tree = serde_yaml::from_str("model: m.vitx\ndata: { name: digits }").unwrap();
                super::super::overrides::set(&mut tree, key, serde_yaml::from_str(value).unwrap()).unwrap();
                let Err(error) = Experiment::parse("a.yaml", &serde_yaml::to_string(&tree).unwrap()) else { continue };
                refused += 1;
                let text = format!("{error} {}", error.help().map(|help| help.to_string()).unwrap_or_default());
                let found: Vec<_> = rust.iter().filter(|word| text.contains(**word)).collect();
                assert!(found.is_empty(), "{key}: {value}: {text}: {found:?}");
            }
        }
        assert!(refused > 200, "{refused}");
    }

    #[test]
    fn every_text_is_answered_soon() {
        let params = "model: m\ndata: {name: digits}\nparams: ";
        let laughs: String = (1..30).map(|i| format!("  a{i}: &a{i} [*a{0}, *a{0}, *a{0}, *a{0}]\n", i - 1)).collect();
        let texts = [
            format!("{params}{}{}", "[".repeat(16_000), "]".repeat(16_000)),
            format!("{params}{}", "{a: ".repeat(8_000)),
            "? ".repeat(16_000),
            "- ".repeat(16_000),
            format!("{params}\n  a0: &a0 [x, x]\n{laughs}"),
            format!(
                "{{model: m, params: {{{} a: 1, a: 2}}}}",
                (0..2_500).map(|i| format!("a{i}: 1,")).collect::<String>()
            ),
            "x".repeat(1 << 20),
        ];
        for text in texts {
            let start = std::time::Instant::now();
            let error = Experiment::parse("a.yaml", &text).unwrap_err();
            let mut shown = String::new();
            miette::GraphicalReportHandler::new().render_report(&mut shown, &error).unwrap();
            // Each takes a moment; what would not end takes hours.
            assert!(start.elapsed() < PATIENCE, "{:?} for {}", start.elapsed(), &text[..60]);
        }
    }

    #[test]
    fn types_are_named_in_words_and_found_behind_other_letters() {
        let (message, _, offset) = refused("params: {α: 'é'}\ntrain: {epochs: many}");
        assert_eq!(
            message,
            "train.epochs: invalid type: string \"many\", expected a whole number from 0 to 4294967295"
        );
        assert_eq!(offset, 72);
        let (message, ..) = refused("params: {depth: }");
        assert!(message.starts_with("params.depth: invalid type: nothing, expected a number"), "{message}");
        let (message, ..) = refused("params: {depth: [1, .nan]}");
        assert_eq!(message, "params.depth[1]: NaN is no finite number");
        let (message, ..) = refused("params: {depth: 99999999999999999999}");
        assert!(message.contains("too large"), "{message}");
        let (message, _, offset) = refused("params: {depth: 1, depth: 2}");
        assert_eq!((message.as_str(), offset), ("`params.depth` is given twice", 54));
        let error = Experiment::parse("a.yaml", "model: m.vitx\ndata: {name: digit}").unwrap_err();
        assert_eq!(error.labels().unwrap().next().unwrap().offset(), 27);
        assert!(error.help().unwrap().to_string().starts_with("did you mean `digits`?"));
    }
}
