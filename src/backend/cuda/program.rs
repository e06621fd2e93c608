//! What the device runs: a static list of calls over planned memory.

use super::{
    gemm::Gemm,
    launch::{Element, Launch},
    lines::{self, Waits},
    region,
};

/// Which memory a place is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Base {
    /// float32 parameters, first moments, second moments, gradients: kept across programs.
    Store,
    /// The parameters again as bfloat16, which matrix products read.
    Shadow,
    /// Activations and what a step needs besides, planned per program.
    Arena,
    /// What changes from step to step: position, rates, sums of metrics.
    State,
    /// The images and labels of a split, and the tables that make batches of them.
    Data,
}

/// A place in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub base: Base,
    /// In bytes.
    pub offset: usize,
}

impl Place {
    /// `bytes` further on.
    #[must_use]
    pub fn plus(self, bytes: usize) -> Self {
        Self { offset: self.offset + bytes, ..self }
    }
}

/// One thing the device does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work<P> {
    Launch(Launch<P>),
    /// A matrix product. The launches do its epilogue's work where the library has no such product.
    Gemm(Gemm<P>, Vec<Launch<P>>),
}

/// The line of calls that a call stands in: calls of one line run in order, those of the others beside them. What the device
/// has no room for at once, it begins in the order of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Line {
    #[default]
    Main,
    /// What only the update needs.
    Side,
    /// What is wanted late, or in the next step, and what takes long: it fills what the other lines leave idle, and holds up
    /// neither.
    Fill,
}

impl Line {
    /// All lines, by their numbers.
    pub const ALL: [Self; 3] = [Self::Main, Self::Side, Self::Fill];

    /// Its number, counted from 0.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A range of memory that a call touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent<P> {
    pub place: P,
    pub bytes: usize,
    /// Or may be; what is not written is only read.
    pub written: bool,
}

/// A call of a program: what it does, and for which operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Call<P> {
    /// Of the operator, or of the operators that were fused: `layer_norm+add`.
    pub name: String,
    /// Parameters that the operator reads.
    pub parameters: Vec<String>,
    pub work: Work<P>,
    /// Tensors that it writes.
    pub outputs: Vec<Output<P>>,
    pub cost: Cost,
    pub line: Line,
    /// All memory that it touches. `None` when that is not known: then it runs alone, after all calls before it and
    /// before all after it.
    pub touched: Option<Vec<Extent<P>>>,
}

/// What a call cannot do without: of which a device's bandwidth and peak make the least time it can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Bytes of all tensors that it reads and writes, each once.
    pub bytes: u64,
    /// Operations of matrix products, attention's included; a multiply-add counts two.
    pub flops: u64,
}

/// A tensor that a call writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Output<P> {
    pub place: P,
    pub elements: usize,
    pub element: Element,
}

impl Call<Place> {
    /// Whether it writes activations and gradients alone: no state of a step, and of the store nothing before this byte.
    pub fn leaves_state(&self, states: usize) -> bool {
        let writes_state = |extent: &Extent<Place>| match extent.place.base {
            Base::Arena => false,
            Base::Store => extent.place.offset < states,
            Base::Shadow | Base::State | Base::Data => true,
        };
        self.touched.as_ref().is_some_and(|touched| !touched.iter().filter(|extent| extent.written).any(writes_state))
    }

    /// Whether it touches what begins at a place.
    pub fn touches(&self, place: Place) -> bool {
        self.touched.as_ref().is_none_or(|touched| touched.iter().any(|extent| extent.place == place))
    }
}

impl<P: Copy> Call<P> {
    /// A launch outside any graph. What it touches is not known.
    pub fn alone(name: &str, launch: Launch<P>) -> Self {
        Self::unseen(name, Work::Launch(launch))
    }

    /// Work outside any graph. What it touches is not known.
    pub fn unseen(name: &str, work: Work<P>) -> Self {
        Self {
            name: name.to_owned(),
            parameters: Vec::new(),
            work,
            outputs: Vec::new(),
            cost: Cost::default(),
            line: Line::Main,
            touched: None,
        }
    }

    /// The same call on memory named otherwise.
    pub fn map<Q: Copy>(&self, place: &dyn Fn(P) -> Q) -> Call<Q>
    where
        P: Clone,
    {
        let work = match self.work.clone() {
            Work::Launch(launch) => Work::Launch(launch.map(place)),
            Work::Gemm(gemm, plain) => {
                Work::Gemm(gemm.map(place), plain.into_iter().map(|launch| launch.map(place)).collect())
            }
        };
        let outputs = self.outputs.iter().map(|output| Output {
            place: place(output.place),
            elements: output.elements,
            element: output.element,
        });
        let extent =
            |extent: &Extent<P>| Extent { place: place(extent.place), bytes: extent.bytes, written: extent.written };
        Call {
            name: self.name.clone(),
            parameters: self.parameters.clone(),
            work,
            outputs: outputs.collect(),
            cost: self.cost,
            line: self.line,
            touched: self.touched.as_ref().map(|touched| touched.iter().map(extent).collect()),
        }
    }
}

/// A compiled graph for one batch size.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    pub batch: usize,
    pub calls: Vec<Call<Place>>,
    /// The call after which the loss is known.
    pub loss_known: usize,
    /// float32 `[1]`.
    pub loss: Place,
    pub logits: Output<Place>,
    /// Where the batch is put: images `[batch, ..]` as activations, labels `[batch]`.
    pub images: Output<Place>,
    pub labels: Place,
    pub arena_bytes: usize,
}

impl Program {
    /// Whether any of its calls is a [region].
    pub fn has_regions(&self) -> bool {
        self.calls.iter().any(|call| matches!(&call.work, Work::Launch(launch) if launch.source.name == region::NAME))
    }

    /// [`lines::waits`], wherever an engine puts its memory.
    pub fn waits(&self) -> Vec<Waits> {
        // No block of memory is as large as the distance between these.
        let apart = |Place { base, offset }: Place| ((base as u64) << 48) + offset as u64;
        let calls: Vec<Call<u64>> = self.calls.iter().map(|call| call.map(&apart)).collect();
        lines::waits(&calls)
    }
}
