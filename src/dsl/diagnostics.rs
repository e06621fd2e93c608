use std::{collections::HashMap, error::Error, fmt, sync::Arc};

use miette::{Diagnostic, LabeledSpan, Severity, SourceCode};

use super::{Source, syntax::Span, text::Text};

/// One mistake: what, where, and what to do about it.
#[derive(Debug, Clone)]
pub struct Problem {
    code: &'static str,
    message: String,
    labels: Vec<(Span, String)>,
    help: Option<String>,
    source: Option<Arc<Text>>,
    /// See [`Problem::causes`].
    causes: u64,
    /// Where the values came from that caused it: problems of their own, in other texts.
    origins: Vec<Problem>,
    /// How it was come to, innermost first: what each step is, and where it is called from.
    way: Vec<(String, Option<Span>)>,
    severity: Severity,
}

impl Problem {
    /// A mistake of a kind, `vitx::shape` for one, said in a message without a place: [`Problem::label`] adds places.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: shortened(message.into()),
            labels: Vec::new(),
            help: None,
            source: None,
            causes: 0,
            origins: Vec::new(),
            way: Vec::new(),
            severity: Severity::Error,
        }
    }

    /// Something that is most likely not meant, and that nothing fails of.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::new(code, message) }
    }

    /// Whether it is a warning; with nothing but warnings a model is fine.
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }

    /// A remark that explains another problem.
    pub fn advice(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Advice, ..Self::new(code, message) }
    }

    /// Marks values from outside the text that the problem depends on, as bits by their position.
    pub fn causes(self, causes: u64) -> Self {
        Self { causes: self.causes | causes, ..self }
    }

    /// The same problem shown at another place.
    pub fn moved_to(self, span: Span, label: &str) -> Self {
        Self { labels: vec![(span, label.to_owned())], ..self }
    }

    /// Marks a place. The first label is the mistake itself. A sum of a thousand tensors shows the first of them.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        if self.labels.len() < MOST_LABELS {
            self.labels.push((span, shortened(text.into())));
        }
        self
    }

    /// What to do about it, below the text.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a sentence to the help.
    pub fn note(self, note: &str) -> Self {
        let help = self.help.as_ref().map_or_else(|| note.to_owned(), |help| format!("{help}; {note}"));
        self.help(help)
    }

    /// Adds "did you mean" where a name is near.
    pub fn suggest<'a>(self, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match super::nearest(name, candidates) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// Stable name of the kind of mistake, e.g. `vitx::shape`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What is wrong, in one sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The places that are marked, the mistake itself first.
    pub fn places(&self) -> impl Iterator<Item = Span> + '_ {
        self.labels.iter().map(|(span, _)| *span)
    }

    /// Where the mistake begins in the text, in bytes.
    pub fn start(&self) -> usize {
        self.labels.first().map_or(0, |(span, _)| span.start)
    }

    /// Adds problems that are shown behind it.
    pub fn with_related(mut self, problems: &[Problem]) -> Self {
        self.origins.extend_from_slice(problems);
        self
    }

    /// Adds where the values came from that caused it: `origin` is asked for each position that
    /// [`Problem::causes`] marked.
    pub fn explain(&mut self, origin: impl Fn(usize) -> Option<Problem>) {
        let causes = self.causes;
        self.origins.extend((0..64).filter(|position| causes >> position & 1 == 1).filter_map(origin));
    }

    /// Adds a step of the way that led to it, from the innermost out.
    pub fn step(mut self, text: &str, call: Option<Span>) -> Self {
        self.way.push((text.to_owned(), call));
        self
    }

    /// Whether it is known how it was come to.
    pub fn has_way(&self) -> bool {
        !self.way.is_empty()
    }

    /// Names the text that the spans are in.
    pub fn in_source(self, source: &Source) -> Self {
        self.in_shared(&Text::shown(source))
    }

    /// As [`Problem::in_source`], for many problems of one text.
    pub(crate) fn in_shared(mut self, source: &Arc<Text>) -> Self {
        if self.source.is_none() {
            for (span, _) in &mut self.labels {
                *span = first_lines(source, *span);
            }
            let text = source.text();
            if self.labels.iter().any(|(span, _)| !fits(text, *span)) {
                for (span, label) in std::mem::take(&mut self.labels) {
                    let (line, column) = line_and_column(source, span.start);
                    let name = source.used_file(span.start).unwrap_or(source.name());
                    self = self.note(&format!("{name}:{line}:{column}: {label}"));
                }
            }
            if !self.way.is_empty() {
                let way = way(&self.way, source);
                self.origins.insert(0, Self::advice("vitx::way", way));
            }
            self.source = Some(source.clone());
        }
        self
    }
}

