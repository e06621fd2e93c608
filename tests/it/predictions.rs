//! What comes out of trained weights: predictions of many pictures, and the report of an evaluation.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use crate::own_data::Lab;

/// A lab with a trained run `r`.
fn trained() -> Lab {
    let lab = Lab::new();
    lab.fine(&["run", "lab/e.yaml", "-o", "r", "--set", "train.epochs=8"]);
    lab
}

#[test]
fn predictions_of_a_folder_are_rows() {
    let lab = trained();
    let test = lab.path("lab/d/test");
    fs::write(test.join("green/9.jpg"), b"\xFF\xD8\xFF\xE0 cut").unwrap();
    fs::write(test.join("notes.txt"), "no picture").unwrap();
    for index in 0..30 {
        fs::copy(test.join("red/1.png"), test.join(format!("red/more{index:02}.png"))).unwrap();
    }
    let predict = |more: &[&str]| {
        let output = lab.vitx(&[&["predict", "r", "lab/d/test"], more].concat());
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("1 of 37 pictures cannot be read") && error.contains("9.jpg is cut off"), "{error}");
        String::from_utf8(output.stdout).unwrap()
    };
    let csv = predict(&["--format", "csv", "--top", "2"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(
        reader.headers().unwrap().iter().collect::<Vec<_>>().join(" "),
        "path error class_1 probability_1 class_2 probability_2"
    );
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 37);
    // In the order of the names, over several batches.
    assert!(rows.windows(2).all(|pair| pair[0][0] < pair[1][0]));
    for row in &rows {
        let class = row[0].split('/').nth(3).unwrap().to_owned();
        match row[0].ends_with("9.jpg") {
            true => assert!(row[1].starts_with("is cut off") && row[2].is_empty() && row[5].is_empty(), "{row:?}"),
            false => {
                assert!(row[1].is_empty() && row[2] == class && row[3].parse::<f32>().unwrap() > 1.0 / 3.0, "{row:?}")
            }
        }
    }
    let json = predict(&["--format", "json"]);
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, row) in lines.iter().zip(&rows) {
        assert_eq!(line["path"], row[0]);
        match line.get("error") {
            Some(error) => assert!(line.get("classes").is_none() && *error == row[1]),
            None => {
                assert_eq!(
                    (&line["classes"][0]["class"], line["classes"].as_array().unwrap().len()),
                    (&row[2].into(), 3)
                );
                // Batches of other sizes give the same numbers, but for rounding.
                let shares = [line["classes"][0]["probability"].as_f64().unwrap(), row[3].parse().unwrap()];
                assert!((shares[0] - shares[1]).abs() < 1e-5);
            }
        }
    }
    // One picture alone is what it is among others.
    let one = lab.fine(&["predict", "r", "lab/d/test/red/0.png", "--format", "csv", "--top", "2"]);
    let alone: f32 = one.lines().nth(1).unwrap().split(',').nth(3).unwrap().parse().unwrap();
    let among = rows.iter().find(|row| row[0].ends_with("red/0.png")).unwrap()[3].parse::<f32>().unwrap();
    assert!((alone - among).abs() < 1e-5, "{alone} {among}");
}

