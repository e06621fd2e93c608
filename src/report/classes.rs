//! Which classes trials recognise better or worse than the first of them.

use super::{layout::fitted, measure};
use crate::trial::{TestClass, TestClasses};

/// Most classes of the table, unless all are asked for.
const MOST: usize = 20;

/// The table of classes by how much their accuracy on the test images changes, most first; in words where there is nothing
/// to compare. `None` where no trial has been tested.
pub fn classes(names: &[String], tested: &[Option<TestClasses>], all: bool) -> Option<String> {
    if tested.iter().all(Option::is_none) {
        return None;
    }
    if let Some(at) = tested.iter().position(Option::is_none) {
        let without = format!("Of `{}` nothing is kept by class", names.get(at)?);
        return Some(format!("{without}, as of trials of former versions: --classes evaluates it."));
    }
    let tested: Vec<&TestClasses> = tested.iter().flatten().collect();

    let find = |of: &TestClasses, class: &str| of.classes.iter().find(|own| own.class == class).cloned();
    let mut order: Vec<&str> = Vec::new();
    for class in tested.iter().flat_map(|of| &of.classes) {
        if class.images > 0 && !order.contains(&class.class.as_str()) {
            order.push(&class.class);
        }
    }
    let share = |class: &TestClass| (class.images > 0).then(|| class.correct as f64 / class.images as f64);
    let mut rows: Vec<(f64, Vec<String>)> = Vec::new();
    let (mut gained, mut lost) = (vec![0; tested.len()], vec![0; tested.len()]);
    for name in order {
        let own: Vec<Option<TestClass>> = tested.iter().map(|of| find(of, name)).collect();
        let base = own.first()?.as_ref().and_then(share);
        let mut most = 0.0_f64;
        let mut cells = vec![name.to_owned()];
        for (at, class) in own.iter().enumerate() {
            let accuracy = class.as_ref().and_then(share);
            let counts = class.as_ref().map_or_else(String::new, |c| format!("{} of {}", c.correct, c.images));
            let Some(accuracy) = accuracy else {
                cells.push("-".into());
                continue;
            };
            let mut cell = format!("{} ({counts})", measure::percent(accuracy));
            if let Some(base) = base.filter(|_| at > 0) {
                let change = accuracy - base;
                most = most.max(change.abs());
                gained[at] += usize::from(change > 0.0);
                lost[at] += usize::from(change < 0.0);
                cell += &format!(" {:+.2}", 100.0 * change);
            }
            cells.push(cell);
        }
        rows.push((most, cells));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let same = rows.iter().filter(|(most, _)| *most == 0.0).count();
    let total = rows.len();
    if same == total && !all {
        return Some(format!("All {total} classes are recognised as well by each."));
    }
    let shown: Vec<Vec<String>> =
        rows.into_iter().filter(|(most, _)| all || *most > 0.0).map(|(_, cells)| cells).collect();
    let kept = if all { shown.len() } else { shown.len().min(MOST) };
    let left = shown.len() - kept;
    let header = std::iter::once("class").chain(names.iter().map(String::as_str)).map(str::to_owned).collect();
    let table = fitted(header, shown[..kept].to_vec(), 1);
    let base = &names[0];
    let mut lines =
        vec![format!("Classes of the test images: accuracy, and its change from {base} in points\n{table}")];
    for (at, name) in names.iter().enumerate().skip(1) {
        let (gained, lost) = (gained[at], lost[at]);
        lines.push(format!("{name}: {gained} of {total} classes gained, {lost} lost"));
    }
    if left > 0 {
        lines.push(format!("and {left} more that changed less: --classes shows all"));
    }
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tested(counts: &[(&str, u64, u64)]) -> Option<TestClasses> {
        let class = |(class, images, correct): &(&str, u64, u64)| TestClass {
            class: (*class).into(),
            images: *images,
            correct: *correct,
        };
        Some(TestClasses { classes: counts.iter().map(class).collect() })
    }

    #[test]
    fn most_changed_stand_first() {
        let names = ["one".to_owned(), "two".to_owned()];
        let first = tested(&[("cat", 10, 5), ("dog", 10, 9), ("owl", 4, 4), ("none", 0, 0)]);
        let second = tested(&[("cat", 10, 6), ("dog", 10, 4), ("owl", 4, 4), ("yak", 3, 1)]);
        let all = |all| classes(&names, &[first.clone(), second.clone()], all).unwrap();
        let many = |correct: u64| {
            let classes =
                (0..30).map(|at| TestClass { class: format!("c{at}"), images: 50, correct: (at + 1) * correct });
            Some(TestClasses { classes: classes.collect() })
        };
        let told = [
            all(false),
            all(true),
            classes(&names, &[first.clone(), first.clone()], false).unwrap(),
            classes(&names, &[first.clone(), None], false).unwrap(),
            classes(&names, &[many(0), many(1)], false).unwrap(),
        ];
        assert_eq!(classes(&names, &[None, None], false), None);
        insta::assert_snapshot!(told.join("\n\n"));
    }
}
