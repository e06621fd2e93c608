//! Which trials can be packed: those whose programs have the same shapes.

use std::{fmt::Write, path::Path};

use serde_yaml::Value;

use crate::trial::{CONFIG, MODEL};

/// Keys that are in no shape and in no length.
const FREE: [(&str, &str); 4] = [("train", "seed"), ("train", "schedule"), ("train", "stop"), ("train", "monitor")];

/// A text that is the same for trials that can be packed. Shapes, counts and lengths are whole numbers; a number with a
/// fraction is a rate, a strength, a constant, and may be any, but for 0, which leaves out an operator. None for what cannot
/// be read: it says so itself, alone.
///
/// The text is for speed alone: what is packed and has other shapes after all comes to the same bits, one step after the
/// other.
pub fn pack_key(folder: &Path) -> Option<String> {
    let mut config: Value = serde_yaml::from_str(&std::fs::read_to_string(folder.join(CONFIG)).ok()?).ok()?;
    let root = config.as_mapping_mut()?;
    root.remove("sweep");
    for (section, key) in FREE {
        root.get_mut(section).and_then(Value::as_mapping_mut).and_then(|section| section.remove(key));
    }
    let mut key = std::fs::read_to_string(folder.join(MODEL)).ok()?;
    written(&config, &mut key);
    Some(key)
}

fn written(value: &Value, to: &mut String) {
    match value {
        Value::Number(number) if number.is_f64() && number.as_f64() != Some(0.0) => to.push('#'),
        Value::Sequence(values) => {
            to.push('[');
            values.iter().for_each(|value| {
                written(value, to);
                to.push(',');
            });
            to.push(']');
        }
        Value::Mapping(values) => {
            to.push('{');
            for (key, value) in values {
                written(key, to);
                to.push(':');
                written(value, to);
                to.push(',');
            }
            to.push('}');
        }
        Value::Tagged(tagged) => {
            let _ = write!(to, "{} ", tagged.tag);
            written(&tagged.value, to);
        }
        // Text in quotes, so that it is nothing else.
        other => {
            let _ = write!(to, "{other:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(config: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONFIG), config).unwrap();
        std::fs::write(folder.path().join(MODEL), "model m { dense(num_classes) }").unwrap();
        pack_key(folder.path())
    }

    const CONFIG_TEXT: &str = "
params: { dim: 64, rate: 0.1 }
augmentation: [{ random_crop: { padding: 4 } }, { mixup: 0.2 }]
train:
  epochs: 5
  batch_size: 64
  seed: 1
  optimizer: { kind: adamw, learning_rate: 0.001, weight_decay: 1e-4, beta: [0.9, 0.99] }
  schedule: { kind: cosine, warmup_epochs: 1 }
";

    #[test]
    fn rates_seeds_and_strengths_are_free_and_shapes_are_not() {
        let first = key(CONFIG_TEXT);
        assert!(first.is_some());
        for (from, to) in [
            ("rate: 0.1", "rate: 0.25"),
            ("mixup: 0.2", "mixup: 0.8"),
            ("seed: 1", "seed: 2"),
            ("0.001", "0.5"),
            ("1e-4", "0.1"),
            ("0.99", "0.999"),
            ("{ kind: cosine, warmup_epochs: 1 }", "{ kind: constant }"),
        ] {
            let other = CONFIG_TEXT.replace(from, to);
            assert_ne!(other, CONFIG_TEXT);
            assert_eq!(key(&other), first, "{to}");
        }
        for (from, to) in [
            ("dim: 64", "dim: 32"),
            ("rate: 0.1", "rate: 0.0"),
            ("rate: 0.1", "rate: 0"),
            ("padding: 4", "padding: 2"),
            ("epochs: 5", "epochs: 6"),
            ("64", "128"),
            ("kind: adamw", "kind: sgd"),
        ] {
            assert_ne!(key(&CONFIG_TEXT.replacen(from, to, 1)), first, "{to}");
        }
        assert_eq!(key("a: [1"), None);
        assert_eq!(pack_key(Path::new("/nowhere")), None);
    }
}
