use super::{Draw, Erasing, Erasure, Paint, Transform, TransformKind, TransformOption};

/// DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
pub const KIND: TransformKind = TransformKind {
    name: "cutout",
    meaning: "puts the mean of the data into a square of images, about any of their pixels and cut off at their edges",
    source: "`Cutout(n_holes=1, length)` of its authors",
    options: &[
        TransformOption::whole("size", [1, 4096], 8, "the side of the square, in pixels"),
        TransformOption::number("probability", [0.0, 1.0], 1.0, "the share of images that it is done to"),
    ],
    build: |options| {
        Ok(Transform::Erasing(Box::new(Cutout {
            size: options.whole("size"),
            probability: options.number("probability"),
        })))
    },
};

#[derive(Debug)]
struct Cutout {
    size: u32,
    probability: f32,
}

impl Erasing for Cutout {
    fn draw(&self, random: &mut Draw, size: [usize; 2]) -> Option<Erasure> {
        if !random.chance(self.probability) {
            return None;
        }
        let half = self.size / 2;
        let [(top, bottom), (left, right)] = size.map(|size| {
            let centre = random.below(size as u32);
            (centre.saturating_sub(half), (centre + self.size - half).min(size as u32))
        });
        Some(Erasure::new(Paint::Mean, [top, left, bottom, right], [0; 2]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::erasures_by;

    #[test]
    fn squares_are_cut_off_at_the_edges() {
        for size in [1, 4, 5] {
            let mut centres = std::collections::HashMap::new();
            for [top, left, bottom, right] in erasures_by(&format!("cutout: {size}"), [7, 9]).take(6300) {
                assert!(bottom <= 7 && right <= 9 && bottom - top <= size && right - left <= size);
                assert!(bottom - top >= size.div_ceil(2) && right - left >= size.div_ceil(2));
                *centres.entry([top, left, bottom, right]).or_insert(0) += 1;
            }
            // Each pixel is the centre of one.
            assert_eq!(centres.len(), 63, "{size}");
            assert!(centres.values().all(|count| (50..160).contains(count)), "{centres:?}");
        }
        let some = erasures_by("cutout: { probability: 0.25 }", [7, 9]).take(4000).filter(|at| at[2] > 0).count();
        assert!((900..1100).contains(&some), "{some}");
    }
}
