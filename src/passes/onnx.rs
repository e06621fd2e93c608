//! A network of inference in ONNX.

use luminal::prelude::{Graph, NodeIndex};
use miette::Diagnostic;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Lowering, inputs, ordered};
use crate::{
    graph::{Builder, Value, operation},
    onnx::{Dim, Header, MOST_BYTES, Tensor, Writer, encode},
};

/// The input of the graph.
pub const IMAGES: &str = "images";
/// An output of the graph.
pub const LOGITS: &str = "logits";
/// An output of the graph.
pub const PROBABILITIES: &str = "probabilities";

/// Two batches: a length that differs between a network of the one and of the other is that of the batch.
const BATCHES: [usize; 2] = [11, 13];

/// What is written, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxExport {
    /// Images of a batch; any number of them where it is not said.
    pub batch: Option<usize>,
    /// Whether images are `[batch, channels, height, width]`, or `[batch, height, width, channels]` as ours.
    pub channels_first: bool,
    /// Mean and deviation of each channel, with which images are normalised; `None` where they are before.
    pub scales: Option<[Vec<f32>; 2]>,
    /// Whether the softmax of the logits is an output, too.
    pub probabilities: bool,
    /// What the file says besides.
    pub header: Header,
}

/// Why a network cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum OnnxError {
    /// An operator of training, or one that [`Operation::onnx`](crate::graph::Operation::onnx) is not there for.
    #[error("layer `{layer}` cannot be written to ONNX: there is no form of its operator `{operator}`")]
    #[diagnostic(code(vitx::export::operator), help("--format safetensors writes the weights alone"))]
    NoForm {
        /// Its path.
        layer: String,
        /// Its name.
        operator: String,
    },
    /// A tensor whose lengths depend on the batch in another way than by a factor.
    #[error("layer `{layer}` cannot be written to ONNX for any batch: the length of a tensor is no multiple of it")]
    #[diagnostic(code(vitx::export::batch), help("say with --batch for how many images"))]
    Lengths {
        /// Its path.
        layer: String,
    },
    /// A parameter of the network that nothing was given for, or of another length.
    #[error("there are no weights `{name}` for the network")]
    #[diagnostic(code(vitx::export::weights))]
    Weights {
        /// Of the parameter.
        name: String,
    },
    /// More than Protocol Buffers hold.
    #[error("the network takes {bytes} bytes, and an ONNX file has {MOST_BYTES} at most")]
    #[diagnostic(code(vitx::export::size), help("--format safetensors writes the weights alone"))]
    TooLarge {
        /// Of the file that it would be.
        bytes: u64,
    },
}

/// The bytes of an ONNX file of a network with its dropouts off. `weights` gives those of a parameter by its name,
/// row-major.
///
/// # Errors
/// See [`OnnxError`].
pub fn onnx<'a>(
    lowering: &Lowering,
    weights: impl Fn(&str) -> Option<&'a [f32]>,
    export: &OnnxExport,
) -> Result<Vec<u8>, OnnxError> {
    let networks = export.batch.map_or(BATCHES, |batch| [batch; 2]).map(|batch| {
        let mut builder = Builder::new();
        let network = lowering(&mut builder, batch);
        (builder, network)
    });
    let [(builder, network), (other, other_network)] = &networks;
    let mut translation = Translation {
        builders: [builder, other],
        values: FxHashMap::default(),
        shapes: FxHashMap::default(),
        writer: Writer::new(&[LOGITS, PROBABILITIES]),
    };
    translation.images(&network.images, &other_network.images, export)?;
    for parameter in &builder.parameters {
        let values = weights(&parameter.name).filter(|values| values.len() == parameter.value.len());
        let values = values.ok_or_else(|| OnnxError::Weights { name: parameter.name.clone() })?;
        let tensor = translation.writer.weight(&parameter.name, &parameter.value.shape, values);
        let shape = &parameter.value.shape;
        translation.know(&parameter.value, tensor, [shape.clone(), shape.clone()]);
    }
    let needed = needed(&builder.graph, network.logits.node);
    for node in ordered(&builder.graph) {
        if needed.contains(&node) && !translation.values.contains_key(&node) {
            translation.node(node)?;
        }
    }
    let Translation { mut writer, values, .. } = translation;
    writer.enter("");
    let logits = values.get(&network.logits.node).cloned().ok_or_else(|| OnnxError::NoForm {
        layer: builder.layer_of(network.logits.node).to_owned(),
        operator: format!("{:?}", builder.graph.graph[network.logits.node]),
    })?;
    let mut outputs = vec![(LOGITS, &logits)];
    let probabilities = export.probabilities.then(|| writer.softmax(&logits));
    outputs.extend(probabilities.iter().map(|probabilities| (PROBABILITIES, probabilities)));
    encode(&export.header, &writer.finish(&outputs)).map_err(|bytes| OnnxError::TooLarge { bytes })
}

