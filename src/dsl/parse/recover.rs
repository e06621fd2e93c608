//! Pieces that fit nowhere, and slips whose meaning is plain: each is reported once, and what it
//! would have named is known all the same, so that its uses are no mistakes of their own.

use pest::{
    Parser,
    error::{ErrorVariant, InputLocation},
    iterators::Pair,
};

use super::{Grammar, Rule, TreeBuilder, expected};
use crate::dsl::{Problem, syntax::*};

impl<'a> TreeBuilder<'a> {
    /// A piece of a file that is no definition.
    pub(super) fn stray(&mut self, pair: &Pair<'a, Rule>) {
        let mut words = pair.as_str().split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if let (Some("block"), Some(name)) = (words.next(), words.next()) {
            self.unknown.push(name.to_owned());
        }
        self.explain(pair, Rule::only_definition);
    }

    /// A parameter that could not be parsed: what looks like names in it are parameters whose values
    /// are not known.
    pub(super) fn bad_parameter(&mut self, pair: &Pair<'a, Rule>, parameters: &mut Vec<Parameter>) {
        self.explain(pair, Rule::only_parameter);
        let start = pair.as_span().start();
        let text = pair.as_str();
        for (index, (at, word)) in words(text).into_iter().enumerate() {
            let after = text[at + word.len()..].trim_start();
            let assigned = after.starts_with([':', '=']) && !after.starts_with("==");
            if (index == 0 || assigned) && word.starts_with(|c: char| !c.is_ascii_digit()) {
                let span = Span::new(start + at, start + at + word.len());
                let default = Some(Expr { kind: ExprKind::Invalid, span });
                parameters.push(Parameter { name: Name { text: word.to_owned(), span }, default, span });
            }
        }
    }

    /// A statement that could not be parsed, with what stands before it on its line: that is the
    /// beginning of the same mistake.
    pub(super) fn invalid(&mut self, pair: &Pair<'a, Rule>, statements: &mut Vec<Statement>) {
        let start = pair.as_span().start();
        let text = pair.as_str();
        let chained = matches!(words(text).first(), Some((0, "else" | "elif")));
        // These begin a statement, whatever stands before them on the line; so does a layer in whose arguments the mistake is.
        let word = words(text).first().copied();
        let begins = matches!(word, Some((0, "if" | "let" | "require" | "repeat" | "residual" | "frozen")))
            || wrong_in_arguments(text);
        let after_another = matches!(statements.last(), Some(Statement { kind: StatementKind::Invalid, .. }));
        let mut names = Vec::new();
        let mut goes_on = false;
        while let Some(last) = statements.last() {
            let between = self.text.get(last.span.end..start).unwrap_or_default();
            let word = matches!(&last.kind, StatementKind::Apply { label: None, value }
                if matches!(&value.kind, ExprKind::Call { arguments, .. } if arguments.is_empty()));
            if begins || between.contains(['\n', '\r', ';']) || last.kind == StatementKind::Invalid || goes_on && !word
            {
                break;
            }
            // Of `x = ..` and `let x = ..` a name remains.
            let assigned = text.starts_with('=') && !goes_on;
            match statements.pop().map(|last| last.kind) {
                Some(StatementKind::Let { name, .. }) => names.push(name),
                Some(StatementKind::Apply { value: Expr { kind: ExprKind::Call { name, .. }, .. }, .. })
                    if assigned =>
                {
                    names.push(name);
                }
                _ => {}
            }
            goes_on = true;
        }
        // `} else {` belongs to the `if` before it, which was reported.
        if !(chained && after_another) {
            match goes_on {
                true => self.unexpected(start, &[], Rule::only_statement),
                false => self.explain(pair, Rule::only_statement),
            }
            self.keep_first(start, start + text.len());
        }
        let span = Span::new(start, start + text.trim_end().len());
        let mut found = words(text).into_iter();
        let bound = match (found.next(), found.next()) {
            (Some((0, "let")), Some((at, name))) => Some((at, name)),
            _ => None,
        };
        names.extend(
            bound
                .map(|(at, name)| Name { text: name.to_owned(), span: Span::new(start + at, start + at + name.len()) }),
        );
        let is_let = bound.is_some();
        statements.extend(names.into_iter().map(|name| {
            let value = Expr { kind: ExprKind::Invalid, span: name.span };
            Statement { span: name.span, kind: StatementKind::Let { name, value } }
        }));
        if !is_let {
            statements.push(Statement { kind: StatementKind::Invalid, span });
        }
    }

    /// Of the problems in a piece that could not be parsed, keeps the first: it may be the cause.
    fn keep_first(&mut self, start: usize, end: usize) {
        // A text of noise has many of both, and fifty are shown.
        if self.problems.len() > 1000 {
            return;
        }
        let within = |problem: &Problem| (start..end).contains(&problem.start());
        let first = self.problems.iter().filter(|problem| within(problem)).map(Problem::start).min();
        self.problems.retain(|problem| !within(problem) || Some(problem.start()) == first);
    }

