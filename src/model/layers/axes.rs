//! Axes as arguments: counted from 0 without the batch, negative ones from the last.

use super::{Argument, Arguments, Default, Kind, Misfit};

/// The axes that the numbers of a layer are of, one for each: the first ones where nothing is said.
pub const AXES: Argument = Argument::optional("axis", Kind::Axes, Default::Word("first"));

/// The axis of a shape that a number means.
///
/// # Errors
/// When the shape has none such; it blames the argument `axis`.
pub fn axis_of(shape: &[usize], axis: i64) -> Result<usize, Misfit> {
    let from_first = if axis < 0 { axis.saturating_add(shape.len() as i64) } else { axis };
    usize::try_from(from_first).ok().filter(|axis| *axis < shape.len()).ok_or_else(|| {
        Misfit::new(format!("shape {shape:?} has no axis {axis}"), "no such axis")
            .blame("axis")
            .help(format!("axes run from 0 to {}, without the batch", shape.len().saturating_sub(1)))
    })
}

/// The axes of the argument `axis`, each once; `count` first ones where it is not given.
///
/// # Errors
/// When the shape lacks one, or one stands twice.
pub fn axes_of(shape: &[usize], arguments: &Arguments, count: usize) -> Result<Vec<usize>, Misfit> {
    let Some(given) = arguments.list("axis") else {
        if count > shape.len() {
            return Err(Misfit::new(
                format!("{count} numbers are of {count} axes, and shape {shape:?} has {}", shape.len()),
                "one number for each axis at most",
            ));
        }
        return Ok((0..count).collect());
    };
    let axes: Vec<usize> = given.iter().map(|axis| axis_of(shape, *axis)).collect::<Result<_, _>>()?;
    match axes.iter().enumerate().find(|(index, axis)| axes[..*index].contains(axis)) {
        Some((_, axis)) => Err(Misfit::new(format!("axis {axis} stands twice"), "each axis once").blame("axis")),
        None => Ok(axes),
    }
}

/// The numbers of an argument, one for each of so many axes: a single one is for all.
///
/// # Errors
/// When there are fewer or more.
pub fn each(arguments: &Arguments, name: &'static str, axes: usize) -> Result<Vec<i64>, Misfit> {
    match &arguments.ints(name)[..] {
        [all] => Ok(vec![*all; axes]),
        numbers if numbers.len() == axes => Ok(numbers.to_vec()),
        numbers => Err(Misfit::new(
            format!("`{name}` has {} numbers, for {axes} axes", numbers.len()),
            "one number, or one for each axis",
        )
        .blame(name)),
    }
}
