//! The tree-structured Parzen estimator over all that varies at once (Falkner, Klein, Hutter, "BOHB: Robust and Efficient
//! Hyperparameter Optimization at Scale", ICML 2018; `multivariate=True` of Optuna's `TPESampler`): what did well is one
//! density over whole points, what did badly another, and the next point is where their ratio is largest. So it learns what
//! goes together, as a high rate with a long warm-up, which an estimator of each key alone cannot.
//!
//! A key that does not vary at a point has nothing to say there: its kernel is the even density. What is proposed and has no
//! result yet counts among what did badly, so that the points of one round differ (Ginsbourger, Le Riche, Carraro, "Kriging is
//! well-suited to parallelize optimization", 2010: the constant liar).

use super::{Axis, Domain, Scale};
use crate::{
    dsl::Value,
    random::{Philox, unit},
};

/// Points drawn from the density of what did well, of which the best is proposed.
pub const CANDIDATES: u32 = 24;
/// Results before densities mean anything.
const FIRST: usize = 8;
/// Share of the trials that did well, and the most of them.
const GOOD: f64 = 0.25;
const MOST_GOOD: usize = 25;
/// Width of a kernel on an axis of length 1, for one point; it shrinks with more of them by Scott's rule.
const WIDTH: f64 = 0.15;
/// Most values of whole numbers that are told apart.
const MOST_ORDERED: usize = 256;

/// One direction of a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// So many choices, none nearer to one of the others than to another.
    Choices(usize),
    /// So many values in their order.
    Ordered(usize),
    /// Shares from 0 to 1.
    Interval,
}

impl Dimension {
    /// That of keys which go through their values together.
    pub fn of(group: &[Axis]) -> Self {
        match (&group[0].domain, group) {
            (Domain::Values(values), [_]) if in_order(values) => Self::Ordered(values.len()),
            (Domain::Values(values), _) => Self::Choices(values.len()),
            (Domain::Interval { low, high, scale: Scale::Whole }, _) if high - low < MOST_ORDERED as f64 => {
                Self::Ordered((high - low) as usize + 1)
            }
            (Domain::Interval { .. }, _) => Self::Interval,
        }
    }

    /// The number of the value at a share of the way, or the share itself.
    fn place(self, share: f64) -> f64 {
        match self {
            Self::Choices(count) | Self::Ordered(count) => (share * count as f64).floor().min(count as f64 - 1.0),
            Self::Interval => share,
        }
    }

    /// The density where nothing is known.
    fn even(self) -> f64 {
        match self {
            Self::Choices(count) | Self::Ordered(count) => 1.0 / count as f64,
            Self::Interval => 1.0,
        }
    }
}

/// Whether values are numbers that only grow, or only shrink.
fn in_order(values: &[Value]) -> bool {
    let numbers: Option<Vec<f64>> = values
        .iter()
        .map(|value| match value {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        })
        .collect();
    numbers.is_some_and(|numbers| {
        values.len() > 2
            && (numbers.windows(2).all(|pair| pair[0] < pair[1]) || numbers.windows(2).all(|pair| pair[0] > pair[1]))
    })
}

/// Shares of each group, as [`super::Space::at`] takes them, and whether any key of it varies there.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// From 0 up to, but not including, 1.
    pub shares: Vec<f64>,
    /// By group.
    pub varies: Vec<bool>,
}

/// A place in each direction; `None` where nothing varies.
type Places = Vec<Option<f64>>;

/// What was tried, and how it did.
#[derive(Debug, Clone)]
pub struct Joint {
    dimensions: Vec<Dimension>,
    tried: Vec<(Places, f64)>,
    seed: u32,
}

impl Joint {
    /// Of a space with these groups of axes.
    pub fn new(groups: &[Vec<Axis>], seed: u32) -> Self {
        let dimensions = groups.iter().map(|group| Dimension::of(group)).collect();
        Self { dimensions, tried: Vec::new(), seed }
    }

    /// How a point did: less is better.
    pub fn tell(&mut self, point: &Point, loss: f64) {
        self.tried.push((self.places(point), loss));
    }

