//! Pictures of an evaluation: the confusion matrix, and the worst mistakes as a contact sheet.

use std::sync::Once;

use image::RgbImage;
use plotters::{
    coord::Shift,
    prelude::*,
    style::{
        FontStyle, register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};

/// Carried along: a machine need not have any font.
pub fn font() -> &'static str {
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        let _ = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
    "sans-serif"
}

/// Most classes whose names and numbers are written.
const MOST_NAMED: usize = 20;

/// Side of a cell in pixels, where classes are named.
const CELL: usize = 44;

/// Side of the matrix in pixels, where they are not; at least a pixel for each class.
const SIDE: usize = 1000;

/// Longest name in pixels; what is longer is cut.
const LONGEST: u32 = 160;

const MARGIN: i32 = 12;
const NAMES: i32 = 14;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Problem = Box<dyn std::error::Error>;

/// Draws a confusion matrix: of each class a row, of each prediction a column, as dark as is their share of the row. The
/// diagonal, which is right, is blue, and the rest red. Up to 20 classes have their names, and cells their numbers.
///
/// # Errors
/// As the drawing's.
pub fn confusion(names: &[String], row: &dyn Fn(usize) -> Vec<u64>) -> Result<RgbImage, Problem> {
    let classes = names.len().max(1);
    let named = classes <= MOST_NAMED;
    let cell = if named { CELL } else { (SIDE / classes).max(1) };
    let names: Vec<String> =
        if named { names.iter().map(|name| cut(name, NAMES, LONGEST)).collect() } else { Vec::new() };
    let widest = names.iter().map(|name| width(name, NAMES)).max().unwrap_or(0) as i32;
    let title = 2 * NAMES;
    let (left, top) = (MARGIN + title + widest + 6, MARGIN + title + widest + 6);
    let side = (cell * classes) as i32;
    let size = ((left + side + MARGIN) as u32, (top + side + MARGIN) as u32);
    let mut base = RgbImage::from_pixel(size.0, size.1, image::Rgb([255; 3]));
    let edge = cell - usize::from(cell > 6);
    let mut numbers = Vec::new();
    for label in 0..classes {
        let counts = row(label);
        let all = counts.iter().sum::<u64>().max(1) as f64;
        for (predicted, count) in counts.into_iter().enumerate() {
            let share = count as f64 / all;
            let (x, y) = (left as usize + predicted * cell, top as usize + label * cell);
            let color = shade(if label == predicted { [8, 69, 148] } else { [165, 15, 21] }, share);
            for (dx, dy) in (0..edge).flat_map(|dy| (0..edge).map(move |dx| (dx, dy))) {
                base.put_pixel((x + dx) as u32, (y + dy) as u32, color);
            }
            if named && count > 0 {
                numbers.push((count.to_string(), ((x + edge / 2) as i32, (y + edge / 2) as i32), share));
            }
        }
    }
    drawn(base, |area| {
        let text = |size: i32| (font(), size).into_font().color(&BLACK);
        let middle = text(NAMES + 2).pos(Pos::new(HPos::Center, VPos::Center));
        area.draw(&Text::new("taken for", (left + side / 2, MARGIN + NAMES / 2), middle.clone()))?;
        let turned = middle.transform(FontTransform::Rotate270);
        area.draw(&Text::new("images of", (MARGIN + NAMES / 2, top + side / 2), turned))?;
        for (at, name) in names.iter().enumerate() {
            let middle = (at * cell + cell / 2) as i32;
            let right = text(NAMES).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(name.as_str(), (left - 6, top + middle), right))?;
            // Turned, what was left is below.
            let up = (font(), NAMES).into_font().transform(FontTransform::Rotate270).color(&BLACK);
            let up = up.pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(name.as_str(), (left + middle, top - 6), up))?;
        }
        for (digits, place, share) in numbers {
            let ink = if share > 0.5 { &WHITE } else { &BLACK };
            let fits = (width(&digits, NAMES) as usize) < cell;
            let style = (font(), if fits { NAMES } else { NAMES - 4 }).into_font().color(ink);
            area.draw(&Text::new(digits, place, style.pos(Pos::new(HPos::Center, VPos::Center))))?;
        }
        area.draw(&Rectangle::new([(left - 1, top - 1), (left + side, top + side)], RGBColor(160, 160, 160)))?;
        Ok(())
    })
}

/// White for a share of 0, the colour for one of 1; small shares are seen, too.
fn shade(color: [u8; 3], share: f64) -> image::Rgb<u8> {
    let share = share.clamp(0.0, 1.0).sqrt();
    image::Rgb(color.map(|of| (255.0 - (255.0 - f64::from(of)) * share).round() as u8))
}

/// An image of a contact sheet, with what is written below it.
pub struct Tile {
    /// As it is drawn.
    pub image: RgbImage,
    /// Lines, each no longer than the tile is wide: what is longer is cut.
    pub lines: Vec<String>,
}

/// Tiles side by side.
const COLUMNS: usize = 6;

/// Least width of a tile and least side of its image, in pixels.
const TILE: u32 = 168;

