//! Braces as an argument of a block, `encoder(64, body = { .. })`: a block without a name, which knows the names around
//! the call that it stands in.

use std::rc::Rc;

use super::{Current, Elaborator, MAX_DEPTH, Naming, block::Call};
use crate::{
    dsl::syntax::{Argument, Body, Expr, ExprKind, Name, Span},
    model::evaluate::{Bound, Scope},
};

/// Braces that a name stands for, and the place where they were written.
#[derive(Debug)]
pub(super) struct Braces<'a> {
    body: Body,
    scope: Scope<'static>,
    site: Option<Span>,
    /// The blocks around the call: those that take the braces are not around what stands in them.
    blocks: Vec<(&'a str, bool)>,
}

/// The braces that an expression is, without brackets around them.
pub(super) fn braces(expr: &Expr) -> Option<&Body> {
    match &expr.kind {
        ExprKind::Branch(body) => Some(body),
        ExprKind::Group(inner) => braces(inner),
        _ => None,
    }
}

impl Elaborator<'_> {
    /// What a parameter is bound to whose argument, or default, is braces.
    pub(super) fn hand_over(&mut self, body: &Body, site: Option<Span>, scope: &Scope) -> Bound {
        match scope.captured() {
            Ok(scope) => {
                self.braces.push(Rc::new(Braces { body: body.clone(), scope, site, blocks: self.blocks.clone() }));
                self.called_braces.push(false);
                Bound::Braces(self.braces.len() - 1)
            }
            Err(problem) => {
                self.full = true;
                self.report(*problem);
                Bound::Unknown
            }
        }
    }

    /// Follows braces where the name stands that they are bound to: a level of that name.
    pub(super) fn call_braces(&mut self, number: usize, name: &Name, call: &Call) -> Current {
        let Call { arguments, span, current, naming, scope } = *call;
        scope.read(&name.text);
        self.called_braces[number] = true;
        let input = match arguments {
            [] => current,
            [Argument { name: None, value, .. }] if self.is_network(value, scope) => {
                self.apply(value, current, naming.inner(), scope)
            }
            _ => {
                let message = format!("`{}` is braces, which take no arguments but a tensor", name.text);
                let problem = self.problem("vitx::argument", message, span, "here");
                self.report(problem.help("braces know the names around them; a `block` has parameters"));
                return None;
            }
        };
        if !self.goes_deeper(span) {
            return None;
        }
        let instance = self.instance(&name.text, naming)?;
        self.depth += 1;
        let result = self.follow(number, input, Naming::plain(Some(instance)));
        self.depth -= 1;
        result
    }

    fn follow(&mut self, number: usize, input: Current, naming: Naming) -> Current {
        let braces = self.braces[number].clone();
        let blocks = std::mem::replace(&mut self.blocks, braces.blocks.clone());
        let site = std::mem::replace(&mut self.site, braces.site);
        let result = self.body(&braces.body, input, naming, &mut Scope::within(&braces.scope));
        self.site = site;
        self.blocks = blocks;
        result
    }

    /// Looks at the names in braces that nothing called, as in those that no condition chose.
    pub(super) fn check_braces(&mut self) {
        let mut number = 0;
        // Those that stand in others come to it meanwhile.
        while number < self.braces.len() && !self.full {
            if !self.called_braces[number] {
                let hidden = self.hidden();
                self.untaken += 1;
                self.follow(number, None, hidden);
                self.untaken -= 1;
            }
            number += 1;
        }
    }

    /// Whether blocks and braces are not nested too deep to go on.
    pub(super) fn goes_deeper(&mut self, span: Span) -> bool {
        if self.depth >= MAX_DEPTH && !self.full {
            self.full = true;
            let message = format!("blocks are nested more than {MAX_DEPTH} deep");
            let problem = self.problem("vitx::size", message, span, "one block too many");
            self.report(problem);
        }
        !self.full
    }
}