/// "in `merge(h = 9)`, called at line 8, in `stage`, called at line 14, repetition 3 of 12".
fn way(steps: &[(String, Option<Span>)], source: &Text) -> String {
    let mut text = String::new();
    for (step, call) in steps {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(step);
        if let Some(call) = call {
            text.push_str(&format!(", called at line {}", line_and_column(source, call.start).0));
            if let Some(file) = source.used_file(call.start) {
                text.push_str(&format!(" of `{file}`"));
            }
        }
    }
    text
}

/// A message or a label, cut where it quotes a value as long as the text.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The longest message, in characters: it may quote a value as long as the text.
const LONGEST: usize = 600;

/// The longest line of a snippet, in bytes. miette itself gives up at 65535 columns.
const WIDEST: usize = 1000;

/// Most labels of one problem.
const MOST_LABELS: usize = 8;

/// Most lines of a span that are shown.
const MOST_LINES: usize = 12;

/// A span, or its first line where it is a long piece of text.
fn first_lines(text: &Text, span: Span) -> Span {
    let first = text.line(span.start);
    if text.line(span.end) < first + MOST_LINES {
        return span;
    }
    let line = text.text().get(span.start..text.start(first + 1)).unwrap_or_default();
    Span::new(span.start, span.start + line.trim_end().len())
}

/// Whether the lines of a span and those beside it can be shown.
fn fits(text: &str, span: Span) -> bool {
    let before = text.get(..span.start).unwrap_or(text).rsplit('\n');
    let lines = text.get(span.start..span.end).unwrap_or_default().split('\n');
    let after = text.get(span.end..).unwrap_or_default().split('\n');
    before.take(2).chain(lines).chain(after.take(2)).all(|part| part.len() <= WIDEST)
}

/// Both from 1, the column in characters.
fn line_and_column(text: &Text, at: usize) -> (usize, usize) {
    let line = text.line(at);
    let before = text.text().get(text.start(line)..at).unwrap_or_default();
    let source_line = text.line_of_file(at);
    (source_line + 1, before.chars().count() + 1)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.origins.is_empty() {
            return None;
        }
        Some(Box::new(self.origins.iter().map(|problem| problem as &dyn Diagnostic)))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        if self.labels.is_empty() {
            return None;
        }
        let labels = self.labels.iter().enumerate().map(|(index, (span, text))| {
            let range = span.start..span.end;
            match index {
                0 => LabeledSpan::new_primary_with_span(Some(text.clone()), range),
                _ => LabeledSpan::new_with_span(Some(text.clone()), range),
            }
        });
        Some(Box::new(labels))
    }
}

/// Problems in the order of the text, those said twice said once: a block's mistake shows at each of
/// its calls.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    let key = |problem: &Problem| {
        // One of a block that is called with other values is the same mistake, or will be found after it.
        let message = if problem.way.is_empty() { problem.message.clone() } else { String::new() };
        (problem.start(), problem.code, message)
    };
    problems.sort_by_cached_key(key);
    problems.dedup_by_key(|problem| key(problem));
    problems
}

/// The warnings among the problems of a text without errors, as they are shown.
pub(crate) fn warnings(problems: Vec<Problem>, source: &Source) -> Vec<Problem> {
    let shared = Text::shown(source);
    let mut problems = in_order(problems.into_iter().filter(Problem::is_warning).collect());
    problems.truncate(MOST_SHOWN);
    problems.into_iter().map(|problem| problem.in_shared(&shared)).collect()
}

/// All mistakes of one text, in the order of the text; never empty.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    message: String,
    problems: Vec<Problem>,
}

/// The most mistakes shown of one text: a file of noise has one per line.
const MOST_SHOWN: usize = 50;

