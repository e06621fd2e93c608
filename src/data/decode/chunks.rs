//! The chunks of a PNG and of a WebP: where their EXIF data lie, and whether all of them are there.

use super::cut_off;

/// The EXIF data, which may also stand behind the pixels.
///
/// # Errors
/// A file without its last chunk.
pub(super) fn png(bytes: &[u8]) -> Result<Option<&[u8]>, String> {
    let mut exif = None;
    let mut rest = &bytes[8..];
    loop {
        let head = rest.get(..8).ok_or_else(cut_off)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        // Behind the data stand four bytes of a checksum.
        let data = rest.get(8..8 + length).ok_or_else(cut_off)?;
        let behind = rest.get(12 + length..).ok_or_else(cut_off)?;
        match &head[4..] {
            b"IEND" => return Ok(exif),
            b"eXIf" => exif = exif.or(Some(data)),
            _ => {}
        }
        rest = behind;
    }
}

/// The EXIF data.
///
/// # Errors
/// A file shorter than it says.
pub(super) fn webp(bytes: &[u8]) -> Result<Option<&[u8]>, String> {
    let number = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let end = 8 + number(4).ok_or_else(cut_off)?;
    // The byte that fills the last chunk up to an even number may be wanting.
    if bytes.len() + 1 < end {
        return Err(cut_off());
    }
    let mut at = 12;
    while let (Some(name), Some(length)) = (bytes.get(at..at + 4), number(at + 4)) {
        if at >= end {
            break;
        }
        let data = bytes.get(at + 8..at + 8 + length).ok_or_else(cut_off)?;
        if name == b"EXIF" {
            return Ok(Some(data));
        }
        at += 8 + length + length % 2;
    }
    Ok(None)
}
