//! What a file is, by its first bytes: its name may say anything.

use std::fs::FileType;

use image::ImageFormat;

/// First bytes of formats that are not read, and what to call them.
const OTHERS: &[(&[u8], &str)] = &[
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1F\x8B", "a gzip file"),
    (b"\xFF\x0A", "a JPEG XL picture"),
    (b"\0\0\0\x0CJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0CjP  ", "a JPEG 2000 picture"),
    (b"<svg", "an SVG picture"),
    (b"<!DOCTYPE", "a web page"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"<HTML", "a web page"),
    (b"<?xml", "an XML file"),
    (b"version https://git-lfs", "a pointer of Git LFS, whose file was not fetched (git lfs pull)"),
    (b"RIFF", "a RIFF file other than WebP"),
];

/// The format of a picture.
///
/// # Errors
/// What it is instead.
pub(super) fn format(bytes: &[u8]) -> Result<ImageFormat, String> {
    if bytes.starts_with(b"\x89PNG\r\n\x1A\n") {
        return Ok(ImageFormat::Png);
    }
    if bytes.starts_with(b"\xFF\xD8\xFF") {
        return Ok(ImageFormat::Jpeg);
    }
    if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        return Ok(ImageFormat::Gif);
    }
    if bytes.starts_with(b"BM") && bytes.get(6..10) == Some(&[0; 4]) {
        return Ok(ImageFormat::Bmp);
    }
    if bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*") {
        return Ok(ImageFormat::Tiff);
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Ok(ImageFormat::WebP);
    }
    let text = bytes.trim_ascii_start();
    if let Some((_, name)) = OTHERS.iter().find(|(first, _)| text.starts_with(first)) {
        return Err(format!("is {name}"));
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        let name = match bytes.get(8..12) {
            Some(b"avif" | b"avis") => "an AVIF picture, which is not read (magick mogrify -format png *.avif)",
            Some(b"heic" | b"heix" | b"mif1" | b"msf1" | b"hevc") => {
                "a HEIC picture, which is not read (magick mogrify -format jpg *.heic)"
            }
            _ => "a film",
        };
        return Err(format!("is {name}"));
    }
    let head = &bytes[..bytes.len().min(8)];
    if bytes.len() < 4 {
        return Err(super::cut_off());
    }
    if std::str::from_utf8(&bytes[..bytes.len().min(64)]).is_ok_and(|text| !text.chars().any(|c| c == '\0')) {
        return Err("is a text".into());
    }
    let head: Vec<String> = head.iter().map(|byte| format!("{byte:02x}")).collect();
    Err(format!("is no picture: it begins with the bytes {}", head.join(" ")))
}

/// What is no regular file, in words.
#[cfg(unix)]
pub(super) fn of_file(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

#[cfg(not(unix))]
pub(super) fn of_file(kind: FileType) -> &'static str {
    if kind.is_dir() { "a folder" } else { "a device" }
}
