use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// More trials than this on one device are a mistake.
const MOST: u32 = 256;

/// How many trials are trained at once on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum PackSize {
    /// As many as make the most of it, by a measurement.
    Auto,
    /// So many, at most.
    Of(u32),
}

/// As it stands in an experiment.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u32),
    Word(String),
}

impl PackSize {
    /// Whether several trials may be trained at once.
    pub fn packs(self) -> bool {
        self != Self::Of(1)
    }

    /// The most that it can come to.
    pub fn most(self) -> usize {
        match self {
            Self::Auto => super::throughput::MOST,
            Self::Of(count) => count as usize,
        }
    }
}

impl TryFrom<u32> for PackSize {
    type Error = String;

    fn try_from(count: u32) -> Result<Self, String> {
        match count {
            1..=MOST => Ok(Self::Of(count)),
            _ => Err(format!("{count} trials cannot be packed: a pack has 1 to {MOST}, or `auto`")),
        }
    }
}

impl FromStr for PackSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<u32>()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(count)) => count.try_into(),
            _ => Err(format!("`{text}` is no number of trials: e.g. 4, or auto")),
        }
    }
}

impl TryFrom<Written> for PackSize {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(count) => count.try_into(),
            Written::Word(word) => word.parse(),
        }
    }
}

impl From<PackSize> for Written {
    fn from(size: PackSize) -> Self {
        match size {
            PackSize::Auto => Self::Word("auto".into()),
            PackSize::Of(count) => Self::Number(count),
        }
    }
}

impl fmt::Display for PackSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Of(count) => count.fmt(f),
        }
    }
}
