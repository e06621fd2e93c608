//! `train.stop`: what ends a training before its last epoch.

use std::fmt;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};

use super::{read::HELP, schema::Fault};
use crate::train::{self, Monitor};

/// What ends a training early, as an experiment has it; see [`train::Stop`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyStop {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// `train.monitor`, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Monitor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_time: Option<Time>,
}

/// Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Time(pub f64);

impl EarlyStop {
    /// What the training takes.
    pub fn stop(&self, monitor: Monitor) -> train::Stop {
        train::Stop {
            patience: self.patience,
            monitor: self.monitor.unwrap_or(monitor),
            max_seconds: self.max_time.map(|Time(seconds)| seconds),
        }
    }

    /// What cannot be, or does nothing.
    pub(super) fn fault(&self) -> Option<Fault> {
        let fault = |key: &'static str, message: &str, help: Option<&str>| {
            Some(Fault { key: key.into(), message: message.into(), help: help.map(Into::into) })
        };
        if self.patience == Some(0) {
            return fault("train.stop.patience", "`train.stop.patience` must be at least 1", None);
        }
        if self.max_time.is_some_and(|Time(seconds)| !(seconds > 0.0 && seconds.is_finite())) {
            return fault("train.stop.max_time", "`train.stop.max_time` must be greater than 0", None);
        }
        match (self.patience, self.monitor, self.max_time) {
            (None, None, None) => {
                let help = "give `patience`, a number of epochs, or `max_time`, as `2h`";
                fault("train.stop", "`train.stop` says of nothing when to stop", Some(help))
            }
            (None, Some(_), _) => {
                let message = "`train.stop.monitor` decides nothing without `patience`";
                fault("train.stop.monitor", message, Some("what the best weights are is `train.monitor`"))
            }
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

struct Form;

impl Visitor<'_> for Form {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a time as `90s`, `30m` or `2h`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
        let units = [("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let found = units.iter().find_map(|(unit, seconds)| {
            let count: f64 = text.trim().strip_suffix(unit)?.trim_end().parse().ok()?;
            Some(Time(count * seconds))
        });
        found.ok_or_else(|| {
            E::custom(format!(
                "`{text}` is no time{HELP}a number with `s`, `m` or `h` for seconds, minutes or hours, as `30m`"
            ))
        })
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Time, E> {
        Ok(Time(seconds as f64))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Time, E> {
        Ok(Time(seconds as f64))
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Time, E> {
        Ok(Time(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Experiment, ExperimentError};

    fn parse(stop: &str) -> Result<Experiment, ExperimentError> {
        Experiment::parse("a.yaml", &format!("model: m.vitx\ndata: {{ name: digits }}\ntrain:\n  stop: {stop}\n"))
    }

    #[test]
    fn mistakes_are_explained() {
        let texts = [
            "{}",
            "{ patience: 0 }",
            "{ patience: 2.5 }",
            "{ patince: 3 }",
            "{ monitor: val_loss }",
            "{ patience: 3, monitor: val_top_5 }",
            "{ max_time: 0 }",
            "{ max_time: -5m }",
            "{ max_time: soon }",
            "{ max_time: [2] }",
            "3",
        ];
        let explained = texts.map(|text| format!("{:?}", miette::Report::new(parse(text).unwrap_err())));
        insta::assert_snapshot!(explained.join("\n"));
    }

    #[test]
    fn times() {
        let seconds = |text: &str| parse(&format!("{{ max_time: {text} }}")).unwrap().train.stop.unwrap().max_time;
        for (text, expected) in [("90s", 90.0), ("1.5h", 5400.0), ("30 m", 1800.0), ("7", 7.0), ("0.5", 0.5)] {
            assert_eq!(seconds(text), Some(Time(expected)), "{text}");
        }
        let stop = parse("{ patience: 3, max_time: 2h }").unwrap().train.stop.unwrap();
        let text = serde_json::to_string(&stop).unwrap();
        assert_eq!(text, r#"{"patience":3,"max_time":7200.0}"#);
        assert_eq!(serde_json::from_str::<EarlyStop>(&text).unwrap(), stop);
        assert_eq!(stop.stop(Monitor::ValLoss).monitor, Monitor::ValLoss);
    }
}
