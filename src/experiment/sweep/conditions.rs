//! Keys that vary only where another key has certain values.

use super::{
    Axis, Domain, Scale,
    space::{known, refuse},
    words::split,
};
use crate::{dsl::Value, experiment::ExperimentError, trial::Variant};

/// `key` varies only where `other` is one of `values`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The key that varies only at times.
    pub key: String,
    /// The key that decides.
    pub other: String,
    /// Any of them will do.
    pub values: Vec<Wanted>,
}

/// What the other key must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    Exactly(Value),
    /// Anything from a number to a number, the last included or not.
    Between(f64, f64, bool),
}

const HELP: &str = "e.g. --when train.schedule.warmup_epochs:train.schedule.kind=cosine";

impl Condition {
    /// Reads `key:other=VALUES`. A range without a step is anything between its ends. With `narrowed`, the other key
    /// has fewer values than it had where the condition was written: those that are gone are left out.
    ///
    /// # Errors
    /// [`ExperimentError::Sweep`] for what is no condition, names a key that does not vary, or can never hold.
    pub fn parse(text: &str, axes: &[Axis], narrowed: impl Fn(&str) -> bool) -> Result<Self, ExperimentError> {
        let no = |message: &str| refuse(format!("`{text}` is no condition: {message}"), HELP);
        let (key, condition) = text.split_once(':').ok_or_else(|| no("there is no `:`"))?;
        let (other, values) = condition.split_once('=').ok_or_else(|| no("there is no `=`"))?;
        let (key, other) = (Axis::named(key), Axis::named(other));
        known(&key, axes)?;
        let domain = &known(&other, axes)?.domain;
        if key == other {
            return Err(refuse(format!("`{key}` cannot depend on itself"), HELP));
        }
        let mut wanted = Vec::new();
        for part in split(values) {
            let one = match between(part) {
                Some(range) => range_of(domain, range),
                None => listed(&other, part, domain, text)?,
            };
            let none = one.is_empty();
            if none && !narrowed(&other) {
                return Err(never(&other, part.trim(), domain));
            }
            wanted.extend(one);
        }
        Ok(Self { key, other, values: wanted })
    }

    /// Whether it holds where the other key has this value.
    pub fn holds(&self, value: &Value) -> bool {
        self.values.iter().any(|wanted| match wanted {
            Wanted::Exactly(wanted) => wanted.same(value),
            Wanted::Between(low, high, inclusive) => {
                number(value).is_some_and(|value| (*low..*high).contains(&value) || *inclusive && value == *high)
            }
        })
    }

    /// What [`Condition::parse`] reads, without the key.
    pub fn text(&self) -> String {
        let values: Vec<String> = self.values.iter().map(ToString::to_string).collect();
        format!("{}={}", self.other, values.join(","))
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(value) => value.fmt(f),
            Self::Between(low, high, true) => write!(f, "{low}..={high}"),
            Self::Between(low, high, false) => write!(f, "{low}..{high}"),
        }
    }
}

/// `low..high` or `low..=high` of two numbers, without a step.
fn between(text: &str) -> Option<(f64, f64, bool)> {
    let (low, high) = text.split_once("..")?;
    let (high, inclusive) = high.strip_prefix('=').map_or((high, false), |high| (high, true));
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    Some((number(low)?, number(high)?, inclusive))
}

/// What of a range the key can be.
fn range_of(domain: &Domain, (low, high, inclusive): (f64, f64, bool)) -> Vec<Wanted> {
    let range =
        Condition { key: String::new(), other: String::new(), values: vec![Wanted::Between(low, high, inclusive)] };
    match domain {
        Domain::Values(values) => {
            values.iter().filter(|value| range.holds(value)).cloned().map(Wanted::Exactly).collect()
        }
        Domain::Interval { low: least, high: most, .. } => {
            let meets = low <= *most && (high > *least || inclusive && high == *least) && low <= high;
            if meets { range.values } else { Vec::new() }
        }
    }
}

/// The values of a part that is no such range; none where the key cannot be any of them.
fn listed(other: &str, part: &str, domain: &Domain, text: &str) -> Result<Vec<Wanted>, ExperimentError> {
    let Domain::Values(values) = Axis::new(other, part)?.domain else {
        return Err(refuse(format!("`{text}` is no condition: an interval cannot be one"), HELP));
    };
    if let Domain::Interval { scale: Scale::Linear | Scale::Logarithmic, .. } = domain {
        let message = format!("`{other}` is an interval, which is next to never exactly {}", part.trim());
        return Err(refuse(message, "give a range without a step, e.g. 0.1..=0.3"));
    }
    // All or none: of `a, b` the one that is there does not excuse the other.
    let all = values.iter().all(|value| domain.has(value));
    Ok(if all { values.into_iter().map(Wanted::Exactly).collect() } else { Vec::new() })
}

