//! What conditions decide: which braces are part of a network, and whether there is one at all.

use super::{Current, Elaborator, Naming};
use crate::{
    dsl::{
        Problem, Value,
        syntax::{Body, Expr, ExprKind, Name, Span},
    },
    model::{
        evaluate::{self, Bound, Scope, check_names},
        reads::NOBODY,
    },
};

/// What is wrong whatever the values are: in braces that are not chosen, nothing else is.
const OF_NAMES: &[&str] = &["vitx::name", "vitx::argument", "vitx::recursion", "vitx::size"];

/// Most values that are shown of a requirement.
const MOST_SHOWN: usize = 8;

impl Elaborator<'_> {
    /// Whether a problem counts where the pieces come from braces that are not chosen.
    pub(super) fn counts(&self, problem: &Problem) -> bool {
        self.untaken == 0 || OF_NAMES.contains(&problem.code())
    }

    /// Follows the braces of the first condition that holds; of the others the names are checked.
    pub(super) fn conditional(
        &mut self,
        arms: &[(Expr, Body)],
        otherwise: Option<&Body>,
        current: Current,
        naming: Naming,
        scope: &Scope,
    ) -> Current {
        let mut chosen = None;
        let mut known = true;
        for (condition, body) in arms {
            let taken = match chosen.is_none() && known {
                true => self.condition(condition, scope),
                false => {
                    self.names_of(condition, scope);
                    Some(false)
                }
            };
            known &= taken.is_some();
            match taken {
                Some(true) => chosen = Some(body),
                _ => self.pass_by(body, scope),
            }
        }
        match otherwise {
            Some(body) if chosen.is_none() && known => chosen = Some(body),
            Some(body) => self.pass_by(body, scope),
            None => {}
        }
        match chosen {
            Some(body) => {
                let inner = self.level(naming)?;
                self.body(body, current, inner, &mut Scope::within(scope))
            }
            None => current.filter(|_| known),
        }
    }

    fn condition(&mut self, condition: &Expr, scope: &Scope) -> Option<bool> {
        match evaluate::condition(condition, scope) {
            Ok((holds, _)) => Some(holds),
            Err(problem) => {
                self.report_value(problem, condition, scope);
                None
            }
        }
    }

    fn names_of(&mut self, expr: &Expr, scope: &Scope) {
        if let Err(problem) = check_names(expr, scope) {
            self.report_value(problem, expr, scope);
        }
    }

    /// Looks at the names in braces that are not chosen.
    fn pass_by(&mut self, body: &Body, scope: &Scope) {
        let hidden = self.hidden();
        self.untaken += 1;
        self.body(body, None, hidden, &mut Scope::within(scope));
        self.untaken -= 1;
    }

    /// Whether a requirement holds, or is not known to; reports one that does not, with the values that it is about. A
    /// parameter that only a requirement reads has no effect on the network.
    pub(super) fn require(&mut self, condition: &Expr, message: Option<&str>, scope: &Scope) -> bool {
        let reader = scope.reads().enter(NOBODY);
        let holds = evaluate::condition(condition, scope);
        let shown = match &holds {
            Ok((false, _)) => self.shown(condition, scope),
            _ => String::new(),
        };
        scope.reads().leave(reader);
        match holds {
            Ok((true, _)) => true,
            Ok((false, causes)) => {
                let message = message.unwrap_or("a requirement does not hold");
                let problem = Problem::new("vitx::require", message);
                self.report(problem.label(self.at(condition.span), format!("false{shown}")).causes(causes));
                false
            }
            Err(problem) => {
                self.report_value(problem, condition, scope);
                true
            }
        }
    }

    /// `: dim = 64, heads = 7`, the values that a condition has in it.
    fn shown(&self, condition: &Expr, scope: &Scope) -> String {
        let mut names: Vec<&Name> = Vec::new();
        names_in(condition, &mut names);
        let mut known: Vec<String> = Vec::new();
        for name in names {
            let expr = Expr { kind: ExprKind::Call { name: name.clone(), arguments: Vec::new() }, span: name.span };
            let Ok((value, _)) = evaluate::value(&expr, scope) else { continue };
            let text = format!("{} = {value}", name.text);
            if value.items() <= MOST_SHOWN && !known.contains(&text) && known.len() < MOST_SHOWN {
                known.push(text);
            }
        }
        if known.is_empty() { String::new() } else { format!(": {}", known.join(", ")) }
    }

    /// `let [h, w, c] = shape`.
    pub(super) fn each(&mut self, names: &[Name], value: &Expr, scope: &mut Scope) {
        // Each depends on what the list is worked out of.
        let symbols: Vec<usize> = names
            .iter()
            .map(|name| match name.text.as_str() {
                "_" => scope.reads().declare(self.site.is_some(), name.span.start),
                _ => self.declare(name, || format!("`{}` is not used", name.text), 0),
            })
            .collect();
        let Some(&list) = symbols.first() else { return };
        let outer = scope.reads().enter(list);
        let bound = self.bound(value, scope);
        for &symbol in &symbols[1..] {
            scope.reads().enter(symbol);
            scope.reads().note(list);
        }
        scope.reads().leave(outer);
        let items = match bound {
            Bound::Value(Value::List(items), causes) if items.len() == names.len() => {
                items.into_iter().map(|item| Bound::Value(item, causes)).collect()
            }
            Bound::Value(other, causes) => {
                let found = match &other {
                    Value::List(items) => format!("a list of {}: {other}", items.len()),
                    other => other.kind().to_owned(),
                };
                let message = format!("{} names stand for {found}", names.len());
                let span = Span::new(names[0].span.start, names[names.len() - 1].span.end);
                let problem = self.problem("vitx::value", message, span, format!("{} names", names.len()));
                let problem = problem.label(self.blame(value, scope), found).causes(causes);
                self.report(problem.help("each item has a name; `_` is one that is not used"));
                vec![Bound::Unknown; names.len()]
            }
            _ => vec![Bound::Unknown; names.len()],
        };
        for ((name, bound), symbol) in names.iter().zip(items).zip(symbols) {
            if name.text != "_" {
                scope.declare(name.text.clone(), bound, symbol);
            }
        }
    }
}

/// The names of values in a condition, in the order of the text.
pub(super) fn names_in<'e>(expr: &'e Expr, names: &mut Vec<&'e Name>) {
    match &expr.kind {
        ExprKind::Group(inner) | ExprKind::Negate(inner) | ExprKind::Not(inner) => names_in(inner, names),
        ExprKind::List(items) => items.iter().for_each(|item| names_in(item, names)),
        ExprKind::Chain { first, rest } => {
            names_in(first, names);
            rest.iter().for_each(|(_, operand)| names_in(operand, names));
        }
        ExprKind::Call { name, arguments } => {
            if arguments.is_empty() {
                names.push(name);
            }
            arguments.iter().for_each(|argument| names_in(&argument.value, names));
        }
        _ => {}
    }
}
