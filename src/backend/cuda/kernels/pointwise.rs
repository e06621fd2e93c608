//! Element by element: bias, activation, dropout and residual sum in one pass, their gradient in
//! another, and plain sums and scalings.

use super::{Dropout, flat, int, source};
use crate::{
    backend::cuda::launch::{Arg, Element, Launch, Precision, Source},
    graph::{expression::Expression, ops::Activation},
};

pub const SOURCE: Source = source!("pointwise");

/// Elements that share a block of a dropout mask, and that a thread moves at once.
const VECTOR: usize = 8;

/// What [`forward`] does to each element of x besides, in this order.
#[derive(Debug, Clone)]
pub struct Epilogue<P> {
    /// `[width]` float32, added to each row.
    pub bias: Option<P>,
    /// Receives x + bias, for [`backward`].
    pub kept: Option<P>,
    pub activation: Option<Activation>,
    pub dropout: Option<Dropout<P>>,
    /// Added at the end.
    pub residual: Option<P>,
}

impl<P> Default for Epilogue<P> {
    fn default() -> Self {
        Self { bias: None, kept: None, activation: None, dropout: None, residual: None }
    }
}

/// The body of a function in `pointwise.cu`, as a definition.
fn body(name: &'static str, expression: &Expression) -> (&'static str, String) {
    (name, expression.cuda())
}

/// Defines of a launch on `count` elements, and of how many that repeat.
fn defines(element: Element, count: usize, period: usize) -> (Vec<(&'static str, String)>, usize) {
    let vector = if count.is_multiple_of(VECTOR) && period.is_multiple_of(VECTOR) { VECTOR } else { 1 };
    (vec![("ACT", element.name().to_owned()), ("VECTOR", vector.to_string())], vector)
}

fn flags(defines: &mut Vec<(&'static str, String)>, flags: &[(&'static str, bool)]) {
    defines.extend(flags.iter().filter(|(_, on)| *on).map(|&(name, _)| (name, "1".to_owned())));
}

/// `y = residual + dropout(f(x + bias))`, each part if it is there.
///
/// x, y, kept, residual `[count / width, width]` activations; y may be x or the residual.
pub fn forward<P: Copy>(
    count: usize,
    width: usize,
    precision: Precision,
    x: P,
    epilogue: Epilogue<P>,
    y: P,
) -> Launch<P> {
    let Epilogue { bias, kept, activation, dropout, residual } = epilogue;
    let mut defines = defines(precision.element(), count, if bias.is_some() { width } else { VECTOR });
    defines.0.extend(activation.map(|activation| body("ACTIVATION", &activation.expression())));
    let on = [("BIAS", bias.is_some()), ("KEEP", kept.is_some()), ("RESIDUAL", residual.is_some())];
    flags(&mut defines.0, &on);
    defines.0.extend(dropout.as_ref().map(Dropout::define));
    let pointer = |at: Option<P>| at.map_or(Arg::Null, Arg::Pointer);
    let mut args =
        vec![Arg::U32(int(count) as u32), Arg::U32(int(width) as u32), Arg::Pointer(x), pointer(bias), pointer(kept)];
    args.extend(Dropout::args_and_bits(dropout));
    args.extend([pointer(residual), Arg::Pointer(y)]);
    flat(SOURCE, "forward", defines, count, args)
}

/// `dz = dropout(dy) · f'(z)`, the gradient of [`forward`] by z = x + bias, which it kept. With an
/// activation and its input; without, the gradient of dropout alone.
///
/// dy, z, dz: `count` activations; dz may be dy or z.
pub fn backward<P: Copy>(
    count: usize,
    precision: Precision,
    dy: P,
    activation: Option<(Activation, P)>,
    dropout: Option<Dropout<P>>,
    dz: P,
) -> Launch<P> {
    let mut defines = defines(precision.element(), count, VECTOR);
    let (slope, z) = match activation {
        Some((activation, z)) => (Some(activation.expression().derivative(0)), Arg::Pointer(z)),
        None => (None, Arg::Null),
    };
    defines.0.extend(slope.map(|slope| body("SLOPE", &slope)));
    defines.0.extend(dropout.as_ref().map(Dropout::define));
    let mut args = vec![Arg::U32(int(count) as u32), Arg::Pointer(dy), z];
    args.extend(Dropout::args_and_bits(dropout));
    args.push(Arg::Pointer(dz));
    flat(SOURCE, "backward", defines, count, args)
}

