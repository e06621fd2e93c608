use std::path::Path;

use super::{Diagnostics, Problem, bundle, syntax::Span};

/// The longest text that is read, in bytes. A hand-written model has a few thousand.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;

/// A named text, e.g. a model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What diagnostics call it: a path, `<stdin>`.
    pub name: String,
    /// What a parser reads; spans are byte ranges of it.
    pub text: String,
}

impl Source {
    /// A text by the name that diagnostics give it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Takes any bytes. Bytes that are not UTF-8, or more than [`MAX_SOURCE_BYTES`], are diagnostics.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, Diagnostics> {
        if bytes.len() > MAX_SOURCE_BYTES {
            return Err(Self::new(name, "").too_long(bytes.len()));
        }
        if let Some(kind) = other_kind(&bytes) {
            let message = format!("`{name}` is {kind}, not UTF-8 text");
            return Err(Problem::new("vitx::syntax::encoding", message)
                .help("a model is a text file: save it as UTF-8")
                .into());
        }
        String::from_utf8(bytes).map(|text| Self::new(name, text)).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let source = Self::new(name, text);
            // The replacement character stands where the valid part ends.
            let label = (Span::new(valid, valid + '\u{FFFD}'.len_utf8()), "this byte begins no UTF-8 character");
            Problem::new("vitx::syntax::encoding", format!("`{name}` is not UTF-8 text"))
                .label(label.0, label.1)
                .help("save the file as UTF-8")
                .in_source(&source)
                .into()
        })
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Diagnostics> {
        let name = path.display().to_string();
        let read = || {
            let length = std::fs::metadata(path)?.len();
            if length > MAX_SOURCE_BYTES as u64 { Ok(Err(length)) } else { std::fs::read(path).map(Ok) }
        };
        match read() {
            Ok(Ok(bytes)) => Self::from_bytes(&name, bytes),
            Ok(Err(length)) => Err(Self::new(name, "").too_long(length as usize)),
            Err(error) => Err(Problem::new("vitx::io", format!("cannot read `{name}`: {error}")).into()),
        }
    }

    /// Reads a model with the files that it uses, each found from the file that says so.
    ///
    /// # Errors
    /// As well for files that cannot be read, that use themselves, or that hold a model.
    pub fn read_model(path: &Path) -> Result<Self, Diagnostics> {
        Self::read(path)?.with_files(path.parent().unwrap_or(Path::new("")))
    }

    /// A model of a folder with the files that it uses behind its own text.
    ///
    /// # Errors
    /// As [`Source::read_model`].
    pub fn with_files(self, folder: &Path) -> Result<Self, Diagnostics> {
        bundle::bundle(self, folder)
    }

    pub(crate) fn check_length(&self) -> Result<(), Diagnostics> {
        if self.text.len() > MAX_SOURCE_BYTES { Err(self.too_long(self.text.len())) } else { Ok(()) }
    }

    fn too_long(&self, length: usize) -> Diagnostics {
        let message = format!("`{}` is {length} bytes long; a model file has at most {MAX_SOURCE_BYTES}", self.name);
        Problem::new("vitx::syntax::size", message).into()
    }
}

/// What bytes are that no text of this language has, where they show it.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    let begins = |mark: &[u8]| bytes.starts_with(mark);
    if begins(b"\xff\xfe\0\0") || begins(b"\0\0\xfe\xff") {
        return Some("UTF-32 text");
    }
    if begins(b"\xff\xfe") || begins(b"\xfe\xff") {
        return Some("UTF-16 text");
    }
    let head = &bytes[..bytes.len().min(4096)];
    let nul = |at: usize| head.iter().skip(at).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, pairs) = (nul(0), nul(1), head.len() / 2);
    if pairs >= 4 && (even * 10 > pairs * 9 && odd * 10 < pairs || odd * 10 > pairs * 9 && even * 10 < pairs) {
        return Some("UTF-16 text");
    }
    // One odd byte is a typing error or another encoding; a file that is full of them is no text.
    let control = |byte: &&u8| **byte < 9 || (14..32).contains(*byte) && **byte != 0x1b;
    let controls = head.iter().filter(control).count();
    let binary = controls * 10 > head.len() || even + odd > 0 && std::str::from_utf8(bytes).is_err();
    binary.then_some("a binary file")
}
