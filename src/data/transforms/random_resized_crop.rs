use super::{Affine, Draw, Fill, Geometric, Transform, TransformKind, TransformOption};

/// torchvision's `RandomResizedCrop`.
pub const KIND: TransformKind = TransformKind {
    name: "random_resized_crop",
    meaning: "cuts out a part of images and enlarges it to the old size",
    source: "`torchvision.transforms.RandomResizedCrop(size, scale, ratio)` \
             (a pixel at the edge of the part is blended with the one beyond it)",
    options: &[
        TransformOption::interval("area", [0.01, 1.0], [0.08, 1.0], "the area of the part as a share of the image's"),
        TransformOption::interval(
            "ratio",
            [0.01, 100.0],
            [0.75, 4.0 / 3.0],
            "width by height of the part, of which the logarithm is drawn evenly",
        ),
    ],
    build: |options| {
        let (area, ratio) = (options.interval("area"), options.interval("ratio"));
        Ok(Transform::Geometric(Box::new(RandomResizedCrop { area, ratio })))
    },
};

/// Times that a part is drawn until one lies within the image.
const TRIES: usize = 10;

#[derive(Debug)]
struct RandomResizedCrop {
    area: [f32; 2],
    ratio: [f32; 2],
}

impl RandomResizedCrop {
    /// Top, left, height and width of a part of an image `[height, width]`.
    fn part(&self, random: &mut Draw, [height, width]: [u32; 2]) -> [u32; 4] {
        for _ in 0..TRIES {
            let area = random.within(self.area) * (height * width) as f32;
            let ratio = random.within(self.ratio.map(f32::ln)).exp();
            let [w, h] = [area * ratio, area / ratio].map(|square| square.sqrt().round_ties_even() as u32);
            if 0 < w && w <= width && 0 < h && h <= height {
                return [random.below(height - h + 1), random.below(width - w + 1), h, w];
            }
        }
        // The largest in the middle.
        let ratio = width as f32 / height as f32;
        let [low, high] = self.ratio;
        let (h, w) = if ratio < low {
            (((width as f32 / low).round_ties_even() as u32).clamp(1, height), width)
        } else if ratio > high {
            (height, ((height as f32 * high).round_ties_even() as u32).clamp(1, width))
        } else {
            (height, width)
        };
        [(height - h) / 2, (width - w) / 2, h, w]
    }
}

impl Geometric for RandomResizedCrop {
    fn fill(&self) -> Fill {
        Fill::Nearest
    }

    fn draw(&self, random: &mut Draw, [height, width]: [usize; 2]) -> Affine {
        let [top, left, h, w] = self.part(random, [height as u32, width as u32]);
        // Pixels are areas: the first edge of the part is the first edge of the image.
        let axis = |first: u32, part: u32, size: usize| {
            let scale = part as f32 / size as f32;
            (scale, first as f32 + 0.5 * scale - 0.5)
        };
        let ((x, right), (y, down)) = (axis(left, w, width), axis(top, h, height));
        [[x, 0.0, right], [0.0, y, down]]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{applied, drawn_by};

    #[test]
    fn parts_have_the_areas_and_ratios() {
        let (mut areas, mut seen) = (Vec::new(), [[0_u32; 20]; 30]);
        for [[x, zero, right], [other_zero, y, down]] in drawn_by("random_resized_crop", [30, 20]).take(4000) {
            let (w, h) = (x * 20.0, y * 30.0);
            let (left, top) = (right + 0.5 - 0.5 * x, down + 0.5 - 0.5 * y);
            for whole in [w, h, left, top] {
                assert!((whole - whole.round()).abs() < 1e-4, "{whole}");
            }
            assert!((zero, other_zero) == (0.0, 0.0) && left > -1e-4 && top > -1e-4);
            assert!(left + w < 20.001 && top + h < 30.001);
            let ratio = w / h;
            assert!((0.6..1.7).contains(&ratio), "{ratio}");
            areas.push(w * h / 600.0);
            for row in &mut seen[top.round() as usize..(top + h).round() as usize] {
                row[left.round() as usize..(left + w).round() as usize].iter_mut().for_each(|count| *count += 1);
            }
        }
        let mean = areas.iter().sum::<f32>() / 4000.0;
        // The largest do not fit this shape.
        assert!((0.35..0.55).contains(&mean), "{mean}");
        assert!(areas.iter().any(|area| *area < 0.1));
        assert!(seen.as_flattened().iter().all(|&count| count > 50), "{seen:?}");
    }

    #[test]
    fn the_whole_image_is_itself() {
        let image: Vec<f32> = (0..48).map(|value| (value as f32 * 0.7).sin()).collect();
        assert_eq!(applied("random_resized_crop: { area: [1, 1], ratio: [1, 1] }", [4, 4, 3], &image), image);
        // Where no part fits, the largest in the middle.
        let tall = applied("random_resized_crop: { area: [1, 1], ratio: [1, 1] }", [4, 2, 1], &image[..8]);
        assert_eq!(tall[..2], [0.75 * image[2] + 0.25 * image[0], 0.75 * image[3] + 0.25 * image[1]]);
    }
}
