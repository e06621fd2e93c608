use image::{ImageFormat, Rgb, RgbImage};

use super::*;

/// Red above, blue below, wider than high; the upper left pixels are green.
fn picture() -> RgbImage {
    RgbImage::from_fn(24, 16, |x, y| match (x, y) {
        (0..8, 0..8) => Rgb([0, 255, 0]),
        (_, 0..8) => Rgb([255, 0, 0]),
        _ => Rgb([0, 0, 255]),
    })
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// EXIF data that hold an orientation alone.
fn exif(orientation: u8, big: bool) -> Vec<u8> {
    match big {
        true => [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation], &[0; 6]].concat(),
        false => [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(), &[orientation], &[0; 7]].concat(),
    }
}

/// A picture's file with EXIF data where its format has them.
fn with_exif(bytes: &[u8], format: ImageFormat, exif: &[u8]) -> Vec<u8> {
    match format {
        ImageFormat::Jpeg => {
            let length = (exif.len() as u16 + 8).to_be_bytes();
            [&bytes[..2], b"\xFF\xE1", &length, b"Exif\0\0", exif, &bytes[2..]].concat()
        }
        // Behind the pixels, as some programs have it; without its checksum, which nobody reads there.
        ImageFormat::Png => {
            let (before, end) = bytes.split_at(bytes.len() - 12);
            [before, &(exif.len() as u32).to_be_bytes(), b"eXIf", exif, &[0; 4], end].concat()
        }
        _ => {
            // A header of the extended form, the pixels as they were, the EXIF data.
            let (width, height) = (23_u32.to_le_bytes(), 15_u32.to_le_bytes());
            let extended = [b"VP8X\x0A\0\0\0\x08\0\0\0", &width[..3], &height[..3]].concat();
            let mut exif = exif.to_vec();
            let length = (exif.len() as u32).to_le_bytes();
            exif.resize(exif.len().next_multiple_of(2), 0);
            let body = [b"WEBP".as_slice(), &extended, &bytes[12..], b"EXIF", &length, &exif].concat();
            [b"RIFF", (body.len() as u32).to_le_bytes().as_slice(), &body].concat()
        }
    }
}

fn read(bytes: &[u8]) -> Result<Pixels, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture");
    std::fs::write(&path, bytes).unwrap();
    let encoded = Encoded::read(&Place::from(path.clone()))?;
    let (size, pixels) = (encoded.size()?, encoded.pixels(3, None, Fit::Squash)?);
    assert_eq!(size, (pixels.width, pixels.height));
    Ok(pixels)
}

const FORMATS: [ImageFormat; 3] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];

#[test]
fn pictures_are_turned_as_a_viewer_turns_them() {
    for format in FORMATS {
        let plain = encoded(&picture(), format);
        for orientation in 1..=8 {
            // JPEG's segment begins so anyway.
            let head = if format == ImageFormat::Jpeg { b"".as_slice() } else { b"Exif\0\0" };
            for (head, big) in [(b"".as_slice(), false), (b"", true), (head, false)] {
                let pixels = read(&with_exif(&plain, format, &[head, &exif(orientation, big)].concat())).unwrap();
                let mut expected = DynamicImage::from(picture());
                expected.apply_orientation(Orientation::from_exif(orientation).unwrap());
                let expected = expected.into_rgb8();
                assert_eq!((pixels.width, pixels.height), expected.dimensions(), "{format:?} {orientation}");
                let far = pixels.bytes.iter().zip(expected.as_raw()).filter(|(a, b)| a.abs_diff(**b) > 90).count();
                assert!(far < 40, "{format:?} {orientation}: {far} bytes differ");
            }
        }
        // Orientations that are none do nothing.
        for other in [0, 9, 255] {
            let pixels = read(&with_exif(&plain, format, &exif(other, true))).unwrap();
            assert_eq!((pixels.width, pixels.height), (24, 16));
        }
    }
}

/// By hand, apart from what the library does: 6 is stored lying on its left side.
#[test]
fn orientation_6_is_turned_clockwise() {
    let pixels = read(&with_exif(&encoded(&picture(), ImageFormat::Png), ImageFormat::Png, &exif(6, false))).unwrap();
    assert_eq!((pixels.width, pixels.height), (16, 24));
    let at = |x: usize, y: usize| &pixels.bytes[3 * (y * 16 + x)..][..3];
    assert_eq!([at(15, 0), at(0, 0), at(15, 23)], [[0, 255, 0], [0, 0, 255], [255, 0, 0]]);
}

#[test]
fn wherever_a_file_is_cut_off_it_is_refused() {
    for format in FORMATS {
        let whole = encoded(&RgbImage::from_fn(40, 40, |x, y| Rgb([((x * 37) ^ (y * 91)) as u8; 3])), format);
        assert!(read(&whole).is_ok());
        for length in (0..whole.len() - 1).step_by(7).chain(whole.len() - 3..whole.len() - 1) {
            let refused = read(&whole[..length]).err().unwrap_or_else(|| panic!("{format:?}: {length}"));
            assert!(length < 12 || refused.starts_with("is cut off"), "{format:?}: {refused}");
        }
        // What stands behind a picture is no part of it.
        assert!(read(&[&whole, b"\0trailing \xFF\xD8 garbage".as_slice()].concat()).is_ok(), "{format:?}");
    }
}

