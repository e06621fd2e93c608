//! A reader for the few pickles that hold CIFAR: dictionaries of numbers, strings, lists of them
//! and numpy arrays of bytes.
//!
//! Own code because general pickle crates drop the state of a numpy array, and because executing
//! nothing but this subset is what makes a stranger's file safe: a class is only ever a name here.
//! Strings and arrays are ranges of the file, so a hostile file costs no more memory than its own
//! length; the number of containers, and with it the depth of nesting, is bounded.
//! Opcodes: CPython, `Lib/pickletools.py`.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::super::DataError;

/// CIFAR's pickles hold about ten.
const MOST_CONTAINERS: usize = 1000;

#[derive(Debug)]
enum Value {
    None,
    Bool,
    Integer(i64),
    Bytes(Range<usize>),
    /// Module and name, as `module\nname\n` lies in the file.
    Global(Range<usize>, Range<usize>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// What a call returned, and what it was then told to remember.
    Object {
        class: Box<Value>,
        arguments: Box<Value>,
        state: Option<Box<Value>>,
    },
}

impl Value {
    /// Only atoms can be repeated from the memo: copies of containers could grow exponentially.
    fn atom(&self) -> Option<Self> {
        match self {
            Self::None => Some(Self::None),
            Self::Bool => Some(Self::Bool),
            Self::Integer(value) => Some(Self::Integer(*value)),
            Self::Bytes(range) => Some(Self::Bytes(range.clone())),
            Self::Global(module, name) => Some(Self::Global(module.clone(), name.clone())),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a truth value",
            Self::Integer(_) => "a number",
            Self::Bytes(_) => "a string",
            Self::Global(..) => "a class",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Dict(_) => "a dictionary",
            Self::Object { .. } => "an object",
        }
    }
}

/// The root of a parsed file: a dictionary.
#[derive(Debug)]
pub struct Root<'a> {
    path: &'a Path,
    file: &'a [u8],
    entries: Vec<(Value, Value)>,
}

/// One value of the dictionary, with the name it is asked for by.
pub struct Entry<'a> {
    root: &'a Root<'a>,
    key: &'a str,
    value: &'a Value,
}

/// An array of bytes and where it starts in the file.
pub struct Array<'a> {
    pub bytes: &'a [u8],
    pub offset: usize,
}

impl<'a> Root<'a> {
    /// The value of `key`.
    pub fn entry(&'a self, key: &'a str) -> Result<Entry<'a>, DataError> {
        let is_key =
            |value: &Value| matches!(value, Value::Bytes(range) if &self.file[range.clone()] == key.as_bytes());
        match self.entries.iter().find(|(name, _)| is_key(name)) {
            Some((_, value)) => Ok(Entry { root: self, key, value }),
            None => Err(DataError::corrupt(self.path, 0, format!("a dictionary with `{key}`"), "no such entry")),
        }
    }
}

impl<'a> Entry<'a> {
    fn wrong(&self, expected: &str, value: &Value) -> DataError {
        DataError::corrupt(self.root.path, 0, format!("`{}` to be {expected}", self.key), value.kind())
    }

    fn list(&self) -> Result<&'a [Value], DataError> {
        match self.value {
            Value::List(items) => Ok(items),
            other => Err(self.wrong("a list", other)),
        }
    }

    /// A list of numbers.
    pub fn integers(&self) -> Result<Vec<i64>, DataError> {
        let integer = |value: &Value| match value {
            Value::Integer(value) => Ok(*value),
            other => Err(self.wrong("a list of numbers", other)),
        };
        self.list()?.iter().map(integer).collect()
    }

    /// A list of strings.
    pub fn strings(&self) -> Result<Vec<String>, DataError> {
        let string = |value: &Value| match value {
            Value::Bytes(range) => Ok(String::from_utf8_lossy(&self.root.file[range.clone()]).into_owned()),
            other => Err(self.wrong("a list of strings", other)),
        };
        self.list()?.iter().map(string).collect()
    }

    /// A numpy array of bytes in C order, or a plain byte string.
    pub fn bytes_array(&self) -> Result<Array<'a>, DataError> {
        let file = self.root.file;
        let text = |range: &Range<usize>| &file[range.clone()];
        let range = match self.value {
            Value::Bytes(range) => range,
            Value::Object { class, state: Some(state), .. } => match (&**class, &**state) {
                (Value::Global(module, name), Value::Tuple(state))
                    if text(module).starts_with(b"numpy") && text(name) == b"_reconstruct" =>
                {
                    // (version, shape, dtype, fortran order, bytes)
                    match state.as_slice() {
                        [_, _, Value::Object { arguments, .. }, Value::Bool, Value::Bytes(range)]
                            if matches!(&**arguments, Value::Tuple(of) if matches!(of.first(),
                                Some(Value::Bytes(code)) if matches!(text(code), b"u1" | b"|u1"))) =>
                        {
                            range
                        }
                        _ => return Err(self.wrong("a numpy array of bytes", self.value)),
                    }
                }
                _ => return Err(self.wrong("a numpy array of bytes", self.value)),
            },
            other => return Err(self.wrong("a numpy array of bytes", other)),
        };
        Ok(Array { bytes: text(range), offset: range.start })
    }
}

