use std::fmt;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{EXECUTORS, ExecutorEntry, PackSize, entry, refused};
use crate::{dsl, experiment::ExperimentError};

/// Which executor runs the trials of a sweep, and what a job of one trial is given. No part of what a sweep is: another
/// executor comes to the same results.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutorConfig {
    /// Which one.
    pub name: ExecutorName,
    /// Cores of a job: as many threads train.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Devices of a job. A trial uses one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// Of a job's processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// The longest that a job may take. A trial that needs longer saves, and goes on in another job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeLimit>,
    /// Or queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Further arguments of the engine's own command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Trials of one process on one CUDA device, at most, that are trained at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack: Option<PackSize>,
    /// Where the engine answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The shell command that hands a job over, and prints its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit: Option<String>,
    /// The shell command that lists jobs: `ID STATE`, and the exit code if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<String>,
    /// The shell command that asks jobs to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
}

/// The name of one of [`EXECUTORS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ExecutorName(String);

/// An amount of memory, in MiB: `8G`, `500M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Memory {
    /// 2^20 bytes each.
    pub mebibytes: u64,
}

/// A time, in seconds: `90m`, `2h`, `1d`, `2:30:00`, `1-12:00:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeLimit {
    /// All of it.
    pub seconds: u64,
}

/// A sweep of more days than this is a mistake.
const MOST_DAYS: u64 = 365;

impl Default for ExecutorName {
    fn default() -> Self {
        Self(EXECUTORS[0].name.to_owned())
    }
}

impl TryFrom<String> for ExecutorName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if entry(&name).is_some() {
            return Ok(Self(name));
        }
        let names = EXECUTORS.iter().map(|entry| entry.name);
        let near = dsl::nearest(&name, names.clone()).map(|near| format!("; did you mean `{near}`?"));
        let names: Vec<&str> = names.collect();
        Err(format!("there is no executor `{name}`, only {}{}", names.join(", "), near.unwrap_or_default()))
    }
}

impl fmt::Display for ExecutorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ExecutorName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        name.to_owned().try_into()
    }
}

impl std::str::FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor = match unit.trim().trim_end_matches("iB").trim_end_matches('B') {
            "M" => Some(1),
            "G" => Some(1 << 10),
            "T" => Some(1 << 20),
            _ => None,
        };
        let number: Option<u64> = number.parse().ok().filter(|number| *number > 0);
        match number.zip(factor).and_then(|(number, factor): (u64, u64)| number.checked_mul(factor)) {
            Some(mebibytes) => Ok(Self { mebibytes }),
            None => Err(format!("`{text}` is no amount of memory: e.g. 500M, 8G")),
        }
    }
}

impl TryFrom<String> for Memory {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Memory> for String {
    fn from(memory: Memory) -> Self {
        format!("{}M", memory.mebibytes)
    }
}

impl std::str::FromStr for TimeLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is no time: e.g. 90m, 2h, 1d, 2:30:00 or 1-12:00:00");
        let number = |part: &str| {
            let plain = !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse::<u64>().ok()).flatten()
        };
        let with_unit = |unit: char, seconds: u64| text.strip_suffix(unit).and_then(number).map(|n| n * seconds);
        let unit = with_unit('s', 1).or(with_unit('m', 60)).or(with_unit('h', 3600)).or(with_unit('d', 86_400));
        let clock = || {
            let (days, rest) = match text.split_once('-') {
                Some((days, rest)) => (number(days)?, rest),
                None => (0, text),
            };
            let parts: Vec<u64> = rest.split(':').map(number).collect::<Option<_>>()?;
            match parts[..] {
                [hours, minutes, seconds] if minutes < 60 && seconds < 60 => {
                    Some(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
                }
                _ => None,
            }
        };
        match unit.or_else(clock) {
            Some(seconds @ 1..) if seconds <= MOST_DAYS * 86_400 => Ok(Self { seconds }),
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for TimeLimit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TimeLimit> for String {
    fn from(time: TimeLimit) -> Self {
        time.clock()
    }
}

impl TimeLimit {
    /// `HH:MM:SS`, with as many hours as there are.
    pub fn clock(self) -> String {
        let seconds = self.seconds;
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

impl ExecutorConfig {
    /// The executor that it names.
    pub fn entry(&self) -> &'static ExecutorEntry {
        // A name is always one of them.
        entry(&self.name.0).unwrap_or(&EXECUTORS[0])
    }

    /// The keys that are set, but for the name.
    fn given(&self) -> Vec<&'static str> {
        let all = [
            ("cpus", self.cpus.is_some()),
            ("gpus", self.gpus.is_some()),
            ("memory", self.memory.is_some()),
            ("time", self.time.is_some()),
            ("partition", self.partition.is_some()),
            ("args", !self.args.is_empty()),
            ("pack", self.pack.is_some()),
            ("address", self.address.is_some()),
            ("submit", self.submit.is_some()),
            ("poll", self.poll.is_some()),
            ("cancel", self.cancel.is_some()),
        ];
        all.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect()
    }

    /// Refuses what would have no effect.
    ///
    /// # Errors
    /// A key that this executor does not take.
    pub fn check(&self, entry: &ExecutorEntry) -> Result<(), ExperimentError> {
        let Some(key) = self.given().into_iter().find(|key| !entry.takes.contains(key)) else {
            return match self.cpus {
                Some(0) => Err(refused("a job of no `cpus` cannot train".into(), Some("`cpus` is at least 1"))),
                _ => Ok(()),
            };
        };
        let takes = match entry.takes {
            ["pack"] => "--jobs and --threads share this machine; it takes pack".to_owned(),
            takes => format!("it takes {}", takes.join(", ")),
        };
        Err(refused(format!("`{key}` means nothing to the executor {}", entry.name), Some(&takes)))
    }

    /// What is given here, and for the rest what `other` says, if that is of the same executor.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.name != other.name {
            return self;
        }
        Self {
            name: self.name,
            cpus: self.cpus.or(other.cpus),
            gpus: self.gpus.or(other.gpus),
            memory: self.memory.or(other.memory),
            time: self.time.or(other.time),
            partition: self.partition.or(other.partition),
            args: if self.args.is_empty() { other.args } else { self.args },
            pack: self.pack.or(other.pack),
            address: self.address.or(other.address),
            submit: self.submit.or(other.submit),
            poll: self.poll.or(other.poll),
            cancel: self.cancel.or(other.cancel),
        }
    }
}

