use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    Former,
    calibration::{self, Timing},
    constraints, keys,
    search::Verdict,
    space::{SEED, name},
};
use crate::{
    data::{self, Spec},
    dsl::{Problem, Value},
    experiment::{
        Definition, Experiment, ExperimentError, accumulation, averages, class_weights, definition::MODEL_KEY,
        image_size, needs::Needs, training::Options, unvalidated,
    },
    memory,
    model::Constraint,
    trial::{Directory, Prediction, Variant, variant},
};

/// A variant that passed all checks.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What it changes of the experiment.
    pub variant: Variant,
    /// The experiment with that, and the model's text.
    pub definition: Definition,
    /// What it will cost.
    pub prediction: Prediction,
    /// The trial's directory.
    pub folder: PathBuf,
    /// Whether it has its result already.
    pub finished: bool,
}

/// The variants of a round, checked and costed before its first step.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order in which they are trained.
    pub trials: Vec<Planned>,
    /// Variants that cannot be, with the reason.
    pub invalid: Vec<(Variant, ExperimentError)>,
    /// What else there is to know beforehand.
    pub notes: Vec<String>,
    /// Whether some have no validation images.
    pub unvalidated: bool,
    /// Trials run elsewhere: how long they take is not known here, and this machine's memory does not matter.
    pub elsewhere: bool,
    /// What is most likely not meant in the model, of any of the variants.
    pub warnings: Vec<Problem>,
}

/// How far planning has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planning {
    /// So many variants were parsed and shape-checked.
    Checked(usize),
    /// Of so many trials, so many were costed.
    Costed {
        /// Costed so far.
        done: usize,
        /// All that are costed.
        of: usize,
    },
}

/// A variant that can be trained.
#[derive(Clone)]
struct Checked {
    definition: Definition,
    spec: Rc<Spec>,
    network: Rc<Network>,
    /// Images.
    training: usize,
    validation: usize,
}

/// What is kept of an architecture: there may be very many of them.
struct Network {
    text: String,
    parameters: u64,
    flops: u64,
}

/// Checks and costs variants; what was timed once is not timed again.
pub struct Planner<'a> {
    base: &'a Definition,
    /// Of the sweep.
    folder: &'a Path,
    /// Of one trial: its share of the threads.
    options: Options,
    described: HashMap<String, Rc<Spec>>,
    /// By the model's text, its parameters and its data.
    networks: HashMap<String, Rc<Network>>,
    /// Networks whose weights from elsewhere fit, with what says so.
    fitting: HashSet<String>,
    /// By the name of a variant.
    verdicts: HashMap<String, Verdict>,
    /// Variants that were checked, and not yet planned.
    checked: HashMap<String, Checked>,
    /// The first variant of those that train the same.
    first: HashMap<String, Variant>,
    /// What variants must meet, and how many each has left out.
    constraints: &'a [Constraint],
    left_out: Vec<usize>,
    /// A sweep that has trained some of the variants.
    former: Option<&'a Former>,
    /// What the next plan says of the variants that were judged since the last.
    invalid: Vec<(Variant, ExperimentError)>,
    same: Vec<String>,
    warnings: Vec<Problem>,
    /// Whether steps are timed: only where trials run on this machine.
    pub times: bool,
    /// Time and memory by all that they depend on.
    costed: HashMap<String, (Option<Timing>, u64)>,
}

impl<'a> Planner<'a> {
    /// `options` are those of one trial.
    pub fn new(base: &'a Definition, folder: &'a Path, options: Options) -> Self {
        Self {
            base,
            folder,
            options,
            described: HashMap::new(),
            networks: HashMap::new(),
            fitting: HashSet::new(),
            verdicts: HashMap::new(),
            checked: HashMap::new(),
            first: HashMap::new(),
            constraints: &[],
            left_out: Vec::new(),
            former: None,
            invalid: Vec::new(),
            same: Vec::new(),
            warnings: Vec::new(),
            times: true,
            costed: HashMap::new(),
        }
    }

    /// Leaves out variants that do not meet all of these.
    pub fn constrained(self, constraints: &'a [Constraint]) -> Self {
        Self { constraints, left_out: vec![0; constraints.len()], ..self }
    }