/// A node, and all that it depends on.
fn needed(graph: &Graph, node: NodeIndex) -> FxHashSet<NodeIndex> {
    let (mut needed, mut waiting) = (FxHashSet::default(), vec![node]);
    while let Some(node) = waiting.pop() {
        if needed.insert(node) {
            waiting.extend(inputs(graph, node).into_iter().map(|value| value.node));
        }
    }
    needed
}

struct Translation<'b, 'a> {
    /// The network for either batch: node by node the same.
    builders: [&'b Builder; 2],
    /// First outputs of nodes.
    values: FxHashMap<NodeIndex, Tensor>,
    /// Of all outputs, for either batch. Those that edges have are merged where there are many axes.
    shapes: FxHashMap<(NodeIndex, u8), [Vec<usize>; 2]>,
    writer: Writer<'a>,
}

impl Translation<'_, '_> {
    fn know(&mut self, value: &Value, tensor: Tensor, shapes: [Vec<usize>; 2]) {
        self.values.insert(value.node, tensor);
        self.shapes.insert((value.node, 0), shapes);
    }

    /// The graph's input, and what is done to it before the network.
    fn images(&mut self, images: &Value, other: &Value, export: &OnnxExport) -> Result<(), OnnxError> {
        let shapes = [images.shape.clone(), other.shape.clone()];
        let shape = lengths(&shapes).ok_or_else(|| OnnxError::Lengths { layer: IMAGES.to_owned() })?;
        let mut x = match export.channels_first && shape.len() == 4 {
            true => {
                let given = [0, 3, 1, 2].map(|axis: usize| shape[axis]);
                let given = self.writer.input(IMAGES, &given);
                self.writer.transpose(&given, &[0, 2, 3, 1])
            }
            false => self.writer.input(IMAGES, &shape),
        };
        if let Some([mean, deviation]) = &export.scales {
            self.writer.enter("normalization");
            for (operator, scale) in [("Sub", mean), ("Div", deviation)] {
                let scale = self.writer.floats(&[scale.len()], scale.clone());
                let compute = |writer: &mut Writer, x: &[Tensor], _: &[Dim]| writer.binary(operator, &x[0], &x[1]);
                x = self.writer.elementwise(&[x, scale], &shape, compute);
            }
        }
        self.know(images, x, shapes);
        Ok(())
    }

