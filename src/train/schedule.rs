use super::schedules::{At, KINDS, Kind, Value};

/// How often a schedule moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Per {
    /// Each step has its own rate.
    #[default]
    Step,
    /// All steps of an epoch have the rate of its first.
    Epoch,
}

/// The learning rate over a training, as a fraction of the optimizer's.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Which function of the time it is.
    pub kind: &'static Kind,
    /// As the kind's options.
    pub values: Vec<Value>,
    /// Epochs of linear growth before the schedule proper; fractions are fine.
    pub warmup_epochs: f32,
    /// Where that begins; `None`: from 0, which is before the first step.
    pub warmup_from: Option<f32>,
    /// What is left at the end of a decay.
    pub final_fraction: f32,
    /// Epochs after the schedule proper, with what it ends with.
    pub cooldown_epochs: f32,
    /// How often it moves.
    pub per: Per,
    /// Epochs, from 1, after which all of it begins again and lasts until the next of them, or the end.
    pub restarts: Vec<u32>,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.kind, other.kind)
            && self.values == other.values
            && self.warmup_epochs == other.warmup_epochs
            && self.warmup_from == other.warmup_from
            && self.final_fraction == other.final_fraction
            && self.cooldown_epochs == other.cooldown_epochs
            && self.per == other.per
            && self.restarts == other.restarts
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::of(KINDS[0])
    }
}

impl Schedule {
    /// A kind with its default options, from the first step to the last.
    pub fn of(kind: &'static Kind) -> Self {
        Self {
            kind,
            values: kind.options.iter().map(|option| option.default.clone()).collect(),
            warmup_epochs: 0.0,
            warmup_from: None,
            final_fraction: 0.0,
            cooldown_epochs: 0.0,
            per: Per::Step,
            restarts: Vec::new(),
        }
    }

    /// An option of the kind.
    ///
    /// # Panics
    /// When it has none of that name.
    pub fn option(&self, name: &str) -> &Value {
        let at = self.kind.options.iter().position(|option| option.name == name);
        &self.values[at.unwrap_or_else(|| panic!("`{}` has no option `{name}`", self.kind.name))]
    }

    /// Sets an option of the kind.
    ///
    /// # Panics
    /// When it has none of that name.
    pub fn set(&mut self, name: &str, value: Value) {
        let at = self.kind.options.iter().position(|option| option.name == name);
        self.values[at.unwrap_or_else(|| panic!("`{}` has no option `{name}`", self.kind.name))] = value;
    }

    /// The factor at optimizer step `iteration` (from 0) of `epochs` epochs of `steps` steps.
    pub fn factor(&self, iteration: u64, steps: usize, epochs: u32) -> f32 {
        let before = |restart: &&u32| u64::from(**restart) * steps as u64 <= iteration;
        let begin = self.restarts.iter().rfind(before).copied().unwrap_or(0);
        let end = self.restarts.iter().find(|restart| !before(restart)).copied().unwrap_or(epochs);
        self.factor_of_part(iteration - u64::from(begin) * steps as u64, steps, end.saturating_sub(begin))
    }

