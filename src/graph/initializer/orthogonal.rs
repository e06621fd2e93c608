//! Matrices of orthogonal columns, or rows.

use rayon::prelude::*;

use super::Initializer;

/// A matrix `[rows, columns]` whose columns, or rows if there are fewer of these, are orthogonal and of length `gain`, drawn
/// uniformly of all such: what Gram and Schmidt make of normally distributed vectors, as `keras.initializers.Orthogonal`
/// (Saxe et al. 2014).
pub fn fill(gain: f32, [rows, columns]: [usize; 2], seed: u64, address: u64, values: &mut [f32]) {
    assert_eq!(values.len(), rows * columns, "a matrix of {rows} rows and {columns} columns");
    if values.is_empty() {
        return;
    }
    let length = rows.max(columns);
    Initializer::Normal { stddev: 1.0 }.fill(seed, address, values);
    let mut vectors: Vec<Vec<f64>> =
        values.chunks(length).map(|vector| vector.iter().map(|value| f64::from(*value)).collect()).collect();
    for index in 0..vectors.len() {
        let (done, others) = vectors.split_at_mut(index + 1);
        let unit = &mut done[index];
        let size = dot(unit, unit).sqrt();
        unit.iter_mut().for_each(|value| *value /= size);
        // Each of the others by itself: threads change no bit.
        others.par_iter_mut().for_each(|other| {
            let share = dot(unit, other);
            other.iter_mut().zip(unit.iter()).for_each(|(value, unit)| *value -= share * unit);
        });
    }
    for (place, value) in values.iter_mut().enumerate() {
        let (row, column) = (place / columns, place % columns);
        let entry = if rows >= columns { vectors[column][row] } else { vectors[row][column] };
        *value = gain * entry as f32;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_or_rows_are_orthogonal() {
        for [rows, columns] in [[7, 3], [3, 7], [32, 32], [1, 5], [5, 1]] {
            let mut values = vec![0.0; rows * columns];
            fill(1.5, [rows, columns], 3, 1, &mut values);
            let at = |row: usize, column: usize| f64::from(values[row * columns + column]);
            for a in 0..rows.min(columns) {
                for b in 0..rows.min(columns) {
                    let product: f64 = match rows >= columns {
                        true => (0..rows).map(|row| at(row, a) * at(row, b)).sum(),
                        false => (0..columns).map(|column| at(a, column) * at(b, column)).sum(),
                    };
                    let expected = if a == b { 2.25 } else { 0.0 };
                    assert!((product - expected).abs() < 1e-5, "{rows}x{columns}: {a}, {b}: {product}");
                }
            }
        }
    }
}
