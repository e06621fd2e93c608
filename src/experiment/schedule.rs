//! `train.schedule`: the kind of a learning rate's schedule, and its options. Keys, checks and messages come from the table of
//! kinds.

use std::{borrow::Cow, fmt, sync::LazyLock};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, MapAccess, Visitor},
    ser::SerializeMap,
};

use super::schema::Fault;
use crate::train::{
    self, Per,
    schedules::{self, KINDS, Range, Setting, Value},
};

/// A schedule as an experiment has it. Of two, what they come to counts.
#[derive(Debug, Clone, Default)]
pub struct ScheduleConfig {
    schedule: train::Schedule,
    /// The options that were given, also those that the kind has not: these are a fault.
    given: Vec<(&'static Setting, Value)>,
}

impl PartialEq for ScheduleConfig {
    fn eq(&self, other: &Self) -> bool {
        self.schedule == other.schedule
    }
}

/// Keys of every schedule.
pub(super) const OWN: [&str; 7] =
    ["kind", "warmup_epochs", "final_fraction", "warmup_from", "cooldown_epochs", "per", "restarts"];

/// Those and the options of all kinds.
pub(super) static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let options = KINDS.iter().flat_map(|kind| kind.options).map(|option| option.name);
    OWN.into_iter().chain(options).collect()
});

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| KINDS.iter().map(|kind| kind.name).collect());

impl ScheduleConfig {
    /// What the training takes.
    pub fn schedule(&self) -> train::Schedule {
        self.schedule.clone()
    }