fn never(other: &str, part: &str, domain: &Domain) -> ExperimentError {
    let help = match domain {
        Domain::Values(values) => {
            let there: Vec<String> = values.iter().map(ToString::to_string).collect();
            format!("its values are {}", there.join(", "))
        }
        Domain::Interval { low, high, .. } => format!("it is between {low} and {high}"),
    };
    let value = part.parse::<Value>().map_or_else(|_| part.to_owned(), |value| value.to_string());
    refuse(format!("`{other}` is never {value}"), &help)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

/// Conditions that go round in a circle, in which nothing could ever vary.
///
/// # Errors
/// [`ExperimentError::Sweep`] with the circle.
pub fn no_circle(conditions: &[Condition]) -> Result<(), ExperimentError> {
    for start in conditions {
        let mut path = vec![start.key.as_str()];
        if let Some(circle) = circle(conditions, &mut path) {
            let help = "a key varies where the one it depends on does; leave out one of the conditions";
            return Err(refuse(format!("`{}` depends on itself: {}", start.key, circle.join(" on ")), help));
        }
    }
    Ok(())
}

/// The way from the first key of a path back to it.
fn circle<'a>(conditions: &'a [Condition], path: &mut Vec<&'a str>) -> Option<Vec<&'a str>> {
    let last = *path.last()?;
    for condition in conditions.iter().filter(|condition| condition.key == last) {
        if condition.other == path[0] {
            return Some([&path[..], &[condition.other.as_str()]].concat());
        }
        if path.contains(&condition.other.as_str()) {
            continue;
        }
        path.push(&condition.other);
        let found = circle(conditions, path);
        if found.is_some() {
            return found;
        }
        path.pop();
    }
    None
}

/// Whether all conditions of a key hold at a point, with what they depend on varying itself.
pub fn varies(conditions: &[Condition], key: &str, all: &Variant) -> bool {
    conditions.iter().filter(|condition| condition.key == key).all(|condition| {
        let other = all.iter().find(|(key, _)| *key == condition.other);
        other.is_some_and(|(_, value)| condition.holds(value)) && varies(conditions, &condition.other, all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{
        Experiment,
        sweep::{Space, SpaceArguments, space::name},
    };

    fn space(sweep: &str, params: &[&str], when: &[&str]) -> Result<Space, ExperimentError> {
        let text = format!("model: m.vitx\ndata: {{name: digits}}\n{sweep}\n");
        let experiment = Experiment::parse("a.yaml", &text).unwrap();
        let [params, when] = [params, when].map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
        Space::new(&experiment, &SpaceArguments { params, when, ..SpaceArguments::default() })
    }

    fn shown(space: &Space) -> Vec<String> {
        space.grid().unwrap().iter().map(|point| name(&space.at(point, false))).collect()
    }

    const FILE: &str = "sweep: {params: {kind: [constant, cosine], warmup: [0, 5], steps: [1, 2]}, \
                        when: {warmup: kind=cosine, steps: warmup=5}}";

    #[test]
    fn what_the_command_line_narrows_away_does_not_vary() {
        let narrowed = space(FILE, &["kind=constant"], &[]).unwrap();
        assert_eq!(shown(&narrowed), ["kind=\"constant\""]);
        assert_eq!(narrowed.fixed.len(), 2, "{:?}", narrowed.fixed);
        // It is written as it is then, and can be read again.
        let resolved = narrowed.resolved();
        assert!(resolved.when.is_empty() && resolved.params.len() == 1, "{resolved:?}");
        let kept = space(FILE, &["kind=cosine"], &[]).unwrap();
        assert_eq!(shown(&kept).len(), 3);
        // What the file itself, or the command line itself, has wrong is a slip.
        let slip = FILE.replace("warmup: kind=cosine", "warmup: kind=cosinus");
        assert!(space(&slip, &[], &[]).is_err());
        assert!(space("", &["a=1,2", "b=1,2"], &["b:a=3"]).is_err());
    }

    #[test]
    fn ranges_hold_between_their_ends() {
        let holds =
            |params: &[&str], when: &str, value: Value| space("", params, &[when]).unwrap().conditions[0].holds(&value);
        let interval = ["rate=uniform(0, 0.5)", "b=1,2"];
        for (value, expected) in [(0.1, true), (0.2, true), (0.3, true), (0.05, false), (0.31, false)] {
            assert_eq!(holds(&interval, "b:rate=0.1..=0.3", Value::Float(value)), expected, "{value}");
        }
        assert!(!holds(&interval, "b:rate=0.1..0.3", Value::Float(0.3)));
        let whole = ["n=int(1, 9)", "b=1,2"];
        assert!(holds(&whole, "b:n=4,6", Value::Int(6)) && !holds(&whole, "b:n=4,6", Value::Int(5)));
        // Of a list, those that lie between; numbers are the same however they are written.
        let list = space("", &["rate=0.0,0.1,0.2,0.3", "b=1,2"], &["b:rate=0.1..=0.2", "b:rate=0,0.1"]).unwrap();
        assert_eq!(list.conditions[0].text(), "rate=0.1,0.2");
        assert!(list.conditions[1].holds(&Value::Float(0.0)));
        for when in ["b:rate=0.6..=0.9", "b:rate=0.2", "b:rate=0.3..=0.1", "b:rate=uniform(0, 1)"] {
            assert!(space("", &interval, &[when]).is_err(), "{when}");
        }
    }

    #[test]
    fn conditions_are_written_as_they_are_read() {
        for (params, when) in [
            (["rate=uniform(0, 0.5)", "b=1,2"], "b:rate=0.125..=0.3"),
            (["rate=uniform(0, 0.5)", "b=1,2"], "b:rate=0.1..0.3"),
            (["kind=\"a,b\",c", "b=1,2"], "b:kind=\"a,b\""),
            (["n=int(1, 9)", "b=1,2"], "b:n=2..=4,7"),
        ] {
            let one = space("", &params, &[when]).unwrap();
            let again = space("", &params, &[&format!("b:{}", one.conditions[0].text())]).unwrap();
            assert_eq!(one.conditions, again.conditions, "{when}");
        }
    }

    #[test]
    fn circles_are_refused() {
        for when in [&["a:a=1"][..], &["a:b=1", "b:a=1"], &["c:a=1", "a:b=1", "b:a=2"]] {
            assert!(space("", &["a=1,2", "b=1,2", "c=1,2"], when).is_err(), "{when:?}");
        }
        assert!(space("", &["a=1,2", "b=1,2", "c=1,2"], &["c:a=1", "c:b=1", "b:a=1"]).is_ok());
    }
}
