use super::{Draw, Erasing, Erasure, Paint, Transform, TransformKind, TransformOption};

/// Zhong et al., "Random Erasing Data Augmentation", 2017, as timm has it.
pub const KIND: TransformKind = TransformKind {
    name: "random_erasing",
    meaning: "paints over a rectangle of some images",
    source: "`timm.data.random_erasing.RandomErasing`",
    options: &[
        TransformOption::number("probability", [0.0, 1.0], 0.25, "the share of images that it paints on"),
        TransformOption::interval("area", [0.0, 1.0], [0.02, 1.0 / 3.0], "the area as a share of the image's"),
        TransformOption::interval(
            "ratio",
            [0.01, 100.0],
            [0.3, 1.0 / 0.3],
            "height by width, of which the logarithm is drawn evenly",
        ),
        TransformOption::word(
            "fill",
            &["noise", "color", "mean"],
            "noise",
            "normal noise for each pixel, one normal colour, or the mean of the data (timm's `pixel`, `rand` and `const`)",
        ),
    ],
    build: |options| {
        let paint = match options.word("fill") {
            "noise" => Paint::Noise,
            "color" => Paint::Colour,
            _ => Paint::Mean,
        };
        let [probability, area, ratio] =
            [[options.number("probability"); 2], options.interval("area"), options.interval("ratio")];
        Ok(Transform::Erasing(Box::new(RandomErasing { probability: probability[0], area, ratio, paint })))
    },
};

/// Times that a rectangle is drawn until one lies within the image.
const TRIES: usize = 10;

#[derive(Debug)]
struct RandomErasing {
    probability: f32,
    area: [f32; 2],
    ratio: [f32; 2],
    paint: Paint,
}

impl Erasing for RandomErasing {
    fn draw(&self, random: &mut Draw, [height, width]: [usize; 2]) -> Option<Erasure> {
        if !random.chance(self.probability) {
            return None;
        }
        let key = [random.word(), random.word()];
        for _ in 0..TRIES {
            let area = random.within(self.area) * (height * width) as f32;
            let ratio = random.within(self.ratio.map(f32::ln)).exp();
            let [h, w] = [area * ratio, area / ratio].map(|square| square.sqrt().round_ties_even() as u32);
            let (height, width) = (height as u32, width as u32);
            if h < height && w < width {
                let (top, left) = (random.below(height - h + 1), random.below(width - w + 1));
                return Some(Erasure::new(self.paint, [top, left, top + h, left + w], key));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::erasures_by;

    #[test]
    fn rectangles_have_the_areas_and_ratios() {
        let all: Vec<[u32; 4]> = erasures_by("random_erasing: { probability: 0.5 }", [32, 24]).take(8000).collect();
        let erased: Vec<[f32; 2]> = all
            .iter()
            .filter(|[top, left, bottom, right]| bottom > top && right > left)
            .map(|[top, left, bottom, right]| {
                assert!(*bottom <= 32 && *right <= 24);
                [(bottom - top) as f32, (right - left) as f32]
            })
            .collect();
        // Of those that do not fit, one in some tries does.
        assert!((3850..4150).contains(&erased.len()), "{}", erased.len());
        let areas: Vec<f32> = erased.iter().map(|[h, w]| h * w / 768.0).collect();
        assert!(areas.iter().all(|area| (0.013..0.36).contains(area)), "{areas:?}");
        let mean = areas.iter().sum::<f32>() / areas.len() as f32;
        assert!((mean - 0.17).abs() < 0.02, "{mean}");
        let logs: Vec<f32> = erased.iter().map(|[h, w]| (h / w).ln()).collect();
        let mean = logs.iter().sum::<f32>() / logs.len() as f32;
        // Wide ones fit less often.
        assert!((0.0..0.2).contains(&mean), "{mean}");
        assert!(logs.iter().any(|log| *log < -1.0) && logs.iter().any(|log| *log > 1.0));
        let mut seen = [[0_u32; 24]; 32];
        for [top, left, bottom, right] in all {
            (top..bottom).for_each(|y| (left..right).for_each(|x| seen[y as usize][x as usize] += 1));
        }
        assert!(seen.as_flattened().iter().all(|&count| count > 0), "{seen:?}");
    }
}