/// Parses a pickle of protocol 2 to 4 whose root is a dictionary.
///
/// # Errors
/// [`DataError::Corrupt`] with the offset of the first byte that cannot be understood.
pub fn parse<'a>(path: &'a Path, file: &'a [u8]) -> Result<Root<'a>, DataError> {
    let mut machine =
        Machine { path, file, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), containers: 0 };
    match machine.run()? {
        Value::Dict(entries) => Ok(Root { path, file, entries }),
        other => Err(DataError::corrupt(path, 0, "a pickled dictionary", other.kind())),
    }
}

struct Machine<'a> {
    path: &'a Path,
    file: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    /// `None` stands for a container, which cannot be repeated.
    memo: HashMap<u32, Option<Value>>,
    containers: usize,
}

impl Machine<'_> {
    fn error(&self, offset: usize, expected: &str, found: impl Into<String>) -> DataError {
        DataError::corrupt(self.path, offset, expected, found)
    }

    fn take(&mut self, count: usize) -> Result<Range<usize>, DataError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.file.len());
        let Some(end) = end else {
            let left = self.file.len() - self.at;
            return Err(self.error(
                self.at,
                &format!("{count} more bytes"),
                format!("the end of the file after {left}"),
            ));
        };
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    /// A little-endian unsigned number.
    fn number(&mut self, bytes: usize) -> Result<usize, DataError> {
        let range = self.take(bytes)?;
        Ok(self.file[range].iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
    }

    fn line(&mut self) -> Result<Range<usize>, DataError> {
        let rest = &self.file[self.at..];
        let Some(length) = rest.iter().take(1000).position(|&byte| byte == b'\n') else {
            return Err(self.error(self.at, "a line", "no end of line"));
        };
        let range = self.at..self.at + length;
        self.at += length + 1;
        Ok(range)
    }

    fn string(&mut self, length_bytes: usize) -> Result<(), DataError> {
        let length = self.number(length_bytes)?;
        let range = self.take(length)?;
        self.stack.push(Value::Bytes(range));
        Ok(())
    }

    fn pop(&mut self) -> Result<Value, DataError> {
        // A value below the last mark belongs to what encloses it.
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err(self.error(self.at - 1, "a value on the stack", "none"));
        }
        self.stack.pop().ok_or_else(|| self.error(self.at - 1, "a value on the stack", "none"))
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, DataError> {
        let mut values = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        values.reverse();
        Ok(values)
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, DataError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.error(self.at - 1, "a mark on the stack", "none")),
        }
    }

    fn container(&mut self, value: Value) -> Result<(), DataError> {
        self.containers += 1;
        if self.containers > MOST_CONTAINERS {
            return Err(self.error(
                self.at - 1,
                "a pickle of CIFAR",
                format!("more than {MOST_CONTAINERS} containers"),
            ));
        }
        self.stack.push(value);
        Ok(())
    }

    fn append(&mut self, values: Vec<Value>) -> Result<(), DataError> {
        match self.stack.last_mut() {
            Some(Value::List(items)) => items.extend(values),
            _ => return Err(self.error(self.at - 1, "a list to append to", "something else")),
        }
        Ok(())
    }

    fn set_items(&mut self, values: Vec<Value>) -> Result<(), DataError> {
        let (offset, odd) = (self.at - 1, values.len() % 2 == 1);
        match self.stack.last_mut() {
            Some(Value::Dict(entries)) if !odd => {
                let mut values = values.into_iter();
                while let (Some(key), Some(value)) = (values.next(), values.next()) {
                    entries.push((key, value));
                }
                Ok(())
            }
            _ => Err(self.error(offset, "a dictionary and pairs to put into it", "something else")),
        }
    }

    fn remember(&mut self, index: usize) {
        self.memo.insert(index as u32, self.stack.last().and_then(Value::atom));
    }

    fn recall(&mut self, index: usize) -> Result<(), DataError> {
        match self.memo.get(&(index as u32)).and_then(Option::as_ref).and_then(Value::atom) {
            Some(value) => self.stack.push(value),
            None => return Err(self.error(self.at - 1, "a repeated string, number or class", "another value")),
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Value, DataError> {
        loop {
            let start = self.at;
            let opcode = self.number(1)? as u8;
            match opcode {
                0x80 => {
                    // PROTO
                    self.take(1)?;
                }
                0x95 => {
                    // FRAME
                    self.take(8)?;
                }
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.stack.push(Value::None),
                0x88 | 0x89 => self.stack.push(Value::Bool),
                b'J' => {
                    let value = self.number(4)? as u32 as i32;
                    self.stack.push(Value::Integer(value.into()));
                }
                b'K' | b'M' => {
                    let value = self.number(if opcode == b'K' { 1 } else { 2 })?;
                    self.stack.push(Value::Integer(value as i64));
                }
                b'U' | b'C' | 0x8c => self.string(1)?,
                b'T' | b'B' | b'X' => self.string(4)?,
                0x8e => self.string(8)?,
                b'}' => self.container(Value::Dict(Vec::new()))?,
                b']' => self.container(Value::List(Vec::new()))?,
                b')' => self.container(Value::Tuple(Vec::new()))?,
                0x85..=0x87 => {
                    let values = self.pop_many(usize::from(opcode - 0x84))?;
                    self.container(Value::Tuple(values))?;
                }
                b't' => {
                    let values = self.pop_mark()?;
                    self.container(Value::Tuple(values))?;
                }
                b'a' => {
                    let value = self.pop()?;
                    self.append(vec![value])?;
                }
                b'e' => {
                    let values = self.pop_mark()?;
                    self.append(values)?;
                }
                b's' => {
                    let values = self.pop_many(2)?;
                    self.set_items(values)?;
                }
                b'u' => {
                    let values = self.pop_mark()?;
                    self.set_items(values)?;
                }
                b'q' | b'r' => {
                    let index = self.number(if opcode == b'q' { 1 } else { 4 })?;
                    self.remember(index);
                }
                0x94 => self.remember(self.memo.len()), // MEMOIZE
                b'h' | b'j' => {
                    let index = self.number(if opcode == b'h' { 1 } else { 4 })?;
                    self.recall(index)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.stack.push(Value::Global(module, name));
                }
                0x93 => match (self.pop()?, self.pop()?) {
                    (Value::Bytes(name), Value::Bytes(module)) => self.stack.push(Value::Global(module, name)),
                    _ => return Err(self.error(start, "the name of a class", "something else")),
                },
                b'R' => {
                    let (arguments, class) = (Box::new(self.pop()?), Box::new(self.pop()?));
                    self.container(Value::Object { class, arguments, state: None })?;
                }
                b'b' => {
                    let new = self.pop()?;
                    match self.stack.last_mut() {
                        Some(Value::Object { state, .. }) => *state = Some(Box::new(new)),
                        _ => return Err(self.error(start, "an object to build", "something else")),
                    }
                }
                other => return Err(self.error(start, "a pickle of CIFAR", format!("opcode 0x{other:02x}"))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"data": uint8 array [1, 4], "labels": [7, -1], "names": ["a", "a"]}` as python 2 writes it.
    fn sample() -> Vec<u8> {
        let mut file =
            b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04\
            K\x00\x85U\x01b\x87Rq\x05(K\x01K\x01K\x04\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07\
            (K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x04\x00\x00\x00"
                .to_vec();
        file.extend([9, 8, 7, 6]);
        file.extend(b"tbU\x06labels](K\x07J\xff\xff\xff\xffeU\x05names](U\x01aq\x08h\x08eu.");
        file
    }

    #[test]
    fn arrays_numbers_and_strings() {
        let (path, file) = (Path::new("x"), sample());
        let root = parse(path, &file).unwrap();
        assert_eq!(root.entry("data").unwrap().bytes_array().unwrap().bytes, [9, 8, 7, 6]);
        assert_eq!(root.entry("labels").unwrap().integers().unwrap(), [7, -1]);
        assert_eq!(root.entry("names").unwrap().strings().unwrap(), ["a", "a"]);
        assert!(root.entry("other").is_err());
        assert!(root.entry("labels").unwrap().bytes_array().is_err());
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_an_error_or_a_value() {
        let (path, file) = (Path::new("x"), sample());
        for end in 0..file.len() {
            assert!(parse(path, &file[..end]).is_err(), "{end}");
        }
        for at in 0..file.len() {
            for value in [0, b'(', b'b', b'R', 0x85, 0xff, b't', b'h'] {
                let mut file = file.clone();
                file[at] = value;
                if let Ok(root) = parse(path, &file) {
                    let _ = root.entry("data").and_then(|entry| entry.bytes_array().map(|array| array.bytes.len()));
                }
            }
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut file = b"\x80\x02)".to_vec();
        file.extend(vec![0x85; 1_000_000]);
        let error = parse(Path::new("x"), &file).unwrap_err().to_string();
        assert!(error.contains("more than 1000 containers"), "{error}");
    }
}
