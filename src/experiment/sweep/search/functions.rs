//! Published test functions of global optimisation, all to be made small. Domains are as published, but where the optimum would be
//! in their middle, which any search knows, they are moved.

use std::f64::consts::PI;

use crate::{dsl::Value, trial::Variant};

/// A function with its space and its least value.
pub struct Function {
    pub name: &'static str,
    /// As for `--param`.
    pub params: &'static [&'static str],
    /// As for `--when`.
    pub when: &'static [&'static str],
    pub least: f64,
    pub value: fn(&Place) -> f64,
}

/// Where a function is evaluated.
pub struct Place<'a>(pub &'a Variant);

impl Place<'_> {
    /// A number by its key.
    fn number(&self, key: &str) -> f64 {
        match self.0.iter().find(|(known, _)| known == key) {
            Some((_, Value::Int(value))) => *value as f64,
            Some((_, Value::Float(value))) => *value,
            other => panic!("{key}: {other:?}"),
        }
    }

    fn is(&self, key: &str, word: &str) -> bool {
        self.0.iter().any(|(known, value)| known == key && *value == Value::Str(word.into()))
    }

    /// All numbers in the order of the space.
    fn numbers(&self) -> Vec<f64> {
        let number = |value: &Value| match value {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        };
        self.0.iter().filter_map(|(_, value)| number(value)).collect()
    }
}

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "Branin",
        params: &["x=uniform(-5, 10)", "y=uniform(0, 15)"],
        when: &[],
        least: 0.397_887_357_73,
        value: |at| branin(at.number("x"), at.number("y")),
    },
    Function {
        name: "Hartmann, 3 numbers",
        params: &["a=uniform(0, 1)", "b=uniform(0, 1)", "c=uniform(0, 1)"],
        when: &[],
        least: -3.862_782_147_82,
        value: |at| hartmann(&at.numbers(), &SHAPES_3, &CENTRES_3),
    },
    Function {
        name: "Hartmann, 6 numbers",
        params: &[
            "a=uniform(0, 1)",
            "b=uniform(0, 1)",
            "c=uniform(0, 1)",
            "d=uniform(0, 1)",
            "e=uniform(0, 1)",
            "f=uniform(0, 1)",
        ],
        when: &[],
        least: -3.322_368_011_41,
        value: |at| hartmann(&at.numbers(), &SHAPES_6, &CENTRES_6),
    },
    Function {
        name: "Ackley, 5 numbers",
        params: &[
            "a=uniform(-15, 30)",
            "b=uniform(-15, 30)",
            "c=uniform(-15, 30)",
            "d=uniform(-15, 30)",
            "e=uniform(-15, 30)",
        ],
        when: &[],
        least: 0.0,
        value: |at| ackley(&at.numbers()),
    },
    Function {
        name: "Rosenbrock, 4 numbers",
        params: &["a=uniform(-5, 10)", "b=uniform(-5, 10)", "c=uniform(-5, 10)", "d=uniform(-5, 10)"],
        when: &[],
        least: 0.0,
        value: |at| {
            let part = |pair: &[f64]| 100.0 * (pair[1] - pair[0] * pair[0]).powi(2) + (1.0 - pair[0]).powi(2);
            at.numbers().windows(2).map(part).sum()
        },
    },
    Function {
        name: "Levy, 4 numbers",
        params: &["a=uniform(-10, 10)", "b=uniform(-10, 10)", "c=uniform(-10, 10)", "d=uniform(-10, 10)"],
        when: &[],
        least: 0.0,
        value: |at| levy(&at.numbers()),
    },
    Function {
        name: "Rastrigin, 2 whole numbers and 2 numbers",
        params: &["a=int(-5, 7)", "b=int(-5, 7)", "c=uniform(-5.12, 7)", "d=uniform(-5.12, 7)"],
        when: &[],
        least: 0.0,
        value: |at| at.numbers().iter().map(|x| 10.0 + x * x - 10.0 * (2.0 * PI * x).cos()).sum(),
    },
    Function {
        name: "Griewank, 5 numbers",
        params: &[
            "a=uniform(-300, 600)",
            "b=uniform(-300, 600)",
            "c=uniform(-300, 600)",
            "d=uniform(-300, 600)",
            "e=uniform(-300, 600)",
        ],
        when: &[],
        least: 0.0,
        value: |at| {
            let numbers = at.numbers();
            let waves = numbers.iter().enumerate().map(|(axis, x)| (x / ((axis + 1) as f64).sqrt()).cos());
            1.0 + numbers.iter().map(|x| x * x).sum::<f64>() / 4000.0 - waves.product::<f64>()
        },
    },
    Function {
        name: "Michalewicz, 5 numbers",
        params: &[
            "a=uniform(0, 3.14159)",
            "b=uniform(0, 3.14159)",
            "c=uniform(0, 3.14159)",
            "d=uniform(0, 3.14159)",
            "e=uniform(0, 3.14159)",
        ],
        when: &[],
        least: -4.687_658,
        value: |at| {
            let part = |(axis, x): (usize, &f64)| x.sin() * ((axis + 1) as f64 * x * x / PI).sin().powi(20);
            -at.numbers().iter().enumerate().map(part).sum::<f64>()
        },
    },
    Function {
        name: "Styblinski-Tang, 4 numbers",
        params: &["a=uniform(-5, 5)", "b=uniform(-5, 5)", "c=uniform(-5, 5)", "d=uniform(-5, 5)"],
        when: &[],
        least: 4.0 * -39.166_165_703_77,
        value: |at| at.numbers().iter().map(|x| x.powi(4) - 16.0 * x * x + 5.0 * x).sum::<f64>() / 2.0,
    },
    Function {
        name: "Branin in 4 kinds, one of which is best",
        params: &["x=uniform(-5, 10)", "y=uniform(0, 15)", "kind=as_it_is,upside_down,mirrored,flat"],
        when: &[],
        least: 0.397_887_357_73,
        value: |at| {
            let (x, y) = (at.number("x"), at.number("y"));
            match at {
                at if at.is("kind", "as_it_is") => branin(x, y),
                at if at.is("kind", "upside_down") => branin(x, 15.0 - y) + 2.0,
                at if at.is("kind", "mirrored") => branin(5.0 - x, y) + 5.0,
                _ => 30.0 + x,
            }
        },
    },
    Function {
        name: "A sphere or a valley, with conditional keys",
        params: &["kind=sphere,valley", "a=uniform(0, 1)", "b=uniform(0, 1)", "c=uniform(0, 1)", "d=uniform(0, 1)"],
        when: &["a:kind=sphere", "b:kind=sphere", "c:kind=valley", "d:kind=valley"],
        least: 0.0,
        value: |at| match at.is("kind", "sphere") {
            true => 0.5 + 10.0 * ((at.number("a") - 0.3).powi(2) + (at.number("b") - 0.7).powi(2)),
            false => {
                let (c, d) = (at.number("c"), at.number("d"));
                16.0 * (c - 0.15).powi(2) + 30.0 * (d - c).powi(2)
            }
        },
    },
];

