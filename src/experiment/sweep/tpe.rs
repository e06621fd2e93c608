//! The tree-structured Parzen estimator of one parameter (Bergstra, Bardenet, Bengio, Kégl,
//! "Algorithms for Hyper-Parameter Optimization", NIPS 2011): what did well is one density, what
//! did badly another, and the next value is where their ratio is largest.

use crate::random::{Philox, unit};

/// Values drawn from the density of what did well, of which the best is proposed.
pub const CANDIDATES: u32 = 24;
/// Draws before densities mean anything.
const FIRST: usize = 8;
/// Share of the trials that did well.
const GOOD: f64 = 0.25;

/// What was tried of one parameter, and how it did.
#[derive(Debug, Clone)]
pub struct Estimator {
    /// Number of choices; `None` for an interval, covered by shares from 0 to 1.
    choices: Option<usize>,
    /// Value and loss.
    tried: Vec<(f64, f64)>,
}

impl Estimator {
    /// For choices `0, 1, ..`, or for shares of an interval.
    pub fn new(choices: Option<usize>) -> Self {
        Self { choices, tried: Vec::new() }
    }

    /// How a value did: less is better.
    pub fn tell(&mut self, value: f64, loss: f64) {
        self.tried.push((value, loss));
    }

    /// The next value to try. The random numbers are addressed by the number of the proposal, the
    /// parameter, and the attempt at it.
    pub fn ask(&self, philox: &Philox, [draw, axis, attempt]: [u32; 3]) -> f64 {
        let random =
            |candidate: u32| philox.block([draw, axis, candidate, 1 + attempt]).map(|word| f64::from(unit(word)));
        if self.tried.len() < FIRST {
            let [share, ..] = random(0);
            return self.choices.map_or(share, |count| (share * count as f64).floor());
        }
        let (good, bad) = self.densities();
        let candidates = (0..CANDIDATES).map(|candidate| good.draw(random(candidate)));
        let score = |value: &f64| good.at(*value) / bad.at(*value);
        candidates.max_by(|a, b| score(a).total_cmp(&score(b))).unwrap_or(0.5)
    }

    /// How much a value promises: the logarithm of how much more often it did well than badly. Nothing is known of it
    /// before there are densities.
    pub fn promise(&self, value: f64) -> f64 {
        if self.tried.len() < FIRST {
            return 0.0;
        }
        let (good, bad) = self.densities();
        (good.at(value) / bad.at(value)).ln()
    }

    /// Of what did well, and of what did badly.
    fn densities(&self) -> (Density, Density) {
        let mut ranked = self.tried.clone();
        ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (good, bad) = ranked.split_at(((GOOD * ranked.len() as f64).ceil() as usize).max(1));
        (Density::new(good, self.choices), Density::new(bad, self.choices))
    }
}

/// A density over one parameter.
enum Density {
    /// Probability of each choice.
    Choices(Vec<f64>),
    /// Normal densities of these centres and widths, and the even one, in equal parts.
    Mixture(Vec<(f64, f64)>),
}

impl Density {
    fn new(tried: &[(f64, f64)], choices: Option<usize>) -> Self {
        let Some(count) = choices else {
            let mut centres: Vec<f64> = tried.iter().map(|(value, _)| *value).collect();
            centres.sort_by(f64::total_cmp);
            // As wide as the way to the further neighbour, but never a needle.
            let least = 1.0 / (1.0 + centres.len() as f64).min(100.0);
            let width = |index: usize| {
                let left = index.checked_sub(1).map_or(0.0, |left| centres[left]);
                let right = centres.get(index + 1).copied().unwrap_or(1.0);
                (centres[index] - left).max(right - centres[index]).clamp(least, 1.0)
            };
            return Self::Mixture((0..centres.len()).map(|index| (centres[index], width(index))).collect());
        };
        let mut counts = vec![1.0; count];
        for (value, _) in tried {
            counts[(*value as usize).min(count - 1)] += 1.0;
        }
        let total: f64 = counts.iter().sum();
        Self::Choices(counts.iter().map(|count| count / total).collect())
    }

    fn at(&self, value: f64) -> f64 {
        match self {
            Self::Choices(probabilities) => probabilities[(value as usize).min(probabilities.len() - 1)],
            Self::Mixture(parts) => {
                let normal = |(centre, width): &(f64, f64)| {
                    let z = (value - centre) / width;
                    (-0.5 * z * z).exp() / (width * (2.0 * std::f64::consts::PI).sqrt())
                };
                (1.0 + parts.iter().map(normal).sum::<f64>()) / (parts.len() + 1) as f64
            }
        }
    }

    /// A value of the density, from four even random numbers.
    fn draw(&self, [which, a, b, even]: [f64; 4]) -> f64 {
        match self {
            Self::Choices(probabilities) => {
                let mut left = which;
                let passed = probabilities.iter().take_while(|probability| {
                    left -= **probability;
                    left >= 0.0
                });
                passed.count().min(probabilities.len() - 1) as f64
            }
            Self::Mixture(parts) => match parts.get((which * (parts.len() + 1) as f64) as usize) {
                // Box and Muller's normal number; what falls outside is drawn evenly instead.
                Some((centre, width)) => {
                    let normal = (-2.0 * (1.0 - a).ln()).sqrt() * (2.0 * std::f64::consts::PI * b).cos();
                    let value = centre + width * normal;
                    if (0.0..1.0).contains(&value) { value } else { even }
                }
                None => even,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn densities_are_densities() {
        let tried = [(0.1, 0.0), (0.15, 0.0), (0.9, 0.0)];
        let mixture = Density::new(&tried, None);
        // Some of each part lies outside: the whole inside is below one, but not by much.
        let mass: f64 = (0..1000).map(|i| mixture.at((f64::from(i) + 0.5) / 1000.0) / 1000.0).sum();
        assert!((0.5..=1.0).contains(&mass), "{mass}");
        let choices = Density::new(&[(0.0, 0.0), (2.0, 0.0), (2.0, 0.0)], Some(3));
        assert_eq!([0.0, 1.0, 2.0].map(|value| choices.at(value)), [2.0 / 6.0, 1.0 / 6.0, 3.0 / 6.0]);
    }

    #[test]
    fn draws_follow_the_density() {
        let philox = Philox::new(3, Stream::Search);
        let choices = Density::new(&[(2.0, 0.0); 7], Some(3));
        let draw = |i: u32| choices.draw(philox.block([i, 0, 0, 0]).map(|word| f64::from(unit(word))));
        let count = (0..1000).filter(|i| draw(*i) == 2.0).count();
        assert!((750..850).contains(&count), "{count}");
    }
}