/// `y = a + b`: a, y `count` elements of `element`; b `period` of `other`, repeated to `count`.
/// y may be a.
pub fn add<P>(count: usize, element: Element, a: P, period: usize, other: Element, b: P, y: P) -> Launch<P> {
    let mut defines = defines(element, count, period);
    defines.0.push(("OTHER", other.name().to_owned()));
    let args = vec![
        Arg::U32(int(count) as u32),
        Arg::U32(int(period) as u32),
        Arg::Pointer(a),
        Arg::Pointer(b),
        Arg::Pointer(y),
    ];
    flat(SOURCE, "add", defines, count, args)
}

/// `y = factor · x`: `count` elements, x of `from`, y of `to`. With factor 1 it converts.
pub fn scale<P>(count: usize, factor: f32, from: Element, x: P, to: Element, y: P) -> Launch<P> {
    let mut defines = defines(from, count, VECTOR);
    defines.0.push(("OTHER", to.name().to_owned()));
    let args = vec![Arg::U32(int(count) as u32), Arg::F32(factor), Arg::Pointer(x), Arg::Pointer(y)];
    flat(SOURCE, "scale", defines, count, args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{
        cpu::kernels::{
            activation as cpu,
            dropout::Mask,
            isa::tests::noise,
            pointwise::{Input, Program},
        },
        cuda::{
            emulator::{Memory, run_all},
            kernels::tests::{ELEMENTS, assert_near_floats, mask, tolerance},
        },
    };

    type Forward = fn(&[f32], &mut [f32]);
    type Backward = fn(&[f32], &[f32], &mut [f32]);
    const ACTIVATIONS: [(Option<&str>, Forward, Backward); 5] = [
        (None, |x, y| y.copy_from_slice(x), |_, dy, dx| dx.copy_from_slice(dy)),
        (Some("gelu"), cpu::gelu, cpu::gelu_backward),
        (Some("relu"), cpu::relu, cpu::relu_backward),
        (Some("silu"), cpu::silu, cpu::silu_backward),
        (Some("tanh"), cpu::tanh, cpu::tanh_backward),
    ];

    fn dropped(mask: &Mask, x: &[f32]) -> Vec<f32> {
        x.iter().enumerate().map(|(i, x)| x * mask.factor(i as u64)).collect()
    }

    fn check(precision: Precision, [rows, width]: [usize; 2], case: &(Option<&str>, Forward, Backward)) {
        let &(name, f, slope) = case;
        let activation = name.and_then(Activation::named);
        let (element, count) = (precision.element(), rows * width);
        let what = format!("{precision:?} {rows}x{width} {name:?}");
        let (state, mask, dropout) = mask(0.25);
        let dropout = Some(dropout.map(|()| state.at()));
        let x: Vec<f32> = noise(1, count).iter().map(|x| 4.0 * x).collect();
        let x = Memory::of_floats(&x, element);
        let [residual, dy] = [2, 3].map(|seed| Memory::of_floats(&noise(seed, count), element));
        let bias = Memory::of(&noise(4, width));
        let [kept, y, dz] = [0, 1, 2].map(|_| Memory::empty(count, element));
        let epilogue = Epilogue {
            bias: Some(bias.at()),
            kept: Some(kept.at()),
            activation,
            dropout,
            residual: Some(residual.at()),
        };
        let again = epilogue.clone();
        run_all([
            forward(count, width, precision, x.at(), epilogue, y.at()),
            backward(count, precision, dy.at(), activation.map(|f| (f, kept.at())), dropout, dz.at()),
        ]);
        // The same by bits that the first pass writes down.
        let bits = Memory::of(&vec![0x55_u8; Dropout::<()>::bytes(count)]);
        let [y_again, dz_again] = [0, 1].map(|_| Memory::empty(count, element));
        let written = Epilogue { dropout: dropout.map(|layer| layer.written(bits.at())), ..again };
        let read = dropout.map(|layer| layer.read(bits.at()));
        run_all([
            forward(count, width, precision, x.at(), written, y_again.at()),
            backward(count, precision, dy.at(), activation.map(|f| (f, kept.at())), read, dz_again.at()),
        ]);
        assert!(
            y_again.floats(element) == y.floats(element) && dz_again.floats(element) == dz.floats(element),
            "{what}"
        );
        let biases: Vec<f32> = bias.read();
        let z: Vec<f32> = x.floats(element).iter().enumerate().map(|(i, x)| x + biases[i % width]).collect();
        assert_near_floats(&kept.floats(element), &z, tolerance(precision), &what);
        let mut expected = vec![0.0; count];
        f(&z, &mut expected);
        let mut expected = dropped(&mask, &expected);
        expected.iter_mut().zip(residual.floats(element)).for_each(|(y, residual)| *y += residual);
        assert_near_floats(&y.floats(element), &expected, tolerance(precision), &what);
        slope(&kept.floats(element), &dropped(&mask, &dy.floats(element)), &mut expected);
        assert_near_floats(&dz.floats(element), &expected, tolerance(precision), &what);
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn all_in_one_pass_and_back() {
        for case in &ACTIVATIONS {
            check(Precision::F32, [13, 24], case);
        }
        check(Precision::F32, [5, 7], &ACTIVATIONS[1]);
        for case in &ACTIVATIONS[..2] {
            check(Precision::Bf16, [5, 7], case);
            check(Precision::Bf16, [13, 24], case);
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn nothing_but_an_activation() {
        for (name, f, _) in ACTIVATIONS {
            let activation = name.and_then(Activation::named);
            let x: Vec<f32> = noise(1, 77).iter().map(|x| 9.0 * x).collect();
            let (from, to) = (Memory::of(&x), Memory::empty(77, Element::F32));
            let epilogue = Epilogue { activation, ..Epilogue::default() };
            run_all([forward(77, 11, Precision::F32, from.at(), epilogue, to.at())]);
            let mut expected = vec![0.0; 77];
            f(&x, &mut expected);
            assert_near_floats(&to.read::<f32>(), &expected, 1e-6, &format!("{name:?}"));
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn every_activation_is_its_expression() {
        for rule in crate::graph::activations::ACTIVATIONS {
            let activation = Activation::named(rule.name).unwrap();
            let [x, dy] = [1, 2].map(|seed| noise(seed, 80).iter().map(|x| 7.0 * x).collect::<Vec<f32>>());
            let [from, before] = [&x, &dy].map(|values| Memory::of(values));
            let [y, dx] = [0, 1].map(|_| Memory::empty(80, Element::F32));
            let epilogue = Epilogue { activation: Some(activation), ..Epilogue::default() };
            run_all([
                forward(80, 8, Precision::F32, from.at(), epilogue, y.at()),
                backward(80, Precision::F32, before.at(), Some((activation, from.at())), None, dx.at()),
            ]);
            let of = |expression: &Expression, inputs: &[&[f32]]| {
                let mut out = vec![0.0; 80];
                let inputs: Vec<Input> = inputs.iter().map(|values| Input::Values(values)).collect();
                Program::new(expression).unwrap().run(&inputs, &mut out);
                out
            };
            let expression = activation.expression();
            assert_near_floats(&y.read::<f32>(), &of(&expression, &[&x]), 2e-6, rule.name);
            assert_near_floats(&dx.read::<f32>(), &of(&expression.gradient(0), &[&dy, &x]), 2e-6, rule.gradient_name);
        }
    }

    #[test]
    #[cfg_attr(not(cxx), ignore = "needs a C++ compiler")]
    fn sums_and_scalings() {
        for element in ELEMENTS {
            for other in ELEMENTS {
                for (count, period) in [(21, 7), (48, 16), (9, 9), (64, 64)] {
                    let (a, b) = (noise(1, count), noise(2, period));
                    let (a, b) = (Memory::of_floats(&a, element), Memory::of_floats(&b, other));
                    let (sum, scaled) = (Memory::empty(count, element), Memory::empty(count, other));
                    run_all([
                        add(count, element, a.at(), period, other, b.at(), sum.at()),
                        scale(count, -1.5, element, a.at(), other, scaled.at()),
                    ]);
                    let (a, b) = (a.floats(element), b.floats(other));
                    let expected: Vec<f32> = a.iter().enumerate().map(|(i, a)| a + b[i % period]).collect();
                    assert_near_floats(&sum.floats(element), &expected, 5e-3, "sum");
                    let expected: Vec<f32> = a.iter().map(|a| -1.5 * a).collect();
                    assert_near_floats(&scaled.floats(other), &expected, 5e-3, "scaled");
                }
            }
        }
    }
}