    fn node(&mut self, node: NodeIndex) -> Result<(), OnnxError> {
        let [builder, other] = self.builders;
        let layer = || builder.layer_of(node).to_owned();
        let no_form = |operator: &str| OnnxError::NoForm { layer: layer(), operator: operator.to_owned() };
        let (Some(operator), Some(of_other)) = (operation(&builder.graph, node), operation(&other.graph, node)) else {
            // What is given to a step of training alone: the operator that reads it has no form.
            return Ok(());
        };
        let given = inputs(&builder.graph, node);
        let mut shapes: [Vec<&[usize]>; 2] = [Vec::new(), Vec::new()];
        let mut tensors = Vec::with_capacity(given.len());
        for value in &given {
            let known = self.shapes.get(&(value.node, value.output)).zip(self.values.get(&value.node));
            // Outputs but the first are those of the backward pass.
            let Some((both, tensor)) = known.filter(|_| value.output == 0) else {
                return Err(no_form(operator.name()));
            };
            shapes.iter_mut().zip(both).for_each(|(shapes, shape)| shapes.push(shape));
            tensors.push(tensor.clone());
        }
        let [first, second] = [operator.output_shapes(&shapes[0]), of_other.output_shapes(&shapes[1])];
        let both = [first[0].clone(), second[0].clone()];
        let shape = lengths(&both).ok_or_else(|| OnnxError::Lengths { layer: layer() })?;
        self.writer.enter(builder.layer_of(node));
        let tensor = operator.onnx(&mut self.writer, &tensors, &shape);
        // One whose form is of another shape has none for this: as a concatenation along the batch.
        let tensor = tensor.filter(|tensor| tensor.shape == shape).ok_or_else(|| no_form(operator.name()))?;
        self.values.insert(node, tensor);
        for (output, shapes) in first.into_iter().zip(second).enumerate() {
            self.shapes.insert((node, output as u8), shapes.into());
        }
        Ok(())
    }
}

/// The lengths of a tensor of which two are known, for the batches that its network was built for.
fn lengths([first, second]: &[Vec<usize>; 2]) -> Option<Vec<Dim>> {
    let length = |(&first, &second): (&usize, &usize)| match (first / BATCHES[0], second / BATCHES[1]) {
        _ if first == second => Some(Dim::Fixed(first)),
        (times, same) if times == same && [times * BATCHES[0], times * BATCHES[1]] == [first, second] => {
            Some(Dim::Batch(times))
        }
        _ => None,
    };
    first.iter().zip(second).map(length).collect()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::{
        backend::operators,
        dsl::Source,
        graph::{Network, ops::Dropout},
        model::{Architecture, ImageSpec, elaborate},
        onnx::{
            IR_VERSION, OPSET,
            messages::{FLOAT, GraphProto, ModelProto, TensorTypeProto, ValueInfoProto},
        },
    };

    fn export() -> OnnxExport {
        let header = Header {
            name: "net".into(),
            producer_name: "vitx".into(),
            producer_version: "1".into(),
            metadata: vec![("key".into(), "value".into())],
        };
        OnnxExport { batch: None, channels_first: true, scales: None, probabilities: false, header }
    }

    fn written(lowering: &Lowering, export: &OnnxExport) -> Result<ModelProto, OnnxError> {
        let ones = vec![1.0; 1 << 22];
        let mut builder = Builder::new();
        lowering(&mut builder, 1);
        let lengths: FxHashMap<String, usize> =
            builder.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.value.len())).collect();
        let bytes = onnx(lowering, |name| Some(&ones[..*lengths.get(name)?]), export)?;
        Ok(ModelProto::decode(&bytes[..]).unwrap())
    }

    /// What ONNX' checker holds of a graph, but for the types of operators.
    fn check(model: &ModelProto, what: &str) -> GraphProto {
        assert_eq!((model.ir_version, model.opset_import[0].version), (Some(IR_VERSION), Some(OPSET)));
        let graph = model.graph.clone().unwrap();
        let mut known: FxHashSet<String> = FxHashSet::default();
        let inputs = graph.input.iter().map(|input| &input.name);
        for name in inputs.chain(graph.initializer.iter().map(|initializer| &initializer.name)) {
            assert!(known.insert(name.clone().unwrap()), "{what}: {name:?} is there twice");
        }
        let mut read: FxHashSet<&String> = FxHashSet::default();
        let mut names: FxHashSet<&String> = FxHashSet::default();
        for node in &graph.node {
            for input in &node.input {
                assert!(known.contains(input), "{what}: {node:?} takes what is not there");
                read.insert(input);
            }
            for output in &node.output {
                assert!(known.insert(output.clone()), "{what}: {output} is there twice");
            }
            assert!(names.insert(node.name.as_ref().unwrap()), "{what}: {node:?}");
            for attribute in &node.attribute {
                let given = [attribute.f.is_some(), attribute.i.is_some(), attribute.s.is_some()];
                let given = given.into_iter().filter(|given| *given).count() + usize::from(!attribute.ints.is_empty());
                assert_eq!(given, 1, "{what}: {attribute:?}");
            }
        }
        for output in &graph.output {
            assert!(known.contains(output.name.as_ref().unwrap()), "{what}: {output:?}");
        }
        for initializer in &graph.initializer {
            let name = initializer.name.as_ref().unwrap();
            assert!(read.contains(name), "{what}: nothing reads {name}");
            let size = if initializer.data_type == Some(FLOAT) { 4 } else { 8 };
            let elements: i64 = initializer.dims.iter().product();
            assert_eq!(initializer.raw_data.as_ref().unwrap().len() as i64, size * elements, "{what}: {name}");
        }
        graph
    }

    fn shape_of(value: &ValueInfoProto) -> String {
        let Some(TensorTypeProto { shape: Some(shape), .. }) = &value.kind.as_ref().unwrap().tensor_type else {
            panic!("{value:?}")
        };
        let dim = shape.dim.iter().map(|dim| match (&dim.dim_param, dim.dim_value) {
            (Some(name), None) => name.clone(),
            (None, Some(length)) => length.to_string(),
            other => panic!("{other:?}"),
        });
        format!("{} [{}]", value.name.as_ref().unwrap(), dim.collect::<Vec<_>>().join(", "))
    }

    fn operators_of(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().filter_map(|node| node.op_type.as_deref()).collect()
    }

    fn zoo(name: &str, text: &str) -> Architecture {
        let data = ImageSpec { height: 32, width: 32, channels: 3, num_classes: 10 };
        elaborate(&Source::new(name, text), &Default::default(), &data).unwrap()
    }

    const RESNET: &str = include_str!("../../experiments/zoo/resnet20.vitx");

    #[test]
    fn every_operator_of_a_network_is_written() {
        for (name, apply) in operators::OPERATORS {
            let lowering = move |builder: &mut Builder, batch| operators::network(builder, batch, [6, 8], apply);
            for batch in [None, Some(1), Some(11)] {
                let graph = check(&written(&lowering, &OnnxExport { batch, ..export() }).unwrap(), name);
                let batch = batch.map_or("batch".to_owned(), |batch| batch.to_string());
                assert_eq!(shape_of(&graph.input[0]), format!("images [{batch}, 6, 8]"), "{name}");
                assert_eq!(shape_of(&graph.output[0]), format!("logits [{batch}, 3]"), "{name}");
            }
        }
    }

    #[test]
    fn a_convolutional_network_has_no_transposes_inside() {
        let resnet = zoo("resnet20.vitx", RESNET);
        let parameters = resnet.summary().parameters;
        let lowering = move |builder: &mut Builder, batch| resnet.lower(builder, batch);
        let scales = Some([vec![120.0, 121.0, 122.0], vec![60.0; 3]]);
        let graph = check(&written(&lowering, &OnnxExport { scales, ..export() }).unwrap(), "resnet20");
        assert!(!operators_of(&graph).contains(&"Transpose"), "{:?}", operators_of(&graph));
        assert_eq!(operators_of(&graph)[..2], ["Sub", "Div"]);
        assert_eq!(shape_of(&graph.input[0]), "images [batch, 3, 32, 32]");
        // Weights have their names, and are there once.
        let mut builder = Builder::new();
        lowering(&mut builder, 1);
        let named: FxHashSet<&str> = builder.parameters.iter().map(|parameter| &parameter.name[..]).collect();
        let weights = graph.initializer.iter().filter(|tensor| named.contains(&tensor.name.as_ref().unwrap()[..]));
        let elements: i64 = weights.map(|tensor| tensor.dims.iter().product::<i64>()).sum();
        assert_eq!(elements as u64, parameters);

        let last = OnnxExport { channels_first: false, probabilities: true, batch: Some(5), ..export() };
        let graph = check(&written(&lowering, &last).unwrap(), "resnet20, channels last");
        assert_eq!(operators_of(&graph).iter().filter(|operator| **operator == "Transpose").count(), 1);
        assert_eq!(shape_of(&graph.input[0]), "images [5, 32, 32, 3]");
        let outputs: Vec<String> = graph.output.iter().map(shape_of).collect();
        assert_eq!(outputs, ["logits [5, 10]", "probabilities [5, 10]"]);
    }

    #[test]
    fn what_cannot_be_written_names_its_layer() {
        let network = |builder: &mut Builder, batch: usize, apply: fn(&mut Builder, &Value) -> Value| -> Network {
            builder.enter("before");
            let images = builder.input(crate::graph::StepInput::Images, &[batch, 4]);
            let x = builder.scale(&images, 2.0);
            builder.enter("block0/odd");
            Network { images, logits: apply(builder, &x) }
        };
        let dropout = move |builder: &mut Builder, batch: usize| {
            network(builder, batch, |builder, x| {
                let random = builder.input(crate::graph::StepInput::Random, &[6]);
                builder.apply_one(Dropout::new(0.5, 1), &[x, &random])
            })
        };
        let odd = move |builder: &mut Builder, batch: usize| {
            network(builder, batch, |builder, x| builder.slice(x, 0, 1, x.shape[0] - 1))
        };
        let error = written(&dropout, &export()).unwrap_err();
        assert_eq!(error, OnnxError::NoForm { layer: "block0/odd".into(), operator: "dropout".into() });
        assert_eq!(written(&odd, &export()).unwrap_err(), OnnxError::Lengths { layer: "block0/odd".into() });
        check(&written(&odd, &OnnxExport { batch: Some(3), ..export() }).unwrap(), "odd");
        let none = |builder: &mut Builder, batch| zoo("resnet20.vitx", RESNET).lower(builder, batch);
        let none = onnx(&none, |_| None, &export()).unwrap_err();
        let all = [error, written(&odd, &export()).unwrap_err(), none, OnnxError::TooLarge { bytes: 1 << 32 }];
        let said = all.map(|error| match error.help() {
            Some(help) => format!("{error}; {help}"),
            None => error.to_string(),
        });
        insta::assert_snapshot!(said.join("\n"), @r"
        layer `block0/odd` cannot be written to ONNX: there is no form of its operator `dropout`; --format safetensors writes the weights alone
        layer `block0/odd` cannot be written to ONNX for any batch: the length of a tensor is no multiple of it; say with --batch for how many images
        there are no weights `conv2d/kernel` for the network
        the network takes 4294967296 bytes, and an ONNX file has 2147483647 at most; --format safetensors writes the weights alone
        ");
    }
}
