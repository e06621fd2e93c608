//! `train.optimizer`: the name of a rule, its numbers, and which parameters they are for. Keys, checks and messages come
//! from the table of rules.

mod read;

use std::{borrow::Cow, sync::LazyLock};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::schema::Fault;
use crate::graph::optimizers::{self, Decay, OPTIMIZERS, Pattern, Range, Rule, Setting};

const LEARNING_RATE: Setting =
    Setting { name: "learning_rate", default: 0.0, range: Range::Positive, about: "the peak of the schedule" };
const WEIGHT_DECAY: Setting = Setting {
    name: "weight_decay",
    default: 0.0,
    range: Range::NotNegative,
    about: "the share of a parameter that a step takes off, times the learning rate",
};

pub(super) const LARGEST: &str = "its largest number is 3.4e38";

/// Keys that every rule has besides.
const OTHERS: [&str; 7] = ["name", "decay", "no_decay", "rates", "layer_decay", "clip_norm", "others"];

/// All keys that some rule has, for the message about another.
pub(super) static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut keys = vec![LEARNING_RATE.name, WEIGHT_DECAY.name];
    keys.extend(OTHERS);
    for option in OPTIMIZERS.iter().flat_map(|rule| rule.options) {
        if !keys.contains(&option.name) {
            keys.push(option.name);
        }
    }
    keys
});

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| OPTIMIZERS.iter().map(|rule| rule.name).collect());

/// Rules of single elements: those of parameters that a rule for matrices leaves.
fn elementwise() -> impl Iterator<Item = &'static Rule> {
    OPTIMIZERS.iter().copied().filter(|rule| rule.direction.is_none())
}

static OTHER_NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| elementwise().map(|rule| rule.name).collect());

/// The keys of `others`.
pub(super) static OTHER_KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut keys = vec!["name", "parameters", LEARNING_RATE.name, WEIGHT_DECAY.name];
    for option in elementwise().flat_map(|rule| rule.options) {
        if !keys.contains(&option.name) {
            keys.push(option.name);
        }
    }
    keys
});

/// How parameters are updated. Of two, what they come to counts, not what was left to defaults.
#[derive(Debug, Clone)]
pub struct Optimizer {
    /// The peak of the schedule.
    pub learning_rate: f32,
    /// The rule with its numbers and groups.
    rule: optimizers::Optimizer,
    /// Whether it was named.
    named: bool,
    /// The numbers that were given, also those that the rule has not: these are a fault.
    given: Vec<(&'static str, f32)>,
    /// What was given of the rule of parameters that are no matrices.
    others: Option<Box<Others>>,
}

/// `train.optimizer.others`: what updates the parameters that a rule for matrices leaves.
#[derive(Debug, Clone)]
struct Others {
    /// Its name, learning rate, weight decay and options.
    optimizer: Optimizer,
    /// Matrices that it takes as well.
    parameters: Vec<Pattern>,
}

impl Default for Others {
    fn default() -> Self {
        Self { optimizer: Optimizer::of(OPTIMIZERS[0], true), parameters: Vec::new() }
    }
}

impl PartialEq for Optimizer {
    fn eq(&self, other: &Self) -> bool {
        self.learning_rate == other.learning_rate && self.rule() == other.rule()
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::of(OPTIMIZERS[0], false)
    }
}

impl Optimizer {
    fn of(rule: &'static Rule, named: bool) -> Self {
        let learning_rate = rule.learning_rate;
        Self { learning_rate, rule: optimizers::Optimizer::of(rule), named, given: Vec::new(), others: None }
    }

    /// The rule without its learning rate, which is given step by step.
    pub fn rule(&self) -> optimizers::Optimizer {
        let mut rule = self.rule.clone();
        if let Some(others) = &mut rule.others {
            let Others { optimizer, parameters } = self.others();
            let rate = optimizer.learning_rate / self.learning_rate;
            **others = optimizers::Others { optimizer: optimizer.rule, rate, parameters };
        }
        rule
    }

    /// The rule of the parameters that a rule for matrices leaves, as given or by default.
    fn others(&self) -> Others {
        self.others.as_deref().cloned().unwrap_or_default()
    }