    /// Does not time what a former sweep has trained.
    pub fn after(self, former: Option<&'a Former>) -> Self {
        Self { former, ..self }
    }

    /// How many variants each of the conditions has left out.
    pub fn left_out(&self) -> &[usize] {
        &self.left_out
    }

    /// The first condition that a variant does not meet.
    fn unmet(&self, variant: &Variant) -> Result<Option<usize>, ExperimentError> {
        for (index, constraint) in self.constraints.iter().enumerate() {
            if !constraints::holds(self.base, variant, constraint)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Refuses a sweep over parameters that the model does not use, before its variants are told one by one.
    ///
    /// # Errors
    /// As [`keys::check_read`]. What else is wrong is found with the variants.
    pub fn check_read(&mut self, keys: &[&str]) -> Result<(), ExperimentError> {
        let base = self.base;
        let model = self.describe(base).and_then(|spec| base.architecture(&spec.image()));
        match model {
            Ok(model) if !keys.contains(&MODEL_KEY) => keys::check_read(keys.iter().copied(), &model),
            _ => Ok(()),
        }
    }

    /// Parses and shape-checks a variant.
    pub fn judge(&mut self, variant: &Variant) -> Verdict {
        let name = name(variant);
        if let Some(known) = self.verdicts.get(&name) {
            return *known;
        }
        let checked = match self.unmet(variant) {
            Ok(Some(unmet)) => {
                self.left_out[unmet] += 1;
                self.verdicts.insert(name, Verdict::LeftOut);
                return Verdict::LeftOut;
            }
            Ok(None) => self.check(variant),
            Err(error) => Err(error),
        };
        let verdict = match checked {
            Ok(checked) => match self.first.entry(checked.trains()) {
                Entry::Occupied(first) => {
                    self.same.push(told_apart(variant, first.get()));
                    Verdict::Same
                }
                Entry::Vacant(first) => {
                    first.insert(variant.clone());
                    self.checked.insert(name.clone(), checked);
                    Verdict::Fine
                }
            },
            Err(error) => {
                self.invalid.push((variant.clone(), error));
                Verdict::Impossible
            }
        };
        self.verdicts.insert(name, verdict);
        verdict
    }

    /// How many variants were judged, those aside that do not meet the sweep's conditions.
    pub fn judged(&self) -> usize {
        self.verdicts.len() - self.left_out.iter().sum::<usize>()
    }

    /// How many variants that were judged can be trained, each in a way of its own.
    pub fn fine(&self) -> usize {
        self.first.len()
    }

    /// Whether any of those that were judged since the last plan cannot be.
    pub fn any_impossible(&self) -> bool {
        !self.invalid.is_empty()
    }

    /// Times a few steps of those of the variants that can be trained, each with all of its `seeds`, that were not
    /// timed before, and tells what was found of all that were judged since the last plan. When it is interrupted,
    /// there are no trials.
    ///
    /// # Errors
    /// When the data set of all of them cannot be described.
    pub fn plan(
        &mut self,
        points: &[Variant],
        seeded: impl Fn(&Variant) -> Vec<Variant>,
        mut progress: impl FnMut(Planning),
    ) -> Result<Plan, ExperimentError> {
        if let (0, Some((_, ExperimentError::Data(_)))) = (self.fine(), self.invalid.last()) {
            // Where no data is, it is not for the variants to be fine.
            return self.invalid.pop().map_or_else(|| Ok(Plan::default()), |(_, error)| Err(error));
        }
        let mut plan = Plan { invalid: std::mem::take(&mut self.invalid), ..Plan::default() };
        plan.elsewhere = !self.times;
        plan.notes.append(&mut self.same);
        plan.warnings.append(&mut self.warnings);
        let fine: Vec<(&Variant, Checked)> =
            points.iter().filter_map(|point| Some((point, self.checked.remove(&name(point))?))).collect();
        let mut unvalidated = false;
        let of = fine.iter().map(|(point, _)| seeded(point).len()).sum();
        for (point, checked) in fine {
            unvalidated |= checked.validation == 0;
            for variant in seeded(point) {
                // What was planned so far is nothing yet.
                if self.options.interrupt.requested() {
                    return Ok(Plan::default());
                }
                progress(Planning::Costed { done: plan.trials.len(), of });
                let mut checked = checked.clone();
                if let Some((_, Value::Int(seed))) = variant.iter().find(|(key, _)| key == SEED) {
                    checked.definition.experiment.train.seed = *seed as u64;
                }
                plan.trials.push(self.predict(variant, checked)?);
            }
        }
        plan.unvalidated = unvalidated;
        Ok(plan)
    }

    fn check(&mut self, variant: &Variant) -> Result<Checked, ExperimentError> {
        let definition = self.base.with(variant)?;
        let spec = self.describe(&definition)?;
        let data = &definition.experiment.data;
        let (training, validation) = spec.split(data.train_limit, data.validation_split)?;
        unvalidated::check(&definition.experiment.train, validation)?;
        accumulation::check(&definition.experiment.train, training)?;
        class_weights::check(&definition.experiment.train, &spec.class_names)?;
        let Experiment { params, train, .. } = &definition.experiment;
        let key = format!("{:?} {params:?} {:?}\n{}", spec.image(), train.image_size, definition.source.text);
        if let Some(init) = &definition.experiment.init {
            // Weights that do not fit are told before anything is trained.
            let key = format!("{key}\n{init:?}");
            if !self.fitting.contains(&key) {
                init.find(&definition.architecture(&spec.image())?)?;
                self.fitting.insert(key);
            }
        }
        let network = match self.networks.get(&key) {
            Some(known) => known.clone(),
            None => {
                let architecture = definition.architecture(&spec.image())?;
                // Of several models, some may not use what the others do.
                if !variant.iter().any(|(key, _)| key == MODEL_KEY) {
                    keys::check_read(variant.iter().map(|(key, _)| key.as_str()), &architecture)?;
                }
                self.warn(architecture.warnings());
                self.warn(averages::young(&architecture, training, &definition.experiment.train).as_slice());
                image_size::networks(&definition, &spec.image(), &architecture)?;
                let summary = architecture.summary();
                let (parameters, flops) = (summary.parameters, summary.flops);
                let network = Rc::new(Network { text: architecture.text(), parameters, flops });
                self.networks.insert(key, network.clone());
                network
            }
        };
        Ok(Checked { definition, spec, network, training, validation })
    }

    /// Keeps warnings for the next plan. Variants of one model have the same ones.
    fn warn(&mut self, warnings: &[Problem]) {
        for warning in warnings {
            let place = |problem: &Problem| (problem.start(), problem.message().to_owned());
            if !self.warnings.iter().any(|other| place(other) == place(warning)) {
                self.warnings.push(warning.clone());
            }
        }
    }

    fn predict(&mut self, variant: Variant, checked: Checked) -> Result<Planned, ExperimentError> {
        let Network { parameters, flops, .. } = *checked.network;
        let folder = self.folder.join("trials").join(checked.definition.identity());
        let finished = Directory::new(&folder).has_result();
        let threads = self.options.threads();
        let known = Prediction::read(&folder)?.filter(|known| finished || !self.times || known.threads == threads);
        let known = match (known, self.former) {
            (None, Some(former)) => former.prediction(&folder)?,
            (known, _) => known,
        };
        let prediction = match known {
            Some(known) => known,
            None => {
                let (timing, memory_bytes) = self.cost(&checked)?;
                let first_seconds = timing.map_or(0.0, |timing| timing.first_seconds);
                let epoch_seconds = timing.map(|timing| timing.epoch_seconds);
                Prediction { parameters, flops, epoch_seconds, first_seconds, memory_bytes, threads }
            }
        };
        Ok(Planned { variant, definition: checked.definition, prediction, folder, finished })
    }

    fn describe(&mut self, definition: &Definition) -> Result<Rc<Spec>, ExperimentError> {
        let data = &definition.experiment.data;
        let options = definition.data_options(self.options.data_dir.clone());
        let key = format!("{} {options:?}", data.name);
        if let Some(known) = self.described.get(&key) {
            return Ok(known.clone());
        }
        let spec = Rc::new(data::describe(&data.name, &options)?);
        self.described.insert(key, spec.clone());
        Ok(spec)
    }

    /// Time and memory of a variant. Seeds and rates cost nothing.
    fn cost(&mut self, checked: &Checked) -> Result<(Option<Timing>, u64), ExperimentError> {
        let Checked { definition, spec, network, training, validation } = checked;
        let (training, validation) = (*training, *validation);
        let data = &definition.experiment.data;
        let test = data.test_limit.map_or(spec.test, |limit| limit.min(spec.test));
        let batch = definition.experiment.train.batch_size;
        let key = format!(
            "{batch} {training} {validation} {test} {} {:?}\n{}",
            spec.name, definition.experiment.augmentation, network.text
        );
        if let Some(known) = self.costed.get(&key) {
            return Ok(*known);
        }
        let needs = Needs::training(definition, spec, &self.options)?;
        let memory_bytes = needs.bytes(definition, &spec.image(), &self.options)?;
        // What does not fit could not be timed either.
        let fits = || memory::available_bytes().is_none_or(|available| memory_bytes <= available);
        let timing = match self.times && fits() {
            true => {
                let architecture = definition.architecture(&spec.image())?;
                Some(calibration::time(definition, architecture, spec, (training, validation), &self.options)?)
            }
            false => None,
        };
        self.costed.insert(key, (timing, memory_bytes));
        Ok((timing, memory_bytes))
    }
}

impl Checked {
    /// A text for all that a training depends on: that of another variant is the same where both train the same.
    /// 0 and 0.0 are the same value, unless the model makes something else of them.
    fn trains(&self) -> String {
        let mut definition = self.definition.clone();
        definition.experiment.params.values_mut().for_each(whole);
        format!("{}\n{}", definition.identity(), without_zeros(&self.network.text))
    }
}

/// Makes whole numbers of numbers that are whole.
fn whole(value: &mut Value) {
    match value {
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => *value = Value::Int(*number as i64),
        Value::List(values) => values.iter_mut().for_each(whole),
        _ => {}
    }
}

/// A network's text with 0 where it has 0.0: a layer that is given either is the same.
fn without_zeros(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split(".0").peekable();
    while let Some(part) = parts.next() {
        plain += part;
        let Some(next) = parts.peek() else { break };
        let number = part.ends_with(|c: char| c.is_ascii_digit());
        let longer = next.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        if !number || longer {
            plain += ".0";
        }
    }
    plain
}

/// "`rate=0.0` is the same as `rate=0`", for what differs of two variants.
fn told_apart(variant: &Variant, first: &Variant) -> String {
    let apart = |one: &Variant, other: &Variant| {
        let different = one.iter().filter(|pair| !other.contains(pair));
        let text = name(&different.cloned().collect());
        if text.is_empty() { "the variant without it".to_owned() } else { format!("`{text}`") }
    };
    format!("{} trains the same as {}, and is left out", apart(variant, first), apart(first, variant))
}

impl Planned {
    /// Makes the trial's directory, or finds it as it was left.
    ///
    /// # Errors
    /// As [`Definition::write`].
    pub fn write(&self) -> Result<(), ExperimentError> {
        self.definition.write(&self.folder)?;
        variant::note(&self.folder, &self.variant)?;
        // Others may have timed it, where this process does not.
        let known = Prediction::read(&self.folder)?;
        if known != Some(self.prediction) && (known.is_none() || self.prediction.epoch_seconds.is_some()) {
            self.prediction.write(&self.folder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_the_same_however_they_are_written() {
        let same = [("{rate = 0.0}", "{rate = 0}"), ("{a = 12.0, b = [1.0, 0.25]}", "{a = 12, b = [1, 0.25]}")];
        for (text, expected) in same {
            assert_eq!(without_zeros(text), expected);
        }
        for other in ["{rate = 0.05}", "{rate = 1.001}", "{a = 10, b = 0.10}", "// name.0", ".0", ""] {
            assert_eq!(without_zeros(other), other);
        }
        let mut value = Value::List(vec![Value::Float(-0.0), Value::Float(0.5), Value::Str("1.0".into())]);
        whole(&mut value);
        assert_eq!(value.to_string(), "[0, 0.5, \"1.0\"]");
    }
}
