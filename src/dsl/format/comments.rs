use crate::dsl::syntax::{Comment, File, Span};

/// A comment that is to be written, and the blank lines around it.
#[derive(Debug, Clone)]
pub struct Placed {
    pub text: String,
    pub span: Span,
    pub blank_before: bool,
    pub blank_after: bool,
}

/// The comments of a text, each taken once.
#[derive(Debug)]
pub struct Comments<'a> {
    text: &'a str,
    /// In the order of the text, and whether it was taken.
    comments: Vec<(Comment, bool)>,
}

impl<'a> Comments<'a> {
    pub fn new(text: &'a str, file: &File) -> Self {
        Self { text, comments: file.comments.iter().map(|comment| (comment.clone(), false)).collect() }
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    pub fn slice(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or_default().trim()
    }

    fn within(&self, span: Span) -> std::ops::Range<usize> {
        let first = self.comments.partition_point(|(comment, _)| comment.span.start < span.start);
        let last = self.comments.partition_point(|(comment, _)| comment.span.start < span.end);
        first..last.max(first)
    }

    /// Whether comments in the span are yet to be written.
    pub fn any(&self, span: Span) -> bool {
        self.comments[self.within(span)].iter().any(|(_, taken)| !taken)
    }

    /// Takes the comments in the span.
    pub fn take(&mut self, span: Span) -> Vec<Placed> {
        self.take_unless(span, |_| false)
    }

    /// Takes the comments within an item, but in none of its `sequences`.
    pub fn take_loose(&mut self, item: Span, sequences: &[Span]) -> Vec<Placed> {
        let span = Span::new(item.start, self.end(item));
        self.take_unless(span, |position| sequences.iter().any(|sequence| sequence.contains(position)))
    }

    fn take_unless(&mut self, span: Span, left_out: impl Fn(usize) -> bool) -> Vec<Placed> {
        let mut placed = Vec::new();
        for index in self.within(span) {
            let (comment, taken) = &mut self.comments[index];
            let span = comment.span;
            if *taken || left_out(span.start) {
                continue;
            }
            *taken = true;
            let text = comment.text.clone();
            placed.push(Placed {
                text,
                span,
                blank_before: self.blank_before(span.start),
                blank_after: self.blank_after(span.end),
            });
        }
        placed
    }

    /// Where a piece of the text ends, without the blanks and comments that its span may end in.
    pub fn end(&self, span: Span) -> usize {
        let mut end = span.end.min(self.text.len());
        loop {
            let trimmed = self
                .text
                .get(span.start..end)
                .unwrap_or_default()
                .trim_end_matches([' ', '\t', '\r', '\n', '\u{FEFF}']);
            end = span.start + trimmed.len();
            let before = self.comments.partition_point(|(comment, _)| comment.span.end <= end);
            match before.checked_sub(1).map(|index| self.comments[index].0.span) {
                Some(last) if last.end == end && last.start >= span.start => end = last.start,
                _ => return end,
            }
        }
    }

    /// Whether a line ends between two places.
    pub fn newline(&self, from: usize, to: usize) -> bool {
        self.text.get(from..to).is_some_and(|text| text.contains(['\n', '\r']))
    }

    pub fn blank_before(&self, position: usize) -> bool {
        let before = self.text.get(..position).unwrap_or_default();
        let blanks = &before[before.trim_end().len()..];
        blanks.replace("\r\n", "\n").matches(['\n', '\r']).count() > 1
    }

    fn blank_after(&self, position: usize) -> bool {
        let after = self.text.get(position..).unwrap_or_default();
        let blanks = &after[..after.len() - after.trim_start().len()];
        blanks.replace("\r\n", "\n").matches(['\n', '\r']).count() > 1
    }
}
