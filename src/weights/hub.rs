//! `hf://ORG/NAME`: a file of the Hugging Face hub, in the cache where its own tools keep and look for it.
//!
//! `models--ORG--NAME/refs/REVISION` holds a commit, `snapshots/COMMIT/FILE` links to `blobs/ETAG`. What has come of a blob
//! is `blobs/ETAG.incomplete`, from which the next attempt goes on.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use sha2::Sha256;

use super::WeightsError;
use crate::{
    download::{self, Download, DownloadError, TIMEOUT},
    files::FileError,
};

/// How a text begins that means a file of the hub.
pub const SCHEME: &str = "hf://";
/// The file, where none is named.
const WEIGHTS: &str = "model.safetensors";

/// A file of a repository of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// `ORG/NAME`.
    repository: String,
    revision: String,
    /// Within the repository.
    file: String,
}

impl fmt::Display for HubFile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{SCHEME}{}@{}/{}", self.repository, self.revision, self.file)
    }
}

/// Where the hub and its cache are.
#[derive(Debug, Clone)]
pub struct Hub {
    /// `https://huggingface.co`, or `HF_ENDPOINT`.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, `HF_HOME/hub`, or `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// `HF_TOKEN`, for repositories that are not open to all.
    pub token: Option<String>,
}

impl Hub {
    /// As the environment says.
    pub fn of_environment() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = || directories::BaseDirs::new().map(|folders| folders.home_dir().join(".cache/huggingface"));
        let home = set("HF_HOME").map(PathBuf::from).or_else(home).unwrap_or_else(|| ".huggingface".into());
        Self {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
            cache: set("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token: set("HF_TOKEN"),
        }
    }
}

impl HubFile {
    /// `hf://ORG/NAME`, `hf://ORG/NAME@REVISION`, `hf://ORG/NAME/FILE`; `None` for what does not begin so.
    ///
    /// # Errors
    /// What is no such name.
    pub fn of_text(text: &str) -> Option<Result<Self, WeightsError>> {
        let rest = text.strip_prefix(SCHEME)?;
        let mut parts = rest.splitn(3, '/');
        let (organisation, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let file = parts.next().unwrap_or(WEIGHTS);
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let plain = |text: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !text.is_empty() && !text.starts_with('.') && text.chars().all(allowed)
        };
        let fine = plain(organisation) && plain(name) && plain(revision) && file.split('/').all(plain);
        Some(match fine {
            true => Ok(Self {
                repository: format!("{organisation}/{name}"),
                revision: revision.to_owned(),
                file: file.to_owned(),
            }),
            false => Err(WeightsError::Format {
                path: text.into(),
                problem: "it does not name a repository of the hub".into(),
                help: Some("`hf://timm/vit_tiny_patch16_224.augreg_in21k`; a revision follows as `@REVISION`".into()),
            }),
        })
    }

    /// Another file of the same repository and revision.
    #[must_use]
    pub fn beside(&self, file: &str) -> Self {
        Self { file: file.to_owned(), ..self.clone() }
    }

    /// The last part of the repository's name.
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    fn folder(&self, hub: &Hub) -> PathBuf {
        hub.cache.join(format!("models--{}", self.repository.replace('/', "--")))
    }

    /// Where the cache has it, if it does.
    pub fn cached(&self, hub: &Hub) -> Option<PathBuf> {
        let folder = self.folder(hub);
        let commit = fs::read_to_string(folder.join("refs").join(&self.revision));
        // A revision may be a commit itself.
        let commit = commit.map_or_else(|_| self.revision.clone(), |commit| commit.trim().to_owned());
        let path = folder.join("snapshots").join(commit).join(&self.file);
        path.exists().then_some(path)
    }

    /// Where it is on this machine: in the cache, into which it is brought if it is not there. See [`HubFile::fetch`].
    ///
    /// # Errors
    /// As [`HubFile::fetch`].
    pub fn get(&self, hub: &Hub, progress: &mut dyn FnMut(u64, u64)) -> Result<PathBuf, WeightsError> {
        match self.cached(hub) {
            Some(path) => Ok(path),
            None => self.fetch(hub, progress),
        }
    }

