use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use super::*;

/// Serves one file over HTTP on this machine, with ranges, breaking off after `at_most` bytes of
/// each answer. Gives the address and the ranges asked for.
fn serve(content: Vec<u8>, at_most: usize) -> (String, Arc<Mutex<Vec<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let starts = Arc::new(Mutex::new(Vec::new()));
    let log = starts.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut start = 0;
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap().to_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    start = range.trim_end_matches('-').parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            log.lock().unwrap().push(start);
            let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
            let rest = &content[start.min(content.len())..];
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len());
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&rest[..rest.len().min(at_most)]);
        }
    });
    (address, starts)
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        // As a hostile archive would have it: `set_path` refuses `..`.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn remote(content: &[u8], name: &'static str) -> Remote {
    let md5: String = Md5::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    Remote { url: name, md5: md5.leak(), folder: "set" }
}

fn files(root: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_broken_download_is_continued() {
    let content: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let root = tempfile::tempdir().unwrap();
    let (address, starts) = serve(content.clone(), 30_000);
    let mut last = 0;
    let wanted = remote(&content, "http://nowhere/data.gz");
    fetch(&[wanted], root.path(), Some(&address), &mut |_, done, _| last = done).unwrap();
    assert_eq!(*starts.lock().unwrap(), [0, 30_000, 60_000, 90_000]);
    assert_eq!(last, 100_000);
    assert_eq!(fs::read(root.path().join("set/data.gz")).unwrap(), content);
    assert_eq!(files(root.path()), ["set"]);
    // A second time there is nothing to do.
    fetch(&[wanted], root.path(), Some("http://127.0.0.1:1"), &mut |_, _, _| {}).unwrap();
}

#[test]
fn what_has_come_stays_for_the_next_time() {
    let content = vec![7; 100_000];
    let root = tempfile::tempdir().unwrap();
    let wanted = remote(&content, "http://nowhere/data.gz");
    let (address, _) = serve(content.clone(), 10_000);
    let error = fetch(&[wanted], root.path(), Some(&address), &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, DataError::Fetch { .. }), "{error}");
    let (address, starts) = serve(content, 100_000);
    fetch(&[wanted], root.path(), Some(&address), &mut |_, _, _| {}).unwrap();
    assert_eq!(*starts.lock().unwrap(), [50_000]);
}

#[test]
fn archives_are_unpacked_whole() {
    let content = archive(&[("set/a.bin", b"first"), ("set/deep/b.bin", b"second")]);
    let root = tempfile::tempdir().unwrap();
    let (address, _) = serve(content.clone(), usize::MAX);
    fetch(&[remote(&content, "http://nowhere/set.tar.gz")], root.path(), Some(&address), &mut |_, _, _| {}).unwrap();
    assert_eq!(fs::read(root.path().join("set/deep/b.bin")).unwrap(), b"second");
    assert_eq!(files(root.path()), ["set"]);
}

#[test]
fn archives_that_reach_outside_are_refused() {
    for name in ["../evil", "set/../../evil", "/tmp/evil-of-vitx"] {
        let content = archive(&[("set/a.bin", b"first"), (name, b"bad")]);
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("root");
        let (address, _) = serve(content.clone(), usize::MAX);
        let wanted = remote(&content, "http://nowhere/set.tar.gz");
        let error = fetch(&[wanted], &inner, Some(&address), &mut |_, _, _| {}).unwrap_err().to_string();
        assert!(error.contains("outside its folder"), "{error}");
        assert_eq!(files(root.path()), ["root"]);
        assert_eq!(files(&inner), [".fetch"]);
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (address, _) = serve(b"something else".to_vec(), usize::MAX);
    let wanted = remote(b"the file", "http://nowhere/data.gz");
    let error = fetch(&[wanted], root.path(), Some(&address), &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("checksum"), "{error}");
    assert!(!root.path().join("set").exists());
    assert!(!root.path().join(".fetch/data.gz").exists());
}
