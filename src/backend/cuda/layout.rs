//! Where the device keeps parameters, what the optimizer keeps of them, and their gradients.

mod together;

use std::ops::Range;

use self::together::{Group, together};
use super::kernels::update;
use crate::{
    backend::{BackendError, Entry, StateTensor, Store},
    graph::{
        Builder, Network, Parameter,
        optimizers::{Optimizer, Plan},
    },
};

/// Parameters of so many elements are worth an update of their own, while other work goes on: AdamW moves 18 MB for them, which
/// takes an H200 4 µs, two or three times what a launch costs.
pub const WIDE: usize = 1 << 19;

/// Tensors start at multiples of so many elements: 128 bytes of bfloat16, 256 of float32.
const ALIGNMENT: usize = 64;

/// One parameter: row `i` of `rows` lies at `offset + i * stride`, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub offset: usize,
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
}

/// The order and form of all parameters in memory. Their first slots, their second slots and so on, and their gradients
/// lie in the same way, each group `len` elements after the one before.
///
/// The query, key and value kernels of an attention that reads one tensor lie side by side, row by row, as one
/// `[in, query + key + value]` matrix, and their biases one after the other: three products become one, unless they are multiplied with others
/// first (`passes::reassociate`). A
/// normalisation's beta follows its gamma, for their gradients come from one reduction.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    slots: Vec<Slot>,
    len: usize,
    /// Elements of a group that the optimizer changes; moving averages and what is frozen come after them.
    learned: usize,
    /// Groups that an update changes: parameters, then slots.
    states: usize,
    runs: Vec<Run>,
    /// Where wide parameters lie that are updated alike throughout, in order, padding included.
    wide: Vec<Range<usize>>,
    /// How they are updated.
    plan: Plan,
}

/// Consecutive elements of a group that are updated alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    offset: usize,
    len: usize,
    first_scalar: usize,
    /// Which of the plan's rules updates them.
    rule: usize,
    /// Whether they are all of one wide parameter, or of several that lie together.
    wide: bool,
}

/// What an update of one wide parameter, or of several that lie together, changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wide {
    pub rule: usize,
    /// Elements of a group.
    pub elements: Range<usize>,
    /// Its part of the table.
    pub chunks: Range<usize>,
}

impl Layout {
    /// For a network lowered onto a builder, and how it is updated. Parameters of `wide` elements can be updated by
    /// themselves.
    pub fn new(builder: &Builder, network: &Network, plan: &Plan, wide: usize) -> Self {
        let parameters = &builder.parameters;
        let mut grouped = vec![false; parameters.len()];
        let mut groups = Vec::new();
        for group in together(builder, network) {
            let (Group::Row(members) | Group::Columns(members)) = &group;
            // A parameter that two operators share lies where the first wants it.
            if members.iter().any(|&index| grouped[index]) {
                continue;
            }
            // What is frozen lies apart from what is not.
            if members.iter().any(|&index| parameters[index].frozen != parameters[members[0]].frozen) {
                continue;
            }
            members.iter().for_each(|&index| grouped[index] = true);
            groups.push(group);
        }
        groups.extend((0..parameters.len()).filter(|&index| !grouped[index]).map(|index| Group::Row(vec![index])));
        let any = |group: &Group, is: fn(&Parameter) -> bool| {
            let (Group::Row(members) | Group::Columns(members)) = group;
            members.iter().any(|&index| is(&parameters[index]))
        };
        let averaged = |group: &Group| any(group, |parameter| parameter.frozen || parameter.averaged.is_some());
        groups.sort_by_key(averaged);
        let mut learned = None;
        let mut slots = vec![Slot { offset: 0, rows: 0, width: 0, stride: 0 }; parameters.len()];
        let mut len = 0;
        let mut spans = Vec::new();
        for group in groups {
            let start = len;
            let (Group::Row(members) | Group::Columns(members)) = &group;
            let update = |index: &usize| plan.rule_of(*index).map(|rule| (rule, plan.first_scalar(*index)));
            let first = update(&members[0]);
            let alike = first.is_some() && members.iter().all(|index| update(index) == first);
            if averaged(&group) {
                learned.get_or_insert(len);
            }
            match group {
                Group::Row(members) => {
                    for index in members {
                        let value = &parameters[index].value;
                        let (rows, width) = (value.rows(), value.last());
                        slots[index] = Slot { offset: len, rows, width, stride: width };
                        len += value.len();
                    }
                }
                Group::Columns(members) => {
                    let stride = members.iter().map(|&index| parameters[index].value.last()).sum();
                    let rows = parameters[members[0]].value.rows();
                    let mut column = 0;
                    for index in members {
                        let width = parameters[index].value.last();
                        slots[index] = Slot { offset: len + column, rows, width, stride };
                        column += width;
                    }
                    len += rows * stride;
                }
            }
            let end = len;
            len = len.next_multiple_of(ALIGNMENT);
            if alike && end - start >= wide {
                spans.push(start..len);
            }
        }
        let runs = runs(&slots, len, plan, &spans);
        let (learned, states) = (learned.unwrap_or(len), plan.store_groups());
        Self { slots, len, learned, states, runs, wide: spans, plan: plan.clone() }
    }

