//! Parquet files of data sets of the Hugging Face hub: a column of pictures as they were encoded, and one of labels.
//!
//! Format: <https://parquet.apache.org/docs/file-format>; `datasets` stores a picture as a group of `bytes` and `path`, and the
//! names of classes in the metadata `huggingface`. Pages are compressed: pictures are unpacked once, into a file of the
//! folder of data sets, from which each is read when it is needed.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use parquet::{
    basic::{Compression, Type},
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::{ByteArray, DataType},
    errors::ParquetError,
    file::{
        metadata::ParquetMetaData,
        reader::{FileReader, RowGroupReader},
        serialized_reader::SerializedFileReader,
    },
};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{
    super::super::{
        DataError, DataOptions, Place, Subset,
        error::bounded,
        fingerprint::hexadecimal,
        locate,
        names::{shown, shown_in},
        place,
    },
    rows::{Row, Rows},
    shards::shards,
    unpacked,
};

const HELP: &str = "expected DIR/train-*.parquet and DIR/test-*.parquet, or DIR/train/*.parquet and DIR/test/*.parquet \
                    (`validation` to validate on), or one file with `data.test_split`, with a column of pictures and one \
                    of labels, as data sets of the Hugging Face hub have them";

/// How many rows are read at a time.
const ROWS: usize = 64;

/// The folder in which all lie.
pub(super) fn root(options: &DataOptions) -> Result<PathBuf, DataError> {
    match &options.path {
        Some(path) if path.is_file() => Ok(path.parent().unwrap_or(Path::new(".")).to_owned()),
        _ => super::listing::root(options),
    }
}

/// All rows of a folder's files, or of one file.
pub(super) fn read(options: &DataOptions) -> Result<Rows, DataError> {
    let folder = root(options)?;
    let source = options.path.clone().unwrap_or_else(|| folder.clone());
    let mut all = Rows { source, help: HELP, without_splits: None, rows: Vec::new(), order: None };
    let files = files(options, &folder, &all)?;
    let cache = locate::roots(options)?.into_iter().next().ok_or_else(|| {
        all.refuse("has to be unpacked, and neither --data-dir nor a cache of the user's says where".into())
    })?;
    let mut wrong = Vec::new();
    for (path, subset) in files {
        let table = Table::open(&path, options)?;
        match (&all.order, &table.names) {
            (None, Some(_)) => all.order.clone_from(&table.names),
            (Some(one), Some(other)) if one != other => {
                return Err(table.refuse("has other names of classes than the files before it".into()));
            }
            _ => {}
        }
        let (images, ends) = table.unpacked(&cache.join("parquet"))?;
        let file = path.file_name().map(shown).unwrap_or_default();
        let mut offset = 0;
        for (row, (label, end)) in table.labels()?.into_iter().zip(ends).enumerate() {
            let name = format!("{file}, row {row}");
            let part = place::Part { name: name.clone(), offset, length: end - offset };
            offset = end;
            match label {
                Ok(label) => rows_push(&mut all.rows, &images, part, format!("{file}/{row:09}"), label, subset),
                Err(reason) => wrong.push(format!("  {}: row {row} {reason}", shown_in(&folder, &path))),
            }
        }
    }
    if !wrong.is_empty() {
        return Err(all.refuse(format!("{} of its rows cannot be used:\n{}", wrong.len(), bounded(&wrong))));
    }
    all.rows.sort_by(|a, b| (&a.label, &a.name).cmp(&(&b.label, &b.name)));
    Ok(all)
}

fn rows_push(rows: &mut Vec<Row>, images: &Path, part: place::Part, name: String, label: String, subset: Subset) {
    let place = Place { path: images.to_owned(), part: Some(part) };
    rows.push(Row { place, name: OsString::from(name), label, subset });
}