impl Diagnostics {
    /// `None` when there are no problems.
    pub(crate) fn collect(problems: Vec<Problem>, source: &Source) -> Option<Self> {
        let mut problems = merged(one_a_line(in_order(problems), &source.text));
        let count = problems.len();
        problems.truncate(MOST_SHOWN);
        let shared = Text::shown(source);
        let problems: Vec<Problem> = problems.into_iter().map(|problem| problem.in_shared(&shared)).collect();
        let message = match count {
            0 => return None,
            1 => problems.first()?.message.clone(),
            2..=MOST_SHOWN => format!("{count} errors in `{}`", source.name),
            _ => format!("{count} errors in `{}`, of which the first {MOST_SHOWN}", source.name),
        };
        Some(Self { message, problems })
    }

    /// As [`Problem::explain`], of every problem.
    pub fn explained(mut self, origin: impl Fn(usize) -> Option<Problem>) -> Self {
        self.problems.iter_mut().for_each(|problem| problem.explain(&origin));
        self
    }

    /// Adds a remark to problems of one kind.
    pub fn remarked(mut self, code: &str, remark: &Problem) -> Self {
        let problems = self.problems.iter_mut().filter(|problem| problem.code == code);
        problems.for_each(|problem| problem.origins.push(remark.clone()));
        self
    }

    /// Adds a remark to every problem.
    pub fn because(mut self, remark: Option<Problem>) -> Self {
        for problem in &mut self.problems {
            problem.origins.extend(remark.clone());
        }
        self
    }

    /// Number of mistakes shown.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// The mistakes that are shown, in the order of the text.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The mistake itself where there is but one: it needs no heading.
    fn only(&self) -> Option<&Problem> {
        match self.problems.as_slice() {
            [problem] => Some(problem),
            _ => None,
        }
    }
}

/// Of the syntax errors of one line the first: those behind it are mostly its consequences.
fn one_a_line(problems: Vec<Problem>, text: &str) -> Vec<Problem> {
    // Where the line of the last one ends.
    let mut end = None;
    let kept = problems.into_iter().filter(|problem| {
        if !problem.code.starts_with("vitx::syntax") {
            return true;
        }
        let start = problem.start().min(text.len());
        if end.is_some_and(|end| start < end) {
            return false;
        }
        let line = text.as_bytes()[start..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        end = Some(line.map_or(text.len() + 1, |length| start + length + 1));
        true
    });
    kept.collect()
}

/// Most places that are marked of one mistake that is made several times.
const MOST_PLACES: usize = 3;

/// One problem of each mistake, in the order of the text. The same slip again, in another place or of
/// another layer that was given the same value, is not another one: the first is marked with the places.
fn merged(problems: Vec<Problem>) -> Vec<Problem> {
    let repeats = |code: &str| code.starts_with("vitx::syntax") || matches!(code, "vitx::name" | "vitx::type");
    let mut first: HashMap<(&'static str, String), usize> = HashMap::new();
    let mut places: Vec<(Problem, usize)> = Vec::with_capacity(problems.len());
    for problem in problems {
        let same_place = places.last().is_some_and(|(last, _)| {
            last.code == problem.code
                && problem.code == "vitx::type"
                && last.labels.first().map(|(span, _)| span) == problem.labels.first().map(|(span, _)| span)
        });
        if same_place {
            continue;
        }
        if repeats(problem.code) {
            let known = *first.entry((problem.code, problem.message.clone())).or_insert(places.len());
            if let Some((before, count)) = places.get_mut(known) {
                *count += 1;
                if *count <= MOST_PLACES
                    && let Some((span, _)) = problem.labels.first()
                {
                    before.labels.push((*span, "and here".to_owned()));
                }
                continue;
            }
        }
        places.push((problem, 1));
    }
    let said = |(problem, count): (Problem, usize)| match count.saturating_sub(MOST_PLACES) {
        0 => problem,
        more => problem.note(&format!("{more} more of the same below")),
    };
    places.into_iter().map(said).collect()
}

impl From<Problem> for Diagnostics {
    fn from(problem: Problem) -> Self {
        Self { message: problem.message.clone(), problems: vec![problem] }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Diagnostics {}

impl Diagnostic for Diagnostics {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.only().and_then(Diagnostic::code)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.only().and_then(Diagnostic::help)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.only().and_then(Diagnostic::source_code)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.only().and_then(Diagnostic::labels)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        match self.only() {
            Some(problem) => problem.related(),
            None => Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic))),
        }
    }
}