    /// The shares of the next point to try, where `pending` are proposed and have no result. The random numbers are addressed by
    /// the number of the proposal and the attempt at it. The first points cover the space evenly.
    pub fn ask(
        &self,
        philox: &Philox,
        [draw, attempt]: [u32; 2],
        pending: &[Point],
        varies: impl Fn(&[f64]) -> Vec<bool>,
    ) -> Vec<f64> {
        let axes = 0..self.dimensions.len() as u32;
        let even = |candidate: u32| -> Vec<f64> {
            axes.clone().map(|axis| f64::from(unit(philox.block([draw, axis, candidate, 1 + attempt])[3]))).collect()
        };
        let Some(promise) = self.promise(pending) else {
            return match attempt {
                // A draw beyond what the sequence has begins it again, with what was seen left out.
                0 => axes.map(|axis| f64::from(sobol_burley::sample(draw % (1 << 16), axis, self.seed))).collect(),
                _ => even(0),
            };
        };
        let candidates = (0..CANDIDATES).map(|candidate| {
            let shares = promise.good.draw(philox, [draw, candidate, 1 + attempt], &even(candidate));
            let varies = varies(&shares);
            Point { shares, varies }
        });
        let scored = candidates.map(|point| (promise.of(&point), point));
        // Of equals the first.
        let best = scored.reduce(|best, other| if other.0 > best.0 { other } else { best });
        best.map_or_else(|| even(0), |(_, point)| point.shares)
    }

    /// What to expect of points; `None` before there are densities.
    pub fn promise(&self, pending: &[Point]) -> Option<Promise<'_>> {
        if self.tried.len() < FIRST {
            return None;
        }
        let mut ranked: Vec<&(Places, f64)> = self.tried.iter().collect();
        ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
        let count = ((GOOD * ranked.len() as f64).ceil() as usize).min(MOST_GOOD);
        let (good, bad) = ranked.split_at(count);
        // The better, the more it counts.
        let rank = |(place, tried): (usize, &&(Places, f64))| (tried.0.clone(), 2.0 * (count - place) as f64);
        let good = good.iter().enumerate().map(rank).map(|(at, weight)| (at, weight / (count + 1) as f64)).collect();
        let lies = pending.iter().map(|point| (self.places(point), 1.0));
        let bad = bad.iter().map(|(at, _)| (at.clone(), 1.0)).chain(lies).collect();
        let [good, bad] = [good, bad].map(|parts| Mixture::new(&self.dimensions, parts));
        Some(Promise { good, bad })
    }

    fn places(&self, point: &Point) -> Places {
        let place = |((dimension, share), varies): ((&Dimension, &f64), &bool)| varies.then(|| dimension.place(*share));
        self.dimensions.iter().zip(&point.shares).zip(&point.varies).map(place).collect()
    }
}

/// What did well and what did badly.
pub struct Promise<'a> {
    good: Mixture<'a>,
    bad: Mixture<'a>,
}

impl Promise<'_> {
    /// The logarithm of how much more often a point did well than badly.
    pub fn of(&self, point: &Point) -> f64 {
        let place = |((dimension, share), varies): ((&Dimension, &f64), &bool)| varies.then(|| dimension.place(*share));
        let places: Places = self.good.dimensions.iter().zip(&point.shares).zip(&point.varies).map(place).collect();
        self.good.at(&places).ln() - self.bad.at(&places).ln()
    }
}

/// One point of a mixture: a product of kernels.
struct Part {
    at: Places,
    /// 1 on average.
    weight: f64,
    /// By dimension; what a kernel over ordered values is divided by to have a sum of 1.
    sums: Vec<f64>,
}

/// Products of kernels around points, and the even density, which counts as one point.
struct Mixture<'a> {
    dimensions: &'a [Dimension],
    parts: Vec<Part>,
    width: f64,
}

impl<'a> Mixture<'a> {
    fn new(dimensions: &'a [Dimension], points: Vec<(Places, f64)>) -> Self {
        let count = points.len() as f64;
        // Never a needle, whatever the rule says of many points.
        let least = 1.0 / (1.0 + count).min(100.0);
        let scott = WIDTH * count.max(1.0).powf(-1.0 / (dimensions.len() as f64 + 4.0));
        let mut mixture = Self { dimensions, parts: Vec::new(), width: scott.max(least).min(1.0) };
        for (at, weight) in points {
            let sum = |(dimension, place): (&Dimension, &Option<f64>)| match (*dimension, place) {
                (Dimension::Ordered(values), Some(place)) => {
                    (0..values).map(|other| mixture.ordered(values, other as f64 - place)).sum()
                }
                _ => 1.0,
            };
            let sums = dimensions.iter().zip(&at).map(sum).collect();
            mixture.parts.push(Part { at, weight, sums });
        }
        mixture
    }

