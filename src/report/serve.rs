//! The page of a sweep while it runs: a server for this machine alone, which reads the directory anew when it is asked.
//!
//! It listens on 127.0.0.1, answers nothing but GET, and only where the address names this machine: a page of elsewhere
//! whose name comes to mean 127.0.0.1 (DNS rebinding) is refused. Of the disk it shows the files of the trials' own
//! directories, by names that are there.

use std::{
    fs,
    io::{self, Cursor, Read},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

use super::{Page, PageModel, Record, View, page::percent};
use crate::{
    experiment::{ExperimentError, sweep::About},
    printable,
};

/// Where the server listens, unless a port is named.
pub const PORT: u16 = 8642;

/// Questions that are answered at once: a checkpoint that is being fetched does not hold up the page.
const WORKERS: usize = 4;

/// Pages that ask at once are given the same.
const FRESH: Duration = Duration::from_millis(800);

/// A server that has its port.
pub struct Site {
    listener: TcpListener,
    sweep: Sweep,
}

/// What is shown.
struct Sweep {
    folder: PathBuf,
    title: String,
    view: View,
    /// The last time it was read.
    read: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

/// What was read of it.
struct Snapshot {
    records: Vec<Record>,
    models: Vec<PageModel>,
}

/// What a browser asks.
struct Asked<'a> {
    get: bool,
    host: Option<&'a str>,
    path: &'a str,
    /// What it has already.
    tag: Option<&'a str>,
}

/// What it is told.
struct Answer {
    status: u16,
    /// The type of the content.
    kind: &'static str,
    body: Body,
    tag: Option<String>,
}

enum Body {
    Text(String),
    File(fs::File),
}

impl Answer {
    fn text(status: u16, kind: &'static str, text: String) -> Self {
        Self { status, kind, body: Body::Text(text), tag: None }
    }

    fn refused(status: u16, words: &str) -> Self {
        Self::text(status, PLAIN, format!("{words}\n"))
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

impl Site {
    /// Takes a port of this machine, 0 for any that is free, for the trials of a folder.
    ///
    /// # Errors
    /// A port that cannot be had; a folder or a view that cannot be shown.
    pub fn new(folder: &Path, view: View, port: u16) -> Result<Self, ExperimentError> {
        let title = folder.file_name().map_or_else(|| "vitx".into(), |name| name.to_string_lossy().into_owned());
        let about = About::read(folder)?.line();
        let title = about.map_or(title.clone(), |about| format!("{title}: {about}"));
        let sweep = Sweep { folder: folder.to_owned(), title, view, read: Mutex::new(None) };
        // What cannot be shown is an error here, not of every page.
        sweep.page(|page| page.data())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| taken(port, &error))?;
        Ok(Self { listener, sweep })
    }

    /// Its address.
    pub fn address(&self) -> String {
        self.listener.local_addr().map_or_else(|_| "http://127.0.0.1/".into(), |address| format!("http://{address}/"))
    }

    /// Answers until the process ends.
    ///
    /// # Errors
    /// When no connection can be taken any more.
    pub fn serve(self) -> Result<(), ExperimentError> {
        let failed = |error: &dyn std::fmt::Display| ExperimentError::Sweep {
            message: format!("the page cannot be served any more: {error}"),
            help: Some("begin again".into()),
        };
        let server = Server::from_listener(self.listener, None).map_err(|error| failed(&error))?;
        let (server, sweep, first) = (&server, &self.sweep, &OnceLock::new());
        thread::scope(|scope| {
            let work = || loop {
                match server.recv() {
                    Ok(request) => answer(sweep, request),
                    Err(error) => {
                        // The others wait for requests that never come: each is waked by the one before.
                        let _ = first.set(error);
                        server.unblock();
                        return;
                    }
                }
            };
            (1..WORKERS).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        Err(failed(&first.get().map_or_else(String::new, ToString::to_string)))
    }
}

/// Why a port cannot be had, and what to do.
fn taken(port: u16, error: &io::Error) -> ExperimentError {
    let free = "name another one, or 0 for any that is free: `--serve 0`";
    let (message, help) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            format!("port {port} of 127.0.0.1 is in use"),
            format!("another `vitx report --serve` may still run; {free}"),
        ),
        io::ErrorKind::PermissionDenied => {
            (format!("port {port} of 127.0.0.1 cannot be had: {error}"), format!("the system keeps it; {free}"))
        }
        _ => (format!("port {port} of 127.0.0.1 cannot be had: {error}"), free.to_owned()),
    };
    ExperimentError::Sweep { message, help: Some(help) }
}

fn answer(sweep: &Sweep, request: Request) {
    let header = |name: &'static str| {
        request.headers().iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
    };
    let asked = Asked {
        get: *request.method() == Method::Get,
        host: header("Host"),
        path: request.url(),
        tag: header("If-None-Match"),
    };
    let Answer { status, kind, body, tag } = sweep.answer(&asked);
    let (body, length): (Box<dyn Read + Send>, Option<usize>) = match body {
        Body::Text(text) => {
            let length = text.len();
            (Box::new(Cursor::new(text)), Some(length))
        }
        Body::File(file) => {
            let length = file.metadata().ok().and_then(|about| usize::try_from(about.len()).ok());
            (Box::new(file), length)
        }
    };
    // The page brings a policy of its own; nothing else of a trial's files may do anything.
    let policy =
        if kind == HTML { "frame-ancestors 'none'" } else { "default-src 'none'; style-src 'unsafe-inline'; sandbox" };
    let headers = [
        ("Content-Type", kind),
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ];
    let tag = tag.iter().map(|tag| ("ETag", tag.as_str()));
    let headers = headers.into_iter().chain(tag).filter_map(|(name, value)| Header::from_bytes(name, value).ok());
    // A browser that has gone away needs no answer.
    let _ = request.respond(Response::new(StatusCode(status), headers.collect(), body, length, None));
}

impl Sweep {
    /// The trials, as they are now or were a moment ago.
    fn read(&self) -> Result<Arc<Snapshot>, ExperimentError> {
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, read)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(read.clone());
        }
        let records = Record::read_all(&self.folder)?;
        let models = PageModel::of(&records);
        let read = Arc::new(Snapshot { records, models });
        *last = Some((Instant::now(), read.clone()));
        Ok(read)
    }

    fn page<T>(&self, of: impl Fn(&Page) -> Result<T, ExperimentError>) -> Result<T, ExperimentError> {
        let read = self.read()?;
        let link = |_: usize, folder: &Path| format!("trials/{}/", percent(&name(folder)));
        let (records, models, view) = (&read.records, &read.models, &self.view);
        of(&Page { title: &self.title, records, models, view, link: &link, live: true })
    }

    fn answer(&self, asked: &Asked) -> Answer {
        if !asked.host.is_some_and(is_here) {
            return Answer::refused(403, "this server answers to 127.0.0.1 and localhost alone");
        }
        if !asked.get {
            return Answer::refused(405, "this server answers to GET alone");
        }
        let path = asked.path.split(['?', '#']).next().unwrap_or_default();
        let answer = match path.split('/').skip(1).collect::<Vec<_>>()[..] {
            [""] => self.page(|page| page.html()).map(|text| Answer::text(200, HTML, text)),
            ["data.json"] => self.page(|page| page.data()).map(|text| tagged(text, asked.tag)),
            ["models"] => self.page(|page| Ok(page.networks())).map(|text| Answer::text(200, HTML, text)),
            ["trials", trial, file] => self.file(trial, file),
            _ => Ok(nothing()),
        };
        answer.unwrap_or_else(|error| {
            let words = printable::line(&error.to_string()).into_owned();
            Answer::refused(500, &words)
        })
    }

    /// A file of a trial's directory, or the list of them.
    fn file(&self, trial: &str, file: &str) -> Result<Answer, ExperimentError> {
        let (Some(trial), Some(file)) = (decoded(trial), decoded(file)) else { return Ok(nothing()) };
        let read = self.read()?;
        let Some(record) = read.records.iter().find(|record| name(&record.folder) == trial) else {
            return Ok(nothing());
        };
        let files = files(&record.folder);
        if file.is_empty() {
            return Ok(Answer::text(200, HTML, listing(&trial, &files)));
        }
        // Only what the directory lists: a name with a path in it is none.
        let Some((known, _)) = files.iter().find(|(known, _)| *known == file) else { return Ok(nothing()) };
        let path = record.folder.join(known);
        let opened = fs::File::open(&path).map_err(ExperimentError::io("read", &path))?;
        Ok(Answer { status: 200, kind: kind(known), body: Body::File(opened), tag: None })
    }
}

