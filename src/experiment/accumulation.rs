//! Updates by the gradients of several batches.

use super::{ExperimentError, Train};

/// Refuses a training that ends before its first update.
///
/// # Errors
/// [`ExperimentError::Accumulation`].
pub fn check(train: &Train, images: usize) -> Result<(), ExperimentError> {
    let (wanted, steps) = (train.gradient_accumulation_steps, train.steps(images));
    if steps >= u64::from(wanted) { Ok(()) } else { Err(ExperimentError::Accumulation { wanted, steps }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;

    fn parse(train: &str) -> Result<Train, ExperimentError> {
        let text = format!("model: m.vitx\ndata: {{ name: digits }}\ntrain: {{ {train} }}\n");
        Experiment::parse("a.yaml", &text).map(|experiment| experiment.train)
    }

    #[test]
    fn mistakes_are_explained() {
        let long = parse("epochs: 2, batch_size: 10, gradient_accumulation_steps: 7").unwrap();
        assert!(check(&long, 31).is_ok());
        let never = check(&long, 30).unwrap_err();
        let values = ["0", "-1", "2.5", "65537", "many"];
        let wrong = values.map(|value| parse(&format!("gradient_accumulation_steps: {value}")).unwrap_err());
        let explained = [never].into_iter().chain(wrong).map(|error| format!("{:?}", miette::Report::new(error)));
        insta::assert_snapshot!(explained.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn one_is_not_written() {
        let text = serde_json::to_string(&parse("gradient_accumulation_steps: 1").unwrap()).unwrap();
        assert!(!text.contains("accumulation"), "{text}");
        assert_eq!(parse("gradient_accumulation_steps: 4").unwrap().rule().gradient_accumulation_steps, 4);
    }
}
