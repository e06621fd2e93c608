//! A browser without a window, driven by the DevTools protocol over a pipe: real clicks, real pixels.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// The first browser that answers: `VITX_BROWSER`, or what is found.
pub fn find() -> Option<String> {
    if let Ok(named) = std::env::var("VITX_BROWSER") {
        return Some(named);
    }
    let known = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    known.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok()).map(str::to_owned)
}

/// No page of ours takes so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// A browser with one page.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// What the console said that it should not, and what was thrown.
    pub errors: Vec<String>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Starts it with a profile of its own, 1400 pixels wide.
    pub fn start(program: &str, profile: &Path) -> Self {
        let mut command = Command::new("sh");
        // The protocol is spoken over the descriptors 3 and 4, which are made of the two that a child has anyway.
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 >/dev/null 2>&1 </dev/null", "sh", program]);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--remote-debugging-pipe", "--window-size=1400,1000", "--hide-scrollbars"]);
        // It must need nothing from outside.
        command.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
        command.arg(format!("--user-data-dir={}", profile.display()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, messages) = mpsc::channel();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut bytes = Vec::new();
            while output.read_until(0, &mut bytes).is_ok_and(|read| read > 0) {
                let message = serde_json::from_slice(bytes.strip_suffix(&[0]).unwrap_or(&bytes)).unwrap();
                bytes.clear();
                if send.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { child, input, messages, session: None, last: 0, errors: Vec::new() };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.input.write_all(message.to_string().as_bytes()).and_then(|()| self.input.write_all(&[0])).unwrap();
        let began = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let message = self.messages.recv_timeout(left).unwrap_or_else(|_| panic!("no answer to {method}"));
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message:#}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let of = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.errors.push(of["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if of["type"] != "log" => self.errors.push(of["args"].to_string()),
            Some("Log.entryAdded") if of["entry"]["level"] == "error" => self.errors.push(of["entry"].to_string()),
            _ => {}
        }
    }

    /// Opens an address, and waits until its scripts have run.
    pub fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({ "url": address }));
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of an expression.
    pub fn ask(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer:#}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn wait(&mut self, expression: &str) {
        let began = Instant::now();
        while self.ask(expression) != json!(true) {
            assert!(began.elapsed() < PATIENCE, "it does not become true: {expression}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Moves, presses or releases the pointer, at a place in the window.
    pub fn mouse(&mut self, kind: &str, (x, y): (f64, f64)) {
        let pressed = if kind == "mouseMoved" { 0 } else { 1 };
        let parameters = json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": pressed, "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", parameters);
    }

    /// Clicks at a place in the window.
    pub fn click(&mut self, place: (f64, f64)) {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            self.mouse(kind, place);
        }
    }

    /// Clicks in the middle of the element that an expression names.
    pub fn click_on(&mut self, element: &str) {
        let (x, y, width, height) = self.place_of(element);
        self.click((x + width / 2.0, y + height / 2.0));
    }

    /// Scrolls an element into the window, and gives its left and upper edge, its width and height there.
    pub fn place_of(&mut self, element: &str) -> (f64, f64, f64, f64) {
        let found = self.ask(&format!(
            "(() => {{ const e = {element}; e.scrollIntoView({{ block: 'center' }}); const b = e.getBoundingClientRect(); \
             return [b.x, b.y, b.width, b.height]; }})()"
        ));
        let number = |at: usize| found[at].as_f64().unwrap();
        (number(0), number(1), number(2), number(3))
    }

    /// Presses a key, with Shift or without.
    pub fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "code": key }));
        }
    }

    /// The window's pixels.
    pub fn screenshot(&mut self) -> image::RgbImage {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        image::load_from_memory(&of_base64(shot["data"].as_str().unwrap())).unwrap().to_rgb8()
    }

    /// What went wrong so far, with what was still on its way.
    pub fn errors(&mut self) -> Vec<String> {
        self.ask("0");
        self.errors.clone()
    }
}

fn of_base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.bytes().filter(|c| *c != b'=').map(|c| u32::from(value(c))).collect();
    let chunk = |four: &[u32]| {
        let bits = four.iter().enumerate().fold(0, |bits, (at, digit)| bits | digit << (18 - 6 * at));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(chunk).collect()
}
