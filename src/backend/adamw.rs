use crate::graph::ops::AdamWUpdate;

/// AdamW with Keras' semantics (`keras.optimizers.AdamW`, Loshchilov & Hutter 2019): decoupled
/// decay of every variable, epsilon outside the bias correction.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AdamW {
    pub beta_1: f32,
    pub beta_2: f32,
    pub epsilon: f32,
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, weight_decay: 1e-4 }
    }
}

impl AdamW {
    /// The operator of this rule.
    pub fn rule(&self) -> AdamWUpdate {
        let Self { beta_1, beta_2, epsilon, weight_decay } = *self;
        AdamWUpdate { beta_1, beta_2, epsilon, weight_decay }
    }
}
