//! The way that led to a mistake: through blocks and repeats.

use std::rc::Rc;

use super::Elaborator;
use crate::{
    dsl::{
        Problem,
        syntax::{Definition, Span},
    },
    model::evaluate::{Bound, Scope},
};

/// A block that is being expanded or a round of a repeat, within others.
#[derive(Debug)]
pub(super) struct Way {
    text: String,
    /// The first round of a repeat, which alone tells nothing.
    first: bool,
    /// Of a block: where it is called.
    call: Option<Span>,
    outer: Option<Rc<Way>>,
}

/// The longest text of a call's arguments, in characters.
const LONGEST: usize = 48;

/// Most steps of a way that are told; more are no help.
const MOST_STEPS: usize = 8;

impl Elaborator<'_> {
    /// Goes into a block; gives the way back.
    pub(super) fn go_into(&mut self, block: &Definition, standard: bool, span: Span, scope: &Scope) -> Option<Rc<Way>> {
        let text = match standard {
            true => format!("in the standard block `{}`", block.name.text),
            false => format!("in `{}{}`", block.name.text, arguments(block, scope)),
        };
        self.go(text, false, Some(self.at(span)))
    }

    /// Goes into a round of a repeat; gives the way back.
    pub(super) fn go_round(&mut self, round: i64, of: i64) -> Option<Rc<Way>> {
        if of < 2 {
            return self.way.clone();
        }
        self.go(format!("repetition {} of {of}", round + 1), round == 0, None)
    }

    fn go(&mut self, text: String, first: bool, call: Option<Span>) -> Option<Rc<Way>> {
        let outer = self.way.take();
        self.way = Some(Rc::new(Way { text, first, call, outer: outer.clone() }));
        outer
    }

    /// Adds to a problem how it was come to.
    pub(super) fn on_the_way(problem: Problem, way: Option<&Rc<Way>>) -> Problem {
        let steps = std::iter::successors(way.map(Rc::as_ref), |way| way.outer.as_deref());
        if steps.clone().all(|step| step.first) {
            return problem;
        }
        steps.take(MOST_STEPS).fold(problem, |problem, step| problem.step(&step.text, step.call))
    }
}

/// `(h = 9, units = [64], ..)`, as far as it is short.
fn arguments(block: &Definition, scope: &Scope) -> String {
    let mut text = String::new();
    for parameter in &block.parameters {
        let name = &parameter.name.text;
        let value = match scope.get(name) {
            Some(Bound::Value(value, _)) if value.items() <= 8 => value.to_string(),
            _ => continue,
        };
        if text.len() + name.len() + value.len() > LONGEST {
            text.push_str(if text.is_empty() { ".." } else { ", .." });
            break;
        }
        let comma = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!("{comma}{name} = {value}"));
    }
    if text.is_empty() { text } else { format!("({text})") }
}
