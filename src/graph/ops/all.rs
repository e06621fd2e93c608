//! Every operator by name, with inputs that it takes: what holds of all of them is tested from here.

use std::any::{TypeId, type_name};

use super::{
    Accumulate, Activation, ActivationGradient, Add, AddSinusoid, Attention, AttentionGradient, AveragePool2d,
    AveragePool2dGradient, BatchMoments, BatchNorm, BatchNormGradient, BatchNormSums, BatchStatistics, ClipFactor,
    Concat, Conv2d, Conv2dInputGradient, Conv2dKernelGradient, CrossEntropy, CrossEntropyGradient, Dense,
    DenseInputGradient, DenseKernelGradient, Direction, Dropout, Expand, HeadProduct, ImageProduct, LayerNorm,
    LayerNormGradient, Layout, Lookup, LookupGradient, MaskScores, MaxPool2d, MaxPool2dGradient, Mean, MeanGradient,
    Movement, MovingAverage, Operand, Pad, Pointwise, Pool2d, RandomState, Reshape, Rope, Scale, Slice, Softmax,
    SoftmaxGradient, SumLeading, Total, Translate, Transpose, Update,
};
use crate::graph::{
    Operation,
    expression::Expression,
    optimizers::{self, Optimizer},
};

/// An input of an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Any numbers.
    Numbers(Vec<usize>),
    /// Numbers of classes below so many, for each image.
    Labels {
        /// Images.
        batch: usize,
        /// One more than the largest label.
        classes: usize,
    },
    /// An encoded [`RandomState`].
    Random,
}

impl Input {
    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Numbers(shape) => shape.clone(),
            Self::Labels { batch, .. } => vec![*batch],
            Self::Random => vec![RandomState::LEN],
        }
    }
}

/// An operator where it could stand. The first axis of its first input is a batch of [`Example::BATCH`] unless it
/// takes parameters.
#[derive(Debug)]
pub struct Example {
    /// With plausible options.
    pub operation: Box<dyn Operation>,
    /// One for each input of the operator.
    pub inputs: Vec<Input>,
}

impl Example {
    /// Images of the examples: few, and no power of two.
    pub const BATCH: usize = 3;

    fn new(operation: impl Operation, inputs: impl IntoIterator<Item = Input>) -> Self {
        Self { operation: Box::new(operation), inputs: inputs.into_iter().collect() }
    }

    fn of<const N: usize>(operation: impl Operation, shapes: [&[usize]; N]) -> Self {
        Self::new(operation, shapes.map(numbers))
    }
}

fn numbers(shape: &[usize]) -> Input {
    Input::Numbers(shape.to_vec())
}

/// Whether an operator has a rule for its gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differentiable {
    /// It has one.
    Yes,
    /// It has none, for this reason.
    No(&'static str),
}

/// An operator of the list.
#[derive(Debug)]
pub struct Entry {
    /// The type that implements it.
    pub operator: fn() -> TypeId,
    /// As the source calls that.
    pub name: fn() -> &'static str,
    /// Whether training can go through it.
    pub differentiable: Differentiable,
    /// Makes it, with inputs that fit.
    pub example: fn() -> Example,
}

const fn entry<O: Operation>(differentiable: Differentiable, example: fn() -> Example) -> Entry {
    Entry { operator: TypeId::of::<O>, name: type_name::<O>, differentiable, example }
}

const YES: Differentiable = Differentiable::Yes;
const GRADIENT: Differentiable = Differentiable::No("a gradient is not differentiated again");

const STEP: Differentiable = Differentiable::No("it ends a step");
const STATISTICS: &str = "what is normalised by them has the whole gradient";

const CONV: Conv2d = Conv2d { strides: [2, 2], padding: [[0, 1], [1, 1]], dilation: [1, 1], groups: 2 };

/// Forms of attention that only passes make are tested beside it.
const ATTENTION: Attention = Attention {
    heads: 2,
    dropout: Dropout { rate: 0.25, stream: 1 },
    scale: None,
    shared_keys: false,
    summed: false,
    diagonal: false,
};

fn gelu() -> Activation {
    Activation::named("gelu").unwrap_or_else(|| unreachable!("gelu is an activation"))
}

fn muon() -> Optimizer {
    Optimizer::of(optimizers::find("muon").unwrap_or_else(|| unreachable!("muon is an optimizer")))
}