    fn set(&mut self, name: &'static str, value: f32) {
        self.given.push((name, value));
        match name {
            "learning_rate" => self.learning_rate = value,
            "weight_decay" => self.rule.weight_decay = value,
            _ if self.has(name) => self.rule = self.rule.clone().with(name, value),
            _ => {}
        }
    }

    /// All numbers, given or not; those of later versions, where they are not their defaults.
    fn numbers(&self) -> Vec<(&'static str, f32)> {
        let own = [(LEARNING_RATE.name, self.learning_rate), (WEIGHT_DECAY.name, self.rule.weight_decay)];
        let rule = self.rule.rule;
        let options = rule.options.iter().map(|option| (option, self.rule.option(option.name)));
        let written = options.filter(|(option, value)| !rule.later.contains(&option.name) || *value != option.default);
        own.into_iter().chain(written.map(|(option, value)| (option.name, value))).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.rule.rule.options.iter().any(|option| option.name == name)
    }

    /// A number that cannot be, or that the rule has not.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault_at("train.optimizer")
    }

    fn fault_at(&self, place: &str) -> Option<Fault> {
        let rule = self.rule.rule;
        let fault = |name: &str, message: String, help: Option<String>| {
            let key = Cow::Owned(format!("{place}.{name}"));
            Some(Fault { key, message, help })
        };
        for &(name, value) in &self.given {
            let option = setting(name).into_iter().chain(rule.options).find(|option| option.name == name);
            match option {
                None => {
                    let message = format!("`{name}` is no option of `{}`", rule.name);
                    let of = |rule: &&&Rule| rule.options.iter().any(|option| option.name == name);
                    let others = OPTIMIZERS.iter().filter(of).map(|rule| format!("`{}`", rule.name));
                    let others: Vec<String> = others.collect();
                    let own: Vec<String> = rule.options.iter().map(|option| format!("`{}`", option.name)).collect();
                    let help = format!(
                        "`{}` has {}; `{name}` is one of {}: set `{place}.name`",
                        rule.name,
                        own.join(", "),
                        others.join(" and ")
                    );
                    return fault(name, message, Some(help));
                }
                Some(option) if !option.range.has(value) => {
                    return fault(name, format!("`{place}.{name}` must be {}", option.range.text()), None);
                }
                Some(_) => {}
            }
        }
        if self.rule.clip_norm.is_some_and(|norm| !Range::Positive.has(norm)) {
            let help = "leave it out to clip nothing".to_owned();
            return fault("clip_norm", "`train.optimizer.clip_norm` must be greater than 0".into(), Some(help));
        }
        if self.rule.layer_decay.is_some_and(|decay| !(decay > 0.0 && decay <= 1.0)) {
            return fault("layer_decay", "`train.optimizer.layer_decay` must be above 0 and at most 1".into(), None);
        }
        if let Some(others) = &self.others {
            if rule.direction.is_none() {
                let message = format!("`{}` has no `others`: it updates every parameter", rule.name);
                let matrices = OPTIMIZERS.iter().filter(|rule| rule.direction.is_some());
                let names: Vec<String> = matrices.map(|rule| format!("`{}`", rule.name)).collect();
                let help = format!("`others` are the parameters that {} leaves", names.join(" or "));
                return fault("others", message, Some(help));
            }
            if let Some(found) = others.optimizer.fault_at(&format!("{place}.others")) {
                return Some(found);
            }
        }
        let rate = self.rule.rates.iter().find(|(_, rate)| !Range::NotNegative.has(*rate));
        rate.and_then(|(pattern, _)| {
            fault("rates", format!("the rate of `{}` must be at least 0", pattern.text()), None)
        })
    }