    /// Of the parameter of this index in the network.
    pub fn slot(&self, index: usize) -> Slot {
        self.slots[index]
    }

    /// Elements of one group, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Elements of a group that an optimizer changes, padding included: they come first.
    pub fn learned(&self) -> usize {
        self.learned
    }

    /// The group of the averages of parameters, if they are kept.
    pub fn ema_group(&self) -> Option<usize> {
        self.plan.ema_group()
    }

    /// The group of the sums of gradients, if several micro-batches make an update.
    pub fn accumulator_group(&self) -> Option<usize> {
        self.plan.accumulator_group()
    }

    /// How many groups an update changes: parameters, then slots. The gradients are the group after them.
    pub fn states(&self) -> usize {
        self.states
    }

    /// Where a group begins in the store, in bytes.
    pub fn group_start(&self, group: usize) -> usize {
        size_of::<f32>() * group * self.len
    }

    /// The table of [`update`] for a store and shadows at these addresses; 0 for no shadows. The groups are flat,
    /// padding included, so that all that is updated alike is one tensor to the update. What the first rule updates comes
    /// first, and of each rule its wide parameters last.
    pub fn table(&self, store: u64, shadow: u64) -> Vec<update::Chunk> {
        (0..self.plan.rules().count()).flat_map(|rule| self.table_of(rule, store, shadow)).collect()
    }

    /// The part of the table that is of one rule.
    fn table_of(&self, rule: usize, store: u64, shadow: u64) -> Vec<update::Chunk> {
        let Some(optimizer) = self.plan.rules().nth(rule) else { return Vec::new() };
        let groups: Vec<usize> =
            [0].into_iter().chain(self.plan.slots_of(optimizer).into_iter().map(|(group, _)| group)).collect();
        let tensor = |run: &Run| {
            let group = |index: usize| store + (size_of::<f32>() * (index * self.len + run.offset)) as u64;
            update::Tensor {
                states: std::array::from_fn(|index| groups.get(index).map_or(0, |&index| group(index))),
                gradient: group(self.states),
                shadow: if shadow == 0 { 0 } else { shadow + 2 * run.offset as u64 },
                len: run.len,
                first_scalar: run.first_scalar,
            }
        };
        update::chunks(&self.runs_of(rule).map(tensor).collect::<Vec<_>>())
    }

    /// What a rule updates, as in the table.
    fn runs_of(&self, rule: usize) -> impl Iterator<Item = &Run> {
        let of = move |wide: bool| self.runs.iter().filter(move |run| run.rule == rule && run.wide == wide);
        of(false).chain(of(true))
    }

    /// The wide parameters that have a part of the table of their own, in the order of the table.
    pub fn wide(&self) -> Vec<Wide> {
        let mut first = 0;
        let mut all = Vec::new();
        for rule in 0..self.plan.rules().count() {
            for run in self.runs_of(rule) {
                let chunks = first..first + update::chunks_of(run.len);
                first = chunks.end;
                if run.wide {
                    all.push(Wide { rule, elements: run.offset..run.offset + run.len, chunks });
                }
            }
        }
        all
    }

    /// The elements of a group that are told apart from others where calls are ordered: a wide parameter, or all between two.
    pub fn segment(&self, element: usize) -> Range<usize> {
        let mut start = 0;
        for wide in &self.wide {
            if element < wide.start {
                return start..wide.start;
            }
            if element < wide.end {
                return wide.clone();
            }
            start = wide.end;
        }
        start..self.len
    }

    /// The plan's rules that update something, by number, each with the part of the table that it updates and how many
    /// elements that is.
    pub fn rules(&self) -> Vec<(usize, &Optimizer, Range<usize>, usize)> {
        let mut first = 0;
        let rule = |(rule, optimizer)| {
            let chunks = self.table_of(rule, 0, 0).len();
            let elements = self.runs.iter().filter(|run| run.rule == rule).map(|run| run.len).sum();
            first += chunks;
            (rule, optimizer, first - chunks..first, elements)
        };
        self.plan.rules().enumerate().map(rule).filter(|(_, _, part, _)| !part.is_empty()).collect()
    }

