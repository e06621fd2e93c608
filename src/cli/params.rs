//! `--param NAME=VALUE` of the commands that look at one model.

use std::collections::BTreeMap;

use miette::miette;

use crate::{
    dsl::Value,
    experiment::sweep::{Axis, split},
};

/// Reads the parameters of a model.
///
/// # Errors
/// What is no `name=value`, keys of the experiment, and several values.
pub fn read(texts: &[String]) -> miette::Result<BTreeMap<String, Value>> {
    let mut params = BTreeMap::new();
    for text in texts {
        let value = text.split_once('=').map_or("", |(_, value)| value);
        if split(value).len() > 1 {
            let help = format!(
                "`vitx sweep` tries several; a text with commas is put in quotes, a list in brackets: '{}=[{value}]'",
                text.split('=').next().unwrap_or_default()
            );
            return Err(miette!(code = "vitx::command_line", help = help, "`{text}` has more than one value"));
        }
        let (name, value) = Value::parse_assignment(text)?;
        let name = Axis::named(&name);
        if name.contains('.') || name == "model" {
            let help = format!("keys of the experiment are set with --set, where a command has it: --set '{text}'");
            return Err(miette!(code = "vitx::command_line", help = help, "`{name}` is no parameter of a model"));
        }
        // Of several the last counts, as with other options.
        params.insert(name, value);
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(texts: &[&str]) -> String {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        match read(&texts) {
            Ok(params) => format!("{params:?}"),
            Err(error) => format!("{error}\n  {}", error.help().map(|help| help.to_string()).unwrap_or_default()),
        }
    }

    #[test]
    fn each_is_one_value_of_the_model() {
        let all = [
            read_all(&["params.depth=2", "tag=\"a,b\"", "units=[8, 4]"]),
            read_all(&["train.epochs=3"]),
            read_all(&["model=other.vitx"]),
            read_all(&["depth=1,2"]),
            read_all(&["depth"]),
            read_all(&["tag=a b"]),
            read_all(&["depth=[1"]),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }
}