#[test]
fn paths_come_from_standard_input() {
    let lab = trained();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitx"));
    command.current_dir(lab.path("lab")).env("NO_COLOR", "1").args(["predict", "../r", "-", "--format", "csv"]);
    command.args(["--backend", "cpu", "--threads", "1"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"d/test/red/1.png\n\nd/test/blue\nd/nothing.png").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let first: Vec<&str> = text.lines().skip(1).map(|line| line.split(",0.").next().unwrap()).collect();
    assert_eq!(first[..3], ["d/test/red/1.png,,red", "d/test/blue/0.png,,blue", "d/test/blue/1.png,,blue"]);
    assert!(first[3].starts_with("d/nothing.png,cannot be read: "), "{text}");
}

/// A red square in a grey picture is what it is known by.
#[test]
fn a_class_is_explained_by_the_part_that_tells_it() {
    let lab = trained();
    let pixel = |x, y| if (20..28).contains(&x) && y < 8 { image::Rgb([255, 0, 0]) } else { image::Rgb([110; 3]) };
    image::RgbImage::from_fn(32, 32, pixel).save(lab.path("red.png")).unwrap();
    let text = lab.fine(&["predict", "r", "red.png", "--explain", "why.png", "--grid", "4"]);
    assert!(text.starts_with("red.png: red, ") && text.contains("less where a part is covered"), "{text}");
    let picture = image::open(lab.path("why.png")).unwrap().into_rgb8();
    // The second of the two images, of 224 pixels and more; redness in each quarter.
    let side = (picture.width() - 18) / 2;
    let redness = |column: u32, row: u32| {
        let [red, green, _] =
            picture.get_pixel(12 + side + side * (2 * column + 1) / 8, 6 + side * (2 * row + 1) / 8).0;
        i32::from(red) - i32::from(green)
    };
    let all: Vec<(i32, u32, u32)> = (0..16).map(|at| (redness(at % 4, at / 4), at % 4, at / 4)).collect();
    let most = all.iter().max().unwrap();
    assert!(most.0 > 100 && most.2 <= 1 && most.1 >= 2, "{all:?}");
    let refused = lab.refused(&["predict", "r", "red.png", "red.png", "--explain", "why.png"]);
    assert!(refused.contains("--explain draws one picture, and 2 are named"), "{refused}");
}

#[test]
fn a_report_is_of_classes_and_pairs() {
    let lab = trained();
    // Two red pictures that are called green.
    for index in 0..2 {
        let name = |class: &str, index: u8| lab.path(&format!("lab/d/test/{class}/{index}.png"));
        fs::copy(name("red", index), name("green", index + 2)).unwrap();
    }
    let text = lab.fine(&["eval", "r", "--report", "--confusion", "matrix.csv"]);
    insta::assert_snapshot!(text.lines().filter(|line| !line.contains("loss")).collect::<Vec<_>>().join("\n"));
    assert_eq!(
        fs::read_to_string(lab.path("matrix.csv")).unwrap(),
        "class,blue,green,red\nblue,2,0,0\ngreen,0,2,2\nred,0,0,2\n"
    );
    let output = lab.vitx(&["eval", "r", "--report", "--format", "json", "--flips"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["split"], &json["images"], &json["accuracy"]), (&"test".into(), &8.into(), &0.75.into()));
    assert_eq!(json["flips"]["accuracy"], 0.75);
    assert_eq!(json["classes"][2]["precision"], 0.5);
    assert_eq!(json["confused"].to_string(), r#"[{"class":"green","predicted":"red","images":2}]"#);
    // As pictures: two of eight are mistakes, and the worse stands first.
    let drawn = lab.vitx(&["eval", "r", "--confusion", "matrix.png", "--mistakes", "worst.png", "--format", "json"]);
    let drawn_json: serde_json::Value = serde_json::from_slice(&drawn.stdout).unwrap();
    let mistakes = drawn_json["mistakes"].as_array().unwrap();
    assert_eq!((mistakes.len(), &mistakes[0]["class"], &mistakes[1]["predicted"]), (2, &"green".into(), &"red".into()));
    assert!(mistakes[0]["loss"].as_f64() >= mistakes[1]["loss"].as_f64());
    assert!(String::from_utf8_lossy(&drawn.stderr).contains("worst.png: 2 of 2 mistakes"), "{drawn:?}");
    let matrix = image::open(lab.path("matrix.png")).unwrap().to_rgb8();
    // Of three classes: two rows are right, of the third a half.
    let full = matrix.pixels().filter(|pixel| pixel.0 == [8, 69, 148]).count();
    assert!(full > 2 * 38 * 38 && matrix.width() < 400, "{full}");
    assert_eq!(image::open(lab.path("worst.png")).unwrap().width(), 8 + 2 * 168);
    fs::remove_file(lab.path("worst.png")).unwrap();
    let right = lab.vitx(&["eval", "r", "--split", "train", "--mistakes", "worst.png", "--mistakes-count", "1"]);
    assert_eq!(
        String::from_utf8_lossy(&right.stderr).contains("no mistakes are drawn"),
        !lab.path("worst.png").exists(),
        "{right:?}"
    );
    let plain: serde_json::Value =
        serde_json::from_slice(&lab.vitx(&["eval", "r", "--format", "json"]).stdout).unwrap();
    assert!(plain.get("classes").is_none() && plain.get("flips").is_none() && plain["loss"] == json["loss"]);
}
