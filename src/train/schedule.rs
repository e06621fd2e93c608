use serde::{Deserialize, Serialize};

/// The learning rate over a training, as a fraction of the optimizer's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    pub kind: Kind,
    /// Epochs of linear growth from 0 before the schedule proper; fractions are fine.
    pub warmup_epochs: f32,
    /// What is left at the end of a decay.
    pub final_fraction: f32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The reference model's: no decay.
    #[default]
    Constant,
    /// Half a cosine (Loshchilov & Hutter, SGDR, 2017, without restarts).
    Cosine,
    Linear,
}

impl Schedule {
    /// The factor at optimizer step `iteration` (from 0) of `epochs` epochs of `steps` steps.
    pub fn factor(&self, iteration: u64, steps: usize, epochs: u32) -> f32 {
        let warmup = f64::from(self.warmup_epochs) * steps as f64;
        let at = iteration as f64;
        if at < warmup {
            return ((at + 1.0) / warmup).min(1.0) as f32;
        }
        let length = (steps as f64 * f64::from(epochs) - warmup).max(1.0);
        let progress = ((at - warmup) / length).min(1.0);
        let left = match self.kind {
            Kind::Constant => return 1.0,
            Kind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Kind::Linear => 1.0 - progress,
        };
        let last = f64::from(self.final_fraction);
        (last + (1.0 - last) * left) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_then_decays_to_the_final_fraction() {
        let schedule = Schedule { kind: Kind::Cosine, warmup_epochs: 1.0, final_fraction: 0.1 };
        let factor = |iteration| schedule.factor(iteration, 10, 11);
        assert_eq!(factor(0), 0.1);
        assert_eq!(factor(9), 1.0);
        assert_eq!(factor(10), 1.0);
        assert!((factor(60) - 0.55).abs() < 1e-6);
        assert!((factor(110) - 0.1).abs() < 1e-6);
        assert_eq!(Schedule::default().factor(7, 10, 1), 1.0);
        let linear = Schedule { kind: Kind::Linear, ..Schedule::default() };
        assert_eq!(linear.factor(5, 10, 1), 0.5);
    }
}