/// How an experiment says it: an [`ExecutorConfig`], or the name of the executor alone.
pub(in crate::experiment) struct NameOrKeys(ExecutorConfig);

impl<'de> Deserialize<'de> for NameOrKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = NameOrKeys;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the name of an executor, or keys with `name: slurm` among them")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<NameOrKeys, E> {
                let name = ExecutorName::try_from(name.to_owned()).map_err(E::custom)?;
                Ok(NameOrKeys(ExecutorConfig { name, ..ExecutorConfig::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NameOrKeys, A::Error> {
                ExecutorConfig::deserialize(MapAccessDeserializer::new(map)).map(NameOrKeys)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// For a key that may be left out.
pub(in crate::experiment) fn name_or_keys<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ExecutorConfig>, D::Error> {
    Ok(Option::<NameOrKeys>::deserialize(deserializer)?.map(|NameOrKeys(config)| config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        let memory = |text: &str| text.parse::<Memory>().map(|memory| memory.mebibytes);
        assert_eq!(
            ["500M", "8G", "8GiB", "8 GB", "1T"].map(|text| memory(text).unwrap()),
            [500, 8192, 8192, 8192, 1 << 20]
        );
        for text in ["", "8", "8K", "G", "-1G", "0G", "8GG1", "99999999999999999999T"] {
            assert!(memory(text).is_err(), "{text}");
        }
        let time = |text: &str| text.parse::<TimeLimit>().map(|time| time.seconds);
        assert_eq!(["45s", "90m", "2h", "1d"].map(|text| time(text).unwrap()), [45, 5400, 7200, 86_400]);
        assert_eq!(["2:30:00", "1-12:00:05", "30:00:00"].map(|text| time(text).unwrap()), [9000, 129_605, 108_000]);
        for text in ["", "2", "2:30", "h", "1:60:00", "-1:00:00", "0s", "1e3s", "400d", "9999999999h"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(TimeLimit { seconds: 129_605 }.clock(), "36:00:05");
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        let config = |text: &str| serde_yaml::from_str::<NameOrKeys>(text).map(|NameOrKeys(config)| config);
        assert_eq!(config("slurm").unwrap().name.to_string(), "slurm");
        let full = config("{ name: slurm, cpus: 4, gpus: 1, memory: 8G, time: 2h, partition: gpu, args: [--qos=x] }");
        let full = full.unwrap();
        full.check(full.entry()).unwrap();
        let again: ExecutorConfig = serde_yaml::from_str(&serde_yaml::to_string(&full).unwrap()).unwrap();
        assert_eq!(again, full);
        let texts = [
            "slrum",
            "3",
            "{ cpus: 4 }",
            "{ name: slurm, cpu: 4 }",
            "{ name: slurm, memory: 8 }",
            "{ name: slurm, time: tomorrow }",
            "{ name: local, cpus: 4 }",
            "{ name: ray, time: 2h }",
            "{ name: slurm, cpus: 0 }",
            "{ name: slurm, submit: qsub }",
            "{ name: slurm, pack: 4 }",
            "{ name: local, pack: 0 }",
        ];
        let said = texts.map(|text| match config(text) {
            Err(error) => format!("{text}\n  {error}"),
            Ok(config) => match config.check(config.entry()) {
                Err(ExperimentError::Executor { message, help }) => {
                    format!("{text}\n  {message}\n  help: {}", help.unwrap_or_default())
                }
                other => panic!("{text}: {other:?}"),
            },
        });
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn what_is_given_goes_before_the_experiment_of_the_same_executor() {
        let slurm = ExecutorConfig { name: "slurm".parse().unwrap(), cpus: Some(4), ..ExecutorConfig::default() };
        let given = ExecutorConfig { cpus: None, gpus: Some(1), ..slurm.clone() };
        let both = given.clone().or(slurm.clone());
        assert_eq!((both.cpus, both.gpus), (Some(4), Some(1)));
        assert_eq!(ExecutorConfig::default().or(slurm), ExecutorConfig::default());
    }
}
