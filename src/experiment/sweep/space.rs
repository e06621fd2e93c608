use super::{super::ExperimentError, Axis};
use crate::{
    dsl::Value,
    experiment::{Experiment, Values},
};

/// Most variants of a sweep.
const MAX_VARIANTS: usize = 100_000;

/// The key that repeated seeds vary.
const SEED: &str = "train.seed";

/// What one trial changes of the experiment.
pub type Variant = Vec<(String, Value)>;

/// The grid of all combinations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Space {
    pub axes: Vec<Axis>,
}

impl Space {
    /// The axes of an experiment's `sweep`, where the command line does not give them anew, then
    /// those of the command line; at last the seeds.
    ///
    /// # Errors
    /// [`ExperimentError::Axis`], or [`ExperimentError::Sweep`] when nothing is varied.
    pub fn new(experiment: &Experiment, params: &[String], seeds: Option<u32>) -> Result<Self, ExperimentError> {
        let given = params.iter().map(|text| Axis::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let sweep = experiment.sweep.clone().unwrap_or_default();
        let mut axes = Vec::new();
        for (key, values) in sweep.params {
            if given.iter().any(|axis| axis.key == key) {
                continue;
            }
            axes.push(match values {
                Values::Text(text) => Axis::new(&key, &text)?,
                Values::List(values) => {
                    let text = format!("{key}: {}", Value::List(values.clone()));
                    Axis::of(&key, values).map_err(|message| ExperimentError::Axis { text, message })?
                }
            });
        }
        axes.extend(given);
        if let Some(seeds) = seeds.or(sweep.seeds).filter(|seeds| *seeds > 1) {
            let first = experiment.train.seed;
            let values = (0..u64::from(seeds)).map(|index| Value::Int(first.wrapping_add(index) as i64)).collect();
            axes.push(Axis { key: SEED.to_owned(), values });
        }
        if let Some(key) = axes.iter().enumerate().find_map(|(i, a)| axes[..i].iter().find(|b| a.key == b.key)) {
            let message = format!("`{}` is given twice", key.key);
            return Err(ExperimentError::Sweep { message, help: None });
        }
        let size = axes.iter().try_fold(1usize, |size, axis| size.checked_mul(axis.values.len()));
        if axes.is_empty() || size.is_none_or(|size| size > MAX_VARIANTS) {
            let message = match size {
                Some(_) if axes.is_empty() => "nothing is varied".to_owned(),
                _ => format!("the sweep has more than {MAX_VARIANTS} variants"),
            };
            let help = Some("e.g. --param patch_size=4,6,8, or `sweep: {params: ...}` in the experiment".to_owned());
            return Err(ExperimentError::Sweep { message, help });
        }
        Ok(Self { axes })
    }

    /// All combinations; the last axis varies fastest.
    pub fn variants(&self) -> Vec<Variant> {
        self.axes.iter().fold(vec![Vec::new()], |variants, axis| {
            let with = |variant: &Variant| {
                let variant = variant.clone();
                axis.values.iter().map(move |value| {
                    let mut longer = variant.clone();
                    longer.push((axis.key.clone(), value.clone()));
                    longer
                })
            };
            variants.iter().flat_map(with).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment(sweep: &str) -> Experiment {
        Experiment::parse("a.yaml", &format!("model: m.vitx\ndata: {{name: digits}}\n{sweep}\n")).unwrap()
    }

    #[test]
    fn the_command_line_replaces_axes_of_the_file() {
        let experiment = experiment("sweep: {params: {depth: 1..3, patch_size: [2, 4]}, seeds: 2}");
        let space = Space::new(&experiment, &["depth=5".into()], None).unwrap();
        let keys: Vec<&str> = space.axes.iter().map(|axis| axis.key.as_str()).collect();
        assert_eq!(keys, ["patch_size", "depth", "train.seed"]);
        let variants = space.variants();
        assert_eq!(variants.len(), 4);
        assert_eq!(variants[1][2], ("train.seed".into(), Value::Int(43)));
        assert_eq!(variants[2][0], ("patch_size".into(), Value::Int(4)));
    }

    #[test]
    fn refuses_nothing_twice_and_too_much() {
        let plain = experiment("");
        for params in [vec![], vec!["a=1", "a=2"], vec!["a=1..9999", "b=1..9999"]] {
            let params: Vec<String> = params.into_iter().map(str::to_owned).collect();
            assert!(matches!(Space::new(&plain, &params, None), Err(ExperimentError::Sweep { .. })), "{params:?}");
        }
    }
}
