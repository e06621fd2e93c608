use std::path::Path;

use super::*;
use crate::{
    backend::DeviceLocks,
    experiment::sweep::pool::tests::devices,
    trial::{CONFIG, MODEL},
    wait::until,
};

/// A device that does so many steps a second at each count of trials, by their directory; with its memory, if it says that.
struct Device {
    of: HashMap<PathBuf, Vec<(usize, f64)>>,
    room: Option<Room>,
}

impl Scales for Device {
    fn room(&self, folder: &Path, device: usize, shares: usize) -> Result<Option<Room>, ExperimentError> {
        assert_eq!(shares, 1);
        if self.of.is_empty() || self.of.contains_key(folder) { Ok(self.room) } else { Err(busy(device)) }
    }

    fn steps(&self, folder: &Path, device: usize, trials: usize) -> Result<f64, ExperimentError> {
        let of = self.of.get(folder).and_then(|of| of.iter().find(|(count, _)| *count == trials));
        of.map(|(_, steps)| *steps).ok_or_else(|| busy(device))
    }
}

fn busy(device: usize) -> ExperimentError {
    ExperimentError::Executor { message: format!("device {device} is busy"), help: None }
}

/// A program that takes `trial` and does as `script` says, with the directories from `$2` on.
fn packed(folder: &Path, most: usize, script: &str) -> Packed {
    let program = folder.join("program");
    std::fs::write(&program, "#!/bin/sh\nshift\nexec sh \"$@\"\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let arguments = ["-c", script].map(OsString::from).to_vec();
    Packed::of(program, arguments, None, PackSize::Of(most as u32), Box::new(Device { of: HashMap::new(), room: None }))
}

/// Directories of trials, of some batch size each.
fn trials(folder: &Path, batch_sizes: &[u32]) -> Vec<PathBuf> {
    let trial = |(number, batch_size): (usize, &u32)| {
        let trial = folder.join(format!("trial{number}"));
        std::fs::create_dir(&trial).unwrap();
        let config = format!("train: {{ batch_size: {batch_size}, seed: {number} }}");
        std::fs::write(trial.join(CONFIG), config).unwrap();
        std::fs::write(trial.join(MODEL), "model m { dense(num_classes) }").unwrap();
        trial
    };
    batch_sizes.iter().enumerate().map(trial).collect()
}

/// How they all end, in their order.
fn ends(packed: &mut Packed, trials: &[PathBuf]) -> Vec<How> {
    let mut ended: HashMap<PathBuf, How> = HashMap::new();
    until("all trials have ended", || {
        ended.extend(packed.poll().unwrap().into_iter().map(|Ended { folder, how }| (folder, how)));
        ended.len() == trials.len()
    });
    trials.iter().map(|trial| ended[trial].clone()).collect()
}

/// Waits for the processes, which live a little longer than what they say of their last trial.
fn processes_end(packed: &mut Packed) {
    until("the processes end", || {
        assert_eq!(packed.poll().unwrap(), []);
        packed.running.is_empty()
    });
}

fn submit(packed: &mut Packed, trials: &[PathBuf]) {
    for trial in trials {
        assert!(packed.has_room(trial).unwrap());
        packed.submit(trial).unwrap();
    }
}

/// Writes what it is given into each of the directories, and ends them well.
const TELLS: &str = r#"shift; at=0; for dir; do echo "$*" > "$dir/pack"; echo "$at 0"; at=$((at + 1)); done"#;

fn pack_of(trial: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(trial.join("pack")).unwrap();
    text.split_whitespace().map(PathBuf::from).collect()
}

#[test]
fn trials_of_one_shape_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let trials = trials(folder.path(), &[8, 16, 8, 8, 16, 8]);
    let mut packed = packed(folder.path(), 3, TELLS);
    submit(&mut packed, &trials);
    assert_eq!(ends(&mut packed, &trials), vec![How::Exited(0); 6]);
    let of = |numbers: &[usize]| numbers.iter().map(|&number| trials[number].clone()).collect::<Vec<_>>();
    assert_eq!(pack_of(&trials[0]), of(&[0, 2, 3]));
    assert_eq!(pack_of(&trials[1]), of(&[1, 4]));
    assert_eq!(pack_of(&trials[5]), of(&[5]));
    processes_end(&mut packed);
}

/// Each has its own end, and is told of as it comes.
#[test]
fn one_that_fails_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let trials = trials(folder.path(), &[8; 3]);
    let mut packed =
        packed(folder.path(), 8, "echo 1 3; while ! [ -e $2/end ]; do sleep 0.02; done; echo 0 0; echo 2 130");
    submit(&mut packed, &trials);
    assert_eq!(ends(&mut packed, &trials[1..2]), [How::Exited(3)]);
    assert_eq!(packed.poll().unwrap(), []);
    std::fs::write(trials[0].join("end"), "").unwrap();
    let rest = [trials[0].clone(), trials[2].clone()];
    assert_eq!(ends(&mut packed, &rest), [How::Exited(0), How::Exited(130)]);
}

