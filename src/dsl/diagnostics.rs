use std::{error::Error, fmt, sync::Arc};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use super::{Source, syntax::Span};

/// One mistake: what, where, and what to do about it.
#[derive(Debug, Clone)]
pub struct Problem {
    code: &'static str,
    message: String,
    labels: Vec<(Span, String)>,
    help: Option<String>,
    source: Option<Arc<NamedSource<Arc<str>>>>,
}

impl Problem {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), labels: Vec::new(), help: None, source: None }
    }

    /// Marks a place. The first label is the mistake itself.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

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

    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where the mistake begins in the text, in bytes.
    pub fn start(&self) -> usize {
        self.labels.first().map_or(0, |(span, _)| span.start)
    }

    /// Names the text that the spans are in.
    pub fn in_source(self, source: &Source) -> Self {
        self.in_shared(&Arc::new(NamedSource::new(&source.name, Arc::from(source.text.as_str()))))
    }

    fn in_shared(mut self, source: &Arc<NamedSource<Arc<str>>>) -> Self {
        self.source.get_or_insert_with(|| source.clone());
        self
    }
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

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
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

/// All mistakes of one text, in the order of the text; never empty.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    message: String,
    problems: Vec<Problem>,
}

/// The most mistakes shown of one text: a file of noise has one per line.
const MOST_SHOWN: usize = 50;

impl Diagnostics {
    /// `None` when there are no problems. Problems said twice are said once: a block's mistake
    /// shows at each of its calls.
    pub(crate) fn collect(mut problems: Vec<Problem>, source: &Source) -> Option<Self> {
        let key = |problem: &Problem| (problem.start(), problem.code, problem.message.clone());
        problems.sort_by_key(key);
        problems.dedup_by_key(|problem| key(problem));
        let count = problems.len();
        problems.truncate(MOST_SHOWN);
        let shared = Arc::new(NamedSource::new(&source.name, Arc::from(source.text.as_str())));
        let problems: Vec<Problem> = problems.into_iter().map(|problem| problem.in_shared(&shared)).collect();
        let message = match count {
            0 => return None,
            1 => problems.first()?.message.clone(),
            2..=MOST_SHOWN => format!("{count} errors in `{}`", source.name),
            _ => format!("{count} errors in `{}`, of which the first {MOST_SHOWN}", source.name),
        };
        Some(Self { message, problems })
    }

    /// Number of mistakes shown.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.problems.len()
    }

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
            Some(_) => None,
            None => Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic))),
        }
    }
}