/// Files by name, with their parts; those of a folder within, as in repositories of the hub, where there are none else.
fn files(options: &DataOptions, folder: &Path, all: &Rows) -> Result<Vec<(PathBuf, Subset)>, DataError> {
    if let Some(file) = options.path.as_ref().filter(|path| path.is_file()) {
        return Ok(vec![(file.clone(), Subset::Train)]);
    }
    let found = shards(folder, "parquet")?;
    if !found.is_empty() {
        return Ok(found);
    }
    let entries = || -> std::io::Result<Vec<fs::DirEntry>> { fs::read_dir(folder)?.collect() };
    let entries = entries().map_err(|cause| DataError::io("list", folder, cause))?;
    let mut within: Vec<(PathBuf, Vec<(PathBuf, Subset)>)> = Vec::new();
    for path in entries.iter().map(fs::DirEntry::path).filter(|path| path.is_dir()) {
        let found = shards(&path, "parquet")?;
        if !found.is_empty() {
            within.push((path, found));
        }
    }
    within.sort();
    match within.len() {
        0 => Err(all.refuse("holds no file `train-*.parquet` or `train/*.parquet`".into())),
        1 => Ok(within.remove(0).1),
        _ => {
            let names: Vec<String> = within.iter().map(|(path, _)| shown_in(folder, path)).collect();
            Err(all.refuse(format!("holds several data sets: {}; `path` names one", names.join(", "))))
        }
    }
}

/// A file that is open, with its columns.
struct Table {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    /// By number, among the leaves.
    image: usize,
    label: usize,
    /// Of the classes, by label.
    names: Option<Vec<String>>,
}

