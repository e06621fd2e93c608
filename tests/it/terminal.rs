//! What a sweep shows on a terminal, in a pseudo terminal of util-linux' `script`.
#![cfg(target_os = "linux")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Runs a sweep on a terminal of so many columns, and gives all that was written to it.
fn on_a_terminal(folder: &Path, columns: u16, arguments: &str) -> Option<String> {
    let vitx = env!("CARGO_BIN_EXE_vitx");
    let line = format!("stty cols {columns} rows 24; '{vitx}' {arguments}");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let output = command.current_dir(folder).env("TERM", "xterm").stdin(Stdio::null()).output();
    let Ok(output) = output else {
        crate::support::skipped("there is no `script`, so nothing is tested on a terminal");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    Some(text)
}

/// Without the sequences that move the cursor and colour the text.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            plain.push(c);
        } else if rest.next() == Some('[') {
            rest.by_ref().find(char::is_ascii_alphabetic);
        }
    }
    plain
}

#[test]
fn shows_every_trial_while_it_runs_and_tables_that_fit() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "sweep digits_vit.yaml -o out --threads 1 -p depth=2,3 --jobs 2 --set train.epochs=20 \
        --set data.train_limit=600 --set data.test_limit=100";
    let Some(text) = on_a_terminal(folder.path(), 80, arguments) else { return };
    let text = plain(&text);
    // Rows of trials that run, drawn again and again.
    let row =
        text.split(['\r', '\n']).find(|line| line.starts_with("running") && line.contains("loss")).unwrap_or(&text);
    for part in ["depth=", "/20", "loss ", "val ", "% ", "ETA "] {
        assert!(row.contains(part), "{part}: {row}");
    }
    assert!(row.chars().any(|c| ('▁'..='█').contains(&c)), "{row}");
    assert!(text.contains("2 trials: ") && text.contains("2 running"), "{text}");
    // Events that need no reason are not lines there.
    assert!(!text.contains("started  "), "{text}");
    let tables = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains('│')).map(|line| line.trim_end().to_owned()).collect()
    };
    let lines = tables(&text);
    assert!(lines.len() > 8 && lines.iter().all(|line| line.chars().count() <= 80), "{}", lines.join("\n"));
    assert!(!lines.iter().any(|line| line.contains('\r')), "{lines:?}");
    for columns in [80, 120] {
        let Some(text) = on_a_terminal(folder.path(), columns, "report out") else { return };
        let lines = tables(&plain(&text));
        assert!(lines.iter().all(|line| line.chars().count() <= usize::from(columns)), "{}", lines.join("\n"));
        assert!(
            lines.iter().any(|line| line.contains("test top-1")) && lines.iter().any(|line| line.contains("state"))
        );
    }
}
