//! `vitx report --serve`: what it answers, and that a page stays live.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::support::{
    self,
    browser::{self, Browser},
    shown, vitx,
};

/// A server on a port of its own, which ends with the test.
struct Served {
    child: Child,
    port: u16,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn start(folder: &Path) -> Self {
        let mut command: Command = vitx(folder, &["report", "out", "--serve", "0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, rest) = line.split_once("http://127.0.0.1:").unwrap_or_else(|| panic!("{line}"));
        let port = rest.split_once('/').unwrap().0.parse().unwrap();
        Self { child, port }
    }

    /// What it answers to these lines.
    fn answer(&self, lines: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all((lines.join("\r\n") + "\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn trial(folder: &Path, name: &str, depth: u32, epochs: u32) {
    let trial = folder.join("out/trials").join(name);
    fs::create_dir_all(&trial).unwrap();
    let write = |file: &str, text: String| fs::write(trial.join(file), text).unwrap();
    write("config.yaml", "{}".into());
    write("variant.json", json!([["depth", depth]]).to_string());
    let line = |epoch: u32| {
        let of = json!({
            "epoch": epoch, "loss": 1.0, "accuracy": 0.5, "top_5_accuracy": 0.9, "learning_rate": 0.1, "seconds": 1.0,
            "images_per_second": 100.0, "loader_wait_seconds": 0.0,
        });
        format!("{of}\n")
    };
    write("metrics.jsonl", (1..=epochs).map(line).collect());
}

fn list(folder: &Path, names: &[&str]) {
    fs::write(folder.join("out/trials.json"), json!({ "trials": names }).to_string()).unwrap();
}

#[test]
fn it_answers_to_this_machine_and_shows_trials_alone() {
    let folder = tempfile::tempdir().unwrap();
    trial(folder.path(), "vit-1", 2, 3);
    list(folder.path(), &["vit-1"]);
    fs::write(folder.path().join("out/secret.txt"), "secret").unwrap();
    let served = Served::start(folder.path());
    let host = format!("Host: 127.0.0.1:{}", served.port);
    let page = served.answer(&["GET / HTTP/1.1", &host]);
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("\"live\":true"), "{page}");
    let config = served.answer(&["GET /trials/vit-1/config.yaml HTTP/1.1", &host]);
    assert!(config.starts_with("HTTP/1.1 200") && config.ends_with("{}") && config.contains("sandbox"), "{config}");
    for (lines, status) in [
        (["GET / HTTP/1.1", "Host: evil.example"], 403),
        (["POST / HTTP/1.1", &host], 405),
        (["GET /trials/vit-1/../../secret.txt HTTP/1.1", &host], 404),
        (["GET /trials/vit-1/..%2f..%2fsecret.txt HTTP/1.1", &host], 404),
        (["GET http://127.0.0.1/../secret.txt HTTP/1.1", &host], 404),
    ] {
        let answer = served.answer(&lines);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && !answer.contains("secret"), "{lines:?}: {answer}");
    }
    let taken = vitx(folder.path(), &["report", "out", "--serve", &served.port.to_string()]).output().unwrap();
    assert!(!taken.status.success() && shown(&taken).contains("--serve 0"), "{}", shown(&taken));
}

#[test]
fn a_page_stays_live_and_keeps_what_is_chosen() {
    let Some(program) = browser::find() else {
        support::skipped("no browser is found (chromium, or VITX_BROWSER), so a live page is not tested");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    trial(folder.path(), "vit-1", 2, 3);
    trial(folder.path(), "vit-2", 4, 3);
    list(folder.path(), &["vit-1", "vit-2"]);
    let served = Served::start(folder.path());
    let mut browser = Browser::start(&program, &folder.path().join("profile"));
    browser.open(&format!("http://127.0.0.1:{}/", served.port));
    browser.wait("byId('when').textContent.startsWith('live')");
    browser.click_on("document.querySelector('.pin')");
    browser.ask("document.querySelector('.axis[data-axis=depth]').focus()");
    browser.key("ArrowUp");
    browser.wait("state.rows.length === 1 && state.pinned.size === 1");
    // Another epoch and another trial come in by themselves; the filter and what is held stay.
    trial(folder.path(), "vit-2", 4, 4);
    trial(folder.path(), "vit-3", 8, 1);
    list(folder.path(), &["vit-1", "vit-2", "vit-3"]);
    browser.wait("state.data.rows.length === 3 && state.data.trials[1].epochs.length === 4");
    browser.wait("state.rows.length === 1 && state.brushes.has('depth') && state.pinned.size === 1");
    // A trial's files.
    let link = browser.ask("document.querySelector('#variants a').href");
    assert_eq!(link, format!("http://127.0.0.1:{}/trials/vit-1/", served.port));
    assert_eq!(browser.errors(), Vec::<String>::new());
    drop(served);
    browser.wait("byId('notice').textContent.includes('does not answer')");
}