    /// The keys that were given, as a tree: what `--set` adds to. With the defaults of one rule among them, no other could be
    /// named.
    pub(super) fn sparse<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of_rule = self.given.iter().map(|(name, value)| (*name, *value));
        let others = self.others.as_deref().map(|others| Written { others, whole: false });
        self.write(serializer, self.named, of_rule.collect(), others)
    }

    fn write<S: Serializer>(
        &self,
        serializer: S,
        named: bool,
        numbers: Vec<(&'static str, f32)>,
        others: Option<Written>,
    ) -> Result<S::Ok, S::Error> {
        let optimizers::Optimizer { rule, decay, no_decay, rates, layer_decay, clip_norm, .. } = &self.rule;
        let mut map = serializer.serialize_map(None)?;
        if named {
            map.serialize_entry("name", rule.name)?;
        }
        for (name, value) in numbers {
            match option(name).map(|option| option.range) {
                Some(Range::Flag) => map.serialize_entry(name, &(value == 1.0))?,
                _ => map.serialize_entry(name, &value)?,
            }
        }
        if *decay == Decay::Plain {
            map.serialize_entry("decay", "plain")?;
        }
        if !no_decay.is_empty() {
            map.serialize_entry("no_decay", &no_decay.iter().map(Pattern::text).collect::<Vec<_>>())?;
        }
        if !rates.is_empty() {
            map.serialize_entry("rates", &Rates(rates))?;
        }
        if let Some(layer_decay) = layer_decay {
            map.serialize_entry("layer_decay", layer_decay)?;
        }
        if let Some(clip_norm) = clip_norm {
            map.serialize_entry("clip_norm", clip_norm)?;
        }
        if let Some(others) = others {
            map.serialize_entry("others", &others)?;
        }
        map.end()
    }
}

/// The number of this name that every rule has.
pub(super) fn setting(name: &str) -> Option<&'static Setting> {
    [&LEARNING_RATE, &WEIGHT_DECAY].into_iter().find(|setting| setting.name == name)
}

/// The number of this name of any rule; what is called alike is a number, or a truth value, in all.
pub(super) fn option(name: &str) -> Option<&'static Setting> {
    OPTIMIZERS.iter().flat_map(|rule| rule.options).find(|option| option.name == name)
}

struct Rates<'a>(&'a [(Pattern, f32)]);

impl Serialize for Rates<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(pattern, rate)| (pattern.text(), rate)))
    }
}

/// Everything, also what was left to defaults; the first rule goes without its name, as it did when it was the only one.
impl Serialize for Optimizer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rule = self.rule.rule;
        let others = rule.direction.map(|_| self.others());
        let others = others.as_ref().map(|others| Written { others, whole: true });
        self.write(serializer, !std::ptr::eq(rule, OPTIMIZERS[0]), self.numbers(), others)
    }
}