/// Formats without losses, as they were made, also grey ones.
#[test]
fn other_formats_are_read_and_refused_where_they_are_cut_off() {
    for format in [ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::Tiff] {
        let whole = encoded(&picture(), format);
        let pixels = read(&whole).unwrap();
        assert_eq!((pixels.width, pixels.height), (24, 16));
        // The colours of a GIF are chosen.
        let far = pixels.bytes.iter().zip(picture().as_raw()).filter(|(a, b)| a.abs_diff(**b) > 8).count();
        assert_eq!(far, 0, "{format:?}");
        // Without its last byte, a GIF still has all pixels.
        for length in (0..whole.len() - 2).step_by(5).chain([whole.len() - 3]) {
            assert!(read(&whole[..length]).is_err(), "{format:?}: {length} of {}", whole.len());
        }
        assert!(read(&[&whole, b"trailing".as_slice()].concat()).is_ok(), "{format:?}");
    }
    let mut grey = Cursor::new(Vec::new());
    image::GrayImage::from_fn(5, 3, |x, y| image::Luma([(x * 40 + y) as u8]))
        .write_to(&mut grey, ImageFormat::Tiff)
        .unwrap();
    assert_eq!(read(grey.get_ref()).unwrap().bytes[..9], [0, 0, 0, 40, 40, 40, 80, 80, 80]);
}

/// A TIFF has its orientation among its own tags.
#[test]
fn a_tiff_is_turned_too() {
    let mut tiff = encoded(&picture(), ImageFormat::Tiff);
    let number = |at: usize, bytes: &[u8]| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    // In place of the tag of the resolution's unit, which comes behind the others.
    let directory = u32::from_le_bytes([tiff[4], tiff[5], tiff[6], tiff[7]]) as usize;
    let entries = usize::from(number(directory, &tiff));
    let at = (0..entries).map(|entry| directory + 2 + 12 * entry).find(|at| number(*at, &tiff) == 296).unwrap();
    tiff[at..at + 2].copy_from_slice(&274_u16.to_le_bytes());
    tiff[at + 8] = 6;
    let pixels = read(&tiff).unwrap();
    assert_eq!((pixels.width, pixels.height), (16, 24));
    assert_eq!(pixels.bytes[45..48], [0, 255, 0]);
}

#[test]
fn a_preview_within_a_jpeg_is_not_its_end() {
    let jpeg = encoded(&picture(), ImageFormat::Jpeg);
    let with_preview = with_exif(&jpeg, ImageFormat::Jpeg, &[exif(1, true), jpeg.clone()].concat());
    assert!(read(&with_preview).is_ok());
    assert!(read(&with_preview[..with_preview.len() - jpeg.len() / 2]).is_err());
}

#[test]
fn what_is_no_picture_is_called_by_its_name() {
    let texts: [&[u8]; 14] = [
        b"",
        b"x",
        b"GIF89a....",
        b"BM....\0\0\0\0.......",
        b"MM\0*......",
        b"BM is a text",
        b"8BPS\0\x01",
        b"\n <!DOCTYPE html><html>",
        b"version https://git-lfs.github.com/spec/v1\noid",
        b"a text that someone wrote",
        b"\0\0\0\x1Cftypavif",
        b"RIFF\x24\0\0\0WAVEfmt ",
        &[0; 40],
        b"\xFF\xD8\xFF\xD9",
    ];
    insta::assert_snapshot!(texts.map(|text| read(text).err().unwrap()).join("\n"));
    // Its name does not make it one, and does not make it another.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    std::fs::write(&path, encoded(&picture(), ImageFormat::Png)).unwrap();
    assert!(Encoded::read(&Place::from(path.clone())).is_ok());
}

#[test]
fn damage_and_sizes_that_cannot_be_are_refused() {
    let mut png = encoded(&picture(), ImageFormat::Png);
    let middle = png.len() / 2;
    png[middle] ^= 0xFF;
    assert!(read(&png).err().unwrap().starts_with("is damaged"));
    // A head that promises 60000 x 60000 pixels.
    let mut jpeg = encoded(&picture(), ImageFormat::Jpeg);
    let head = jpeg.windows(2).position(|pair| pair == b"\xFF\xC0").unwrap();
    jpeg[head + 5..head + 9].copy_from_slice(&[0xEA, 0x60, 0xEA, 0x60]);
    assert_eq!(read(&jpeg).err().unwrap(), "is 60000x60000; pictures of at most 100 megapixels are read");
}

#[test]
fn every_kind_of_pixel_becomes_rgb() {
    let kinds = [
        DynamicImage::from(picture()).into_luma8().into(),
        DynamicImage::from(picture()).into_luma16().into(),
        DynamicImage::from(picture()).into_rgb16().into(),
        DynamicImage::from(picture()).into_rgba8().into(),
        DynamicImage::from(picture()).into_luma_alpha16().into(),
    ];
    for kind in kinds {
        let kind: DynamicImage = kind;
        let mut bytes = Cursor::new(Vec::new());
        kind.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let pixels = read(bytes.get_ref()).unwrap();
        assert_eq!(pixels.bytes, kind.to_rgb8().into_raw());
    }
    for size in [(1, 7), (7, 1), (1, 1)] {
        let pixels = read(&encoded(&RgbImage::new(size.0, size.1), ImageFormat::Png)).unwrap();
        assert_eq!((pixels.width, pixels.height), size);
    }
}

#[test]
fn shrinking_takes_the_mean_and_not_a_sample() {
    // Stripes one pixel wide: their mean is grey, a sample is black or white.
    let stripes = RgbImage::from_fn(64, 64, |x, _| Rgb([if x % 2 == 0 { 0 } else { 255 }; 3]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    stripes.save(&path).unwrap();
    for channels in [1, 3] {
        let shrunk =
            Encoded::read(&Place::from(path.clone())).unwrap().pixels(channels, Some((8, 8)), Fit::Squash).unwrap();
        assert_eq!(shrunk.bytes.len(), 64 * channels);
        assert!(shrunk.bytes.iter().all(|&value| (110..=145).contains(&value)), "{:?}", shrunk.bytes);
    }
}
