//! Trainings without validation images.

use super::{ExperimentError, Train};
use crate::train::Monitor;

/// Refuses what goes by validation images where there are none: it would have no effect, or stop at random.
///
/// # Errors
/// [`ExperimentError::Unvalidated`] with the key.
pub fn check(train: &Train, validation: usize) -> Result<(), ExperimentError> {
    if validation > 0 {
        return Ok(());
    }
    let (key, instead) = if train.stop.is_some_and(|stop| stop.patience.is_some()) {
        ("train.stop.patience", "without them, end the training by `train.epochs` or `train.stop.max_time`")
    } else if train.monitor != Monitor::default() {
        ("train.monitor", "without them, leave it out: the weights of the last epoch are tested")
    } else {
        return Ok(());
    };
    Err(ExperimentError::Unvalidated { key, instead })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;

    #[test]
    fn what_goes_by_validation_needs_it() {
        let train = |text: &str| {
            let text = format!("model: m.vitx\ndata: {{ name: digits }}\ntrain: {{ {text} }}\n");
            Experiment::parse("a.yaml", &text).unwrap().train
        };
        let texts = ["stop: { patience: 3, max_time: 2h }", "monitor: val_loss"];
        let explained = texts.map(|text| {
            assert!(check(&train(text), 1).is_ok());
            format!("{:?}", miette::Report::new(check(&train(text), 0).unwrap_err()))
        });
        insta::assert_snapshot!(explained.join("\n"));
        assert!(check(&train("stop: { max_time: 2h }, monitor: val_accuracy"), 0).is_ok());
    }
}