/// When the device fails, or the process, nobody knows whose fault it is: each goes on in a process of its own.
#[test]
fn after_a_failure_of_all_each_is_tried_alone() {
    let folder = tempfile::tempdir().unwrap();
    let trials = trials(folder.path(), &[8; 3]);
    let mut broken = packed(folder.path(), 8, &format!("echo 0 0; echo 1 {SHARED}; kill -6 $$"));
    submit(&mut broken, &trials);
    let ended = ends(&mut broken, &trials);
    assert_eq!(ended[0], How::Exited(0));
    assert_eq!(
        ended[1],
        How::Killed("the device that it shared with other trials failed, or had no room for it".into())
    );
    assert_eq!(ended[2], How::Killed("it crashed with signal 6".into()));
    broken.arguments[1] = TELLS.into();
    submit(&mut broken, &trials[1..]);
    ends(&mut broken, &trials[1..]);
    for trial in &trials[1..] {
        assert_eq!(pack_of(trial), std::slice::from_ref(trial));
    }
    // One alone that crashes has crashed.
    broken.arguments[1] = "kill -6 $$".into();
    submit(&mut broken, &trials[1..2]);
    assert_eq!(ends(&mut broken, &trials[1..2]), [How::Crashed("it crashed with signal 6".into())]);
}

#[test]
fn a_pack_that_is_cancelled_may_save_first() {
    let folder = tempfile::tempdir().unwrap();
    let trials = trials(folder.path(), &[8; 2]);
    let script = "trap 'echo 0 130; echo 1 130; exit 130' TERM; touch $2/begun; while :; do sleep 0.05; done";
    let mut packed = packed(folder.path(), 8, script);
    submit(&mut packed, &trials);
    assert_eq!(packed.poll().unwrap(), []);
    until("a trial has begun", || trials[0].join("begun").exists());
    trials.iter().for_each(|trial| packed.cancel(trial).unwrap());
    assert_eq!(ends(&mut packed, &trials), [How::Exited(130), How::Exited(130)]);
    // One that has not begun is ended as well.
    submit(&mut packed, &trials);
    packed.cancel(&trials[1]).unwrap();
    let ended = ends(&mut packed, &trials);
    assert!(ended.iter().all(|how| matches!(how, How::Exited(130) | How::Killed(_))), "{ended:?}");
}

/// A pack has a device, and there is room for more of it where all devices have packs.
#[test]
fn each_pack_has_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let trials = trials(folder.path(), &[8, 8, 16, 32]);
    let mut packed = packed(folder.path(), 2, "exit 0");
    let locks = DeviceLocks::in_folder(&folder.path().join("locks"));
    packed.pool = Some(Pool::new(devices(2), locks, 2, "vitx sweep a".into()));
    packed.submit(&trials[0]).unwrap();
    packed.submit(&trials[2]).unwrap();
    assert_eq!(packed.place(&trials[0]), Some("on device 0".into()));
    assert_eq!(packed.place(&trials[2]), Some("on device 1".into()));
    assert_eq!([1, 3].map(|at: usize| packed.has_room(&trials[at]).unwrap()), [true, false]);
    packed.submit(&trials[1]).unwrap();
    assert_eq!(packed.place(&trials[1]), Some("on device 0".into()));
    ends(&mut packed, &trials[..3]);
    // A process that another test begins at this moment holds the lock until its program runs.
    until("there is room", || packed.has_room(&trials[3]).unwrap());
}

/// Each shape is measured once, when the first of its trials has a device.
#[test]
fn a_measurement_says_how_many_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let trials = trials(folder.path(), &[8, 8, 16, 8, 16, 8]);
    let mut packed = packed(folder.path(), 1, TELLS);
    packed.size = PackSize::Auto;
    let of = HashMap::from([(trials[0].clone(), vec![(1, 100.0), (2, 190.0), (4, 300.0)])]);
    // Eight of them would not have room.
    packed.scales = Box::new(Device { of, room: Some(Room { one: 500_000_000, free: 3_000_000_000 }) });
    submit(&mut packed, &trials);
    assert_eq!(
        packed.notes(),
        [
            "up to 4 trials at once: 1 do 100 steps/s, 2 do 190 steps/s, 4 do 300 steps/s; 8 would need 4.6 GB of 3.0 GB",
            "trials are not packed, as none could be timed: device 0 is busy"
        ]
    );
    ends(&mut packed, &trials);
    let of = |numbers: &[usize]| numbers.iter().map(|&number| trials[number].clone()).collect::<Vec<_>>();
    assert_eq!(pack_of(&trials[0]), of(&[0, 1, 3, 5]));
    assert_eq!([pack_of(&trials[2]), pack_of(&trials[4])], [of(&[2]), of(&[4])]);
}

