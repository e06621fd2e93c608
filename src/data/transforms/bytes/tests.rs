//! Every operation against what Pillow computed: `tests/fixtures/pillow/make.py`.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Fixture {
    images: Vec<Picture>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Picture {
    /// Height, width, channels.
    shape: [usize; 3],
    /// Hexadecimal.
    pixels: String,
}

#[derive(Deserialize)]
struct Case {
    image: usize,
    operation: String,
    arguments: Vec<f64>,
    pixels: String,
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..][..2], 16).unwrap()).collect()
}

fn operation(case: &Case, size: [usize; 2]) -> Applied {
    let first = case.arguments.first().copied().unwrap_or_default();
    let mover = |bilinear| Mover { bilinear, fill: Some(case.arguments[1] as u8) };
    match case.operation.as_str() {
        "brightness" => brightness(first as f32),
        "color" => color(first as f32),
        "contrast" => contrast(first as f32),
        "sharpness" => sharpness(first as f32),
        "blur" => blur(first as f32),
        "auto_contrast" => auto_contrast(),
        "equalize" => equalize(),
        "invert" => invert(),
        "posterize" => posterize(first as u32),
        "solarize" => solarize(first as u32),
        "solarize_add" => solarize_add(first as u32),
        "shear_x" => mover(true).shear_x(first),
        "shear_y" => mover(true).shear_y(first),
        "translate_x" => mover(true).translate_x(first),
        "translate_y" => mover(true).translate_y(first),
        "rotate" => mover(true).rotate(first, size),
        "shear_x_nearest" => mover(false).shear_x(first),
        "shear_y_nearest" => mover(false).shear_y(first),
        "translate_x_nearest" => mover(false).translate_x(first),
        "translate_y_nearest" => mover(false).translate_y(first),
        "rotate_nearest" => mover(false).rotate(first, size),
        other => panic!("{other}"),
    }
}

#[test]
fn as_pillow_computes_them() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../../../../tests/fixtures/pillow/operations.json")).unwrap();
    let mut seen = std::collections::HashSet::from(["identity"]);
    let mut wrong = Vec::new();
    for case in &fixture.cases {
        let Picture { shape: [height, width, channels], ref pixels } = fixture.images[case.image];
        let (mut pixels, mut before) = (bytes(pixels), Vec::new());
        let mut image = Image {
            pixels: &mut pixels,
            before: &mut before,
            size: [height, width],
            channels,
            mean: vec![7; channels],
        };
        let applied = operation(case, [height, width]);
        seen.insert(applied.name());
        Applied::get(&applied.words()).apply(&mut image);
        let off: Vec<i32> = pixels
            .iter()
            .zip(&bytes(&case.pixels))
            .map(|(ours, theirs)| i32::from(*ours) - i32::from(*theirs))
            .collect();
        // A rotation's matrix is rounded to float32, and Pillow's is not: of a few pixels the last bit differs, and of
        // more in the image of twelve bytes.
        let few = off.iter().filter(|off| **off != 0).count() * 100 <= off.len() || off.len() == 12;
        let near = few && off.iter().all(|off| off.abs() <= 1) && case.operation == "rotate";
        if off.iter().any(|off| *off != 0) && !near {
            wrong.push(format!("{} {:?} of image {}: {off:?}", case.operation, case.arguments, case.image));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all: std::collections::HashSet<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert_eq!(seen, all);
}

#[test]
fn the_mean_of_the_data_stands_outside() {
    let (mut pixels, mut before) = (vec![9; 12], Vec::new());
    let mut image = Image { pixels: &mut pixels, before: &mut before, size: [2, 2], channels: 3, mean: vec![1, 2, 3] };
    Mover { bilinear: true, fill: None }.translate_x(1.0).apply(&mut image);
    assert_eq!(pixels, [9, 9, 9, 1, 2, 3, 9, 9, 9, 1, 2, 3]);
}
