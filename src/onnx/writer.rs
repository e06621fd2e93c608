use std::borrow::Cow;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Attribute, Data, Dim, Initializer, Tensor,
    messages::{FLOAT, NodeProto},
};

/// Writes a graph, node by node. What nothing reads in the end is left out.
#[derive(Debug)]
pub struct Writer<'a> {
    pub(super) nodes: Vec<NodeProto>,
    inputs: Vec<Tensor>,
    pub(super) initializers: FxHashMap<String, Initializer<'a>>,
    /// Names of initializers in the order of their making.
    order: Vec<String>,
    /// Weights in another order of axes, or of another shape, and which weight each is.
    pub(super) derived: FxHashMap<String, String>,
    /// Tensors that are transposed of others, and how.
    pub(super) transposed: FxHashMap<String, (Tensor, Vec<usize>)>,
    /// Constants by what they hold.
    constants: FxHashMap<(Vec<usize>, Vec<u64>, bool), String>,
    /// All names, each with how many others wanted it.
    names: FxHashMap<String, usize>,
    /// The layer that is being written.
    place: String,
    /// The length of the batch, `[1]`, once something has asked for it.
    batch: Option<Tensor>,
}

/// A graph that is written.
#[derive(Debug)]
pub struct Finished<'a> {
    /// Each after those whose outputs it takes.
    pub nodes: Vec<NodeProto>,
    /// What it is given.
    pub inputs: Vec<Tensor>,
    /// What it gives.
    pub outputs: Vec<Tensor>,
    /// Weights and other constants, in the order of their making.
    pub initializers: Vec<Initializer<'a>>,
}

impl<'a> Writer<'a> {
    /// A graph without nodes. `reserved` names are those of outputs.
    pub fn new(reserved: &[&str]) -> Self {
        Self {
            nodes: Vec::new(),
            inputs: Vec::new(),
            initializers: FxHashMap::default(),
            order: Vec::new(),
            derived: FxHashMap::default(),
            transposed: FxHashMap::default(),
            constants: FxHashMap::default(),
            names: reserved.iter().map(|name| ((*name).to_owned(), 0)).collect(),
            place: String::new(),
            batch: None,
        }
    }

    /// Begins a layer, whose path the names of nodes begin with.
    pub fn enter(&mut self, place: &str) {
        place.clone_into(&mut self.place);
    }

    /// The name, or one that is like it and not taken.
    pub(super) fn unique(&mut self, name: String) -> String {
        let Some(count) = self.names.get_mut(&name) else {
            self.names.insert(name.clone(), 1);
            return name;
        };
        *count += 1;
        let next = format!("{name}_{count}");
        self.unique(next)
    }

    /// An input of the graph, float32.
    pub fn input(&mut self, name: &str, shape: &[Dim]) -> Tensor {
        let tensor = Tensor { name: self.unique(name.to_owned()), shape: shape.to_vec() };
        self.inputs.push(tensor.clone());
        tensor
    }

    /// A constant by its name.
    pub fn weight(&mut self, name: &str, shape: &[usize], values: impl Into<Cow<'a, [f32]>>) -> Tensor {
        let name = self.unique(name.to_owned());
        self.initializer(Initializer { name, shape: shape.to_vec(), data: Data::Floats(values.into()) })
    }

    pub(super) fn initializer(&mut self, initializer: Initializer<'a>) -> Tensor {
        let shape = initializer.shape.iter().map(|&length| Dim::Fixed(length)).collect();
        let tensor = Tensor { name: initializer.name.clone(), shape };
        self.order.push(initializer.name.clone());
        self.initializers.insert(initializer.name.clone(), initializer);
        tensor
    }

    fn constant(&mut self, shape: &[usize], data: Data<'a>) -> Tensor {
        let (bits, floats): (Vec<u64>, bool) = match &data {
            Data::Floats(values) => (values.iter().map(|value| u64::from(value.to_bits())).collect(), true),
            Data::Integers(values) => (values.iter().map(|&value| value as u64).collect(), false),
        };
        let key = (shape.to_vec(), bits, floats);
        if let Some(name) = self.constants.get(&key) {
            return Tensor { name: name.clone(), shape: shape.iter().map(|&length| length.into()).collect() };
        }
        let name = self.unique("constant".into());
        self.constants.insert(key, name.clone());
        self.initializer(Initializer { name, shape: shape.to_vec(), data })
    }

    /// A number, without axes.
    pub fn scalar(&mut self, value: f32) -> Tensor {
        self.constant(&[], Data::Floats(vec![value].into()))
    }

    /// Numbers of a shape.
    pub fn floats(&mut self, shape: &[usize], values: Vec<f32>) -> Tensor {
        self.constant(shape, Data::Floats(values.into()))
    }

    /// Whole numbers, one axis.
    pub fn integers(&mut self, values: impl IntoIterator<Item = i64>) -> Tensor {
        let values: Vec<i64> = values.into_iter().collect();
        self.constant(&[values.len()], Data::Integers(values))
    }

