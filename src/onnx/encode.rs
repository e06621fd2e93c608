//! A finished graph as the bytes of a file.

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};

use super::{
    Finished, IR_VERSION, OPSET,
    messages::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto},
};

/// Most bytes of a message of Protocol Buffers, and so of a file without others beside it.
pub const MOST_BYTES: u64 = i32::MAX as u64;

/// Numbers of fields of [`ModelProto`], [`GraphProto`] and [`TensorProto`].
const GRAPH: u32 = 7;
const INITIALIZER: u32 = 5;
const RAW_DATA: u32 = 9;

/// What a file says besides its graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Of the graph.
    pub name: String,
    /// The program that writes.
    pub producer_name: String,
    /// Its version.
    pub producer_version: String,
    /// `metadata_props`: keys and values.
    pub metadata: Vec<(String, String)>,
}

/// The bytes of a file. Weights go straight to their places: as messages they would be in memory twice.
///
/// # Errors
/// The number of bytes, where it is more than [`MOST_BYTES`].
pub fn encode(header: &Header, finished: &Finished) -> Result<Vec<u8>, u64> {
    let entry =
        |(key, value): &(String, String)| StringStringEntryProto { key: Some(key.clone()), value: Some(value.clone()) };
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some(header.producer_name.clone()),
        producer_version: Some(header.producer_version.clone()),
        graph: None,
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: header.metadata.iter().map(entry).collect(),
    };
    let graph = GraphProto {
        node: finished.nodes.clone(),
        name: Some(header.name.clone()),
        initializer: Vec::new(),
        input: finished.inputs.iter().map(|tensor| tensor.message()).collect(),
        output: finished.outputs.iter().map(|tensor| tensor.message()).collect(),
    };
    let (model, graph) = (model.encode_to_vec(), graph.encode_to_vec());
    // Of each constant, its message up to its elements.
    let heads: Vec<Vec<u8>> = finished
        .initializers
        .iter()
        .map(|initializer| {
            let head = TensorProto {
                dims: initializer.shape.iter().map(|&length| length as i64).collect(),
                data_type: Some(initializer.data_type()),
                name: Some(initializer.name.clone()),
                raw_data: None,
            };
            let mut head = head.encode_to_vec();
            encode_key(RAW_DATA, WireType::LengthDelimited, &mut head);
            encode_varint(initializer.len() as u64, &mut head);
            head
        })
        .collect();
    let lengths: Vec<u64> = heads
        .iter()
        .zip(&finished.initializers)
        .map(|(head, initializer)| (head.len() + initializer.len()) as u64)
        .collect();
    let of_graph =
        lengths.iter().fold(graph.len() as u64, |sum, &length| sum + 1 + encoded_len_varint(length) as u64 + length);
    let total = model.len() as u64 + 1 + encoded_len_varint(of_graph) as u64 + of_graph;
    if total > MOST_BYTES {
        return Err(total);
    }
    let mut bytes = Vec::with_capacity(total as usize);
    bytes.extend_from_slice(&model);
    encode_key(GRAPH, WireType::LengthDelimited, &mut bytes);
    encode_varint(of_graph, &mut bytes);
    bytes.extend_from_slice(&graph);
    for ((head, length), initializer) in heads.iter().zip(lengths).zip(&finished.initializers) {
        encode_key(INITIALIZER, WireType::LengthDelimited, &mut bytes);
        encode_varint(length, &mut bytes);
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(&initializer.bytes());
    }
    debug_assert_eq!(bytes.len() as u64, total);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::onnx::{Data, Initializer, Writer};

    fn header() -> Header {
        let metadata = vec![("key".to_owned(), "value".to_owned())];
        Header { name: "net".into(), producer_name: "vitx".into(), producer_version: "1".into(), metadata }
    }

    #[test]
    fn bytes_are_those_of_the_message() {
        let mut writer = Writer::new(&["y"]);
        let x = writer.input("x", &[3.into()]);
        let weight = writer.weight("weight", &[3], vec![0.5, -1.0, f32::MIN_POSITIVE]);
        let y = writer.binary("Add", &x, &weight);
        let bytes = encode(&header(), &writer.finish(&[("y", &y)])).unwrap();
        let model = ModelProto::decode(&bytes[..]).unwrap();
        let initializer = &model.graph.as_ref().unwrap().initializer[0];
        let values = [0.5, -1.0, f32::MIN_POSITIVE].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!((initializer.raw_data.clone(), &initializer.dims[..]), (Some(values), &[3][..]));
        assert_eq!(model.metadata_props[0].key.as_deref(), Some("key"));
        // Fields stand in another order there, and take as many bytes.
        assert_eq!(model.encode_to_vec().len(), bytes.len());
    }

    #[test]
    fn more_than_a_message_holds_is_refused() {
        let values = vec![0.0; 1 << 20];
        let weight = |number| Initializer {
            name: format!("weight{number}"),
            shape: vec![1 << 20],
            data: Data::Floats(Cow::Borrowed(&values)),
        };
        let initializers = (0..512).map(weight).collect();
        let finished = Finished { nodes: Vec::new(), inputs: Vec::new(), outputs: Vec::new(), initializers };
        assert!(encode(&header(), &finished).unwrap_err() > MOST_BYTES);
    }
}
