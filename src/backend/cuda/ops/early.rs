//! Updates of wide parameters beside the backward pass.
//!
//! The gradients of a wide head are there when the backward pass begins, and its update moves more memory than all else of
//! the step that has no products: it need not wait for the end, where nothing else is left to do.

use std::ops::Range;

use crate::{
    backend::cuda::{
        compile::emit::{Emitter, Symbol},
        kernels::update::Chunk,
        launch::Element,
        layout::Wide,
        program::{Base, Call, Extent, Line, Place, Work},
        state,
    },
    graph::optimizers::Optimizer,
};

/// All early updates are at most so many launches, unless what is updated together lies apart: each is of at least this share
/// of all that is wide.
const MOST_LAUNCHES: usize = 4;

/// An update of some wide parameters after this many calls.
#[derive(Debug)]
pub struct Early {
    after: usize,
    rule: usize,
    /// Of the table.
    pub parts: Vec<Range<usize>>,
    elements: Vec<Range<usize>>,
}

impl Early {
    fn len(&self) -> usize {
        self.elements.iter().map(Range::len).sum()
    }
}

impl Emitter<'_> {
    /// What can be updated before the end, in order. Nothing, where an update wants more than its own gradient: the norm of
    /// all gradients, their sums over micro-batches, or all of a matrix made orthogonal. Nor what comes so late that
    /// less is left to do beside it than half of what it moves.
    pub(super) fn early_updates(&self) -> Vec<Early> {
        let rules = self.layout.rules();
        let clips = rules.iter().any(|(_, optimizer, ..)| optimizer.clip_norm.is_some());
        if clips || self.operations.accumulates.is_some() {
            return Vec::new();
        }
        let of_rule = |rule: usize| {
            let found =
                rules.iter().find(|(number, optimizer, ..)| *number == rule && optimizer.rule.direction.is_none());
            found.map(|(_, optimizer, ..)| *optimizer)
        };
        let mut ready: Vec<(usize, Wide, &Optimizer)> = Vec::new();
        for wide in self.layout.wide() {
            if let (Some(after), Some(optimizer)) = (self.done_with(&wide.elements), of_rule(wide.rule)) {
                ready.push((after, wide, optimizer));
            }
        }
        ready.sort_by_key(|(after, ..)| *after);
        let least = ready.iter().map(|(_, wide, _)| wide.elements.len()).sum::<usize>() / MOST_LAUNCHES;
        // What the main line has still to move after each call.
        let mut left: Vec<u64> = vec![0];
        for call in self.calls.iter().rev() {
            left.push(left[left.len() - 1] + call.cost.bytes);
        }
        left.reverse();
        let mut all: Vec<Early> = Vec::new();
        for (after, wide, optimizer) in ready {
            let bytes = self.update_of(&wide.chunks, optimizer).1.bytes;
            if after <= self.loss_known || left[after] < bytes / 2 {
                continue;
            }
            match all.last_mut() {
                Some(last) if last.rule == wide.rule && last.len() < least => {
                    last.after = after;
                    last.parts.push(wide.chunks);
                    last.elements.push(wide.elements);
                }
                _ => {
                    let (parts, elements) = (vec![wide.chunks], vec![wide.elements]);
                    all.push(Early { after, rule: wide.rule, parts, elements });
                }
            }
        }
        for early in &mut all {
            early.parts = joined(std::mem::take(&mut early.parts));
        }
        all
    }

    /// How many calls there are up to the last that touches these elements of a group; none, where one of those touches what is
    /// not known, or nothing makes their gradients.
    fn done_with(&self, elements: &Range<usize>) -> Option<usize> {
        let meets = |extent: &Extent<Symbol>| {
            let Symbol::Fixed(place) = extent.place else { return false };
            let element = match place.base {
                Base::Store => place.offset / size_of::<f32>() % self.layout.len(),
                Base::Shadow => place.offset / Element::Bf16.size(),
                Base::Arena | Base::Data | Base::State => return false,
            };
            // Whole segments are touched: a wide parameter is one.
            elements.contains(&element)
        };
        let mut written = false;
        let mut last = None;
        for (index, call) in self.calls.iter().enumerate() {
            // What is not known runs alone.
            let Some(touched) = &call.touched else {
                last = Some(index + 1);
                continue;
            };
            for extent in touched.iter().filter(|extent| meets(extent)) {
                written |= extent.written;
                last = Some(index + 1);
            }
        }
        last.filter(|_| written)
    }

    /// Puts early updates between the calls.
    pub(super) fn insert_early(&mut self, early: Vec<Early>) {
        for Early { after, rule, parts, elements, .. } in early.into_iter().rev() {
            let rules = self.layout.rules();
            let Some((_, optimizer, ..)) = rules.iter().find(|(number, ..)| *number == rule) else { continue };
            let touched = self.updated(&elements);
            for part in parts {
                let chunk = size_of::<Chunk>();
                let place = Symbol::Fixed(state::TABLE.plus(part.start * chunk));
                let table = Extent { place, bytes: part.len() * chunk, written: false };
                let (launch, cost) = self.update_of(&part, optimizer);
                let call = Call {
                    cost,
                    line: Line::Fill,
                    touched: Some([&touched[..], &[table]].concat()),
                    ..Call::unseen(optimizer.rule.name, Work::Launch(launch))
                };
                self.calls.insert(after, call);
            }
        }
    }

    /// What an update of these elements touches.
    fn updated(&self, elements: &[Range<usize>]) -> Vec<Extent<Symbol>> {
        let fixed = |base: Base, offset: usize, bytes: usize, written: bool| {
            let place = Symbol::Fixed(Place { base, offset });
            Extent { place, bytes, written }
        };
        let mut touched = Vec::new();
        for elements in elements {
            let states = self.layout.states();
            for group in 0..=states {
                let offset = self.layout.group_start(group) + size_of::<f32>() * elements.start;
                touched.push(fixed(Base::Store, offset, size_of::<f32>() * elements.len(), group < states));
            }
            if self.precision.element() == Element::Bf16 {
                let size = Element::Bf16.size();
                touched.push(fixed(Base::Shadow, size * elements.start, size * elements.len(), true));
            }
        }
        for place in [state::STEP, state::STOP, state::CLIP] {
            touched.extend(state::bytes(place).map(|bytes| fixed(Base::State, place.offset, bytes, false)));
        }
        touched
    }
}

/// Ranges in order, those that meet as one.
fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut all: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => all.push(range),
        }
    }
    all
}