fn branin(x: f64, y: f64) -> f64 {
    let bowl = y - 5.1 / (4.0 * PI * PI) * x * x + 5.0 / PI * x - 6.0;
    bowl * bowl + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos() + 10.0
}

const HEIGHTS: [f64; 4] = [1.0, 1.2, 3.0, 3.2];
const SHAPES_3: [[f64; 3]; 4] = [[3.0, 10.0, 30.0], [0.1, 10.0, 35.0], [3.0, 10.0, 30.0], [0.1, 10.0, 35.0]];
const CENTRES_3: [[f64; 3]; 4] =
    [[3689.0, 1170.0, 2673.0], [4699.0, 4387.0, 7470.0], [1091.0, 8732.0, 5547.0], [381.0, 5743.0, 8828.0]];
const SHAPES_6: [[f64; 6]; 4] = [
    [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
    [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
    [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
    [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
];
const CENTRES_6: [[f64; 6]; 4] = [
    [1312.0, 1696.0, 5569.0, 124.0, 8283.0, 5886.0],
    [2329.0, 4135.0, 8307.0, 3736.0, 1004.0, 9991.0],
    [2348.0, 1451.0, 3522.0, 2883.0, 3047.0, 6650.0],
    [4047.0, 8828.0, 8732.0, 5743.0, 1091.0, 381.0],
];

fn hartmann<const N: usize>(at: &[f64], shapes: &[[f64; N]; 4], centres: &[[f64; N]; 4]) -> f64 {
    let hill = |hill: usize| {
        let part = |axis: usize| shapes[hill][axis] * (at[axis] - 1e-4 * centres[hill][axis]).powi(2);
        HEIGHTS[hill] * (-(0..N).map(part).sum::<f64>()).exp()
    };
    -(0..4).map(hill).sum::<f64>()
}

fn ackley(at: &[f64]) -> f64 {
    let mean = |of: fn(&f64) -> f64| at.iter().map(of).sum::<f64>() / at.len() as f64;
    let (square, wave) = (mean(|x| x * x), mean(|x| (2.0 * PI * x).cos()));
    20.0 - 20.0 * (-0.2 * square.sqrt()).exp() - wave.exp() + 1f64.exp()
}

fn levy(at: &[f64]) -> f64 {
    let w: Vec<f64> = at.iter().map(|x| 1.0 + (x - 1.0) / 4.0).collect();
    let (first, last) = (w[0], w[w.len() - 1]);
    let inner = |w: &f64| (w - 1.0).powi(2) * (1.0 + 10.0 * (PI * w + 1.0).sin().powi(2));
    (PI * first).sin().powi(2)
        + w[..w.len() - 1].iter().map(inner).sum::<f64>()
        + (last - 1.0).powi(2) * (1.0 + (2.0 * PI * last).sin().powi(2))
}