impl Table {
    fn open(path: &Path, options: &DataOptions) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|cause| DataError::io("open", path, cause))?;
        let reader = SerializedFileReader::new(file).map_err(|error| damaged(path, &error))?;
        let (image, label, names) = columns(reader.metadata(), options).map_err(|message| refused(path, message))?;
        Ok(Self { path: path.to_owned(), reader, image, label, names })
    }

    fn refuse(&self, message: String) -> DataError {
        refused(&self.path, message)
    }

    fn damaged(&self, error: &ParquetError) -> DataError {
        damaged(&self.path, error)
    }

    fn groups(&self) -> impl Iterator<Item = Result<Box<dyn RowGroupReader + '_>, DataError>> + '_ {
        (0..self.reader.num_row_groups())
            .map(|group| self.reader.get_row_group(group).map_err(|error| self.damaged(&error)))
    }

    /// The definition level of what is not null.
    fn full(&self, leaf: usize) -> i16 {
        self.reader.metadata().file_metadata().schema_descr().column(leaf).max_def_level()
    }

    /// The label of each row, or what is wrong with it.
    fn labels(&self) -> Result<Vec<Result<String, String>>, DataError> {
        let (mut labels, full) = (Vec::new(), self.full(self.label));
        for group in self.groups() {
            let column = group?.get_column_reader(self.label).map_err(|error| self.damaged(&error))?;
            let mut add = |label: Option<Result<i64, ByteArray>>| labels.push(self.class(label));
            match column {
                ColumnReader::Int32ColumnReader(mut of) => each(&mut of, full, |value| {
                    add(value.map(|value| Ok(i64::from(value))));
                    Ok(())
                }),
                ColumnReader::Int64ColumnReader(mut of) => each(&mut of, full, |value| {
                    add(value.map(Ok));
                    Ok(())
                }),
                ColumnReader::ByteArrayColumnReader(mut of) => each(&mut of, full, |value| {
                    add(value.map(Err));
                    Ok(())
                }),
                _ => return Err(self.refuse("has labels that are neither whole numbers nor words".into())),
            }
            .map_err(|error| self.damaged(&error))?;
        }
        Ok(labels)
    }

    /// The class of a label.
    fn class(&self, label: Option<Result<i64, ByteArray>>) -> Result<String, String> {
        match (label, &self.names) {
            (None, _) => Err("has no label".into()),
            (Some(Ok(number)), Some(names)) => usize::try_from(number)
                .ok()
                .and_then(|number| names.get(number).cloned())
                .ok_or_else(|| format!("has the label {number}, and there are {} classes", names.len())),
            (Some(Ok(number)), None) => u32::try_from(number)
                .map(|number| number.to_string())
                .map_err(|_| format!("has the label {number}, which is no number of a class")),
            (Some(Err(word)), _) => match word.as_utf8() {
                Ok(word) if !word.trim().is_empty() => Ok(word.trim().to_owned()),
                _ => Err("has no word for its label".into()),
            },
        }
    }

    /// The file of its pictures, one behind the other, and where each ends.
    fn unpacked(&self, cache: &Path) -> Result<(PathBuf, Vec<u64>), DataError> {
        let io = |verb: &'static str, path: &Path| {
            let path = path.to_owned();
            move |cause| DataError::io(verb, &path, cause)
        };
        let key = self.key()?;
        let (images, ends) =
            (cache.join(format!("{key}.{}", unpacked::IMAGES)), cache.join(format!("{key}.{}", unpacked::ENDS)));
        // Before they are looked for, so that nobody removes them then.
        unpacked::touch(&images);
        unpacked::touch(&ends);
        let rows = self.reader.metadata().file_metadata().num_rows();
        if let (Ok(there), Ok(length)) = (fs::read(&ends), fs::metadata(&images).map(|data| data.len())) {
            let there: Vec<u64> = there.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect();
            if there.len() as i64 == rows && there.last().copied().unwrap_or(0) == length {
                return Ok((images, there));
            }
        }
        fs::create_dir_all(cache).map_err(io("make", cache))?;
        let mut file = NamedTempFile::new_in(cache).map_err(io("write into", cache))?;
        let mut writer = BufWriter::new(file.as_file_mut());
        let (mut found, mut end, mut absent) = (Vec::new(), 0_u64, Vec::new());
        for group in self.groups() {
            let column = group?.get_column_reader(self.image).map_err(|error| self.damaged(&error))?;
            let ColumnReader::ByteArrayColumnReader(mut column) = column else {
                return Err(self.refuse("has pictures that are no bytes".into()));
            };
            let read = each(&mut column, self.full(self.image), |picture| {
                match &picture {
                    Some(picture) => writer.write_all(picture.data())?,
                    None => absent.push(found.len()),
                }
                end += picture.map_or(0, |picture| picture.len() as u64);
                found.push(end);
                Ok(())
            });
            read.map_err(|error| self.damaged(&error))?;
        }
        if !absent.is_empty() {
            let lines: Vec<String> = absent.iter().map(|row| format!("  row {row}")).collect();
            let message = format!("{} of its rows have no bytes of a picture:\n{}", lines.len(), bounded(&lines));
            return Err(self.refuse(message));
        }
        writer.flush().map_err(io("write into", cache))?;
        drop(writer);
        file.persist(&images).map_err(|error| DataError::io("write", &images, error.error))?;
        // Behind the pictures: where these are, those are whole.
        let mut file = NamedTempFile::new_in(cache).map_err(io("write into", cache))?;
        let bytes: Vec<u8> = found.iter().flat_map(|end| end.to_le_bytes()).collect();
        file.write_all(&bytes).map_err(io("write into", cache))?;
        file.persist(&ends).map_err(|error| DataError::io("write", &ends, error.error))?;
        unpacked::clean(cache);
        Ok((images, found))
    }

    /// By what it is told from others: its name, its length, when it was written, its footer, and which column is read.
    fn key(&self) -> Result<String, DataError> {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            let about = file.metadata()?;
            let mut all = about.len().to_le_bytes().to_vec();
            let written = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            all.extend(written.as_nanos().to_le_bytes());
            let mut tail = [0; 8];
            file.seek(SeekFrom::End(-8))?;
            file.read_exact(&mut tail)?;
            let footer = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
            file.seek(SeekFrom::End(-8 - i64::from(footer)))?;
            file.read_to_end(&mut all)?;
            Ok(all)
        };
        let mut hash = Sha256::new();
        hash.update(self.path.as_os_str().as_encoded_bytes());
        hash.update(read().map_err(|cause| DataError::io("read", &self.path, cause))?);
        hash.update(self.image.to_le_bytes());
        Ok(hexadecimal(hash))
    }
}

fn refused(path: &Path, message: String) -> DataError {
    DataError::Folder { path: path.to_owned(), message, help: HELP.into() }
}

fn damaged(path: &Path, error: &ParquetError) -> DataError {
    refused(path, format!("is no Parquet file, or damaged: {error}"))
}

/// Calls `add` with each row of a column; `None` for one that is null: whose definition level is not the `full` one.
fn each<T: DataType>(
    column: &mut ColumnReaderImpl<T>,
    full: i16,
    mut add: impl FnMut(Option<T::T>) -> std::io::Result<()>,
) -> Result<(), ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    loop {
        values.clear();
        levels.clear();
        let (rows, ..) = column.read_records(ROWS, Some(&mut levels), None, &mut values)?;
        if rows == 0 {
            return Ok(());
        }
        let mut values = values.drain(..);
        for row in 0..rows {
            // A column that is never null has no levels.
            let there = full == 0 || levels.get(row) == Some(&full);
            let value = if there { values.next() } else { None };
            add(value).map_err(|error| ParquetError::External(Box::new(error)))?;
        }
    }
}

