use super::{
    super::{
        Parameter,
        expression::{Formulas, Term},
        ops::flat,
    },
    Ema, Group, OPTIMIZERS, Operands, Pattern, Plan, Rule, Setting,
    layer_decay::distances,
    momentum::MOMENTUM_WARMUP,
    rule::Numbers,
};

/// How weight decay goes with the learning rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Decay {
    /// A step takes `learning_rate · weight_decay` of a parameter off, as in Keras and PyTorch.
    #[default]
    Scaled,
    /// A step takes `weight_decay` of a parameter off, whatever the learning rate is, as in TensorFlow Addons.
    Plain,
}

/// The rule of parameters that a rule for matrices does not take.
#[derive(Debug, Clone, PartialEq)]
pub struct Others {
    /// Its rule, numbers and weight decay; all else is as of the rule for matrices.
    pub optimizer: Optimizer,
    /// Its learning rate as a multiple of that of the matrices.
    pub rate: f32,
    /// Matrices that it takes as well.
    pub parameters: Vec<Pattern>,
}

/// A rule with its numbers: all that an engine needs to know but for the learning rate, which comes step by step.
#[derive(Debug, Clone)]
pub struct Optimizer {
    /// What one step does to an element.
    pub rule: &'static Rule,
    /// As the rule's options.
    pub values: Vec<f32>,
    /// The share of a parameter that a step takes off, times the learning rate or not: see `decay`.
    pub weight_decay: f32,
    /// Whether weight decay is multiplied by the learning rate.
    pub decay: Decay,
    /// Parameters that do not decay.
    pub no_decay: Vec<Pattern>,
    /// What the learning rate is multiplied by; of patterns that have a parameter, the first counts.
    pub rates: Vec<(Pattern, f32)>,
    /// What the learning rate is multiplied by for each block between a parameter and the last layers; see
    /// [`distances`].
    pub layer_decay: Option<f32>,
    /// The largest norm of all gradients together; see [`ClipFactor`](crate::graph::ops::ClipFactor).
    pub clip_norm: Option<f32>,
    /// The average of the parameters that is kept.
    pub ema: Option<Ema>,
    /// Of a rule for matrices: what updates all else. None for others.
    pub others: Option<Box<Others>>,
    /// Micro-batches whose gradients make the mean of one update; at least 1.
    pub gradient_accumulation_steps: u32,
    /// Updates of the whole training, for numbers that change on the way; 0 where that is not known.
    pub total_steps: u64,
}

impl PartialEq for Optimizer {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.rule, other.rule)
            && self.values == other.values
            && self.weight_decay == other.weight_decay
            && self.decay == other.decay
            && self.no_decay == other.no_decay
            && self.rates == other.rates
            && self.layer_decay == other.layer_decay
            && self.clip_norm == other.clip_norm
            && self.ema == other.ema
            && self.others == other.others
            && self.gradient_accumulation_steps == other.gradient_accumulation_steps
            && self.total_steps == other.total_steps
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::of(OPTIMIZERS[0])
    }
}

impl Optimizer {
    /// A rule with its default numbers.
    pub fn of(rule: &'static Rule) -> Self {
        let values = rule.options.iter().map(|option| option.default).collect();
        let others = rule.direction.map(|_| {
            let optimizer = Self::of(OPTIMIZERS[0]);
            let rate = optimizer.rule.learning_rate / rule.learning_rate;
            Box::new(Others { optimizer, rate, parameters: Vec::new() })
        });
        Self {
            rule,
            values,
            weight_decay: rule.weight_decay,
            decay: Decay::default(),
            no_decay: Vec::new(),
            rates: Vec::new(),
            layer_decay: None,
            clip_norm: None,
            ema: None,
            others,
            gradient_accumulation_steps: 1,
            total_steps: 0,
        }
    }

    /// Whether a momentum grows in a share of all steps.
    pub fn warms_momentum_up(&self) -> bool {
        let warms = |optimizer: &Self| {
            let named = optimizer.rule.options.iter().any(|option| option.name == MOMENTUM_WARMUP.name);
            named && optimizer.option(MOMENTUM_WARMUP.name) > 0.0
        };
        warms(self) || self.other().is_some_and(|other| warms(&other))
    }