/// All operators.
pub static ALL: &[Entry] = &[
    entry::<Accumulate>(STEP, || Example::of(Accumulate { ends: Some(4) }, [&[5, 7], &[5, 7]])),
    entry::<Activation>(YES, || Example::of(gelu(), [&[3, 5, 7]])),
    entry::<ActivationGradient>(GRADIENT, || Example::of(ActivationGradient(gelu()), [&[3, 5, 7], &[3, 5, 7]])),
    entry::<Add>(YES, || Example::of(Add, [&[3, 5, 7], &[5, 7]])),
    entry::<AddSinusoid>(YES, || Example::of(AddSinusoid { layout: Layout::Grid { columns: 5 } }, [&[3, 5, 8]])),
    entry::<Attention>(YES, || {
        Example::new(ATTENTION, [numbers(&[3, 5, 8]), numbers(&[3, 7, 8]), numbers(&[3, 7, 6]), Input::Random])
    }),
    entry::<AttentionGradient>(GRADIENT, || {
        let shapes: [&[usize]; 6] = [&[3, 5, 6], &[3, 5, 8], &[3, 7, 8], &[3, 7, 6], &[3, 5, 6], &[3, 2, 5, 7]];
        Example::new(AttentionGradient(ATTENTION), shapes.map(numbers).into_iter().chain([Input::Random]))
    }),
    entry::<ClipFactor>(STEP, || Example::of(ClipFactor { clip_norm: 0.5 }, [&[1], &[1], &[1]])),
    entry::<AveragePool2d>(YES, || {
        Example::of(AveragePool2d(Pool2d { pool: [2, 3], strides: [2, 2], same: true }), [&[3, 5, 7, 2]])
    }),
    entry::<AveragePool2dGradient>(GRADIENT, || {
        let pool = AveragePool2d(Pool2d { pool: [2, 3], strides: [2, 2], same: true });
        Example::of(AveragePool2dGradient { pool, size: [5, 7] }, [&[3, 3, 4, 2]])
    }),
    entry::<BatchMoments>(Differentiable::No(STATISTICS), || Example::of(BatchMoments, [&[3, 5, 7], &[7]])),
    entry::<BatchNorm>(YES, || {
        Example::of(BatchNorm { epsilon: 1e-3, of_batch: false }, [&[3, 5, 7], &[7], &[7], &[7], &[7]])
    }),
    entry::<BatchNormGradient>(GRADIENT, || {
        let shapes: [&[usize]; 7] = [&[3, 5, 7], &[3, 5, 7], &[7], &[7], &[7], &[7], &[7]];
        Example::of(BatchNormGradient(BatchNorm { epsilon: 1e-3, of_batch: true }), shapes)
    }),
    entry::<BatchNormSums>(GRADIENT, || {
        Example::of(BatchNormSums { epsilon: 1e-3 }, [&[3, 5, 7], &[3, 5, 7], &[7], &[7]])
    }),
    entry::<BatchStatistics>(Differentiable::No(STATISTICS), || {
        Example::of(BatchStatistics { count: 15 }, [&[2, 7], &[7]])
    }),
    entry::<Concat>(YES, || Example::of(Concat { axis: 1 }, [&[3, 1, 7], &[3, 5, 7]])),
    entry::<Conv2d>(YES, || Example::of(CONV, [&[3, 5, 7, 4], &[2, 3, 2, 6], &[6]])),
    entry::<Conv2dInputGradient>(GRADIENT, || {
        Example::of(Conv2dInputGradient { conv: CONV, size: [5, 7] }, [&[3, 3, 4, 6], &[2, 3, 2, 6]])
    }),
    entry::<Conv2dKernelGradient>(GRADIENT, || {
        Example::of(Conv2dKernelGradient { conv: CONV, kernel: [2, 3] }, [&[3, 5, 7, 4], &[3, 3, 4, 6]])
    }),
    entry::<CrossEntropy>(YES, || {
        Example::new(
            CrossEntropy { label_smoothing: 0.25, ..CrossEntropy::default() },
            [numbers(&[3, 5]), Input::Labels { batch: 3, classes: 5 }],
        )
    }),
    entry::<CrossEntropyGradient>(GRADIENT, || {
        let labels = Input::Labels { batch: 3, classes: 5 };
        Example::new(
            CrossEntropyGradient(CrossEntropy { label_smoothing: 0.25, ..CrossEntropy::default() }),
            [numbers(&[1]), numbers(&[3, 5]), labels],
        )
    }),
    entry::<Dense>(YES, || Example::of(Dense, [&[3, 5, 7], &[7, 4], &[4]])),
    entry::<DenseInputGradient>(GRADIENT, || Example::of(DenseInputGradient, [&[3, 5, 4], &[7, 4]])),
    entry::<DenseKernelGradient>(GRADIENT, || Example::of(DenseKernelGradient, [&[3, 5, 7], &[3, 5, 4]])),
    entry::<Direction>(STEP, || {
        let direction = Direction { optimizer: muon(), first_scalar: 0 };
        Example::of(direction, [&[5, 7], &[5, 7], &[5, 7], &[3]])
    }),
    entry::<Dropout>(YES, || Example::new(Dropout { rate: 0.25, stream: 1 }, [numbers(&[3, 5, 7]), Input::Random])),
    entry::<Expand>(YES, || Example::of(Expand { count: 3 }, [&[1, 7]])),
    entry::<HeadProduct>(YES, || {
        let (a, b, c) = (['i', 'h', 'k'], ['j', 'h', 'k'], ['i', 'h', 'j']);
        Example::of(HeadProduct { a, b, c }, [&[2, 3, 4], &[5, 3, 4]])
    }),
    entry::<ImageProduct>(YES, || {
        let (a, b, c) = (['i', 'h', 'k'], ['j', 'h', 'k'], ['h', 'i', 'j']);
        Example::of(ImageProduct(HeadProduct { a, b, c }), [&[3, 2, 3, 4], &[3, 5, 3, 4]])
    }),
    entry::<LayerNorm>(YES, || Example::of(LayerNorm { epsilon: 1e-3 }, [&[3, 5, 7], &[7], &[7]])),
    entry::<LayerNormGradient>(GRADIENT, || {
        Example::of(LayerNormGradient, [&[3, 5, 7], &[3, 5, 7], &[7], &[15], &[15]])
    }),
    entry::<Lookup>(YES, || {
        Example::of(Lookup::RelativePositions { grid: [2, 3], skipped: 1, diagonal: false }, [&[18, 2]])
    }),
    entry::<LookupGradient>(GRADIENT, || {
        let lookup = Lookup::RelativePositions { grid: [2, 3], skipped: 1, diagonal: false };
        Example::of(LookupGradient { lookup, shape: vec![18, 2] }, [&[2, 7, 7]])
    }),
    entry::<MaskScores>(YES, || {
        Example::of(MaskScores::Windows { window: [2, 3], shift: [1, 2] }, [&[3, 2, 1, 2, 6, 6]])
    }),
    entry::<MaxPool2d>(YES, || {
        Example::of(MaxPool2d(Pool2d { pool: [2, 3], strides: [2, 2], same: true }), [&[3, 5, 7, 2]])
    }),
    entry::<MaxPool2dGradient>(GRADIENT, || {
        let pool = MaxPool2d(Pool2d { pool: [2, 3], strides: [2, 2], same: true });
        Example::of(MaxPool2dGradient(pool), [&[3, 3, 4, 2], &[3, 5, 7, 2]])
    }),
    entry::<Mean>(YES, || Example::of(Mean { axis: 1 }, [&[3, 5, 7]])),
    entry::<MeanGradient>(YES, || Example::of(MeanGradient { axis: 1, length: 5 }, [&[3, 7]])),
    entry::<MovingAverage>(STEP, || Example::of(MovingAverage { momentum: 0.75 }, [&[7], &[7]])),
    entry::<Pad>(YES, || Example::of(Pad { axis: 1, before: 2, after: 1 }, [&[3, 5, 7]])),
    entry::<Pointwise>(YES, || {
        let f = Expression::new(5, |x| &x[0] * &x[1].sigmoid() * &x[3] + &x[2].exp() * &x[4]);
        let dropout = Dropout { rate: 0.25, stream: 1 };
        let operands = vec![
            Operand::Whole,
            Operand::PerImage,
            Operand::Shared,
            Operand::Mask(dropout),
            Operand::ImageMask(dropout),
        ];
        let tensors: [&[usize]; 3] = [&[3, 5, 7], &[3, 7], &[7]];
        let inputs = tensors.map(numbers).into_iter().chain([Input::Random, Input::Random]);
        Example::new(Pointwise::new("gate", f, operands), inputs)
    }),
    entry::<Reshape>(YES, || Example::of(Reshape { shape: vec![3, 35] }, [&[3, 5, 7]])),
    entry::<Rope>(YES, || {
        Example::of(Rope { heads: 2, grid: [2, 3], skipped: 1, base: 100.0, inverse: false }, [&[3, 7, 8]])
    }),
    entry::<Scale>(YES, || Example::of(Scale { factor: -1.5 }, [&[3, 5, 7]])),
    entry::<Slice>(YES, || Example::of(Slice { axis: 1, start: 1, length: 3 }, [&[3, 5, 7]])),
    entry::<Softmax>(YES, || Example::of(Softmax, [&[3, 5, 7]])),
    entry::<SoftmaxGradient>(GRADIENT, || Example::of(SoftmaxGradient, [&[3, 5, 7], &[3, 5, 7]])),
    entry::<SumLeading>(GRADIENT, || Example::of(SumLeading { shape: vec![7] }, [&[3, 5, 7]])),
    entry::<Total>(STEP, || Example::of(Total { squares: true }, [&[5, 7], &[7], &[1]])),
    entry::<Translate>(YES, || {
        let movements = vec![
            Movement { axis: 1, by: -2, length: 6, cyclic: false },
            Movement { axis: 2, by: 3, length: 7, cyclic: true },
        ];
        Example::of(Translate { movements }, [&[3, 5, 7]])
    }),
    entry::<Transpose>(YES, || Example::of(Transpose { permutation: vec![0, 2, 1] }, [&[3, 5, 7]])),
    entry::<Update>(STEP, || {
        let update = Update { optimizer: Optimizer::default(), first_scalar: 0 };
        Example::of(update, [&[5, 7], &[5, 7], &[5, 7], &[5, 7], &[2]])
    }),
];