    /// The share of a kernel over choices that is even: less with more points.
    fn evenly(&self, choices: usize) -> f64 {
        let even = choices as f64 / self.parts.len().max(1) as f64;
        even / (1.0 + even)
    }

    /// No narrower than half of the way from one value to the next.
    fn ordered_width(&self, values: usize) -> f64 {
        self.width.max(0.5 / values as f64)
    }

    fn ordered(&self, values: usize, steps: f64) -> f64 {
        bell(steps / values as f64 / self.ordered_width(values))
    }

    fn at(&self, places: &Places) -> f64 {
        let even: f64 =
            self.dimensions.iter().zip(places).filter(|(_, place)| place.is_some()).map(|(d, _)| d.even()).product();
        let part = |part: &Part| {
            let kernel = |axis: usize| places[axis].map_or(1.0, |place| self.kernel(axis, part, place));
            part.weight * (0..places.len()).map(kernel).product::<f64>()
        };
        (even + self.parts.iter().map(part).sum::<f64>()) / (1.0 + self.parts.len() as f64)
    }

    fn kernel(&self, axis: usize, part: &Part, place: f64) -> f64 {
        let dimension = self.dimensions[axis];
        let Some(centre) = part.at[axis] else { return dimension.even() };
        match dimension {
            Dimension::Choices(choices) => {
                let even = self.evenly(choices);
                even / choices as f64 + if centre == place { 1.0 - even } else { 0.0 }
            }
            Dimension::Ordered(values) => self.ordered(values, place - centre) / part.sums[axis],
            // What would be outside is reflected at the ends (Silverman, "Density Estimation", 1986, 2.10).
            Dimension::Interval => {
                let reflected = [place - centre, place + centre, 2.0 - place - centre];
                let sum: f64 = reflected.iter().map(|distance| bell(distance / self.width)).sum();
                sum / (self.width * (2.0 * std::f64::consts::PI).sqrt())
            }
        }
    }

    /// Shares of a point of the density. `even` are those that are taken in directions of which nothing is known.
    fn draw(&self, philox: &Philox, [draw, candidate, attempt]: [u32; 3], even: &[f64]) -> Vec<f64> {
        // Candidates are few: their upper bits tell what is drawn for one.
        let random =
            |axis: u32| philox.block([draw, axis, candidate | 1 << 16, attempt]).map(|word| f64::from(unit(word)));
        let mut left = random(u32::MAX)[0] * (1.0 + self.parts.len() as f64);
        let part = self.parts.iter().find(|part| {
            left -= part.weight;
            left < 0.0
        });
        let share = |axis: usize| {
            let [which, a, b, _] = random(axis as u32);
            let Some(centre) = part.and_then(|part| part.at[axis]) else { return even[axis] };
            // Box and Muller's normal number.
            let normal = (-2.0 * (1.0 - a).ln()).sqrt() * (2.0 * std::f64::consts::PI * b).cos();
            match self.dimensions[axis] {
                Dimension::Choices(choices) if which < self.evenly(choices) => even[axis],
                Dimension::Choices(choices) => (centre + 0.5) / choices as f64,
                Dimension::Ordered(values) => {
                    reflected((centre + 0.5) / values as f64 + self.ordered_width(values) * normal)
                }
                Dimension::Interval => reflected(centre + self.width * normal),
            }
        };
        (0..self.dimensions.len()).map(share).collect()
    }
}

/// A normal density without its factor.
fn bell(distance: f64) -> f64 {
    (-0.5 * distance * distance).exp()
}