    /// The same with one of the rule's numbers set.
    ///
    /// # Panics
    /// When the rule has no option of that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: f32) -> Self {
        let at = self.rule.options.iter().position(|option| option.name == name);
        self.values[at.unwrap_or_else(|| panic!("`{}` has no option `{name}`", self.rule.name))] = value;
        self
    }

    pub(super) fn numbers(&self) -> Numbers<'_> {
        Numbers { rule: self.rule, values: &self.values }
    }

    /// A number of the rule.
    ///
    /// # Panics
    /// When the rule has no option of that name.
    pub fn option(&self, name: &str) -> f32 {
        self.numbers().get(name)
    }

    /// Names and numbers, for listings.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let text = |value: f32| match value {
            small if small != 0.0 && small.abs() < 1e-5 => format!("{small:e}"),
            value => value.to_string(),
        };
        let later = |option: &Setting, value: f32| self.rule.later.contains(&option.name) && value == option.default;
        let options = self.rule.options.iter().zip(&self.values).filter(|(option, value)| !later(option, **value));
        let options = options.map(|(option, value)| (option.name, text(*value)));
        let clip_norm = self.clip_norm.map(|norm| ("clip_norm", text(norm)));
        let ema = self.ema.map(|ema| ("ema", text(ema.decay)));
        options.chain([("weight_decay", self.weight_decay.to_string())]).chain(clip_norm).chain(ema).collect()
    }

    /// The rule of the parameters that this one does not take, with all that holds for every parameter.
    pub(super) fn other(&self) -> Option<Self> {
        let others = self.others.as_ref()?;
        let Self { decay, clip_norm, ema, .. } = *self;
        Some(Self { decay, clip_norm, ema, others: None, ..others.optimizer.clone() })
    }

    /// Whether a rule for matrices takes a parameter: a kernel of more than one row and more than one column.
    fn takes(&self, parameter: &Parameter) -> bool {
        let Some(others) = &self.others else { return true };
        let [rows, columns] = flat(&parameter.value.shape);
        let kernel = parameter.name.rsplit('/').next() == Some("kernel") && rows > 1 && columns > 1;
        kernel && !others.parameters.iter().any(|pattern| pattern.has(parameter))
    }

    /// How many inputs [`Optimizer::formulas`] have.
    fn inputs(&self) -> usize {
        let more = usize::from(self.clip_norm.is_some()) + usize::from(self.rule.direction.is_some());
        1 + self.states() + self.scalars() + more
    }

    /// What updates are computed from, of the inputs of [`Optimizer::formulas`], and what `with` makes of it.
    fn operands<R>(&self, x: &[Term], with: impl FnOnce(&Operands) -> R) -> R {
        let (tensors, scalars) = x[2..].split_at(self.states() - 1);
        let gradient = match self.clip_norm {
            Some(_) => &x[1] * &scalars[self.scalars()],
            None => x[1].clone(),
        };
        with(&Operands {
            numbers: self.numbers(),
            parameter: &x[0] - &x[0] * &scalars[0],
            direction: if self.rule.direction.is_some() { x[x.len() - 1].clone() } else { gradient.clone() },
            gradient,
            slots: &tensors[..self.rule.slots.len()],
            scalars: &scalars[1..],
        })
    }

    /// Of a rule for matrices, what a step makes orthogonal: a function of the inputs of [`Optimizer::formulas`] without
    /// the last.
    pub fn direction(&self) -> Option<Formulas> {
        let direction = self.rule.direction?;
        Some(Formulas::new(self.inputs(), |x| vec![self.operands(x, direction)]))
    }

    /// What a step by a rule for matrices does before its direction is known: what is to be made orthogonal, then the rule's
    /// slots; the inputs are those of [`Optimizer::direction`].
    pub fn before_direction(&self) -> Option<Formulas> {
        let direction = self.rule.direction?;
        Some(Formulas::new(self.inputs(), |x| {
            self.operands(x, |operands| {
                let slots = (self.rule.update)(operands).into_iter().skip(1);
                [direction(operands)].into_iter().chain(slots).collect()
            })
        }))
    }

    /// What it does once the slots are those after the step, and the gradient is the direction: see
    /// [`Optimizer::formulas`].
    pub fn after_direction(&self) -> Option<Formulas> {
        self.rule.direction?;
        Some(Formulas::new(self.inputs(), |x| {
            let own = self.operands(x, |operands| {
                (self.rule.update)(&Operands { direction: x[1].clone(), ..operands.copied() }).swap_remove(0)
            });
            let slots = x[2..2 + self.rule.slots.len()].iter().cloned();
            self.averaged(x, [own].into_iter().chain(slots).collect())
        }))
    }

    /// With the average of the parameter, if it is kept, after what is updated.
    fn averaged(&self, x: &[Term], mut updated: Vec<Term>) -> Vec<Term> {
        if self.ema.is_some() {
            let kept = &x[2..];
            let (average, share) = (&kept[self.states() - 2], &kept[self.states() + self.scalars() - 2]);
            updated.push(average + (&updated[0] - average) * share);
        }
        updated
    }

    /// What a step does to one element: the parameter after it, then its slots, as functions of the parameter, the
    /// gradient, the slots, the numbers of the step, see [`Plan::write_scalars`], where gradients are clipped what they
    /// are multiplied by, and of a rule for matrices the orthogonal direction.
    pub fn formulas(&self) -> Formulas {
        Formulas::new(self.inputs(), |x| {
            let updated = self.operands(x, self.rule.update);
            self.averaged(x, updated)
        })
    }

    /// How many tensors a step changes for each parameter: it, and what [`Optimizer::slots`] names. A step may ask: it
    /// allocates nothing.
    pub fn states(&self) -> usize {
        1 + self.rule.slots.len() + usize::from(self.ema.is_some())
    }

    /// As [`Optimizer::states`], with the sum of the gradients of micro-batches.
    pub fn kept(&self) -> usize {
        self.states() + usize::from(self.gradient_accumulation_steps > 1)
    }

    /// What is kept of each parameter from step to step: the rule's slots, then the average.
    pub fn slots(&self) -> Vec<&'static str> {
        self.rule.slots.iter().copied().chain(self.ema.map(|_| Ema::SLOT)).collect()
    }

    /// How many numbers of a step a parameter's update reads: the share that decays, then the rule's scalars, then the
    /// share of the parameter in its average.
    pub fn scalars(&self) -> usize {
        1 + self.rule.scalars.len() + usize::from(self.ema.is_some())
    }

    /// How each parameter of a network is updated.
    pub fn plan(&self, parameters: &[Parameter]) -> Plan {
        let mut groups = vec![Group { rate: 1.0, decays: true, other: false }];
        let distances = self.layer_decay.and_then(|_| distances(parameters));
        let group_of = parameters.iter().enumerate().map(|(at, parameter)| {
            if parameter.frozen || parameter.averaged.is_some() {
                return None;
            }
            let rate = self.rates.iter().find(|(pattern, _)| pattern.has(parameter)).map_or(1.0, |(_, rate)| *rate);
            let distance = distances.as_ref().map_or(0, |distances| distances[at]);
            let rate = rate * self.layer_decay.unwrap_or(1.0).powi(distance);
            let decays = !self.no_decay.iter().any(|pattern| pattern.has(parameter));
            let group = Group { rate, decays, other: !self.takes(parameter) };
            Some(groups.iter().position(|known| *known == group).unwrap_or_else(|| {
                groups.push(group);
                groups.len() - 1
            }))
        });
        let group_of = group_of.collect();
        Plan::new(self, groups, group_of)
    }

    /// Whether every pattern is of some parameter. Words need not be.
    ///
    /// # Errors
    /// The pattern that is of none, and the parameters that there are.
    pub fn check(&self, parameters: &[Parameter]) -> Result<(), String> {
        const MOST: usize = 12;
        let no_decay = self.no_decay.iter().map(|pattern| ("no_decay", pattern));
        let rates = self.rates.iter().map(|(pattern, _)| ("rates", pattern));
        let others =
            self.others.iter().flat_map(|others| &others.parameters).map(|pattern| ("others.parameters", pattern));
        let patterns = no_decay.chain(rates).chain(others);
        let mut idle = patterns
            .filter(|(_, pattern)| !pattern.is_word() && !parameters.iter().any(|parameter| pattern.has(parameter)));
        if self.layer_decay.is_some() && distances(parameters).is_none() {
            return Err(
                "train.optimizer.layer_decay: the model has no repeated blocks of layers, `NAME0/..`, `NAME1/..`; \
                        `rates` gives layers rates by name"
                    .into(),
            );
        }
        let Some((key, pattern)) = idle.next() else { return Ok(()) };
        let names: Vec<&str> = parameters.iter().take(MOST).map(|parameter| parameter.name.as_str()).collect();
        let more = match parameters.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(format!(
            "train.optimizer.{key}: no parameter is named `{}`; the model has {}{more}",
            pattern.text(),
            names.join(", ")
        ))
    }
}
