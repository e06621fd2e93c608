use super::{
    Draw, Operating, Transform, TransformKind, TransformOption,
    bytes::{Applied, blur, color, solarize},
    color_jitter::ColorJitter,
};

/// Touvron et al., "DeiT III: Revenge of the ViT", 2022.
pub const KIND: TransformKind = TransformKind {
    name: "three_augment",
    meaning: "makes images grey, solarizes or blurs them, each a third of them, and then changes brightness, contrast and \
              saturation",
    source: "`new_data_aug_generator` of `facebookresearch/deit` behind its crop and flip",
    options: &[TransformOption::number(
        "color_jitter",
        [0.0, 1.0],
        0.3,
        "the `strength` of `color_jitter`; 0 for none",
    )],
    build: |options| {
        let jitter = ColorJitter { strengths: [options.number("color_jitter"); 3] };
        Ok(Transform::Operating(Box::new(ThreeAugment { jitter })))
    },
};

#[derive(Debug)]
struct ThreeAugment {
    jitter: ColorJitter,
}

impl Operating for ThreeAugment {
    fn most(&self) -> usize {
        1 + self.jitter.most()
    }

    fn draw(&self, random: &mut Draw, size: [usize; 2]) -> Vec<Applied> {
        let first = match random.below(3) {
            0 => color(0.0),
            1 => solarize(128),
            _ => blur(random.within([0.1, 2.0])),
        };
        std::iter::once(first).chain(self.jitter.draw(random, size)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{bytes::color, tests::operations_by};

    #[test]
    fn one_of_three_and_then_the_jitter() {
        let mut counts = [0; 3];
        for operations in operations_by("three_augment", [8, 8]).take(6000) {
            let at = ["color", "solarize", "blur"].iter().position(|name| *name == operations[0].name()).unwrap();
            counts[at] += 1;
            assert!(at != 0 || operations[0] == color(0.0));
            let mut jitter: Vec<&str> = operations[1..].iter().map(|operation| operation.name()).collect();
            jitter.sort_unstable();
            assert_eq!(jitter, ["brightness", "color", "contrast"]);
        }
        assert!(counts.iter().all(|count| (1880..2120).contains(count)), "{counts:?}");
        let without = operations_by("three_augment: 0", [8, 8]).next().unwrap();
        assert!(without[1..].iter().all(|operation| operation.name() == "identity"));
    }
}
