use std::{collections::BTreeMap, fs, path::Path};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::{WeightsError, npz};
use crate::files::FileError;

/// The tensors of a safetensors file, or of an archive of NumPy, by name: shape and values, row-major.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Table {
    /// Reads a file. Halves (`F16`, `BF16`) become float32, which has all of their values; tensors of integers, such as
    /// PyTorch's `num_batches_tracked`, are left out, for no parameter is one.
    ///
    /// # Errors
    /// A file that cannot be read, that is none of the format, or that has floats of another kind.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        Self::of_bytes(path, &fs::read(path).map_err(FileError::io("read", path))?)
    }

    /// As [`Table::read`], of what was read of a file.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn of_bytes(path: &Path, bytes: &[u8]) -> Result<Self, WeightsError> {
        let format =
            |problem: String, help: Option<String>| WeightsError::Format { path: path.to_owned(), problem, help };
        if npz::is_npz(bytes) {
            let tensors = npz::tensors(bytes).map_err(|problem| format(problem, None))?;
            return match tensors.is_empty() {
                true => Err(format("it has no tensors".into(), None)),
                false => Ok(Self::of(tensors)),
            };
        }
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| format(error.to_string(), other_format(bytes).map(str::to_owned)))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let data = view.data();
            let halves = |of: fn([u8; 2]) -> f32| data.chunks_exact(2).map(|two| of([two[0], two[1]])).collect();
            let values: Vec<f32> = match view.dtype() {
                Dtype::F32 => {
                    data.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
                }
                Dtype::F16 => halves(|two| f16::from_le_bytes(two).to_f32()),
                Dtype::BF16 => halves(|two| bf16::from_le_bytes(two).to_f32()),
                Dtype::I8
                | Dtype::I16
                | Dtype::I32
                | Dtype::I64
                | Dtype::U8
                | Dtype::U16
                | Dtype::U32
                | Dtype::U64
                | Dtype::BOOL => continue,
                other => {
                    let help = Some("save it as float32, float16 or bfloat16".to_owned());
                    return Err(format(format!("`{name}` is {other:?}"), help));
                }
            };
            tensors.insert(name.to_owned(), (view.shape().to_vec(), values));
        }
        if tensors.is_empty() {
            return Err(format("it has no tensors".into(), None));
        }
        Ok(Self { tensors })
    }

    /// Of these tensors: names, shapes, values.
    pub fn of(tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>) -> Self {
        Self { tensors: tensors.into_iter().map(|(name, shape, values)| (name, (shape, values))).collect() }
    }

    /// Shape and values of a tensor.
    pub fn get(&self, name: &str) -> Option<(&[usize], &[f32])> {
        self.tensors.get(name).map(|(shape, values)| (shape.as_slice(), values.as_slice()))
    }

    /// All names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

/// What to do with a file of another format, by its first bytes.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    const PYTORCH: &str = "this is PyTorch's archive, which may hold any program: convert it, with \
                           `safetensors.torch.save_file(torch.load(FILE, weights_only=True), \"model.safetensors\")`";
    const HDF5: &str = "this is HDF5, as Keras writes it: convert it, with `safetensors.numpy.save_file({w.path: w.numpy() \
                        for w in model.weights}, \"model.safetensors\")`";
    match bytes {
        [b'P', b'K', ..] | [0x80, 2..=5, ..] => Some(PYTORCH),
        [0x89, b'H', b'D', b'F', ..] => Some(HDF5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    #[test]
    fn halves_are_read_and_counters_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let numbers = [1.5_f32, -0.25, 1024.0];
        let f32s: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let f16s: Vec<u8> = numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        let bf16s: Vec<u8> = numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        let counter = 7_i64.to_le_bytes();
        let view = |kind, shape: &[usize], bytes| TensorView::new(kind, shape.to_vec(), bytes).unwrap();
        let views = [
            ("a", view(Dtype::F32, &[3], &f32s[..])),
            ("b", view(Dtype::F16, &[3, 1], &f16s)),
            ("c", view(Dtype::BF16, &[1, 3], &bf16s)),
            ("n", view(Dtype::I64, &[], &counter)),
        ];
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let table = Table::read(&path).unwrap();
        assert_eq!(table.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        for (name, shape) in [("a", vec![3]), ("b", vec![3, 1]), ("c", vec![1, 3])] {
            assert_eq!(table.get(name).unwrap(), (shape.as_slice(), &numbers[..]));
        }
    }

    #[test]
    fn other_files_are_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let doubles = [0; 8];
        let view = TensorView::new(Dtype::F64, vec![1], &doubles).unwrap();
        let double = safetensors::serialize([("x", view)], None).unwrap();
        let none = safetensors::serialize(Vec::<(&str, TensorView)>::new(), None).unwrap();
        let files: [&[u8]; 6] =
            [b"PK\x03\x04 a zip", b"\x80\x02a pickle", b"\x89HDF\r\n\x1a\n", b"short", &double, &none];
        let told = files.map(|bytes| {
            fs::write(&path, bytes).unwrap();
            let error = Table::read(&path).unwrap_err();
            format!("{:?}", miette::Report::new(error)).replace(&folder.path().display().to_string(), "")
        });
        insta::assert_snapshot!(told.join("\n"));
    }
}