    /// A node of one output, of this shape.
    pub fn node(&mut self, operator: &str, inputs: &[&Tensor], attributes: Vec<Attribute>, shape: &[Dim]) -> Tensor {
        let separator = if self.place.is_empty() { "" } else { "/" };
        let name = self.unique(format!("{}{separator}{operator}", self.place));
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|tensor| tensor.name.clone()).collect(),
            output: vec![name.clone()],
            name: Some(name.clone()),
            op_type: Some(operator.to_owned()),
            attribute: attributes,
        });
        Tensor { name, shape: shape.to_vec() }
    }

    /// An operator of one tensor that keeps its shape and has no attributes: `Relu`, `Exp`.
    pub fn unary(&mut self, operator: &str, x: &Tensor) -> Tensor {
        self.node(operator, &[x], Vec::new(), &x.shape)
    }

    /// An operator of two tensors element by element, which broadcast as NumPy's do: `Add`, `Mul`.
    pub fn binary(&mut self, operator: &str, a: &Tensor, b: &Tensor) -> Tensor {
        let (long, short) = if a.rank() >= b.rank() { (a, b) } else { (b, a) };
        let mut shape = long.shape.clone();
        let missing = long.rank() - short.rank();
        for (length, other) in shape[missing..].iter_mut().zip(&short.shape) {
            if *length == Dim::Fixed(1) {
                *length = *other;
            }
        }
        self.node(operator, &[a, b], Vec::new(), &shape)
    }

    /// 1 where `a` is less than `b`, else 0.
    pub fn less(&mut self, a: &Tensor, b: &Tensor) -> Tensor {
        let less = self.binary("Less", a, b);
        self.node("Cast", &[&less], vec![Attribute::int("to", i64::from(FLOAT))], &less.shape)
    }

    /// The product of matrices, of the last two axes.
    pub fn matmul(&mut self, a: &Tensor, b: &Tensor, shape: &[Dim]) -> Tensor {
        self.node("MatMul", &[a, b], Vec::new(), shape)
    }

    /// Softmax over the last axis.
    pub fn softmax(&mut self, x: &Tensor) -> Tensor {
        self.node("Softmax", &[x], vec![Attribute::int("axis", -1)], &x.shape)
    }

    /// A new axis of length 1.
    pub fn unsqueeze(&mut self, x: &Tensor, axis: usize) -> Tensor {
        let mut shape = x.shape.clone();
        shape.insert(axis, Dim::Fixed(1));
        let axes = self.integers([axis as i64]);
        self.node("Unsqueeze", &[x, &axes], Vec::new(), &shape)
    }

    /// The tensor repeated along axes of length 1, and along new ones before.
    pub fn expand(&mut self, x: &Tensor, shape: &[Dim]) -> Tensor {
        let lengths: Option<Vec<i64>> = shape.iter().map(|dim| dim.fixed().map(|length| length as i64)).collect();
        let lengths = match lengths {
            Some(lengths) => self.integers(lengths),
            None => {
                let parts: Vec<Tensor> = shape
                    .iter()
                    .map(|dim| match *dim {
                        Dim::Fixed(length) => self.integers([length as i64]),
                        Dim::Batch(times) => self.batch(times),
                    })
                    .collect();
                let parts: Vec<&Tensor> = parts.iter().collect();
                self.node("Concat", &parts, vec![Attribute::int("axis", 0)], &[shape.len().into()])
            }
        };
        self.node("Expand", &[x, &lengths], Vec::new(), shape)
    }

    /// So many times the length of the batch, `[1]`: of the first axis of the graph's first input.
    fn batch(&mut self, times: usize) -> Tensor {
        let batch = match (&self.batch, self.inputs.first().cloned()) {
            (Some(batch), _) => batch.clone(),
            (None, Some(input)) => {
                let first = vec![Attribute::int("start", 0), Attribute::int("end", 1)];
                let place = std::mem::take(&mut self.place);
                let batch = self.node("Shape", &[&input], first, &[1.into()]);
                self.place = place;
                self.batch.insert(batch).clone()
            }
            (None, None) => unreachable!("a batch without an input"),
        };
        if times == 1 {
            return batch;
        }
        let times = self.integers([times as i64]);
        self.binary("Mul", &batch, &times)
    }

    /// The graph with these outputs by these names, which were reserved.
    pub fn finish(mut self, outputs: &[(&str, &Tensor)]) -> Finished<'a> {
        let mut named = Vec::new();
        let mut renamed: FxHashMap<String, String> = FxHashMap::default();
        self.place.clear();
        for (name, tensor) in outputs {
            // What is no node's, or is an output already, is copied.
            let made = self.nodes.iter().any(|node| node.output.contains(&tensor.name));
            let from = match made && !renamed.contains_key(&tensor.name) {
                true => tensor.name.clone(),
                false => self.unary("Identity", tensor).name,
            };
            renamed.insert(from, (*name).to_owned());
            named.push(Tensor { name: (*name).to_owned(), shape: tensor.shape.clone() });
        }
        // From the last node to the first: what is read by those that stay.
        let mut read: FxHashSet<String> = renamed.keys().cloned().collect();
        let mut nodes: Vec<NodeProto> = Vec::new();
        for node in self.nodes.into_iter().rev() {
            if node.output.iter().any(|output| read.contains(output)) {
                read.extend(node.input.iter().cloned());
                nodes.push(node);
            }
        }
        nodes.reverse();
        // A weight that is there in one other form alone keeps its name.
        let mut forms: FxHashMap<&String, Vec<&String>> = FxHashMap::default();
        for (form, weight) in self.derived.iter().filter(|(form, _)| read.contains(*form)) {
            forms.entry(weight).or_default().push(form);
        }
        for (weight, forms) in forms {
            if let ([form], false) = (&forms[..], read.contains(weight)) {
                renamed.insert((*form).clone(), weight.clone());
            }
        }
        for node in &mut nodes {
            let values = node.input.iter_mut().chain(&mut node.output).chain(&mut node.name);
            for value in values {
                if let Some(name) = renamed.get(value) {
                    value.clone_from(name);
                }
            }
        }
        let initializers = self.order.into_iter().filter(|name| read.contains(name)).filter_map(|name| {
            let initializer = self.initializers.remove(&name)?;
            Some(Initializer { name: renamed.remove(&name).unwrap_or(name), ..initializer })
        });
        let initializers = initializers.collect();
        Finished { nodes, inputs: self.inputs, outputs: named, initializers }
    }
}