fn nothing() -> Answer {
    Answer::refused(404, "there is nothing here")
}

/// A text with its digest, or that it is what the browser has.
fn tagged(text: String, known: Option<&str>) -> Answer {
    let digest: String = Sha256::digest(&text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{digest}\"");
    let mut answer = match known == Some(tag.as_str()) {
        true => Answer::text(304, "application/json", String::new()),
        false => Answer::text(200, "application/json", text),
    };
    answer.tag = Some(tag);
    answer
}

/// Whether the host of an address is this machine, on whatever port: one may be forwarded.
fn is_here(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, port)| if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host });
    name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost")
}

/// The last part of a folder's path.
fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A part of an address without its escapes; `None` where these are broken.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// The files of a directory with their lengths. A link is none, wherever it leads.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let plain = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut files: Vec<(String, u64)> =
        plain.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.metadata().ok()?.len()))).collect();
    files.sort();
    files
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("txt" | "yaml" | "vitx" | "csv" | "jsonl") => PLAIN,
        _ => "application/octet-stream",
    }
}

fn listing(trial: &str, files: &[(String, u64)]) -> String {
    let style = "body { font: 15px/1.6 system-ui, sans-serif; color-scheme: light dark; margin: 2rem; } td { padding-right: 2rem; }";
    maud::html! {
        (maud::DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; link rel="icon" href="data:,"; title { (trial) } style { (style) } }
            body {
                h1 { (printable::line(trial)) }
                p { a href="../../" { "the sweep" } }
                table { @for (name, length) in files {
                    tr { td { a href=(percent(name)) { (printable::line(name)) } } td { (length) " bytes" } }
                } }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(folder: &Path) -> Sweep {
        let trial = folder.join("trials/vit-1");
        fs::create_dir_all(trial.join("tensorboard")).unwrap();
        for name in ["config.yaml", "a b.txt", "weights.safetensors"] {
            fs::write(trial.join(name), "x: 1\n").unwrap();
        }
        fs::write(folder.join("secret.txt"), "secret").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.join("secret.txt"), trial.join("link.txt")).unwrap();
        Sweep { folder: folder.to_owned(), title: "s".into(), view: View::default(), read: Mutex::new(None) }
    }

    fn status(sweep: &Sweep, path: &str) -> u16 {
        sweep.answer(&Asked { get: true, host: Some("127.0.0.1:8642"), path, tag: None }).status
    }

    #[test]
    fn shows_the_files_of_trials_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let sweep = sweep(folder.path());
        for path in [
            "/",
            "/?x=1",
            "/data.json",
            "/models",
            "/trials/vit-1/",
            "/trials/vit-1/a%20b.txt",
            "/trials/vit-1/config.yaml",
        ] {
            assert_eq!(status(&sweep, path), 200, "{path}");
        }
        for path in [
            "",
            "x",
            "//",
            "/trials",
            "/trials/vit-1",
            "/trials/vit-1/../../secret.txt",
            "/trials/vit-1/..%2f..%2fsecret.txt",
            "/trials/../secret.txt",
            "/trials/%2e%2e/secret.txt",
            "/trials/vit-1/link.txt",
            "/trials/vit-1/tensorboard",
            "/trials/vit-1/%2fetc%2fpasswd",
            "/trials/vit-1/%zz",
            "/trials/vit-1/%",
            "/trials/./config.yaml",
            "/secret.txt",
            "/trials//config.yaml",
            "/trials/vit-1/.",
            "/trials/vit-1/..",
            "/trials/vit-1/%00",
            "/trials/vit-1/%ff",
        ] {
            assert_eq!(status(&sweep, path), 404, "{path}");
        }
    }

    #[test]
    fn answers_to_this_machine_alone() {
        let folder = tempfile::tempdir().unwrap();
        let sweep = sweep(folder.path());
        let of = |get: bool, host: Option<&str>| sweep.answer(&Asked { get, host, path: "/", tag: None }).status;
        for host in ["127.0.0.1", "localhost", "localhost:9000", "LOCALHOST:1"] {
            assert_eq!(of(true, Some(host)), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8642",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "",
            ":80",
            "[::1]:80",
            "127.0.0.1:80:90",
        ] {
            assert_eq!(of(true, Some(host)), 403, "{host}");
        }
        assert_eq!((of(true, None), of(false, Some("localhost"))), (403, 405));
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let sweep = sweep(folder.path());
        let of =
            |tag: Option<&str>| sweep.answer(&Asked { get: true, host: Some("localhost"), path: "/data.json", tag });
        let first = of(None);
        let tag = first.tag.unwrap();
        assert_eq!((first.status, of(Some(&tag)).status, of(Some("\"other\"")).status), (200, 304, 200));
    }

    #[test]
    fn a_port_that_cannot_be_had_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        sweep(folder.path());
        let first = Site::new(folder.path(), View::default(), 0).unwrap();
        let port = first.listener.local_addr().unwrap().port();
        assert_eq!(first.address(), format!("http://127.0.0.1:{port}/"));
        let error = Site::new(folder.path(), View::default(), port).err().unwrap();
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        assert_eq!(error.to_string(), format!("port {port} of 127.0.0.1 is in use"));
        insta::assert_snapshot!(help);
    }

    /// All who answer end, with the reason for which the first one does.
    #[test]
    fn a_port_that_is_lost_ends_the_server_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        sweep(folder.path());
        let site = Site::new(folder.path(), View::default(), 0).unwrap();
        // No connection waits, and so none can be taken.
        site.listener.set_nonblocking(true).unwrap();
        let server = thread::spawn(|| site.serve());
        crate::wait::until("the server ends", || server.is_finished());
        let error = server.join().unwrap().unwrap_err().to_string();
        assert!(error.starts_with("the page cannot be served any more: ") && error.contains("os error"), "{error}");
    }
}
