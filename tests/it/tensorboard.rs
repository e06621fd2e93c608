//! TensorBoard's own plugin `hparams` reads what a sweep wrote.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::support::{self, succeed, sweep};

/// Asks the plugin what it shows: the experiment, and all groups of sessions.
const ASK: &str = r#"
import json, sys
from google.protobuf import json_format
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, get_experiment, hparams_plugin, list_session_groups

folder = sys.argv[1]
multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(folder)
multiplexer.Reload()
provider = data_provider.MultiplexerDataProvider(multiplexer, folder)
plugin = hparams_plugin.HParamsPlugin(base_plugin.TBContext(data_provider=provider, logdir=folder))
assert plugin._context is not None
request = context.RequestContext()
experiment = plugin._context.experiment_from_metadata(
    request, "", True, plugin._context.hparams_metadata(request, ""), plugin._context.hparams_from_data_provider(request, "", 100))
ask = api_pb2.ListSessionGroupsRequest(slice_size=100, allowed_statuses=[0, 1, 2, 3], aggregation_type=api_pb2.AGGREGATION_AVG, include_metrics=True)
ask.col_params.add(hparam="depth")
groups = list_session_groups.Handler(request, plugin._context, "", ask).run()
print(json.dumps({
    "experiment": json_format.MessageToDict(experiment),
    "groups": json_format.MessageToDict(groups),
}))
"#;

#[test]
fn its_plugin_for_hyperparameters_shows_a_sweep() {
    let Ok(python) = std::env::var("VITX_TENSORBOARD_PYTHON") else {
        support::skipped(
            "VITX_TENSORBOARD_PYTHON names no Python that has tensorboard, so its plugin hparams is not tested",
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    succeed(sweep(folder.path(), &["-p", "depth=1,2", "--seeds", "2", "--set", "data.train_limit=60"]));
    let script = folder.path().join("ask.py");
    fs::write(&script, ASK).unwrap();
    let output = Command::new(python).arg(&script).arg(folder.path().join("out/trials")).output().unwrap();
    assert!(output.status.success(), "{}", support::shown(&output));
    let answer: Value = serde_json::from_slice(output.stdout.trim_ascii()).unwrap();
    let names: Vec<&str> = answer["experiment"]["hparamInfos"]
        .as_array()
        .unwrap()
        .iter()
        .map(|info| info["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"depth") && names.contains(&"train.seed"), "{answer:#}");
    // A group for each variant, with its two seeds, which have all ended well and have their figures.
    let groups = answer["groups"]["sessionGroups"].as_array().unwrap();
    assert_eq!(groups.len(), 2, "{answer:#}");
    let mut depths = Vec::new();
    for group in groups {
        depths.push(group["hparams"]["depth"].as_f64().unwrap());
        let sessions = group["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 2, "{group:#}");
        for session in sessions {
            assert_eq!(session["status"], "STATUS_SUCCESS");
            let metrics = session["metricValues"].as_array().unwrap();
            let has = |group: &str, tag: &str| {
                metrics.iter().any(|metric| metric["name"] == json!({ "group": group, "tag": tag }))
            };
            assert!(has("validation", "epoch_accuracy") && has("train", "epoch_loss"), "{session:#}");
            assert!(metrics.iter().any(|metric| metric["name"]["tag"] == "test_accuracy"), "{session:#}");
        }
    }
    depths.sort_by(f64::total_cmp);
    assert_eq!(depths, [1.0, 2.0]);
}
