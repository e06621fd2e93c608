//! The curves of one training: `history.csv`, and loss, accuracy and top-5 accuracy over epochs as
//! SVG and PNG.

use std::path::Path;

use plotters::{coord::Shift, prelude::*};

use super::pictures::font;
use crate::{
    files::{FileError, replace},
    trial::{Directory, Epoch},
};

/// Width and height in pixels.
const SIZE: (u32, u32) = (720, 440);

const TRAINING: RGBColor = RGBColor(31, 119, 180);
const VALIDATION: RGBColor = RGBColor(255, 127, 14);

/// One picture: its file name, title, and the value of an epoch for either split.
struct Plot {
    file: &'static str,
    title: &'static str,
    /// Of the vertical axis.
    unit: &'static str,
    training: fn(&Epoch) -> f64,
    validation: fn(&Epoch) -> Option<f64>,
}

const PLOTS: [Plot; 3] = [
    Plot { file: "loss", title: "Loss", unit: "cross-entropy", training: |e| e.loss, validation: |e| e.val_loss },
    Plot {
        file: "accuracy",
        title: "Accuracy",
        unit: "share of images",
        training: |e| e.accuracy,
        validation: |e| e.val_accuracy,
    },
    Plot {
        file: "top_5_accuracy",
        title: "Top-5 accuracy",
        unit: "share of images",
        training: |e| e.top_5_accuracy,
        validation: |e| e.val_top_5_accuracy,
    },
];

/// Writes all files into a trial's directory.
///
/// # Errors
/// A file that cannot be written.
pub fn write(folder: &Path, epochs: &[Epoch]) -> Result<(), FileError> {
    let directory = Directory::new(folder);
    let failed = |path: &Path, error: &dyn std::fmt::Display| FileError::Io {
        action: "draw",
        path: path.to_owned(),
        cause: std::io::Error::other(error.to_string()),
        help: None,
    };
    let mut table = csv::Writer::from_writer(Vec::new());
    for epoch in epochs {
        table.serialize(epoch).map_err(|error| failed(&directory.table(), &error))?;
    }
    let table = table.into_inner().map_err(|error| failed(&directory.table(), &error))?;
    replace(&directory.table(), &table)?;
    if epochs.is_empty() {
        return Ok(());
    }
    font();
    for plot in &PLOTS {
        let path = directory.curve(plot.file, "svg");
        let mut svg = String::new();
        plot.draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area(), epochs)
            .map_err(|error| failed(&path, &error))?;
        replace(&path, svg.as_bytes())?;

        let path = directory.curve(plot.file, "png");
        let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
        plot.draw(&BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area(), epochs)
            .map_err(|error| failed(&path, &error))?;
        let mut png = std::io::Cursor::new(Vec::new());
        image::write_buffer_with_format(
            &mut png,
            &pixels,
            SIZE.0,
            SIZE.1,
            image::ExtendedColorType::Rgb8,
            image::ImageFormat::Png,
        )
        .map_err(|error| failed(&path, &error))?;
        replace(&path, png.get_ref())?;
    }
    Ok(())
}

impl Plot {
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        epochs: &[Epoch],
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let training: Vec<(u32, f64)> = epochs.iter().map(|epoch| (epoch.epoch, (self.training)(epoch))).collect();
        let validation: Vec<(u32, f64)> =
            epochs.iter().filter_map(|epoch| Some((epoch.epoch, (self.validation)(epoch)?))).collect();
        let all = || training.iter().chain(&validation);
        let last = all().map(|point| point.0).fold(2, u32::max);
        let top = all().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 22))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(1..last, 0.0..top * 1.05)?;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .y_desc(self.unit)
            .label_style(("sans-serif", 14))
            .light_line_style(WHITE)
            .draw()?;
        for (label, color, points) in [("training", TRAINING, training), ("validation", VALIDATION, validation)] {
            if points.is_empty() {
                continue;
            }
            // A line needs two points: a single one is a dot.
            let dot = points.first().filter(|_| points.len() == 1).map(|&point| Circle::new(point, 4, color.filled()));
            chart.draw_series(dot)?;
            let line = LineSeries::new(points, color.stroke_width(2));
            chart
                .draw_series(line)?
                .label(label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .label_font(("sans-serif", 14))
            .background_style(WHITE)
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
        area.present()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Means;

    #[test]
    fn draws_with_and_without_validation() {
        let means = |loss: f64| Means { loss, accuracy: 1.0 / loss, top_5_accuracy: 0.9 };
        for validated in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let epoch = |number: u32| {
                let loss = 4.0 / f64::from(number);
                Epoch::new(number, means(loss), validated.then(|| means(loss + 0.5)), 1e-3)
            };
            write(folder.path(), &[epoch(1), epoch(2), epoch(3)]).unwrap();
            let svg = std::fs::read_to_string(folder.path().join("loss.svg")).unwrap();
            assert_eq!(svg.matches("validation").count(), usize::from(validated), "{svg}");
            assert!(svg.contains("epoch") && svg.matches("<polyline").count() > usize::from(validated));
            let png = image::open(folder.path().join("top_5_accuracy.png")).unwrap().to_rgb8();
            assert_eq!(png.dimensions(), SIZE);
            let orange = png.pixels().filter(|pixel| pixel.0 == [255, 127, 14]).count();
            assert_eq!(orange > 50, validated, "{orange}");
            let csv = std::fs::read_to_string(folder.path().join("history.csv")).unwrap();
            assert_eq!(csv.lines().count(), 4);
            assert_eq!(csv.contains("val_loss"), validated);
        }
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[]).unwrap();
        // One epoch has no line: it is a dot in the colour of each split, besides that of the legend.
        for validated in [false, true] {
            write(folder.path(), &[Epoch::new(1, means(1.0), validated.then(|| means(1.5)), 1e-3)]).unwrap();
            let svg = std::fs::read_to_string(folder.path().join("accuracy.svg")).unwrap();
            assert_eq!(svg.matches("<circle").count(), 1 + usize::from(validated), "{svg}");
            let png = image::open(folder.path().join("accuracy.png")).unwrap().to_rgb8();
            for (color, drawn) in [([31, 119, 180], true), ([255, 127, 14], validated)] {
                // The axes are left of the legend, which is no more than 18 by 2 pixels of each colour.
                let pixels = png.pixels().filter(|pixel| pixel.0 == color).count();
                assert_eq!(pixels > 60, drawn, "{pixels}");
            }
        }
    }
}
