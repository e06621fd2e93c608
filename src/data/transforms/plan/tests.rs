use super::*;
use crate::data::{Augmentation, transforms::tests::levels};

const DRAWS: Draws = Draws { seed: 11, epoch: 4, repeats: 1 };

fn plan(text: &str) -> std::sync::Arc<Plan> {
    serde_yaml::from_str::<Augmentation>(text).unwrap().plan([6, 9])
}

fn row(plan: &Plan, index: u32) -> Vec<u32> {
    let mut row = vec![7; plan.words()];
    plan.draw(DRAWS, [index, 0], &mut row);
    row
}

#[test]
fn neighbours_with_one_filling_are_sampled_once() {
    for (text, mirrors, fills) in [
        ("{}", false, vec![]),
        ("{ flip: true }", true, vec![]),
        ("{ flip: true, zoom: 0.2 }", true, vec![Fill::Reflect]),
        // As in Keras, and as the first version did.
        ("{ flip: true, rotation: 0.1, zoom: 0.2 }", true, vec![Fill::Reflect; 2]),
        ("[random_flip, random_rotation, random_zoom]", true, vec![Fill::Reflect]),
        ("[random_rotation, random_flip, random_zoom]", false, vec![Fill::Reflect]),
        (
            "[random_rotation: { fill_mode: constant }, random_flip, random_zoom]",
            false,
            vec![Fill::Mean, Fill::Reflect],
        ),
    ] {
        let plan = plan(text);
        assert_eq!(plan.mirrors(), mirrors, "{text}");
        let found: Vec<Fill> = plan
            .passes()
            .iter()
            .map(|pass| match pass {
                Pass::Sample { fill, .. } => *fill,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, fills, "{text}");
        assert_eq!(plan.words(), usize::from(mirrors) + MATRIX * fills.len(), "{text}");
    }
}

#[test]
fn what_stands_around_a_transform_leaves_its_draws_alone() {
    let alone = plan("[random_rotation]");
    let after = plan("[random_flip, random_rotation]");
    let before = plan("[random_rotation, random_zoom: { fill_mode: wrap }]");
    for index in 0..5 {
        let expected = row(&alone, index);
        assert_eq!(row(&after, index)[1..], expected);
        assert_eq!(row(&before, index)[..MATRIX], expected);
        assert_ne!(row(&alone, index + 1), expected);
    }
}

#[test]
fn a_composed_list_is_near_one_transform_after_the_other() {
    // A smooth image, in the middle of which neither the edges nor the second interpolation matter.
    let size = [24, 24];
    let smooth = |y: f32, x: f32| (0.2 * x).sin() + (0.15 * y).cos();
    let image: Vec<f32> = (0..576).map(|at| smooth((at / 24) as f32, (at % 24) as f32)).collect();
    let applied = |text: &str| {
        let plan = serde_yaml::from_str::<Augmentation>(text).unwrap().plan(size);
        let mut image = image.clone();
        plan.apply(&row(&plan, 2), &levels(1), &mut image, &mut Scratch::default());
        image
    };
    let once = applied("[random_rotation, random_zoom: [-0.5, -0.1]]");
    let twice = applied("[random_rotation: { fill_mode: nearest }, random_zoom: [-0.5, -0.1]]");
    assert_ne!(once, twice);
    for y in 4..20 {
        for x in 4..20 {
            let (once, twice) = (once[y * 24 + x], twice[y * 24 + x]);
            assert!((once - twice).abs() < 0.02, "{y} {x}: {once} {twice}");
        }
    }
}

#[test]
fn transforms_are_others_from_an_epoch_on() {
    let all = |text: &str, epoch: u32| {
        let plan = plan(text);
        let draws = Draws { epoch, ..DRAWS };
        let image: Vec<f32> = (0..54).map(|value| value as f32 / 27.0 - 1.0).collect();
        let images = (0..9).map(|index| {
            let (mut row, mut image) = (vec![7; plan.words()], image.clone());
            plan.draw(draws, [index, 0], &mut row);
            let [vertical, horizontal] = plan.mirrored(&row);
            image
                .iter_mut()
                .for_each(|value| *value += 10.0 * f32::from(u8::from(vertical)) + f32::from(u8::from(horizontal)));
            plan.apply(&row, &levels(1), &mut image, &mut Scratch::default());
            image
        });
        (images.collect::<Vec<_>>(), (0..9).map(|batch| plan.mix(draws, batch)).collect::<Vec<_>>())
    };
    // From 3 on stronger, from 5 on left out, from 7 on as it was last.
    for (first, second, stages) in [
        ("random_flip", "random_flip: vertical", "random_flip: { from_epoch: { 3: vertical"),
        ("random_rotation: 0.1", "random_rotation: 0.4", "random_rotation: { factor: 0.1, from_epoch: { 3: 0.4"),
        (
            "random_erasing: { probability: 1 }",
            "random_erasing: { probability: 0.5, area: [0.3, 0.4] }",
            "random_erasing: { probability: 1, from_epoch: { 3: { probability: 0.5, area: [0.3, 0.4] }",
        ),
        (
            "rand_augment: { layers: 1 }",
            "rand_augment: { layers: 3, magnitude: 5 }",
            "rand_augment: { layers: 1, from_epoch: { 3: { magnitude: 5, layers: 3 }",
        ),
    ] {
        let staged = format!("[random_crop: 1, {stages}, 5: false, 7: true }} }}, cutout: 2, mixup]");
        let of = |transform: &str| format!("[random_crop: 1, {transform}, cutout: 2, mixup]");
        for (epoch, same) in [
            (0, of(first)),
            (2, of(first)),
            (3, of(second)),
            (4, of(second)),
            (5, "[random_crop: 1, cutout: 2, mixup]".into()),
            (6, "[random_crop: 1, cutout: 2, mixup]".into()),
            (9, of(second)),
        ] {
            assert_eq!(all(&staged, epoch), all(&same, epoch), "{staged} in epoch {epoch}");
        }
    }
    let staged = "[mixup: { alpha: 0.2, probability: 0.5, from_epoch: { 3: { probability: 0.1, alpha: 1 }, 5: false } }, cutmix]";
    for (epoch, same) in [
        (2, "[mixup: { alpha: 0.2, probability: 0.5 }, cutmix]"),
        (3, "[mixup: { alpha: 1, probability: 0.1 }, cutmix]"),
        (6, "[cutmix]"),
    ] {
        assert_eq!(all(staged, epoch), all(same, epoch), "{epoch}");
    }
}

#[test]
fn any_number_of_threads_draws_the_same() {
    let plan = plan("[random_flip, random_rotation]");
    let count = 2 * PART + 3;
    let expected: Vec<u32> = (0..count as u32).flat_map(|index| row(&plan, index)).collect();
    for threads in [0, 1, 3, 9] {
        assert!(plan.draw_all(DRAWS, count, threads) == expected, "{threads}");
    }
    assert!(super::tests::plan("{}").draw_all(DRAWS, 5, 2).is_empty());
    let order = [4, 4, 4, 0, 0, 0, 7];
    let repeated = plan.draw_repeated(Draws { repeats: 3, ..DRAWS }, &order, 2);
    let drawn: Vec<&[u32]> = repeated.chunks(plan.words()).collect();
    assert!(drawn[0] == row(&plan, 4) && drawn[3] == row(&plan, 0) && drawn[6] == row(&plan, 7));
    assert!(drawn[1] != drawn[0] && drawn[1] != drawn[2] && drawn[4] != drawn[1]);
}