/// A number at the place from 0 to 1 where it comes to when it is reflected at both ends.
fn reflected(share: f64) -> f64 {
    let share = share.abs() % 2.0;
    let share = if share > 1.0 { 2.0 - share } else { share };
    share.min(1.0 - f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn point(shares: &[f64]) -> Point {
        Point { shares: shares.to_vec(), varies: vec![true; shares.len()] }
    }

    fn joint(dimensions: Vec<Dimension>) -> Joint {
        Joint { dimensions, tried: Vec::new(), seed: 0 }
    }

    #[test]
    fn densities_have_a_mass_of_one() {
        let dimensions = [Dimension::Interval, Dimension::Ordered(5), Dimension::Choices(3)];
        let parts = vec![
            (vec![Some(0.02), Some(4.0), Some(1.0)], 1.5),
            (vec![Some(0.7), None, Some(0.0)], 0.5),
            (vec![None, Some(2.0), None], 1.0),
        ];
        let mixture = Mixture::new(&dimensions, parts);
        let mut mass = 0.0;
        for (ordered, choice) in (0..5).flat_map(|ordered| (0..3).map(move |choice| (ordered, choice))) {
            let at = |step: u32| {
                vec![Some((f64::from(step) + 0.5) / 1000.0), Some(f64::from(ordered)), Some(f64::from(choice))]
            };
            mass += (0..1000).map(|step| mixture.at(&at(step)) / 1000.0).sum::<f64>();
        }
        assert!((mass - 1.0).abs() < 1e-3, "{mass}");
    }

    #[test]
    fn draws_follow_the_density_and_stay_inside() {
        let dimensions = [Dimension::Interval, Dimension::Choices(3)];
        let mixture = Mixture::new(&dimensions, vec![(vec![Some(0.0), Some(2.0)], 1.0); 9]);
        let philox = Philox::new(3, Stream::Search);
        let draws: Vec<Vec<f64>> = (0..2000).map(|draw| mixture.draw(&philox, [draw, 0, 1], &[0.5, 0.1])).collect();
        assert!(draws.iter().flatten().all(|share| (0.0..1.0).contains(share)));
        // One in ten is of the even density, and a quarter of the rest of the even part of the kernel.
        let chosen = draws.iter().filter(|shares| shares[1] > 0.6).count();
        assert!((1250..1450).contains(&chosen), "{chosen}");
        let near = draws.iter().filter(|shares| shares[0] < mixture.width).count();
        assert!((1130..1330).contains(&near), "{near}");
        assert_eq!([-0.25, 1.25, 2.25, 0.5].map(reflected), [0.25, 0.75, 0.25, 0.5]);
    }

    /// Where only both together are good, each alone says nothing.
    #[test]
    fn it_learns_what_goes_together() {
        let mut joint = joint(vec![Dimension::Interval, Dimension::Interval]);
        for step in 0..40 {
            let (x, y) = (f64::from(step) / 40.0, f64::from(step * 7 % 40) / 40.0);
            joint.tell(&point(&[x, y]), (x - y).abs());
        }
        let promise = joint.promise(&[]).unwrap();
        let together = promise.of(&point(&[0.2, 0.2])) + promise.of(&point(&[0.8, 0.8]));
        let apart = promise.of(&point(&[0.2, 0.8])) + promise.of(&point(&[0.8, 0.2]));
        assert!(together > apart + 1.0, "{together} {apart}");
    }

    #[test]
    fn what_is_under_way_is_not_proposed_again() {
        let mut joint = joint(vec![Dimension::Interval]);
        (0..12).for_each(|step| joint.tell(&point(&[f64::from(step) / 12.0]), f64::from(step)));
        let alone = joint.promise(&[]).unwrap().of(&point(&[0.05]));
        let beside = joint.promise(&[point(&[0.05])]).unwrap().of(&point(&[0.05]));
        assert!(beside < alone - 0.1, "{beside} {alone}");
    }

    #[test]
    fn numbers_in_their_order_are_ordered() {
        let dimension = |text: &str| Dimension::of(&[Axis::parse(text).unwrap()]);
        assert_eq!(dimension("depth=1,2,4,8"), Dimension::Ordered(4));
        assert_eq!(dimension("depth=int(2, 12)"), Dimension::Ordered(11));
        assert_eq!(dimension("depth=int(1, 5000)"), Dimension::Interval);
        assert_eq!(dimension("depth=4,1,2"), Dimension::Choices(3));
        assert_eq!(dimension("kind=a,b,c"), Dimension::Choices(3));
        assert_eq!(dimension("rate=uniform(0, 1)"), Dimension::Interval);
    }
}
