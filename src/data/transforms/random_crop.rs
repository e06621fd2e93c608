use super::{Affine, Draw, Fill, Geometric, Transform, TransformKind, TransformOption};

/// torchvision's `RandomCrop` with `padding`.
pub const KIND: TransformKind = TransformKind {
    name: "random_crop",
    meaning: "pads images on all sides and cuts out a part of the old size",
    source: "`torchvision.transforms.RandomCrop(size, padding)`",
    options: &[
        TransformOption::whole("padding", [0, 1024], 4, "pixels of the resized image on each side"),
        TransformOption::word(
            "fill",
            &["zero", "reflect", "edge", "symmetric"],
            "zero",
            "what is padded: black, `d c b | a b c d | c b a`, the pixel at the edge, or `d c b a | a b c d | d c b a`",
        ),
    ],
    build: |options| {
        let fill = match options.word("fill") {
            "reflect" => Fill::Mirror,
            "edge" => Fill::Nearest,
            "symmetric" => Fill::Reflect,
            _ => Fill::Black,
        };
        Ok(Transform::Geometric(Box::new(RandomCrop { padding: options.whole("padding"), fill })))
    },
};

#[derive(Debug)]
struct RandomCrop {
    padding: u32,
    fill: Fill,
}

impl Geometric for RandomCrop {
    fn fill(&self) -> Fill {
        self.fill
    }

    fn draw(&self, random: &mut Draw, _: [usize; 2]) -> Affine {
        let [top, left] = [0; 2].map(|_| random.below(2 * self.padding + 1) as f32 - self.padding as f32);
        [[1.0, 0.0, left], [0.0, 1.0, top]]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{applied, drawn_by};

    #[test]
    fn every_part_of_the_padded_image_is_as_likely() {
        let mut counts = [[0_u32; 5]; 5];
        for [[.., x], [.., y]] in drawn_by("random_crop: 2", [4, 4]).take(5000) {
            counts[(y + 2.0) as usize][(x + 2.0) as usize] += 1;
        }
        assert!(counts.as_flattened().iter().all(|count| (150..250).contains(count)), "{counts:?}");
    }

    #[test]
    fn cuts_out_of_the_padded_image() {
        for (fill, outside) in
            [("zero", [-1.0, -1.0]), ("reflect", [1.0, 1.0]), ("edge", [0.0, 2.0]), ("symmetric", [0.0, 2.0])]
        {
            let crop = format!("random_crop: {{ padding: 1, fill: {fill} }}");
            let [[.., x], [.., y]] = drawn_by(&crop, [1, 3]).next().unwrap();
            let padded = [outside[0], 0.0, 1.0, 2.0, outside[1]];
            let left = (x + 1.0) as usize;
            // There is one row: above and below of it, all but black is the row itself.
            let expected =
                if fill == "zero" && y != 0.0 { [-1.0; 3].to_vec() } else { padded[left..left + 3].to_vec() };
            assert_eq!(applied(&crop, [1, 3, 1], &[0.0, 1.0, 2.0]), expected, "{fill}");
        }
    }
}
