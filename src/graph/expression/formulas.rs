use super::{Id, Step, Term, term::Arena};

/// Several scalar functions of the same inputs, which share what they have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Formulas {
    inputs: usize,
    steps: Vec<Step>,
    results: Vec<Id>,
}

impl Formulas {
    /// The functions that `build` makes of `inputs` scalars.
    pub fn new(inputs: usize, build: impl FnOnce(&[Term]) -> Vec<Term>) -> Self {
        let arena = Arena::default();
        let terms: Vec<Term> = (0..inputs).map(|number| arena.input(number)).collect();
        let (steps, results) = arena.steps_of_all(&build(&terms));
        Self { inputs, steps, results }
    }

    /// How many inputs they have, read or not.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// In order; the results are some of them.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The steps that are the functions' results, in order.
    pub fn results(&self) -> &[Id] {
        &self.results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shared() {
        let formulas = Formulas::new(2, |x| {
            let sum = &x[0] + &x[1];
            vec![&sum * 2.0, x[1].clone(), sum]
        });
        let sum = [Step::Input(0), Step::Input(1), Step::Add(0, 1), Step::Constant(2.0), Step::Multiply(2, 3)];
        assert_eq!((formulas.steps(), formulas.results()), (&sum[..], &[4, 1, 2][..]));
    }
}
