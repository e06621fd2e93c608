use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use md5::Digest;

use super::*;

/// How a server answers, besides what is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Breaks off after so many bytes of each answer.
    BreaksOff(usize),
    /// Says nothing more after so many bytes of each answer, and stays.
    Stalls(usize),
    /// Does not say how much there is, and never ends.
    Endless,
    /// Knows no ranges.
    Whole,
}

/// Serves one file over HTTP on this machine, with ranges. Gives the address and the ranges asked for.
fn serve(content: Vec<u8>, manner: Manner) -> (String, Arc<Mutex<Vec<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let starts = Arc::new(Mutex::new(Vec::new()));
    let log = starts.clone();
    thread::spawn(move || {
        let mut silent = Vec::new();
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
            if manner == Manner::Whole {
                start = 0;
            }
            let rest = &content[start.min(content.len())..];
            let status = match start {
                0 => "200 OK\r\n".to_owned(),
                _ => format!("206 Partial Content\r\nContent-Range: bytes {start}-{0}/{0}\r\n", content.len()),
            };
            let length = match manner {
                Manner::Endless => String::new(),
                _ => format!("Content-Length: {}\r\n", rest.len()),
            };
            let _ = stream.write_all(format!("HTTP/1.1 {status}{length}Connection: close\r\n\r\n").as_bytes());
            match manner {
                Manner::BreaksOff(at_most) => drop(stream.write_all(&rest[..rest.len().min(at_most)])),
                Manner::Stalls(at_most) => {
                    let _ = stream.write_all(&rest[..rest.len().min(at_most)]);
                    silent.push(stream);
                }
                Manner::Endless => while stream.write_all(rest).is_ok() {},
                Manner::Whole => drop(stream.write_all(rest)),
            }
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
    Remote { url: name, md5: md5.leak(), size: content.len() as u64, folder: "set" }
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
    let (address, starts) = serve(content.clone(), Manner::BreaksOff(30_000));
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
    let (address, _) = serve(content.clone(), Manner::BreaksOff(10_000));
    let error = fetch(&[wanted], root.path(), Some(&address), &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, DataError::Fetch { .. }), "{error}");
    let (address, starts) = serve(content, Manner::BreaksOff(100_000));
    fetch(&[wanted], root.path(), Some(&address), &mut |_, _, _| {}).unwrap();
    assert_eq!(*starts.lock().unwrap(), [50_000]);
}

#[test]
fn a_silent_server_is_not_waited_for_and_what_came_is_continued() {
    let content: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let root = tempfile::tempdir().unwrap();
    let wanted = [remote(&content, "http://nowhere/data.gz")];
    // It is given up after five attempts, in any of which a busy machine may have sent nothing in time.
    let silence = Duration::from_millis(400);
    let (address, starts) = serve(content.clone(), Manner::Stalls(15_000));
    let error = fetch_within(silence, &wanted, root.path(), Some(&address), &mut |_, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("the server was silent for 0.4 s"), "{error}");
    let part = fs::metadata(root.path().join(".fetch/data.gz")).unwrap().len() as usize;
    let mut came = starts.lock().unwrap().clone();
    came.push(part);
    assert!(came.len() <= 6 && came[0] == 0, "{came:?}");
    assert!(came.windows(2).all(|pair| (pair[0]..=pair[0] + 15_000).contains(&pair[1])), "{came:?}");
    // Once it has more to say, nothing is fetched twice.
    let (address, starts) = serve(content.clone(), Manner::Stalls(100_000));
    fetch(&wanted, root.path(), Some(&address), &mut |_, _, _| {}).unwrap();
    assert_eq!(*starts.lock().unwrap(), [part]);
    assert_eq!(fs::read(root.path().join("set/data.gz")).unwrap(), content);
}

#[test]
fn a_part_of_another_file_is_fetched_anew() {
    let content = vec![7; 100_000];
    for manner in [Manner::BreaksOff(usize::MAX), Manner::Whole] {
        for part in [&[1_u8; 50_000][..], &[1; 200_000]] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join(".fetch")).unwrap();
            fs::write(root.path().join(".fetch/data.gz"), part).unwrap();
            let wanted = remote(&content, "http://nowhere/data.gz");
            let (address, _) = serve(content.clone(), manner);
            fetch(&[wanted], root.path(), Some(&address), &mut |_, _, _| {}).unwrap();
            assert_eq!(fs::read(root.path().join("set/data.gz")).unwrap(), content);
        }
    }
}

#[test]
fn a_body_of_another_size_is_refused_at_once() {
    let root = tempfile::tempdir().unwrap();
    let wanted = remote(&[1; 1000], "http://nowhere/data.gz");
    // With its length, and without one or an end.
    let (address, starts) = serve(vec![1; 1001], Manner::Whole);
    let error = fetch(&[wanted], root.path(), Some(&address), &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("the server has 1001 bytes, not 1000"), "{error}");
    assert_eq!(starts.lock().unwrap().len(), 1);
    let (address, starts) = serve(vec![1; 1001], Manner::Endless);
    let mut most = 0;
    let mut progress = |_: &str, done: u64, _| most = done.max(most);
    let error = fetch(&[wanted], root.path(), Some(&address), &mut progress).unwrap_err().to_string();
    assert!(error.contains("the server sends more than 1000 bytes"), "{error}");
    assert_eq!(starts.lock().unwrap().len(), 1);
    assert!(most <= 1000);
    assert!(!root.path().join(".fetch/data.gz").exists());
}

#[test]
fn what_a_killed_process_was_unpacking_is_removed() {
    let content = archive(&[("set/a.bin", b"first")]);
    let root = tempfile::tempdir().unwrap();
    let left = root.path().join(".fetch/set.tar.unpacked/set");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("a.bin"), b"half").unwrap();
    let (address, _) = serve(content.clone(), Manner::Whole);
    fetch(&[remote(&content, "http://nowhere/set.tar.gz")], root.path(), Some(&address), &mut |_, _, _| {}).unwrap();
    assert_eq!(fs::read(root.path().join("set/a.bin")).unwrap(), b"first");
    assert_eq!(files(root.path()), ["set"]);
}

#[test]
fn archives_are_unpacked_whole() {
    let content = archive(&[("set/a.bin", b"first"), ("set/deep/b.bin", b"second")]);
    let root = tempfile::tempdir().unwrap();
    let (address, _) = serve(content.clone(), Manner::BreaksOff(usize::MAX));
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
        let (address, _) = serve(content.clone(), Manner::BreaksOff(usize::MAX));
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
    let (address, _) = serve(b"the fils".to_vec(), Manner::BreaksOff(usize::MAX));
    let wanted = remote(b"the file", "http://nowhere/data.gz");
    let error = fetch(&[wanted], root.path(), Some(&address), &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("checksum"), "{error}");
    assert!(!root.path().join("set").exists());
    assert!(!root.path().join(".fetch/data.gz").exists());
}