    /// `dense 64`, and `dense` with `(64)` on the next line: true where a value was meant for the layer before.
    pub(super) fn loose_argument(&mut self, value: &Expr, statements: &mut [Statement]) -> bool {
        let is_value = match &value.kind {
            ExprKind::Literal(_) | ExprKind::List(_) => true,
            ExprKind::Group(inner) => {
                matches!(inner.kind, ExprKind::Literal(_) | ExprKind::List(_) | ExprKind::Chain { .. })
            }
            _ => false,
        };
        let Some(Statement { kind, span }) = statements.last_mut().filter(|_| is_value) else { return false };
        let bare = match kind {
            StatementKind::Apply { value, .. } => match &value.kind {
                ExprKind::Call { name, arguments } if arguments.is_empty() => name.text.clone(),
                _ => return false,
            },
            _ => return false,
        };
        let between = self.text.get(span.end..value.span.start).unwrap_or_default();
        let grouped = matches!(value.kind, ExprKind::Group(_));
        if !between.trim().is_empty() || !grouped && between.contains(['\n', '\r']) {
            return false;
        }
        *kind = StatementKind::Invalid;
        let written = self.text.get(value.span.start..value.span.end).unwrap_or_default();
        let written: String = written.chars().take(40).collect();
        let written = if grouped { format!("{bare}{written}") } else { format!("{bare}({written})") };
        let message = "arguments stand in `(` `)` on the line of their layer";
        let problem = Problem::new("vitx::syntax", message).label(value.span, format!("write `{written}`"));
        self.problems.push(problem);
        true
    }

    /// `(a)`, or `(a, b)` for a list.
    pub(super) fn group(&mut self, pair: Pair<'a, Rule>) -> ExprKind {
        let span = self.span(&pair);
        let several = pair.clone().into_inner().any(|child| child.as_rule() == Rule::comma);
        let mut values: Vec<Expr> = self.children(pair).map(|child| self.expr(child)).collect();
        if several {
            let problem = Problem::new("vitx::syntax", "a list stands in `[` `]`").label(span, "write `[..]`");
            self.problems.push(problem.help("`(..)` groups one expression"));
            return ExprKind::List(values);
        }
        match values.pop() {
            Some(value) => ExprKind::Group(Box::new(value)),
            None => ExprKind::Invalid,
        }
    }

    /// `name: value` for `name = value`.
    pub(super) fn colon(&mut self, pair: &Pair<'a, Rule>, what: &str, name: &Name) {
        let message = format!("{what} with `=`");
        let problem = Problem::new("vitx::syntax", message).label(self.span(pair), "write `=`");
        self.problems.push(problem.help(format!("`{} = ..`", name.text)));
    }

    pub(super) fn stray_comma(&mut self, pair: &Pair<'a, Rule>) {
        let problem = Problem::new("vitx::syntax", "no `,` stands between statements");
        self.problems
            .push(problem.label(self.span(pair), "leave it out").help("each line is a statement; `;` may end one"));
    }

    /// `a < b < c`, which elsewhere means that both hold.
    pub(super) fn compared_twice(&mut self, place: Span) {
        let problem = Problem::new("vitx::syntax", "one comparison has no other behind it");
        self.problems.push(problem.label(place, "a second one").help("write `a < b and b < c`"));
    }

    /// `repeat a ×n + 1`: the count ends before the operator.
    pub(super) fn count_in_brackets(&mut self, repeat: Span, span: Span) -> Expr {
        let problem = Problem::new("vitx::syntax", "a repeat's count that is worked out stands in brackets");
        let label = "no part of the count";
        let rest = self.text.get(repeat.end..span.end).unwrap_or_default();
        let start = repeat.end + (rest.len() - rest.trim_start().len());
        let count = self.text.get(..repeat.end).unwrap_or_default().rsplit([' ', '×', '*']).next().unwrap_or_default();
        let expression: String = format!("{count} {}", rest.trim()).chars().take(60).collect();
        self.problems.push(problem.label(Span::new(start, span.end), label).help(format!("write `×({expression})`")));
        Expr { kind: ExprKind::Invalid, span }
    }

    /// Parses a piece that fits nowhere by the rule it was meant for, to say what is wrong in it.
    fn explain(&mut self, pair: &Pair<'a, Rule>, meant: Rule) {
        let start = pair.as_span().start();
        match Grammar::parse(meant, &self.text[start..pair.as_span().end()]) {
            Err(error) => self.report(&error, start, meant),
            // Well formed in itself, but not where it stands: say so at what follows.
            Ok(_) => self.unexpected(pair.as_span().end(), &[], meant),
        }
    }

    pub(super) fn report(&mut self, error: &pest::error::Error<Rule>, offset: usize, meant: Rule) {
        let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = error.location;
        let rules = match &error.variant {
            ErrorVariant::ParsingError { positives, .. } => positives.as_slice(),
            ErrorVariant::CustomError { .. } => &[],
        };
        self.unexpected(offset + at, rules, meant);
    }

    fn unexpected(&mut self, at: usize, rules: &[Rule], meant: Rule) {
        self.problems.push(expected::problem(self.text, at, rules, meant));
    }
}

/// Whether a piece is a layer whose brackets are open where it can be read no further.
fn wrong_in_arguments(text: &str) -> bool {
    let Some((0, name)) = words(text).first().copied() else { return false };
    let Some(arguments) = text[name.len()..].trim_start_matches([' ', '\t']).strip_prefix('(') else { return false };
    let Err(error) = Grammar::parse(Rule::only_statement, text) else { return false };
    let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = error.location;
    at > text.len() - arguments.len()
}

/// The words of a piece and where they stand; none in strings or comments.
fn words(text: &str) -> Vec<(usize, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match first {
            '"' => rest[1..].find(['"', '\n', '\r']).map_or(rest.len(), |end| end + 2),
            '/' if rest.starts_with("//") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                words.push((at, &rest[..length]));
                length
            }
            c => c.len_utf8(),
        };
        at += length.min(rest.len());
    }
    words
}