    /// The numbers of every schedule, for a check of their size.
    pub(super) fn numbers(&self) -> [(&'static str, f32); 4] {
        let train::Schedule { warmup_epochs, final_fraction, warmup_from, cooldown_epochs, .. } = self.schedule;
        [
            ("train.schedule.warmup_epochs", warmup_epochs),
            ("train.schedule.final_fraction", final_fraction),
            ("train.schedule.warmup_from", warmup_from.unwrap_or(0.0)),
            ("train.schedule.cooldown_epochs", cooldown_epochs),
        ]
    }

    /// An option that cannot be, or that the kind has not.
    pub(super) fn fault(&self, epochs: u32) -> Option<Fault> {
        let train::Schedule { kind, warmup_epochs, final_fraction, warmup_from, cooldown_epochs, .. } = self.schedule;
        let fault = |name: &str, message: String, help: Option<String>| {
            Some(Fault { key: Cow::Owned(format!("train.schedule.{name}")), message, help })
        };
        let must = |name: &str, range: &str| fault(name, format!("`train.schedule.{name}` must be {range}"), None);
        for (option, value) in &self.given {
            if !kind.options.iter().any(|own| own.name == option.name) {
                let message = format!("`{}` is no option of `{}`", option.name, kind.name);
                let others = KINDS.iter().filter(|kind| kind.options.iter().any(|own| own.name == option.name));
                let others: Vec<String> = others.map(|kind| format!("`{}`", kind.name)).collect();
                let help = format!("`{}` is one of {}: set `train.schedule.kind`", option.name, others.join(" and "));
                return fault(option.name, message, Some(help));
            }
            if !option.range.has(value) {
                return must(option.name, &option.range.text());
            }
        }
        // What cannot be left out, and what comes too late to matter.
        for option in kind.options.iter().filter(|option| option.range == Range::Milestones) {
            match self.schedule.option(option.name) {
                Value::Numbers(values) if values.is_empty() => {
                    let message = format!("`{}` wants `train.schedule.{}`", kind.name, option.name);
                    let help = format!("epochs after which the rate falls, as `{}: [60, 120, 160]`", option.name);
                    return fault("kind", message, Some(help));
                }
                Value::Numbers(values) if values.iter().any(|value| *value >= f64::from(epochs)) => {
                    let message = format!("`train.schedule.{}` has epochs that are not trained", option.name);
                    return fault(option.name, message, Some(format!("`train.epochs` is {epochs}")));
                }
                _ => {}
            }
        }
        let not_negative = |value: f32| value >= 0.0 && value.is_finite();
        let share = |value: f32| (0.0..=1.0).contains(&value);
        if !not_negative(warmup_epochs) {
            return must("warmup_epochs", "at least 0");
        }
        if !share(final_fraction) {
            return must("final_fraction", "from 0 to 1");
        }
        if !warmup_from.is_none_or(share) {
            return must("warmup_from", "from 0 to 1, a share of the learning rate");
        }
        if warmup_from.is_some() && warmup_epochs == 0.0 {
            let help = Some("set `train.schedule.warmup_epochs`".to_owned());
            return fault("warmup_from", "`train.schedule.warmup_from` without a warm-up".into(), help);
        }
        if !not_negative(cooldown_epochs) || cooldown_epochs > 0.0 && cooldown_epochs >= epochs as f32 {
            return must("cooldown_epochs", "at least 0, and less than `train.epochs`");
        }
        let restarts = &self.schedule.restarts;
        if restarts.first() == Some(&0) || !restarts.windows(2).all(|pair| pair[0] < pair[1]) {
            return must("restarts", "a list of epochs, each greater than 0 and than the one before");
        }
        if restarts.last().is_some_and(|last| *last >= epochs) {
            let message = "`train.schedule.restarts` has epochs after which nothing is trained".into();
            return fault("restarts", message, Some(format!("`train.epochs` is {epochs}")));
        }
        let ends = restarts.iter().chain([&epochs]);
        let shortest = ends.zip([0].iter().chain(restarts)).map(|(end, begin)| end - begin).min();
        if cooldown_epochs > 0.0 && shortest.is_some_and(|shortest| cooldown_epochs >= shortest as f32) {
            return must("cooldown_epochs", "less than the epochs between `train.schedule.restarts`");
        }
        None
    }
}

impl Serialize for ScheduleConfig {
    /// The first three keys whatever they are, as when there were no more; others where they have not their defaults.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let train::Schedule { kind, warmup_epochs, final_fraction, warmup_from, cooldown_epochs, per, .. } =
            self.schedule;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", kind.name)?;
        map.serialize_entry("warmup_epochs", &warmup_epochs)?;
        map.serialize_entry("final_fraction", &final_fraction)?;
        if let Some(from) = warmup_from {
            map.serialize_entry("warmup_from", &from)?;
        }
        if cooldown_epochs != 0.0 {
            map.serialize_entry("cooldown_epochs", &cooldown_epochs)?;
        }
        if per == Per::Epoch {
            map.serialize_entry("per", "epoch")?;
        }
        if !self.schedule.restarts.is_empty() {
            map.serialize_entry("restarts", &self.schedule.restarts)?;
        }
        for option in kind.options {
            match self.schedule.option(option.name) {
                value if *value == option.default => {}
                Value::Number(value) => map.serialize_entry(option.name, value)?,
                Value::Numbers(values) => map.serialize_entry(option.name, values)?,
                Value::Word(word) => map.serialize_entry(option.name, word)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ScheduleConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = ScheduleConfig;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("struct Schedule")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ScheduleConfig, A::Error> {
        let (mut kind, mut given) = (KINDS[0], Vec::new());
        let mut schedule = train::Schedule::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "kind" => {
                    let name = map.next_value::<String>()?;
                    kind = schedules::find(&name).ok_or_else(|| de::Error::unknown_variant(&name, &NAMES))?;
                }
                "warmup_epochs" => schedule.warmup_epochs = map.next_value()?,
                "final_fraction" => schedule.final_fraction = map.next_value()?,
                "warmup_from" => schedule.warmup_from = Some(map.next_value()?),
                "restarts" => schedule.restarts = map.next_value()?,
                "cooldown_epochs" => schedule.cooldown_epochs = map.next_value()?,
                "per" => {
                    schedule.per = match map.next_value_seed(Word(&["step", "epoch"]))? {
                        "epoch" => Per::Epoch,
                        _ => Per::Step,
                    }
                }
                key => {
                    let option = KINDS.iter().flat_map(|kind| kind.options).find(|option| option.name == key);
                    let Some(option) = option else { return Err(de::Error::unknown_field(key, &KEYS)) };
                    let value = match option.range {
                        Range::Number(..) => Value::Number(map.next_value()?),
                        Range::Milestones => Value::Numbers(map.next_value()?),
                        Range::Word(words) => Value::Word(map.next_value_seed(Word(words))?),
                    };
                    given.push((option, value));
                }
            }
        }
        schedule = train::Schedule { kind, values: train::Schedule::of(kind).values, ..schedule };
        for (option, value) in &given {
            if kind.options.iter().any(|own| own.name == option.name) {
                schedule.set(option.name, value.clone());
            }
        }
        Ok(ScheduleConfig { schedule, given })
    }
}

/// One of some words.
struct Word(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Word {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        let given = String::deserialize(deserializer)?;
        let known = self.0.iter().find(|word| **word == given);
        known.copied().ok_or_else(|| de::Error::unknown_variant(&given, self.0))
    }
}

#[cfg(test)]
mod tests {
    use crate::experiment::{Experiment, ExperimentError, overrides};