/// Draws images in rows of six, each with its lines.
///
/// # Errors
/// As the drawing's.
pub fn contact_sheet(tiles: &[Tile]) -> Result<RgbImage, Problem> {
    let zoom = |image: &RgbImage| (TILE - 8).div_ceil(image.width().max(image.height()).max(1)).max(1);
    let side =
        |of: fn(&RgbImage) -> u32| tiles.iter().map(|tile| of(&tile.image) * zoom(&tile.image)).max().unwrap_or(1);
    let (wide, high) = (side(RgbImage::width).max(TILE - 8), side(RgbImage::height));
    let lines = tiles.iter().map(|tile| tile.lines.len()).max().unwrap_or(0) as u32;
    let (step_x, step_y) = (wide + 8, high + lines * (NAMES as u32 + 4) + 12);
    let columns = tiles.len().clamp(1, COLUMNS) as u32;
    let rows = tiles.len().div_ceil(COLUMNS).max(1) as u32;
    let size = (8 + columns * step_x, 8 + rows * step_y);
    let place = |at: usize| (8 + (at % COLUMNS) as u32 * step_x, 8 + (at / COLUMNS) as u32 * step_y);
    let mut sheet = drawn(RgbImage::from_pixel(size.0, size.1, image::Rgb([255; 3])), |area| {
        for (at, tile) in tiles.iter().enumerate() {
            let (x, y) = place(at);
            for (line, text) in tile.lines.iter().enumerate() {
                let down = y + high + 4 + line as u32 * (NAMES as u32 + 4);
                let style = (font(), NAMES).into_font().color(&BLACK);
                area.draw(&Text::new(cut(text, NAMES, wide), (x as i32, down as i32), style))?;
            }
        }
        Ok(())
    })?;
    for (at, tile) in tiles.iter().enumerate() {
        let (left, top) = place(at);
        let zoom = zoom(&tile.image);
        for (x, y, pixel) in tile.image.enumerate_pixels() {
            for (dx, dy) in (0..zoom).flat_map(|dy| (0..zoom).map(move |dx| (dx, dy))) {
                sheet.put_pixel(left + x * zoom + dx, top + y * zoom + dy, *pixel);
            }
        }
    }
    Ok(sheet)
}

/// A picture, drawn over.
fn drawn(base: RgbImage, draw: impl FnOnce(&Area) -> Result<(), Problem>) -> Result<RgbImage, Problem> {
    font();
    let size = base.dimensions();
    let mut pixels = base.into_raw();
    {
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        draw(&area)?;
        area.present().map_err(|error| error.to_string())?;
    }
    RgbImage::from_raw(size.0, size.1, pixels).ok_or_else(|| "the picture is too large".into())
}

/// Of a text, in pixels.
fn width(text: &str, size: i32) -> u32 {
    let style = (font(), size).into_font();
    style.layout_box(text).map_or(0, |((left, _), (right, _))| (right - left).unsigned_abs())
}

/// A text that is no wider, cut where it would be.
fn cut(text: &str, size: i32, most: u32) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let shorter = kept.iter().collect::<String>().trim_end().to_owned() + "…";
        if width(&shorter, size) <= most {
            return shorter;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_as_dark_as_their_share() {
        let names = ["cat", "a dog of a very long name, which no place is wide enough for"].map(str::to_owned);
        let counts = [vec![3, 1], vec![0, 5]];
        let picture = confusion(&names, &|label| counts[label].clone()).unwrap();
        let origin =
            (picture.width() - MARGIN as u32 - 2 * CELL as u32, picture.height() - MARGIN as u32 - 2 * CELL as u32);
        let at = |x: u32, y: u32| picture.get_pixel(origin.0 + x * CELL as u32 + 2, origin.1 + y * CELL as u32 + 2).0;
        assert_eq!((at(1, 1), at(0, 1)), ([8, 69, 148], [255; 3]));
        let (right, wrong) = (at(0, 0), at(1, 0));
        assert!(right[2] > right[0] && right[0] < 120 && wrong[0] > wrong[2] && wrong[1] > 120, "{right:?} {wrong:?}");
        // Names stand left of the cells and above, no longer than their place.
        let ink = |x: std::ops::Range<u32>, y: std::ops::Range<u32>| {
            x.flat_map(|x| y.clone().map(move |y| (x, y))).filter(|(x, y)| picture.get_pixel(*x, *y).0[0] < 128).count()
        };
        assert!(ink(MARGIN as u32 + 28..origin.0, origin.1..picture.height()) > 30);
        assert!(ink(origin.0..picture.width(), MARGIN as u32 + 28..origin.1) > 30);
        assert!(origin.0 < LONGEST + 60);
        let many: Vec<String> = (0..150).map(|class| class.to_string()).collect();
        let picture = confusion(&many, &|label| (0..150).map(|at| u64::from(at == label)).collect()).unwrap();
        assert!(picture.width() < 1000 && picture.pixels().filter(|pixel| pixel.0 == [8, 69, 148]).count() == 150 * 36);
    }

    #[test]
    fn tiles_are_in_rows_of_six() {
        let tile = |value: u8| Tile {
            image: RgbImage::from_pixel(20, 10, image::Rgb([value, 0, 0])),
            lines: vec!["cat".into(), "taken for a dog of a name that is too long for a tile of this width".into()],
        };
        let sheet = contact_sheet(&(0..7).map(|at| tile(100 + at)).collect::<Vec<_>>()).unwrap();
        assert_eq!(sheet.width(), 8 + 6 * 168);
        let step = (sheet.height() - 8) / 2;
        assert_eq!(sheet.get_pixel(8 + 168 + 159, 8 + 79).0, [101, 0, 0]);
        assert_eq!(sheet.get_pixel(8, 8 + step).0, [106, 0, 0]);
        // Nothing is written between tiles.
        assert!((0..sheet.height()).all(|y| sheet.get_pixel(8 + 164, y).0 == [255; 3]));
        assert!(sheet.pixels().filter(|pixel| pixel.0.iter().all(|value| *value < 128)).count() > 200);
    }
}
