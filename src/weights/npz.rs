//! Archives of NumPy (`numpy.savez`): ZIP with or without deflation, and an array of `numpy.lib.format` in each entry.

use std::io::{Cursor, Read};

use half::{bf16, f16};
use npyz::{DType, NpyHeader, Order};
use zip::ZipArchive;

/// A tensor: its name, its shape and its values, row-major.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// Whether a file is a ZIP archive of nothing but arrays.
pub fn is_npz(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK")
        && ZipArchive::new(Cursor::new(bytes)).is_ok_and(|archive| {
            let names: Vec<_> =
                archive.file_names().filter_map(|name| name.ok().map(|name| name.to_string())).collect();
            !names.is_empty() && names.len() == archive.len() && names.iter().all(|name| name.ends_with(".npy"))
        })
}

/// How numbers are stored that become float32.
#[derive(Clone, Copy)]
enum Kind {
    F16,
    /// NumPy has no name for it: two bytes of no kind.
    Bf16,
    F32,
}

/// All tensors of an archive. Whole numbers are left out, for no parameter is one.
///
/// # Errors
/// An archive that is damaged, and floats of another kind, for people.
pub fn tensors(bytes: &[u8]) -> Result<Vec<Named>, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut tensors = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(|error| error.to_string())?;
        let name = file.name().map_err(|error| error.to_string())?.to_string();
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        let damaged = |error: std::io::Error| format!("`{name}` is damaged: {error}");
        let header = NpyHeader::from_reader(&mut file).map_err(damaged)?;
        let Some(kind) = kind(&header.dtype()).map_err(|dtype| format!("`{name}` is {dtype}"))? else { continue };
        let shape: Vec<usize> =
            header.shape().iter().map(|side| usize::try_from(*side).unwrap_or(usize::MAX)).collect();
        if header.order() == Order::Fortran && shape.iter().filter(|side| **side > 1).count() > 1 {
            return Err(format!("`{name}` lies column by column (numpy.ascontiguousarray puts it row by row)"));
        }
        let width = if matches!(kind, Kind::F32) { 4 } else { 2 };
        let count = shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side));
        let len = count.and_then(|count| count.checked_mul(width)).ok_or(format!("`{name}` is too large"))?;
        let mut data = Vec::new();
        // To the end, where the checksum is.
        file.read_to_end(&mut data).map_err(damaged)?;
        if data.len() != len {
            return Err(format!("`{name}` holds {} bytes, its head says {len}", data.len()));
        }
        let halves = |of: fn([u8; 2]) -> f32| data.chunks_exact(2).map(|two| of([two[0], two[1]])).collect();
        let values = match kind {
            Kind::F16 => halves(|two| f16::from_le_bytes(two).to_f32()),
            Kind::Bf16 => halves(|two| bf16::from_le_bytes(two).to_f32()),
            Kind::F32 => {
                data.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
            }
        };
        tensors.push((name, shape, values));
    }
    Ok(tensors)
}

/// How an array's numbers are read; `None` for whole numbers.
fn kind(dtype: &DType) -> Result<Option<Kind>, String> {
    let text = dtype.descr();
    let text = text.trim_matches('\'');
    Ok(match text {
        "<f4" => Some(Kind::F32),
        "<f2" => Some(Kind::F16),
        "|V2" | "<V2" => Some(Kind::Bf16),
        _ if text.len() > 1 && matches!(text.as_bytes()[1], b'i' | b'u' | b'b') => None,
        other => return Err(format!("`{other}`")),
    })
}
