use super::{super::ops::Accumulate, Decay, Ema, Optimizer, rule};

/// Parameters that are updated alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Multiplies the learning rate.
    pub rate: f32,
    /// Whether weight decay is taken off.
    pub decays: bool,
    /// Whether the rule is that of the parameters that a rule for matrices leaves.
    pub other: bool,
}

/// An optimizer on the parameters of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    optimizer: Optimizer,
    /// The rule of what that leaves, with its learning rate as a multiple of that of the matrices.
    other: Option<(Optimizer, f32)>,
    groups: Vec<Group>,
    /// By parameter; `None` for moving averages and what is frozen, which are none of an optimizer's.
    group_of: Vec<Option<usize>>,
}

impl Plan {
    pub(super) fn new(optimizer: &Optimizer, groups: Vec<Group>, group_of: Vec<Option<usize>>) -> Self {
        let rate = optimizer.others.as_ref().map_or(1.0, |others| others.rate);
        let other = optimizer.other().map(|other| (other, rate));
        Self { optimizer: optimizer.clone(), other, groups, group_of }
    }

    /// How many groups of parameters there are, the first of which has those that nothing is said of.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The rules: the optimizer's, and that of the parameters that a rule for matrices leaves.
    pub fn rules(&self) -> impl Iterator<Item = &Optimizer> {
        [&self.optimizer].into_iter().chain(self.other.as_ref().map(|(other, _)| other))
    }

    /// Which of the rules a parameter has; none, if it is a moving average or frozen.
    pub fn rule_of(&self, parameter: usize) -> Option<usize> {
        self.group_of[parameter].map(|group| usize::from(self.groups[group].other))
    }

    /// The rule of a group with its numbers, and what its learning rate is multiplied by.
    fn of_group(&self, group: &Group) -> (&Optimizer, f32) {
        match &self.other {
            Some((other, rate)) if group.other => (other, rate * group.rate),
            _ => (&self.optimizer, group.rate),
        }
    }

    /// The rule of a parameter with its numbers.
    pub fn optimizer(&self, parameter: usize) -> &Optimizer {
        self.of_group(&self.groups[self.group_of[parameter].unwrap_or(0)]).0
    }

    /// The largest norm of all gradients together, if there is one.
    pub fn clip_norm(&self) -> Option<f32> {
        self.optimizer.clip_norm
    }

    /// What is kept of a parameter: in which group of the store, of which the first are the parameters, and its name.
    /// Averages have a group of their own, and so have sums of gradients, the last. A moving average has no optimizer, but
    /// a copy among the averages; so has a parameter that is frozen.
    pub fn slots(&self, parameter: usize) -> Vec<(usize, &'static str)> {
        if !self.updates(parameter) {
            return self.ema_group().map(|group| (group, Ema::SLOT)).into_iter().collect();
        }
        let mut slots = self.slots_of(self.optimizer(parameter));
        slots.extend(self.accumulator_group().map(|group| (group, Accumulate::SLOT)));
        slots
    }

    /// What an update changes besides a parameter of one of the rules; see [`Plan::slots`].
    pub fn slots_of(&self, optimizer: &Optimizer) -> Vec<(usize, &'static str)> {
        let of_rule = optimizer.rule.slots.iter().copied().zip(1..).map(|(slot, group)| (group, slot));
        of_rule.chain(self.ema_group().map(|group| (group, Ema::SLOT))).collect()
    }

    /// Most that a rule keeps of a parameter.
    fn most_slots(&self) -> usize {
        (0..self.group_of.len()).map(|parameter| self.optimizer(parameter).rule.slots.len()).max().unwrap_or(0)
    }

    /// How many groups the store has: parameters, then what is kept of them.
    pub fn store_groups(&self) -> usize {
        1 + self.most_slots() + usize::from(self.optimizer.ema.is_some()) + usize::from(self.accumulates())
    }

    /// Micro-batches whose gradients make the mean of one update.
    pub fn gradient_accumulation_steps(&self) -> u32 {
        self.optimizer.gradient_accumulation_steps
    }

    /// Whether gradients of several micro-batches make an update.
    pub fn accumulates(&self) -> bool {
        self.gradient_accumulation_steps() > 1
    }

    /// Whether the step that follows so many ends with an update. Those of all epochs are counted, as in Keras.
    pub fn updates_after(&self, iteration: u64) -> bool {
        (iteration + 1).is_multiple_of(u64::from(self.gradient_accumulation_steps().max(1)))
    }

    /// The group of the sums of gradients, if several make an update.
    pub fn accumulator_group(&self) -> Option<usize> {
        self.accumulates().then(|| self.store_groups() - 1)
    }

    /// The group of the averages of parameters, if they are kept.
    pub fn ema_group(&self) -> Option<usize> {
        self.optimizer.ema.map(|_| 1 + self.most_slots())
    }

    /// The group that evaluation takes as the parameters.
    pub fn evaluated_group(&self) -> usize {
        self.ema_group().filter(|_| self.optimizer.ema.is_some_and(|ema| ema.evaluate)).unwrap_or(0)
    }

    /// Whether the optimizer changes a parameter, rather than a moving average taking its place, or nothing.
    pub fn updates(&self, parameter: usize) -> bool {
        self.group_of[parameter].is_some()
    }

    /// How many numbers of a step the updates of the first groups read.
    fn scalars_of(&self, groups: &[Group]) -> usize {
        groups.iter().map(|group| self.of_group(group).0.scalars()).sum()
    }

    /// Which numbers of a step the update of a parameter reads: the first. Of a moving average, 0.
    pub fn first_scalar(&self, parameter: usize) -> usize {
        self.scalars_of(&self.groups[..self.group_of[parameter].unwrap_or(0)])
    }

    /// How many numbers [`Plan::write_scalars`] gives.
    pub fn scalars(&self) -> usize {
        self.scalars_of(&self.groups)
    }

    /// The numbers of one step, for each group: the share of a parameter that decays, then the rule's scalars, then, with
    /// averages, the share of a parameter in its own. `iteration` counts the steps before it, of which an update may take several.
    ///
    /// # Panics
    /// When there is not room for just so many.
    pub fn write_scalars(&self, learning_rate: f32, iteration: u64, mut to: &mut [f32]) {
        assert_eq!(to.len(), self.scalars());
        let iteration = iteration / u64::from(self.gradient_accumulation_steps().max(1));
        for group in &self.groups {
            let (optimizer, rate) = self.of_group(group);
            let (own, rest) = to.split_at_mut(optimizer.scalars());
            let learning_rate = learning_rate * rate;
            let decay = match optimizer.decay {
                Decay::Scaled => learning_rate * optimizer.weight_decay,
                Decay::Plain => optimizer.weight_decay,
            };
            own[0] = if group.decays { decay } else { 0.0 };
            let step = rule::Iteration {
                numbers: optimizer.numbers(),
                learning_rate,
                iteration,
                total: self.optimizer.total_steps,
            };
            for ((_, scalar), to) in optimizer.rule.scalars.iter().zip(&mut own[1..]) {
                *to = scalar(&step) as f32;
            }
            if let (Some(ema), Some(to)) = (optimizer.ema, own.last_mut()) {
                *to = ema.share(iteration) as f32;
            }
            to = rest;
        }
    }

    /// As [`Plan::write_scalars`].
    pub fn step_scalars(&self, learning_rate: f32, iteration: u64) -> Vec<f32> {
        let mut scalars = vec![0.0; self.scalars()];
        self.write_scalars(learning_rate, iteration, &mut scalars);
        scalars
    }
}
