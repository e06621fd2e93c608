//! Images that an epoch has several times, each time with other draws.

use super::schema::Fault;
use crate::data::{Augmentation, transforms::MOST_REPEATS};

const KEY: &str = "train.repeated_augmentation";

/// What is wrong with so many repetitions.
pub(super) fn fault(repeats: u32, augmentation: &Augmentation) -> Option<Fault> {
    let fault = |message: String, help: Option<String>| Some(Fault { key: KEY.into(), message, help });
    if !(1..=MOST_REPEATS).contains(&repeats) {
        return fault(format!("`{KEY}` must be from 1 to {MOST_REPEATS}"), None);
    }
    if repeats > 1 && !augmentation.changes_images() {
        let help = "put transforms of images into `augmentation`, or leave it out".to_owned();
        return fault(format!("`{KEY}` repeats images that nothing is drawn for"), Some(help));
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::experiment::{Experiment, ExperimentError};

    fn parse(repeats: &str, augmentation: &str) -> Result<Experiment, ExperimentError> {
        let text = format!(
            "model: m.vitx\ndata: {{ name: digits }}\naugmentation: {augmentation}\n\
             train: {{ repeated_augmentation: {repeats} }}\n"
        );
        Experiment::parse("a.yaml", &text)
    }

    #[test]
    fn mistakes_are_explained() {
        let wrong = [
            ("0", "[random_crop]"),
            ("257", "[random_crop]"),
            ("2.5", "[random_crop]"),
            ("often", "[random_crop]"),
            ("3", "[mixup]"),
            ("3", "{ flip: false }"),
        ];
        let errors = wrong.map(|(repeats, augmentation)| parse(repeats, augmentation).unwrap_err());
        let explained = errors.into_iter().map(|error| format!("{:?}", miette::Report::new(error)));
        insta::assert_snapshot!(explained.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn one_is_not_written() {
        let written = |repeats| serde_json::to_string(&parse(repeats, "[random_crop]").unwrap().train).unwrap();
        assert!(!written("1").contains("repeated"), "{}", written("1"));
        assert!(written("3").contains("\"repeated_augmentation\":3"), "{}", written("3"));
    }
}
