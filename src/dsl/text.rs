use std::sync::Arc;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use super::{Source, bundle::marked};

/// A text that problems are shown in. miette's own texts look for a place from the first byte on, for every
/// label several times; this one knows where its lines begin.
#[derive(Debug)]
pub struct Text {
    name: String,
    text: String,
    /// Where each line begins. As in miette, a line ends with any of `\n`, `\r\n` and `\r`.
    lines: Vec<usize>,
    /// The files that it uses, behind its own text: the line that each begins with, and its name.
    parts: Vec<(usize, String)>,
}

impl Text {
    /// A text as a terminal can show it, byte for byte: without what would move its cursor or turn the
    /// order of its letters around.
    pub fn shown(source: &Source) -> Arc<Self> {
        let harmless = |c: char| match c {
            '\n' | '\r' | '\t' => c,
            c if c.is_ascii_control() => '?',
            // As long in UTF-8 as what it stands for.
            '\u{80}'..='\u{9f}' => '\u{bf}',
            '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c => c,
        };
        let mut text: String = source.text.chars().map(harmless).collect();
        if text.contains('\r') {
            // A terminal would go back to the beginning of the line, and write over it.
            let alone = |(at, _): &(usize, &str)| !text[at + 1..].starts_with('\n');
            let alone: Vec<usize> = text.match_indices('\r').filter(alone).map(|(at, _)| at).collect();
            alone.into_iter().for_each(|at| text.replace_range(at..=at, "\n"));
        }
        let bytes = text.as_bytes();
        let ends = |at: &usize| bytes[*at] == b'\n' || bytes[*at] == b'\r' && bytes.get(at + 1) != Some(&b'\n');
        let lines: Vec<usize> = std::iter::once(0).chain((0..bytes.len()).filter(ends).map(|at| at + 1)).collect();
        let shown = |line: usize| text.get(lines[line]..)?.lines().next();
        let part = |line: usize| marked(shown(line)?).map(|name| (line + 1, name.to_owned()));
        let parts = (0..lines.len()).filter_map(part).collect();
        Arc::new(Self { name: source.name.clone(), parts, text, lines })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Number of the line that a byte is in, from 0.
    pub fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at).saturating_sub(1)
    }

    /// The file that a line is in, and the line that it begins with.
    fn part(&self, line: usize) -> Option<&(usize, String)> {
        self.parts.iter().rfind(|(first, _)| *first <= line)
    }

    /// What the file is called that a byte is in, if it is one that the text uses.
    pub fn used_file(&self, at: usize) -> Option<&str> {
        self.part(self.line(at)).map(|(_, name)| name.as_str())
    }

    /// Number of the line in its file that a byte is in, from 0.
    pub fn line_of_file(&self, at: usize) -> usize {
        let line = self.line(at);
        line - self.part(line).map_or(0, |(first, _)| *first)
    }

    /// Where a line begins; the end of the text for one behind the last.
    pub fn start(&self, line: usize) -> usize {
        self.lines.get(line).copied().unwrap_or(self.text.len())
    }
}

impl SourceCode for Text {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let at = self.line(span.offset());
        let part = self.part(at);
        let (first, name) = part.map_or((0, &self.name), |(first, name)| (*first, name));
        if self.part(self.line(span.offset() + span.len())) != part {
            // Places in two files are shown apart.
            return Err(MietteError::OutOfBounds);
        }
        // From a line or two earlier on, miette finds the same as from the first.
        let line = at.saturating_sub(before.saturating_add(1)).max(first);
        let base = self.start(line);
        let near = self.text.get(base..).ok_or(MietteError::OutOfBounds)?;
        let found = near.read_span(&(span.offset() - base, span.len()).into(), before, after)?;
        let range = (base + found.span().offset(), found.span().len());
        Ok(Box::new(MietteSpanContents::new_named(
            name.clone(),
            found.data(),
            range.into(),
            line + found.line() - first,
            found.column(),
            line + found.line_count() - first,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_that_miette_finds() {
        let texts = ["", "a", "one\ntwo\r\nthree\rfour\n\n\nfive", "\r\n\r\r\n\n\r", "aä\n€\n\u{1b}b\nc\nd\ne\nf\ng"];
        for text in texts {
            let ours = Text::shown(&Source::new("t", text));
            let theirs = ours.text().to_owned();
            for start in 0..=text.len() {
                for len in 0..=text.len() - start {
                    for context in [0, 1, 2] {
                        let span = (start, len).into();
                        let shown = |found: Result<Box<dyn SpanContents<'_> + '_>, MietteError>| {
                            found.ok().map(|found| {
                                let data = String::from_utf8_lossy(found.data()).into_owned();
                                (data, *found.span(), found.line(), found.column(), found.line_count())
                            })
                        };
                        let (one, other) =
                            (ours.read_span(&span, context, context), theirs.read_span(&span, context, context));
                        assert_eq!(shown(one), shown(other), "{text:?} {start} {len} {context}");
                    }
                }
            }
        }
    }
}
