//! The one way to write a text: four spaces, one statement a line, lists broken where they are too
//! long for a line or end in a comma.

mod comments;
mod flat;
mod items;

use self::{
    comments::Comments,
    items::{Item, Piece},
};
use super::{
    Diagnostics, Source, Value, parse,
    syntax::{Argument, Body, Definition, DefinitionKind, Expr, ExprKind, File, Span, StatementKind},
};

/// Columns of a line.
const WIDTH: usize = 120;
const INDENT: usize = 4;

/// Writes a text in the standard form. Comments stay: at the end of a line those that were there,
/// others on lines of their own before what they stand in. Formatting twice changes nothing more.
///
/// # Errors
/// The syntax errors of the text.
pub fn format(source: &Source) -> Result<String, Diagnostics> {
    let file = parse(source)?;
    let mut writer = Writer { comments: Comments::new(&source.text, &file), out: String::new(), column: 0, indent: 0 };
    writer.file(&file);
    Ok(writer.out)
}

struct Writer<'a> {
    comments: Comments<'a>,
    out: String,
    /// Characters on the current line.
    column: usize,
    indent: usize,
}

impl Writer<'_> {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn newline(&mut self) {
        self.out.push('\n');
        let indent = self.indent * INDENT;
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    /// Ends a line whose blanks would trail.
    fn blank_line(&mut self) {
        self.out.truncate(self.out.trim_end_matches(' ').len());
        self.newline();
    }

    fn file(&mut self, file: &File) {
        let end = self.comments.text().len();
        let mut previous = None;
        let mut after_use = false;
        let uses = file.uses.iter().map(Piece::Use);
        let mut pieces: Vec<Piece> = uses.chain(file.definitions.iter().map(Piece::Definition)).collect();
        pieces.sort_by_key(|piece| piece.span().start);
        for piece in &pieces {
            let start = previous.unwrap_or(0);
            let between = self.between(start, piece, previous.is_some(), end);
            if previous.is_some() {
                self.newline();
                // Uses stand together.
                if !(after_use && matches!(piece, Piece::Use(_)) && between.is_empty()) {
                    self.newline();
                }
            }
            self.own_lines(&between);
            match piece {
                Piece::Use(used) => self.push(&format!("use {}", Value::Str(used.path.clone()))),
                Piece::Definition(definition) => self.definition(definition),
            }
            after_use = matches!(piece, Piece::Use(_));
            previous = Some(self.comments.end(piece.span()));
        }
        let last = self.comments.take(Span::new(previous.unwrap_or(0), end));
        for (index, comment) in last.iter().enumerate() {
            let trailing = index == 0 && previous.is_some_and(|end| !self.comments.newline(end, comment.span.start));
            if trailing {
                self.push(" ");
            } else if previous.is_some() || index > 0 {
                self.newline();
                if comment.blank_before || (index == 0 && previous.is_some()) {
                    self.blank_line();
                }
            }
            self.push(&comment.text);
        }
        if !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    /// The comments before an item and those loose in it; what trails the item before is written.
    fn between(&mut self, start: usize, item: &impl Item, trails: bool, end: usize) -> Vec<comments::Placed> {
        let span = item.span();
        let mut before = self.comments.take(Span::new(start, span.start.min(end)));
        if trails && before.first().is_some_and(|first| !self.comments.newline(start, first.span.start)) {
            let first = before.remove(0);
            self.push(" ");
            self.push(&first.text);
        }
        let mut own = Vec::new();
        item.sequences(&mut own);
        before.extend(self.comments.take_loose(span, &own));
        before
    }

    /// Comments on lines of their own, before what the cursor is at.
    fn own_lines(&mut self, comments: &[comments::Placed]) {
        for (index, comment) in comments.iter().enumerate() {
            self.push(&comment.text);
            self.newline();
            let followed_by_blank = comment.blank_after && index + 1 == comments.len();
            if followed_by_blank || comments.get(index + 1).is_some_and(|next| next.blank_before) {
                self.blank_line();
            }
        }
    }

    fn definition(&mut self, definition: &Definition) {
        self.push(match definition.kind {
            DefinitionKind::Model => "model ",
            DefinitionKind::Block => "block ",
        });
        self.push(&definition.name.text);
        if !definition.parameters.is_empty() {
            let flat = self.flat_items(&definition.parameters, definition.parameters_span, |writer, parameter| {
                let mut text = parameter.name.text.clone();
                if let Some(default) = &parameter.default {
                    text += " = ";
                    text += &writer.flat_argument(default)?;
                }
                Some(text)
            });
            self.sequence(
                ('(', ')'),
                definition.parameters_span,
                &definition.parameters,
                flat,
                2,
                |writer, parameter| {
                    writer.push(&parameter.name.text);
                    if let Some(default) = &parameter.default {
                        writer.push(" = ");
                        writer.argument(default);
                    }
                },
            );
        }
        self.push(" ");
        self.body(&definition.body);
    }

    fn body(&mut self, body: &Body) {
        let end = body.span.end.saturating_sub(1).max(body.span.start);
        self.push("{");
        self.indent += 1;
        let mut previous = body.span.start + 1;
        for (index, statement) in body.statements.iter().enumerate() {
            let between = self.between(previous, statement, index > 0, end);
            self.newline();
            let first = between.first().map_or(statement.span.start, |comment| comment.span.start);
            let first = first.min(statement.span.start);
            if index > 0 && self.comments.blank_before(first) {
                self.blank_line();
            }
            self.own_lines(&between);
            match &statement.kind {
                StatementKind::Let { name, value } => {
                    self.push("let ");
                    self.push(&name.text);
                    self.push(" = ");
                    self.expr(value, 0);
                }
                StatementKind::LetShared { name, value } => {
                    self.push(&format!("let {} = shared ", name.text));
                    self.expr(value, 0);
                }
                StatementKind::LetEach { names, value } => {
                    let names: Vec<&str> = names.iter().map(|name| name.text.as_str()).collect();
                    self.push(&format!("let [{}] = ", names.join(", ")));
                    self.expr(value, 0);
                }
                StatementKind::Require { condition, message } => {
                    let message = message.as_ref().map(|text| format!(", {}", Value::Str(text.clone())));
                    self.push("require ");
                    self.expr(condition, message.as_ref().map_or(0, |message| message.chars().count()));
                    self.push(message.as_deref().unwrap_or_default());
                }
                StatementKind::Apply { label, value } => {
                    if let Some(label) = label {
                        self.push(&label.text);
                        self.push(": ");
                    }
                    // As a statement, on lines of its own; as a value, on one.
                    match &value.kind {
                        ExprKind::If { arms, otherwise } => self.conditional(arms, otherwise.as_ref()),
                        _ => self.expr(value, 0),
                    }
                }
                StatementKind::Invalid => {}
            }
            previous = self.comments.end(statement.span);
        }
        let any = self.dangling(previous, end, !body.statements.is_empty());
        self.indent -= 1;
        if any || !body.statements.is_empty() {
            self.newline();
        }
        self.push("}");
    }

    /// Comments between the last item of a sequence and its closing bracket.
    fn dangling(&mut self, start: usize, end: usize, after_item: bool) -> bool {
        let comments = self.comments.take(Span::new(start, end));
        for (index, comment) in comments.iter().enumerate() {
            if index == 0 && after_item && !self.comments.newline(start, comment.span.start) {
                self.push(" ");
            } else {
                self.newline();
                if comment.blank_before && (index > 0 || after_item) {
                    self.blank_line();
                }
            }
            self.push(&comment.text);
        }
        !comments.is_empty()
    }

    /// Items between brackets: on this line where `flat` fits before `reserved` more characters.
    fn sequence<T: Item>(
        &mut self,
        (open, close): (char, char),
        span: Span,
        items: &[T],
        flat: Option<String>,
        reserved: usize,
        write: impl Fn(&mut Self, &T),
    ) {
        if let Some(flat) = flat.filter(|flat| self.column + flat.chars().count() + 2 + reserved <= WIDTH) {
            self.push(&format!("{open}{flat}{close}"));
            return;
        }
        let end = self.comments.end(span);
        self.push(open.encode_utf8(&mut [0; 4]));
        self.indent += 1;
        let mut previous = span.start;
        for (index, item) in items.iter().enumerate() {
            let between = self.between(previous, item, index > 0, end);
            self.newline();
            self.own_lines(&between);
            write(self, item);
            self.push(",");
            previous = self.comments.end(item.span());
        }
        self.dangling(previous, end, true);
        self.indent -= 1;
        self.newline();
        self.push(close.encode_utf8(&mut [0; 4]));
    }

    fn expr(&mut self, expr: &Expr, reserved: usize) {
        if let Some(flat) = self.flat(expr).filter(|flat| self.column + flat.chars().count() + reserved <= WIDTH) {
            return self.push(&flat);
        }
        match &expr.kind {
            ExprKind::Literal(_) | ExprKind::Invalid => {
                let text = self.comments.slice(expr.span).to_owned();
                self.push(&text);
            }
            ExprKind::List(items) if items.is_empty() => self.push("[]"),
            ExprKind::List(items) => {
                self.sequence(('[', ']'), expr.span, items, None, 0, |writer, item| writer.expr(item, 1));
            }
            ExprKind::Group(inner) => {
                self.push("(");
                self.expr(inner, reserved + 1);
                self.push(")");
            }
            ExprKind::Negate(inner) => {
                self.push("-");
                self.expr(inner, reserved);
            }
            ExprKind::Not(inner) => {
                self.push("not ");
                self.expr(inner, reserved);
            }
            ExprKind::Chain { first, rest } => {
                self.expr(first, 0);
                self.indent += 1;
                for (operator, operand) in rest {
                    self.newline();
                    self.push(operator.symbol());
                    self.push(" ");
                    self.expr(operand, reserved);
                }
                self.indent -= 1;
            }
            ExprKind::Flow(steps) => {
                for (index, step) in steps.iter().enumerate() {
                    if index == 1 {
                        self.indent += 1;
                    }
                    if index > 0 {
                        self.newline();
                        self.push("-> ");
                    }
                    self.expr(step, reserved);
                }
                self.indent -= 1;
            }
            ExprKind::Call { name, arguments } => {
                self.push(&name.text);
                let span = Span::new(name.span.end, expr.span.end);
                if let Some((others, body)) = self.braces_at_the_end(arguments, span) {
                    self.push(&format!("({others}"));
                    self.body(body);
                    self.push(")");
                } else if !arguments.is_empty() {
                    self.sequence(('(', ')'), span, arguments, None, reserved, |writer, argument| {
                        if let Some(name) = &argument.name {
                            writer.push(&name.text);
                            writer.push(" = ");
                        }
                        writer.argument(&argument.value);
                    });
                }
            }
            ExprKind::Residual(body) => {
                self.push("residual ");
                self.body(body);
            }
            ExprKind::Frozen(inner) => {
                self.push("frozen ");
                self.expr(inner, reserved);
            }
            ExprKind::Branch(body) => self.body(body),
            ExprKind::If { arms, otherwise } => self.conditional(arms, otherwise.as_ref()),
            ExprKind::Repeat { repeated, count, index } => {
                self.push("repeat ");
                let index = index.as_ref().map_or(String::new(), |name| format!(" as {}", name.text));
                if let ExprKind::Branch(body) = &repeated.kind {
                    self.push("×");
                    self.expr(count, 2 + index.len());
                    self.push(&index);
                    self.push(" ");
                    self.body(body);
                } else {
                    let count_len = self.flat(count).map_or(0, |flat| flat.chars().count());
                    self.expr(repeated, reserved + 2 + count_len + index.len());
                    self.push(" ×");
                    self.expr(count, reserved + index.len());
                    self.push(&index);
                }
            }
        }
    }

    fn argument(&mut self, expr: &Expr) {
        match self.flat_argument(expr).filter(|flat| self.column + flat.chars().count() < WIDTH) {
            Some(flat) => self.push(&flat),
            None => self.expr(expr, 1),
        }
    }

    /// What stands before braces that are the last argument of a call, where it fits on this line: `64, body = `.
    fn braces_at_the_end<'e>(&self, arguments: &'e [Argument], span: Span) -> Option<(String, &'e Body)> {
        let (last, others) = arguments.split_last()?;
        let ExprKind::Branch(body) = &last.value.kind else { return None };
        let outside = [Span::new(span.start, body.span.start), Span::new(body.span.end, self.comments.end(span))];
        if outside.iter().any(|span| self.comments.any(*span)) || self.comments.slice(outside[1]).contains(',') {
            return None;
        }
        let mut text = String::new();
        for argument in others {
            let value = self.flat_argument(&argument.value)?;
            text += &argument.name.as_ref().map_or(String::new(), |name| format!("{} = ", name.text));
            text += &format!("{value}, ");
        }
        text += &last.name.as_ref().map_or(String::new(), |name| format!("{} = ", name.text));
        (self.column + text.chars().count() + 2 <= WIDTH).then_some((text, body))
    }

    fn conditional(&mut self, arms: &[(Expr, Body)], otherwise: Option<&Body>) {
        for (index, (condition, body)) in arms.iter().enumerate() {
            self.push(if index == 0 { "if " } else { " else if " });
            self.expr(condition, 2);
            self.push(" ");
            self.body(body);
        }
        if let Some(otherwise) = otherwise {
            self.push(" else ");
            self.body(otherwise);
        }
    }
}
