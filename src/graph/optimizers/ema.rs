/// The exponential moving average of the parameters, `e = d e + (1 - d) w` after each update; `use_ema` of Keras'
/// optimizers, `ModelEmaV2` of timm. The first update copies, as in Keras.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ema {
    /// How much of the average a step keeps: `ema_momentum` of Keras.
    pub decay: f32,
    /// `d = min(decay, (1 + t) / (10 + t))` after `t` updates, as in TensorFlow: a young average follows sooner.
    pub warmup: bool,
    /// Whether evaluation takes the average, and the weights that are kept as the best are of it.
    pub evaluate: bool,
}

impl Ema {
    /// Its name among what is kept of a parameter.
    pub const SLOT: &'static str = "ema";

    /// The decay where an experiment gives none, which is Keras'.
    pub const DECAY: f32 = 0.99;

    /// `1 - d`: the share that the parameter has in the average after the step that follows so many.
    pub fn share(self, iteration: u64) -> f64 {
        let decay = f64::from(self.decay);
        match iteration {
            0 => 1.0,
            t if self.warmup => 1.0 - decay.min((1.0 + t as f64) / (10.0 + t as f64)),
            _ => 1.0 - decay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        let ema = Ema { decay: 0.75, warmup: false, evaluate: true };
        assert_eq!([0, 1, 100].map(|t| ema.share(t)), [1.0, 0.25, 0.25]);
        let ema = Ema { warmup: true, ..ema };
        assert_eq!([0, 2, 26, 27].map(|t| ema.share(t)), [1.0, 0.75, 0.25, 0.25]);
    }
}