/// `others` as they are written: all of them, or what was given.
struct Written<'a> {
    others: &'a Others,
    whole: bool,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Others { optimizer, parameters } = self.others;
        let mut map = serializer.serialize_map(None)?;
        if self.whole || optimizer.named {
            map.serialize_entry("name", optimizer.rule.rule.name)?;
        }
        for (name, value) in if self.whole { optimizer.numbers() } else { optimizer.given.clone() } {
            match option(name).map(|option| option.range) {
                Some(Range::Flag) => map.serialize_entry(name, &(value == 1.0))?,
                _ => map.serialize_entry(name, &value)?,
            }
        }
        if !parameters.is_empty() {
            map.serialize_entry("parameters", &parameters.iter().map(Pattern::text).collect::<Vec<_>>())?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Experiment, ExperimentError, overrides};

    fn parse(optimizer: &str) -> Result<Experiment, ExperimentError> {
        Experiment::parse(
            "a.yaml",
            &format!("model: m.vitx\ndata: {{ name: digits }}\ntrain:\n  optimizer: {optimizer}\n"),
        )
    }

    #[test]
    fn mistakes_are_explained() {
        let texts = [
            "{ name: adam }",
            "{ name: 3 }",
            "{ name: sgd, beta_1: 0.9 }",
            "{ momentum: 0.9 }",
            "{ name: sgd, momentm: 0.9 }",
            "{ name: sgd, momentum: 1 }",
            "{ name: sgd, nesterov: 1 }",
            "{ learning_rate: 0 }",
            "{ weight_decay: -1 }",
            "{ weight_decay: 1e39 }",
            "{ decay: none }",
            "{ layer_decay: 1.5 }",
            "{ no_decay: bias }",
            "{ rates: { 'head/*': -1 } }",
            "{ rates: [10] }",
            "{ name: muon, ns_steps: 2.5 }",
            "{ name: muon, others: { name: muon } }",
            "{ name: muon, others: { name: sgd, beta_1: 0.5 } }",
            "{ name: muon, others: { learning_rate: 0 } }",
            "{ name: muon, others: { decay: plain } }",
            "{ name: muon, beta_1: 0.5 }",
            "{ others: { name: sgd } }",
            "{ clip_norm: 0 }",
            "{ clip_norm: -1 }",
            "{ clip_norm: none }",
            "{ clipnorm: 1 }",
            "adamw",
        ];
        let explained = texts.map(|text| format!("{:?}", miette::Report::new(parse(text).unwrap_err())));
        insta::assert_snapshot!(explained.join("\n"));
    }

    #[test]
    fn the_first_rule_needs_no_name_and_what_is_written_comes_back() {
        let same = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| parse(text).unwrap().train.optimizer);
            assert_eq!(a, b);
            assert_eq!(serde_json::to_string(&a).unwrap(), serde_json::to_string(&b).unwrap());
        };
        same("{}", "{ name: adamw, learning_rate: 0.001, beta_1: 0.9, decay: scaled, no_decay: [] }");
        same("{ name: sgd }", "{ nesterov: false, learning_rate: 0.01, name: sgd, weight_decay: 0 }");
        let whole = "{ name: sgd, momentum: 0.9, nesterov: true, decay: plain, no_decay: [bias, 'a/*'], rates: { z: 2, a: 3 }, layer_decay: 0.75, clip_norm: 1 }";
        let optimizer = parse(whole).unwrap().train.optimizer;
        let text = serde_json::to_string(&optimizer).unwrap();
        assert_eq!(
            text,
            r#"{"name":"sgd","learning_rate":0.01,"weight_decay":0.0,"momentum":0.9,"nesterov":true,"decay":"plain","no_decay":["bias","a/*"],"rates":{"z":2.0,"a":3.0},"layer_decay":0.75,"clip_norm":1.0}"#
        );
        assert_eq!(parse(&text).unwrap().train.optimizer, optimizer);
        let muon = "{ name: muon, learning_rate: 0.05, others: { name: sgd, momentum: 0.9, parameters: ['head/*'] } }";
        let optimizer = parse(muon).unwrap().train.optimizer;
        assert_eq!(optimizer.rule().others.unwrap().rate, 0.01 / 0.05);
        let text = serde_json::to_string(&optimizer).unwrap();
        assert_eq!(
            text,
            r#"{"name":"muon","learning_rate":0.05,"weight_decay":0.0,"momentum":0.95,"nesterov":true,"momentum_start":0.85,"momentum_warmup":0.0,"ns_steps":5.0,"others":{"name":"sgd","learning_rate":0.01,"weight_decay":0.0,"momentum":0.9,"nesterov":false,"parameters":["head/*"]}}"#
        );
        assert_eq!(parse(&text).unwrap().train.optimizer, optimizer);
        same("{ name: muon }", "{ name: muon, others: { learning_rate: 0.001, name: adamw } }");
        let plain = serde_json::to_string(&Optimizer::default()).unwrap();
        assert_eq!(
            plain,
            r#"{"learning_rate":0.001,"weight_decay":0.0001,"beta_1":0.9,"beta_2":0.999,"epsilon":1e-7}"#
        );
    }

    #[test]
    fn another_rule_can_be_set() {
        let base = parse("{ learning_rate: 0.1 }").unwrap();
        let changed = overrides::apply(&base, "train.optimizer.name=sgd").unwrap();
        let changed = overrides::apply(&changed, "train.optimizer.momentum=0.9").unwrap().train.optimizer;
        assert_eq!(changed, parse("{ name: sgd, learning_rate: 0.1, momentum: 0.9 }").unwrap().train.optimizer);
        // What was given for one rule is not dropped without a word.
        let given = parse("{ beta_2: 0.98 }").unwrap();
        assert!(overrides::apply(&given, "train.optimizer.name=sgd").is_err());
    }
}