    fn parse(schedule: &str) -> Result<Experiment, ExperimentError> {
        Experiment::parse(
            "a.yaml",
            &format!("model: m.vitx\ndata: {{ name: digits }}\ntrain:\n  epochs: 20\n  schedule: {schedule}\n"),
        )
    }

    #[test]
    fn mistakes_are_explained() {
        let texts = [
            "{ kind: cosin }",
            "cosine",
            "{ warmup: 3 }",
            "{ kind: cosine, gamma: 0.1 }",
            "{ kind: multi_step }",
            "{ kind: multi_step, milestones: [] }",
            "{ kind: multi_step, milestones: [10, 5] }",
            "{ kind: multi_step, milestones: [10, 60] }",
            "{ kind: multi_step, milestones: 10 }",
            "{ kind: one_cycle, pct_start: 2 }",
            "{ kind: one_cycle, anneal_strategy: cosine }",
            "{ kind: wsd, tail: exp }",
            "{ warmup_from: 0.1 }",
            "{ warmup_epochs: 2, warmup_from: 2 }",
            "{ cooldown_epochs: 20 }",
            "{ per: batch }",
            "{ restarts: 10 }",
            "{ restarts: [0, 10] }",
            "{ restarts: [10, 5] }",
            "{ restarts: [10, 20] }",
            "{ restarts: [5, 7], cooldown_epochs: 2 }",
        ];
        let explained = texts.map(|text| format!("{:?}", miette::Report::new(parse(text).unwrap_err())));
        insta::assert_snapshot!(explained.join("\n"));
    }

    #[test]
    fn what_is_written_comes_back_and_defaults_are_not_written() {
        let text = |schedule: &str| serde_json::to_string(&parse(schedule).unwrap().train.schedule).unwrap();
        let plain = r#"{"kind":"constant","warmup_epochs":0.0,"final_fraction":0.0}"#;
        assert_eq!(text("{}"), plain);
        assert_eq!(text("{ kind: constant, per: step, cooldown_epochs: 0 }"), plain);
        let cycle = text("{ kind: one_cycle, pct_start: 0.3, anneal_strategy: linear }");
        assert!(cycle.ends_with(r#""final_fraction":0.0,"anneal_strategy":"linear"}"#), "{cycle}");
        for schedule in [
            "{ kind: multi_step, milestones: [5, 10], gamma: 0.2, per: epoch }",
            "{ kind: cosine, restarts: [5, 12] }",
            "{ kind: wsd, tail: sqrt, warmup_epochs: 1, warmup_from: 0.5, cooldown_epochs: 2, final_fraction: 0.1 }",
        ] {
            let parsed = parse(schedule).unwrap().train.schedule;
            assert_eq!(parse(&serde_json::to_string(&parsed).unwrap()).unwrap().train.schedule, parsed);
        }
    }

    #[test]
    fn kinds_can_be_set() {
        let base = parse("{ kind: multi_step, milestones: [5] }").unwrap();
        // What was given for one kind is not dropped without a word.
        assert!(overrides::apply(&base, "train.schedule.kind=cosine").is_err());
        let changed = overrides::apply(&parse("{}").unwrap(), "train.schedule.kind=wsd").unwrap();
        let changed = overrides::apply(&changed, "train.schedule.tail=cosine").unwrap();
        assert_eq!(changed.train.schedule, parse("{ kind: wsd, tail: cosine }").unwrap().train.schedule);
    }
}
