//! The segments of a JPEG. Decoders fill what a file lacks with grey and say nothing, so its end is
//! looked for here.

use super::cut_off;

/// The EXIF data, if there are any.
///
/// # Errors
/// A file without the marker of its end. What stands behind that is nobody's concern: cameras put
/// previews there, phones depth maps.
pub(super) fn exif(bytes: &[u8]) -> Result<Option<&[u8]>, String> {
    let mut exif = None;
    let mut at = 2;
    loop {
        // Coded data, and what broken programs leave between segments, is skipped.
        at += bytes[at..].iter().position(|&byte| byte == 0xFF).ok_or_else(cut_off)?;
        at += bytes[at..].iter().position(|&byte| byte != 0xFF).ok_or_else(cut_off)?;
        let marker = bytes[at];
        at += 1;
        match marker {
            0xD9 => return Ok(exif),
            // A byte 0xFF of coded data, restarts, and others that stand alone.
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            _ => {
                let length = bytes.get(at..at + 2).ok_or_else(cut_off)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let segment = bytes.get(at..at + length).ok_or_else(cut_off)?;
                if marker == 0xE1 && exif.is_none() {
                    exif = segment.get(2..).filter(|data| data.starts_with(b"Exif\0"));
                }
                at += length;
            }
        }
    }
}