    /// How many elements a part of the table updates.
    pub fn elements_of(&self, part: &Range<usize>) -> usize {
        let rules = 0..self.plan.rules().count();
        let chunks = rules.flat_map(|rule| self.table_of(rule, 0, 0));
        chunks.skip(part.start).take(part.len()).map(|chunk| chunk.elements()).sum()
    }

    /// Which of the plan's rules updates a parameter.
    pub fn rule_of(&self, parameter: usize) -> Option<usize> {
        self.plan.rule_of(parameter)
    }

    /// Parameters and slots of a store as they lie on the device, in float32.
    pub fn pack(&self, store: &Store) -> Vec<f32> {
        let mut packed = vec![0.0; self.states * self.len];
        for entry in store.entries() {
            let values = store.of(entry);
            self.each_row(entry.group, entry.parameter, |at, row, width| {
                packed[at..at + width].copy_from_slice(&values[row * width..][..width]);
            });
        }
        packed
    }

    /// The inverse of [`Layout::pack`].
    pub fn unpack(&self, packed: &[f32], store: &mut Store) {
        for entry in store.entries().to_vec() {
            let len = store.parameter(&entry).value.len();
            let values = &mut store.values[entry.start..][..len];
            self.each_row(entry.group, entry.parameter, |at, row, width| {
                values[row * width..][..width].copy_from_slice(&packed[at..at + width]);
            });
        }
    }

    /// Everything that was packed, by name.
    pub fn state(&self, packed: &[f32], store: &Store) -> Vec<StateTensor> {
        let tensor = |entry: &Entry| self.tensor(entry, store.parameter(entry), packed);
        store.entries().iter().map(tensor).collect()
    }

    /// What is laid out as the parameters are, by their names: they themselves, or their gradients.
    pub fn parameters(&self, group: &[f32], store: &Store) -> Vec<StateTensor> {
        let parameters = store.entries().iter().filter(|entry| entry.group == 0);
        parameters.map(|entry| self.tensor(entry, store.parameter(entry), group)).collect()
    }

    fn tensor(&self, entry: &Entry, parameter: &Parameter, packed: &[f32]) -> StateTensor {
        let mut data = Vec::with_capacity(parameter.value.len());
        self.each_row(entry.group, entry.parameter, |at, _, width| data.extend_from_slice(&packed[at..at + width]));
        StateTensor { name: entry.name.clone(), shape: parameter.shape.clone(), data }
    }

    /// Calls `row(place, index, width)` for each row of a parameter in a group.
    fn each_row(&self, group: usize, index: usize, mut row: impl FnMut(usize, usize, usize)) {
        let Slot { offset, rows, width, stride } = self.slots[index];
        for at in 0..rows {
            row(group * self.len + offset + at * stride, at, width);
        }
    }

    /// Checks that a store fits in what the kernels count with.
    ///
    /// # Errors
    /// When it is too large.
    pub fn check(&self) -> Result<(), BackendError> {
        if self.len > i32::MAX as usize {
            return Err(BackendError::Other(format!("{} parameters are more than the cuda backend takes", self.len)));
        }
        Ok(())
    }
}

/// Where a row begins, and the first number of the step and the rule by which it is updated, if it is.
type Start = (usize, Option<(usize, usize)>, Option<usize>);

/// What is updated alike of a group of `len` elements, padding included; the wide parameters by themselves.
fn runs(slots: &[Slot], len: usize, plan: &Plan, wide: &[Range<usize>]) -> Vec<Run> {
    // Of a moving average, which has no optimizer: nothing.
    let rows = slots.iter().enumerate().flat_map(|(index, slot)| {
        let update = plan.rule_of(index).map(|rule| (plan.first_scalar(index), rule));
        let wide = wide.iter().position(|wide| wide.contains(&slot.offset));
        let row = move |row: usize| (slot.offset + row * slot.stride, update, wide);
        (0..slot.rows).map(row)
    });
    let mut starts: Vec<Start> = rows.collect();
    starts.sort_unstable();
    starts.dedup_by_key(|(_, update, wide)| (*update, *wide));
    let ends = starts.iter().skip(1).map(|(offset, ..)| *offset).chain([len]);
    let run = |(&(offset, update, wide), end): (&Start, usize)| {
        update.map(|(first_scalar, rule)| Run { offset, len: end - offset, first_scalar, rule, wide: wide.is_some() })
    };
    starts.iter().zip(ends).filter_map(run).collect()
}