    /// As [`HubFile::get`]; `None` where the repository has no such file.
    ///
    /// # Errors
    /// As [`HubFile::fetch`].
    pub fn find(&self, hub: &Hub, progress: &mut dyn FnMut(u64, u64)) -> Result<Option<PathBuf>, WeightsError> {
        match self.get(hub, progress) {
            Err(WeightsError::Absent { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Brings it into the cache. `progress` gets the bytes so far and all of them.
    ///
    /// # Errors
    /// A server that cannot be reached, has no such file, or sends another; a disk that cannot be written.
    pub fn fetch(&self, hub: &Hub, progress: &mut dyn FnMut(u64, u64)) -> Result<PathBuf, WeightsError> {
        let url = format!(
            "{}/{}/resolve/{}/{}",
            hub.endpoint.trim_end_matches('/'),
            self.repository,
            self.revision,
            self.file
        );
        let refuse =
            |message: String, help: &str| WeightsError::Fetch { url: url.clone(), message, help: help.to_owned() };
        // Where it lies is told, not gone to: what is told with it counts.
        let mut request = download::agent(TIMEOUT, 0).get(&url).header("Range", "bytes=0-0");
        if let Some(token) = &hub.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = request.call().map_err(|error| refuse(error.to_string(), AGAIN))?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let status = answer.status().as_u16();
        match status {
            200 | 206 | 300..=399 => {}
            401 | 403 => return Err(refuse(format!("the server answers {}", answer.status()), TOKEN)),
            404 => return Err(WeightsError::Absent { url, help: NAMES.to_owned() }),
            _ => return Err(refuse(format!("the server answers {}", answer.status()), AGAIN)),
        }
        let odd = |what: &str| refuse(format!("the server does not tell {what}"), AGAIN);
        // Large files lie elsewhere, and have the digest of their contents for a tag.
        let tag = header("x-linked-etag").or_else(|| header("etag")).ok_or_else(|| odd("what the file is"))?;
        let tag = tag.trim_start_matches("W/").trim_matches('"').to_owned();
        let hexadecimal = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
        let commit = header("x-repo-commit").ok_or_else(|| odd("its commit"))?.to_owned();
        if !hexadecimal(&tag) || !hexadecimal(&commit) {
            return Err(odd("a tag and a commit"));
        }
        let of_range = header("content-range").and_then(|range| range.rsplit('/').next());
        let size = header("x-linked-size").or(of_range).and_then(|size| size.parse().ok());
        let size: u64 = size.ok_or_else(|| odd("how long it is"))?;
        let place = match header("location") {
            Some(path) if path.starts_with('/') => format!("{}{path}", hub.endpoint.trim_end_matches('/')),
            Some(location) => location.to_owned(),
            None => url.clone(),
        };
        // A token is for the hub alone.
        let token = hub.token.as_ref().filter(|_| place.starts_with(hub.endpoint.trim_end_matches('/')));

        let folder = self.folder(hub);
        let blob = folder.join("blobs").join(&tag);
        if !blob.exists() {
            make(&folder.join("blobs"))?;
            let path = folder.join("blobs").join(format!("{tag}.incomplete"));
            let explain = |error| match error {
                DownloadError::Busy => {
                    refuse("another process is fetching this file".into(), "wait until it has finished")
                }
                DownloadError::Broken(message) => refuse(message, AGAIN),
                DownloadError::OtherFile(_) => refuse("what came is not what the server says it is".into(), AGAIN),
                DownloadError::Io(action, error) => FileError::io(action, &path)(error).into(),
            };
            let file = download::open(&path).map_err(explain)?;
            let token = token.map(String::as_str);
            let download = Download { url: &place, token, path: &path, file: &file, size, silence: TIMEOUT };
            let progress = &mut |done| progress(done, size);
            // Tags of 64 digits are SHA-256.
            let done = match tag.len() {
                64 => download.fetch::<Sha256>(&tag, progress),
                _ => download.complete(progress),
            };
            done.map_err(explain)?;
            fs::rename(&path, &blob).map_err(FileError::io("move", &path))?;
        }
        let link = folder.join("snapshots").join(&commit).join(&self.file);
        if !link.exists() {
            make(link.parent().unwrap_or(&folder))?;
            link_to(&blob, &link, self.file.split('/').count() + 1)?;
        }
        if self.revision != commit {
            let path = folder.join("refs").join(&self.revision);
            make(&folder.join("refs"))?;
            fs::write(&path, &commit).map_err(FileError::io("write", &path))?;
        }
        Ok(link)
    }
}

const AGAIN: &str = "run the same command again to continue where it stopped; HF_ENDPOINT names another server, and a file that \
                     was fetched by other means is given by its path";
const TOKEN: &str =
    "a repository that is not open to all needs HF_TOKEN in the environment, and that its terms were accepted";
const NAMES: &str = "see the repository's files; another than `model.safetensors` is named as `hf://ORG/NAME/FILE`";

fn make(folder: &Path) -> Result<(), WeightsError> {
    Ok(fs::create_dir_all(folder).map_err(FileError::io("create", folder))?)
}

/// Links a snapshot's file, so many folders below the repository's, to its blob.
#[cfg(unix)]
fn link_to(blob: &Path, link: &Path, depth: usize) -> Result<(), WeightsError> {
    let mut target: PathBuf = std::iter::repeat_n("..", depth).collect();
    target.push("blobs");
    target.extend(blob.file_name());
    Ok(std::os::unix::fs::symlink(&target, link).map_err(FileError::io("write", link))?)
}

/// Copies it, where links need rights of their own.
#[cfg(not(unix))]
fn link_to(blob: &Path, link: &Path, _: usize) -> Result<(), WeightsError> {
    Ok(fs::copy(blob, link).map(drop).map_err(FileError::io("write", link))?)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        sync::{Arc, Mutex},
        thread,
    };

    use sha2::Digest;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A hub with one repository `org/name`, whose file lies elsewhere; each answer breaks off after `most` bytes. The
    /// requests that came, with the start of their range and whether they had a token.
    fn hub(content: Vec<u8>, most: usize, tag: String) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let requests = log.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let path = lines[0].split(' ').nth(1).unwrap().to_owned();
                let range =
                    lines.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
                let range = range.unwrap_or_default();
                let secret = lines.iter().any(|line| line.to_lowercase().starts_with("authorization"));
                requests.lock().unwrap().push(format!("{path} {range}{}", if secret { " token" } else { "" }));
                let start: usize = range.split('-').next().unwrap().parse().unwrap_or(0);
                let size = content.len();
                let answer = match path.as_str() {
                    "/org/name/resolve/main/model.safetensors" => format!(
                        "302 Found\r\nLocation: /elsewhere\r\nX-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{tag}\"\r\n\
                         X-Linked-Size: {size}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    ),
                    "/elsewhere" => format!(
                        "206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}\r\nContent-Length: {}\r\nConnection: \
                         close\r\n\r\n",
                        size - 1,
                        size - start
                    ),
                    "/org/secret/resolve/main/model.safetensors" => {
                        "401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into()
                    }
                    _ => "404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
                };
                let _ = stream.write_all(format!("HTTP/1.1 {answer}").as_bytes());
                if path == "/elsewhere" {
                    let _ = stream.write_all(&content[start..(start + most).min(size)]);
                }
            }
        });
        (address, log)
    }

