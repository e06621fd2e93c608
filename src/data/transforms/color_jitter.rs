use super::{
    Draw, Operating, Transform, TransformKind, TransformOption,
    bytes::{Applied, brightness, color, contrast},
};

/// torchvision's `ColorJitter` without `hue`.
pub const KIND: TransformKind = TransformKind {
    name: "color_jitter",
    meaning: "changes brightness, contrast and saturation, in any order",
    source: "`torchvision.transforms.ColorJitter` without `hue`",
    options: &[
        TransformOption::number("strength", [0.0, 1.0], 0.4, "each factor is drawn from 1 - strength to 1 + strength"),
        TransformOption::number("brightness", [0.0, 1.0], 0.0, "of this one; without it, `strength`").optional(),
        TransformOption::number("contrast", [0.0, 1.0], 0.0, "of this one; without it, `strength`").optional(),
        TransformOption::number("saturation", [0.0, 1.0], 0.0, "of this one; without it, `strength`").optional(),
    ],
    build: |options| {
        let strength = |name| options.number_if_any(name).unwrap_or(options.number("strength"));
        let strengths = ["brightness", "contrast", "saturation"].map(strength);
        Ok(Transform::Operating(Box::new(ColorJitter { strengths })))
    },
};

/// Brightness, contrast, saturation.
#[derive(Debug)]
pub struct ColorJitter {
    pub strengths: [f32; 3],
}

impl Operating for ColorJitter {
    fn most(&self) -> usize {
        3
    }

    fn draw(&self, random: &mut Draw, _: [usize; 2]) -> Vec<Applied> {
        let mut order: [usize; 3] = [0, 1, 2];
        for last in [2, 1] {
            order.swap(last, random.below(last as u32 + 1) as usize);
        }
        let kinds: [fn(f32) -> Applied; 3] = [brightness, contrast, color];
        let drawn = order.map(|kind| {
            let strength = self.strengths[kind];
            (strength > 0.0).then(|| kinds[kind](random.within([1.0 - strength, 1.0 + strength])))
        });
        drawn.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::operations_by;

    #[test]
    fn factors_and_orders_are_drawn() {
        let mut orders = std::collections::HashMap::new();
        for operations in operations_by("color_jitter: { strength: 0.4, contrast: 0.2 }", [8, 8]).take(6000) {
            for operation in &operations {
                let words = operation.words();
                let most = if operation.name() == "contrast" { 0.2 } else { 0.4 };
                let factor = f32::from_bits(words[1]);
                assert!((factor - 1.0).abs() <= most, "{factor}");
            }
            let names: Vec<&str> = operations.iter().map(|operation| operation.name()).collect();
            *orders.entry(names).or_insert(0) += 1;
        }
        assert!(orders.len() == 6 && orders.values().all(|count| (880..1120).contains(count)), "{orders:?}");
        let none = operations_by("color_jitter: { strength: 0, saturation: 0.5 }", [8, 8]).next().unwrap();
        assert_eq!(none[0].name(), "color");
        assert_eq!(none[1].name(), "identity");
    }
}
