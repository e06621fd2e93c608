use serde::{Deserialize, Serialize};

use crate::{choice::Choice, trial::Variant};

/// How a space is searched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Every combination
    #[default]
    Grid,
    /// Independent draws
    Random,
    /// A quasi-random sequence, which covers the space evenly
    Sobol,
    /// Tree-structured Parzen estimator of each key alone: draws more where earlier trials did well
    Tpe,
    /// Tree-structured Parzen estimator over all keys together: learns which values go together
    MultivariateTpe,
}

impl Choice for Strategy {
    const CHOICES: &[(Self, &str, &str)] = &[
        (Self::Grid, "grid", "Every combination"),
        (Self::Random, "random", "Independent draws"),
        (Self::Sobol, "sobol", "A quasi-random sequence, which covers the space evenly"),
        (
            Self::MultivariateTpe,
            "multivariate_tpe",
            "Tree-structured Parzen estimator over all keys together: draws more where earlier trials did well, and learns which values go together",
        ),
        (Self::Tpe, "tpe", "The same of each key alone, as former versions had it: finds less"),
    ];
}

impl Strategy {
    /// Whether what is tried depends on results: then it is proposed in rounds.
    pub fn goes_by_results(self) -> bool {
        matches!(self, Self::Tpe | Self::MultivariateTpe)
    }
}

/// Points that a search by results proposes before it looks at results again, where nothing else is said.
pub const ROUND: usize = 4;

/// Most points of a round: as many as there may be trials at once.
pub const MOST_ROUND: usize = 1024;

/// What is tried of a space. All of it is part of what defines a sweep.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SearchSettings {
    /// In which order points are tried, and which of them.
    pub strategy: Strategy,
    /// How many points a search tries; `None` for a grid.
    pub trials: Option<usize>,
    /// Seeds what is drawn.
    pub seed: u64,
    /// Points that are proposed before results are looked at again.
    pub round: usize,
    /// Points that are tried before all others.
    pub first: Vec<Variant>,
}
