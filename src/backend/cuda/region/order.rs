//! The order of phases: copies are made beside the product before the one that waits for them.

use super::sketch::{Does, Memory, Phase};

/// Moves each copy in front of the product before the phase that waits for it, so that it is under way while that
/// runs; the first ones to the very beginning. What is copied must have been written before.
pub fn ahead(phases: &[Phase]) -> Vec<Phase> {
    let mut ordered: Vec<Phase> = Vec::new();
    for phase in phases {
        if phase.does != Does::Copies {
            ordered.push(phase.clone());
            continue;
        }
        let copied = |memory: &Memory| matches!(memory, Memory::Tensor(_)) && phase.reads.contains(memory);
        let written = ordered.iter().rposition(|earlier| earlier.writes.iter().any(copied)).map_or(0, |at| at + 1);
        let product = ordered.iter().rposition(|earlier| earlier.does == Does::Multiplies).unwrap_or(0);
        // Behind the copies that already stand there: the first is wanted first.
        let mut at = written.max(product);
        while ordered.get(at).is_some_and(|earlier| earlier.does == Does::Copies) {
            at += 1;
        }
        ordered.insert(at, phase.clone());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(text: &str, does: Does, reads: Vec<Memory>, writes: Vec<Memory>) -> Phase {
        Phase { text: text.to_owned(), operation: String::new(), reads, writes, does }
    }

    #[test]
    fn copies_are_made_beside_the_product_before() {
        let copy = |text, from, to| phase(text, Does::Copies, vec![Memory::Tensor(from)], vec![Memory::Buffer(to)]);
        let product = |text, of| phase(text, Does::Multiplies, vec![Memory::Buffer(of)], Vec::new());
        let phases = [
            copy("a", 0, 0),
            product("A", 0),
            phase("store", Does::Other, vec![], vec![Memory::Tensor(7)]),
            copy("b", 1, 1),
            copy("c", 2, 2),
            product("B", 1),
            copy("d", 7, 3),
            product("D", 3),
        ];
        let order = |phases: &[Phase]| phases.iter().map(|phase| phase.text.clone()).collect::<Vec<_>>().join(" ");
        // `d` is what was stored.
        assert_eq!(order(&ahead(&phases)), "a b c A store d B D");
    }
}