/// The columns of pictures and of labels, among the leaves, and the names of classes.
fn columns(file: &ParquetMetaData, options: &DataOptions) -> Result<(usize, usize, Option<Vec<String>>), String> {
    let about = file.file_metadata();
    let features = about.key_value_metadata().into_iter().flatten().find(|entry| entry.key == "huggingface");
    let features: Option<Json> = features.and_then(|entry| serde_json::from_str(entry.value.as_deref()?).ok());
    let feature = |name: &str| features.as_ref()?.pointer("/info/features")?.get(name);
    let is = |name: &str, kind: &str| feature(name).and_then(|of| of.get("_type")).is_some_and(|of| of == kind);
    let leaves: Vec<(Vec<String>, Type, bool)> = about
        .schema_descr()
        .columns()
        .iter()
        .map(|leaf| (leaf.path().parts().to_vec(), leaf.physical_type(), leaf.max_rep_level() > 0))
        .collect();
    let listed = || {
        let mut names: Vec<&str> = leaves.iter().map(|(path, ..)| path[0].as_str()).collect();
        names.dedup();
        names.join(", ")
    };
    let find = |key: &str,
                what: &str,
                given: &Option<String>,
                fits: &dyn Fn(&[String], Type) -> bool,
                sure: &dyn Fn(&str) -> bool| {
        let mut found: Vec<usize> = Vec::new();
        for (index, (path, kind, repeated)) in leaves.iter().enumerate() {
            let asked = given.as_ref().is_none_or(|given| path[0] == *given);
            if asked && !repeated && fits(path, *kind) {
                found.push(index);
            }
        }
        if found.len() > 1 && found.iter().any(|leaf| sure(&leaves[*leaf].0[0])) {
            found.retain(|leaf| sure(&leaves[*leaf].0[0]));
        }
        match (&found[..], given) {
            ([one], _) => Ok(*one),
            ([], Some(given)) => Err(format!("has no column `{given}` of {what}; its columns are {}", listed())),
            ([], None) => Err(format!("has no column of {what}; its columns are {}", listed())),
            (several, _) => {
                let names: Vec<&str> = several.iter().map(|leaf| leaves[*leaf].0[0].as_str()).collect();
                Err(format!("has several columns of {what}, {}: `data.{key}` names one", names.join(", ")))
            }
        }
    };
    let of_image = |path: &[String], kind: Type| {
        let plain = path.len() == 1
            && (options.image_column.is_some() || is(&path[0], "Image") || ["image", "img"].contains(&&path[0][..]));
        kind == Type::BYTE_ARRAY && (plain || path.len() == 2 && path[1] == "bytes")
    };
    let image = find("image_column", "pictures", &options.image_column, &of_image, &|name| is(name, "Image"))?;
    let of_label = |path: &[String], kind: Type| {
        let known = options.label_column.is_some()
            || is(&path[0], "ClassLabel")
            || ["label", "labels", "class"].contains(&&path[0][..]);
        path.len() == 1 && known && matches!(kind, Type::INT32 | Type::INT64 | Type::BYTE_ARRAY)
    };
    let label = find("label_column", "labels", &options.label_column, &of_label, &|name| is(name, "ClassLabel"))?;
    for group in file.row_groups() {
        for leaf in [image, label] {
            let compression = group.column(leaf).compression();
            if !matches!(compression, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_)) {
                let compression = compression.to_string().to_lowercase();
                let compression = compression.split('(').next().unwrap_or_default();
                return Err(format!(
                    "is compressed by {compression}, and only snappy, gzip and none are read: write it anew, \
                     `pyarrow.parquet.write_table(pyarrow.parquet.read_table(FILE), FILE, compression=\"snappy\")`"
                ));
            }
        }
    }
    let names = feature(&leaves[label].0[0]).and_then(|of| of.get("names")).and_then(Json::as_array);
    let names = names.map(|names| names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect());
    Ok((image, label, names))
}
