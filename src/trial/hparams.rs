//! What a sweep changed, and how its trial ended, as TensorBoard's plugin `hparams` reads it
//! (`tensorboard/plugins/hparams/plugin_data.proto`): a summary at the start of a session and one at its end.

use std::collections::BTreeMap;

use prost::Message;

use super::{
    Variant,
    variant::{SEED, shown},
};
use crate::dsl::Value;

/// `tensorboard.hparams.HParamsPluginData`, as far as it is used. The version of the protocol is 0, which is not written.
#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(message, optional, tag = "3")]
    start: Option<Start>,
    #[prost(message, optional, tag = "4")]
    end: Option<End>,
}

/// `SessionStartInfo`
#[derive(Clone, PartialEq, Message)]
struct Start {
    #[prost(btree_map = "string, message", tag = "1")]
    hparams: BTreeMap<String, Wrapped>,
    /// Sessions of one group are repetitions.
    #[prost(string, tag = "4")]
    group_name: String,
    /// Since 1970.
    #[prost(double, tag = "5")]
    start_time_secs: f64,
}

/// `SessionEndInfo`
#[derive(Clone, PartialEq, Message)]
struct End {
    /// Of the enumeration `Status`.
    #[prost(int32, tag = "1")]
    status: i32,
    /// Since 1970.
    #[prost(double, tag = "2")]
    end_time_secs: f64,
}

/// `google.protobuf.Value`, one field of it.
#[derive(Clone, PartialEq, Message)]
struct Wrapped {
    #[prost(double, optional, tag = "2")]
    number: Option<f64>,
    #[prost(string, optional, tag = "3")]
    text: Option<String>,
    #[prost(bool, optional, tag = "4")]
    truth: Option<bool>,
}

/// A summary of the plugin: its tag, and its content.
pub struct HparamsSummary {
    pub tag: &'static str,
    pub content: Vec<u8>,
}

/// The name by which TensorBoard knows the plugin.
pub const PLUGIN: &str = "hparams";

fn wrapped(value: &Value) -> Wrapped {
    match value {
        Value::Int(value) => Wrapped { number: Some(*value as f64), ..Wrapped::default() },
        Value::Float(value) => Wrapped { number: Some(*value), ..Wrapped::default() },
        Value::Bool(value) => Wrapped { truth: Some(*value), ..Wrapped::default() },
        value => Wrapped { text: Some(value.plain()), ..Wrapped::default() },
    }
}

/// A session begins, at so many seconds since 1970. Variants that differ in their seeds alone are one group.
pub fn start(variant: &Variant, seconds: f64) -> HparamsSummary {
    let start = Start {
        hparams: variant.iter().map(|(key, value)| (key.clone(), wrapped(value))).collect(),
        group_name: shown(variant.iter().filter(|(key, _)| key != SEED)),
        start_time_secs: seconds,
    };
    let content = PluginData { start: Some(start), end: None }.encode_to_vec();
    HparamsSummary { tag: "_hparams_/session_start_info", content }
}

/// A session has ended, well or not, at so many seconds since 1970.
pub fn end(well: bool, seconds: f64) -> HparamsSummary {
    let end = End { status: if well { 1 } else { 2 }, end_time_secs: seconds };
    let content = PluginData { start: None, end: Some(end) }.encode_to_vec();
    HparamsSummary { tag: "_hparams_/session_end_info", content }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_one_group() {
        let variant = |seed: i64| -> Variant {
            vec![
                ("depth".into(), Value::Int(2)),
                ("activation".into(), Value::Str("gelu".into())),
                (SEED.into(), Value::Int(seed)),
            ]
        };
        let of = |seed: i64| PluginData::decode(&start(&variant(seed), 5.0).content[..]).unwrap().start.unwrap();
        assert_eq!(of(1).group_name, "depth=2 activation=gelu");
        assert_eq!(of(1).group_name, of(2).group_name);
        assert_eq!(of(2).hparams[SEED].number, Some(2.0));
        assert_eq!(of(2).hparams["activation"].text.as_deref(), Some("gelu"));
        // The bytes that TensorBoard's own `plugin_data_pb2` writes for this end.
        assert_eq!(end(true, 0.0).content, [0x22, 2, 8, 1]);
    }
}