    fn sha256(content: &[u8]) -> String {
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn file(text: &str) -> HubFile {
        HubFile::of_text(text).unwrap().unwrap()
    }

    #[test]
    fn a_file_is_fetched_piece_by_piece_into_the_cache_of_the_hubs_own_tools() {
        let content: Vec<u8> = (0..70_000_u32).map(|i| (i.wrapping_mul(i) >> 5) as u8).collect();
        let (endpoint, requests) = hub(content.clone(), 30_000, sha256(&content));
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub { endpoint, cache: folder.path().to_owned(), token: None };
        let wanted = file("hf://org/name");
        assert_eq!(wanted.cached(&hub), None);
        let mut last = (0, 0);
        let path = wanted.fetch(&hub, &mut |done, all| last = (done, all)).unwrap();
        assert_eq!((fs::read(&path).unwrap(), last), (content.clone(), (70_000, 70_000)));
        let first = "/org/name/resolve/main/model.safetensors 0-0";
        assert_eq!(*requests.lock().unwrap(), [first, "/elsewhere 0-", "/elsewhere 30000-", "/elsewhere 60000-"]);
        let repository = folder.path().join("models--org--name");
        assert_eq!(path, repository.join(format!("snapshots/{COMMIT}/model.safetensors")));
        assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
        let blobs: Vec<_> =
            fs::read_dir(repository.join("blobs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(blobs, [sha256(&content).as_str()]);
        // It is found again without the network, by its commit too.
        let nowhere = Hub { endpoint: "http://127.0.0.1:1".into(), ..hub };
        assert_eq!(wanted.cached(&nowhere), Some(path.clone()));
        assert_eq!(file(&format!("hf://org/name@{COMMIT}/model.safetensors")).cached(&nowhere), Some(path));
    }

    #[test]
    fn what_is_wrong_is_told_and_leaves_nothing() {
        let (endpoint, _) = hub(vec![7; 1000], 1000, sha256(b"something else"));
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub { endpoint: endpoint.clone(), cache: folder.path().to_owned(), token: None };
        let told = |text: &str, hub: &Hub| {
            let error = file(text).fetch(hub, &mut |_, _| {}).unwrap_err();
            format!("{:?}", miette::Report::new(error)).replace(&endpoint, "http://hub")
        };
        let mut all =
            vec![told("hf://org/name", &hub), told("hf://org/secret", &hub), told("hf://org/none/x.safetensors", &hub)];
        let blobs = folder.path().join("models--org--name/blobs");
        assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
        for text in ["hf://name", "hf://org/", "hf://org/../x", "hf://org/name@", "hf://org/name/../../x"] {
            let error = HubFile::of_text(text).unwrap().unwrap_err();
            all.push(format!("{:?}", miette::Report::new(error)));
        }
        insta::assert_snapshot!(all.join("\n"));
        // A file that is not there is none; one that may not be had is an error.
        assert_eq!(file("hf://org/none/x.safetensors").find(&hub, &mut |_, _| {}).unwrap(), None);
        assert!(file("hf://org/secret").find(&hub, &mut |_, _| {}).is_err());
        assert!(HubFile::of_text("model.safetensors").is_none());
    }

    #[test]
    fn a_token_is_for_the_hub_alone() {
        let content = vec![3; 100];
        let (endpoint, requests) = hub(content.clone(), 100, sha256(&content));
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub { endpoint, cache: folder.path().to_owned(), token: Some("secret".into()) };
        file("hf://org/name").fetch(&hub, &mut |_, _| {}).unwrap();
        assert!(requests.lock().unwrap().iter().all(|request| request.ends_with("token")));
    }
}