/// A size that is given by hand is no more than what has room, on each device.
#[test]
fn no_more_are_packed_than_have_room() {
    let folder = tempfile::tempdir().unwrap();
    let trials = trials(folder.path(), &[8; 5]);
    let mut packed = packed(folder.path(), 4, TELLS);
    packed.scales = Box::new(Device { of: HashMap::new(), room: Some(Room { one: 500_000_000, free: 1_500_000_000 }) });
    submit(&mut packed, &trials);
    assert_eq!(packed.notes(), ["up to 2 trials at once: 4 would need 2.6 GB of 1.5 GB"]);
    ends(&mut packed, &trials);
    let sizes = trials.iter().map(|trial| pack_of(trial).len()).collect::<Vec<_>>();
    assert_eq!(sizes, [2, 2, 2, 2, 1]);
    processes_end(&mut packed);
    // What is not known limits nothing, and is said.
    let said = |room| limited(4, room);
    assert_eq!(said(Ok(None)), (4, None));
    assert_eq!(said(Ok(Some(Room { one: 1, free: 1 << 40 }))), (4, None));
    let unknown = "whether 4 trials at once have room is not known: device 0 is busy";
    assert_eq!(said(Err(busy(0))), (4, Some(unknown.into())));
    let one = "up to 1 trial at once: 4 would need 4.6 GB of 2.0 GB";
    assert_eq!(said(Ok(Some(Room { one: 1_000_000_000, free: 2_000_000_000 }))), (1, Some(one.into())));
}

/// A mistake of what looks at a trial ends no sweep.
#[test]
fn a_panic_of_the_scales_is_said() {
    struct Broken;
    impl Scales for Broken {
        fn room(&self, _: &Path, _: usize, _: usize) -> Result<Option<Room>, ExperimentError> {
            panic!("as wanted")
        }

        fn steps(&self, _: &Path, device: usize, _: usize) -> Result<f64, ExperimentError> {
            Err(busy(device))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let trials = trials(folder.path(), &[8; 2]);
    let mut packed = packed(folder.path(), 2, TELLS);
    packed.scales = Box::new(Broken);
    submit(&mut packed, &trials);
    assert_eq!(packed.notes(), ["whether 2 trials at once have room is not known: its engine has panicked"]);
    ends(&mut packed, &trials);
    assert_eq!(pack_of(&trials[0]).len(), 2);
    processes_end(&mut packed);
}

/// A sweep that ends as a process cannot be started waits for no trial that has none, and keeps no device.
#[test]
fn trials_whose_process_cannot_be_started_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let trials = trials(folder.path(), &[8, 16, 8, 32]);
    let mut packed = packed(folder.path(), 2, TELLS);
    let locks = DeviceLocks::in_folder(&folder.path().join("locks"));
    packed.pool = Some(Pool::new(devices(3), locks, 3, "vitx sweep a".into()));
    // A process that another test begins at this moment holds a lock until its program runs.
    let submit = |packed: &mut Packed| {
        for trial in &trials {
            until("there is room", || packed.has_room(trial).unwrap());
            packed.submit(trial).unwrap();
        }
    };
    let lost = |packed: &mut Packed, log: &str| {
        submit(packed);
        let error = packed.poll().unwrap_err().to_string();
        assert!(error.contains(log), "{error}");
        let ended = ends(packed, &trials);
        assert_eq!([&ended[0], &ended[1]], [&ended[2], &ended[3]]);
        let How::Killed(first) = &ended[0] else { panic!("{ended:?}") };
        assert!(first.starts_with("its process could not be started: ") && first.contains(log), "{ended:?}");
        assert_eq!(ended[1], How::Killed("its process was not started, as another one could not be".into()));
        assert_eq!(trials.iter().map(|trial| packed.place(trial)).collect::<Vec<_>>(), vec![None; 4]);
    };
    // The log cannot be opened; then there is no program.
    let log = trials[0].join("log.txt");
    std::fs::create_dir(&log).unwrap();
    lost(&mut packed, "log.txt");
    std::fs::remove_dir(&log).unwrap();
    let program = std::mem::replace(&mut packed.program, folder.path().join("no-program"));
    lost(&mut packed, "no-program");
    // One that is asked to end before it began has ended as well.
    packed.submit(&trials[0]).unwrap();
    assert!(packed.cancel(&trials[0]).is_err());
    ends(&mut packed, &trials[..1]);
    packed.program = program;
    submit(&mut packed);
    assert_eq!(ends(&mut packed, &trials), vec![How::Exited(0); 4]);
}

#[test]
fn sizes_are_read_as_people_write_them() {
    let read = |text: &str| serde_yaml::from_str::<PackSize>(text);
    for (text, size) in [("auto", PackSize::Auto), ("1", PackSize::Of(1)), ("256", PackSize::Of(256))] {
        assert_eq!(text.parse::<PackSize>(), Ok(size));
        assert_eq!(read(text).unwrap(), size);
        assert_eq!(serde_yaml::to_string(&size).unwrap().trim(), text);
        assert_eq!(size.packs(), text != "1");
    }
    for text in ["0", "257", "-1", "1.5", "all"] {
        assert!(text.parse::<PackSize>().is_err() && read(text).is_err(), "{text}");
    }
}
