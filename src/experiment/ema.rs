//! `train.ema`: an average of the weights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::Fault;
use crate::graph::optimizers;

/// The exponential moving average of the weights, as an experiment has it; see [`optimizers::Ema`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ema {
    pub decay: f32,
    pub warmup: bool,
    pub evaluate: bool,
}

impl Default for Ema {
    fn default() -> Self {
        Self { decay: optimizers::Ema::DECAY, warmup: false, evaluate: true }
    }
}

impl From<Ema> for optimizers::Ema {
    fn from(Ema { decay, warmup, evaluate }: Ema) -> Self {
        Self { decay, warmup, evaluate }
    }
}

impl Ema {
    /// A decay that is none.
    pub(super) fn fault(&self) -> Option<Fault> {
        let fine = self.decay > 0.0 && self.decay < 1.0;
        (!fine).then(|| Fault {
            key: "train.ema.decay".into(),
            message: "`train.ema.decay` must be greater than 0 and less than 1".into(),
            help: Some(
                "0.999 averages over about the last 1000 steps; leave `train.ema` out to keep no average".into(),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;

    fn parse(ema: &str) -> Result<Experiment, crate::experiment::ExperimentError> {
        Experiment::parse("a.yaml", &format!("model: m.vitx\ndata: {{ name: digits }}\ntrain:\n  ema: {ema}\n"))
    }

    #[test]
    fn mistakes_are_explained() {
        let texts = ["{ decay: 1 }", "{ decay: 0 }", "{ decay: -0.5 }", "{ decy: 0.9 }", "{ warmup: 5 }", "0.999"];
        let explained = texts.map(|text| format!("{:?}", miette::Report::new(parse(text).unwrap_err())));
        insta::assert_snapshot!(explained.join("\n"));
    }

    #[test]
    fn defaults() {
        assert_eq!(parse("{}").unwrap().train.ema, Some(Ema { decay: 0.99, warmup: false, evaluate: true }));
        let train = Experiment::parse("a.yaml", "model: m.vitx\ndata: { name: digits }\n").unwrap().train;
        assert!(train.ema.is_none() && !serde_json::to_string(&train).unwrap().contains("ema"));
    }
}