    /// The factor where the schedule has no restarts.
    fn factor_of_part(&self, iteration: u64, steps: usize, epochs: u32) -> f32 {
        let per_epoch = steps as f64;
        let [warmup, cooldown] = [self.warmup_epochs, self.cooldown_epochs].map(|epochs| f64::from(epochs) * per_epoch);
        let at = match self.per {
            Per::Step => iteration as f64,
            Per::Epoch => (iteration / steps.max(1) as u64) as f64 * per_epoch,
        };
        if at < warmup {
            return match self.warmup_from {
                None => ((at + 1.0) / warmup).min(1.0) as f32,
                Some(from) => (f64::from(from) + (1.0 - f64::from(from)) * at / warmup) as f32,
            };
        }
        let end = per_epoch * f64::from(epochs) - cooldown;
        let length = (end - warmup).max(1.0);
        let progress = ((at - warmup) / length).min(1.0);
        let now = at.min(end.max(0.0));
        let at = At {
            schedule: self,
            progress,
            of_all: (now / end.max(1.0)).min(1.0),
            epoch: now / per_epoch,
            since_warmup: ((now - warmup) / per_epoch).max(0.0),
        };
        (self.kind.factor)(&at) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::schedules::find;

    fn named(kind: &str, options: &[(&str, Value)]) -> Schedule {
        let mut schedule = Schedule::of(find(kind).unwrap());
        options.iter().for_each(|(name, value)| schedule.set(name, value.clone()));
        schedule
    }

    #[track_caller]
    fn check(schedule: &Schedule, epochs: u32, expected: &[(u64, f64)]) {
        for &(iteration, expected) in expected {
            let actual = f64::from(schedule.factor(iteration, 10, epochs));
            assert!(
                (actual - expected).abs() < 1e-6,
                "{} at {iteration}: {actual}, not {expected}",
                schedule.kind.name
            );
        }
    }

    #[test]
    fn warms_up_then_decays_to_the_final_fraction() {
        let schedule = Schedule { warmup_epochs: 1.0, final_fraction: 0.1, ..named("cosine", &[]) };
        let factor = |iteration| schedule.factor(iteration, 10, 11);
        assert_eq!(factor(0), 0.1);
        assert_eq!(factor(9), 1.0);
        assert_eq!(factor(10), 1.0);
        assert!((factor(60) - 0.55).abs() < 1e-6);
        assert!((factor(110) - 0.1).abs() < 1e-6);
        assert_eq!(Schedule::default().factor(7, 10, 1), 1.0);
        assert_eq!(named("linear", &[]).factor(5, 10, 1), 0.5);
    }

    #[test]
    fn warm_up_from_a_start_value_by_epochs_and_a_cooldown() {
        let schedule = Schedule {
            warmup_epochs: 2.0,
            warmup_from: Some(0.2),
            cooldown_epochs: 3.0,
            final_fraction: 0.5,
            ..named("linear", &[])
        };
        check(&schedule, 9, &[(0, 0.2), (10, 0.6), (20, 1.0), (40, 0.75), (60, 0.5), (75, 0.5), (89, 0.5)]);
        let stairs = Schedule { per: Per::Epoch, ..schedule };
        check(&stairs, 9, &[(0, 0.2), (9, 0.2), (19, 0.6), (25, 1.0), (49, 0.75), (61, 0.5), (89, 0.5)]);
    }

    #[test]
    fn a_restart_begins_all_of_it_again() {
        let once = Schedule { warmup_epochs: 1.0, cooldown_epochs: 1.0, final_fraction: 0.1, ..named("cosine", &[]) };
        let again = Schedule { restarts: vec![4, 9], ..once.clone() };
        for (begin, end) in [(0, 4), (4, 9), (9, 16)] {
            for iteration in 0..u64::from(end - begin) * 7 {
                let expected = once.factor(iteration, 7, end - begin);
                assert_eq!(again.factor(u64::from(begin) * 7 + iteration, 7, 16), expected, "{begin} {iteration}");
            }
        }
    }

    #[test]
    fn every_kind_as_its_source_has_it() {
        let number = |name, value| (name, Value::Number(value));
        check(&named("polynomial", &[number("power", 2.0)]), 10, &[(0, 1.0), (50, 0.25), (90, 0.01)]);
        check(&named("exponential", &[number("decay_rate", 0.5)]), 10, &[(0, 1.0), (10, 0.5), (15, 0.5_f64.powf(1.5))]);
        let steps = named("multi_step", &[("milestones", Value::Numbers(vec![2.0, 4.5])), number("gamma", 0.2)]);
        check(&steps, 10, &[(0, 1.0), (19, 1.0), (20, 0.2), (44, 0.2), (45, 0.04), (99, 0.04)]);
        // `OneCycleLR` of PyTorch: initial lr = peak / 25, peak after 30 % of the steps.
        let cycle = named("one_cycle", &[]);
        check(&cycle, 10, &[(0, 0.04), (15, 0.52), (30, 1.0), (65, 0.5)]);
        let wsd = named("wsd", &[number("decay_fraction", 0.4), ("tail", Value::Word("linear"))]);
        check(
            &Schedule { warmup_epochs: 0.5, ..wsd.clone() },
            10,
            &[(0, 0.2), (5, 1.0), (60, 1.0), (80, 0.5), (90, 0.25)],
        );
        let tail = |word| {
            let mut schedule = wsd.clone();
            schedule.set("tail", Value::Word(word));
            schedule
        };
        check(&tail("cosine"), 10, &[(60, 1.0), (80, 0.5)]);
        check(&tail("sqrt"), 10, &[(60, 1.0), (70, 0.5), (80, 1.0 - 0.5_f64.sqrt())]);
        let restarts =
            named("cosine_restarts", &[number("first_decay_epochs", 2.0), number("t_mul", 2.0), number("m_mul", 0.5)]);
        check(&restarts, 10, &[(0, 1.0), (10, 0.5), (20, 0.5), (40, 0.25), (60, 0.25), (100, 0.125)]);
    }

    /// Every factor of every kind is a share, whatever is asked of it.
    #[test]
    fn factors_are_shares() {
        for kind in KINDS {
            for (warmup_epochs, cooldown_epochs) in [(0.0, 0.0), (2.5, 1.0), (20.0, 20.0)] {
                for per in [Per::Step, Per::Epoch] {
                    let mut schedule = Schedule { warmup_epochs, cooldown_epochs, per, ..Schedule::of(kind) };
                    if kind.name == "multi_step" {
                        schedule.set("milestones", Value::Numbers(vec![3.0]));
                    }
                    for iteration in 0..90 {
                        let factor = schedule.factor(iteration, 9, 10);
                        assert!((0.0..=1.0).contains(&factor), "{} at {iteration}: {factor}", kind.name);
                    }
                }
            }
        }
    }
}
