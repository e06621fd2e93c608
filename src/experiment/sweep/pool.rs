use std::{
    fs::File,
    time::{Duration, Instant},
};

use crate::backend::{Device, DeviceLock, DeviceLocks};

/// How often devices that others have are looked at again.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 250 });

/// The devices on which the trials of a sweep run. Each trial has one of its own, unless more trials are wanted at once
/// than there are devices: then these share them evenly. What another process of this program has is not taken.
#[derive(Debug)]
pub struct Pool {
    slots: Vec<Slot>,
    locks: DeviceLocks,
    owner: String,
    /// Trials on one device at once.
    most: usize,
    /// When it was last seen that others have all that are not ours.
    looked: Option<Instant>,
    notes: Vec<String>,
    /// It was said that none is free.
    said: bool,
}

#[derive(Debug)]
struct Slot {
    device: Device,
    /// It is ours; without a lock where nothing can be locked.
    held: bool,
    lock: Option<DeviceLock>,
    running: usize,
}

impl Pool {
    /// For `jobs` trials at once, at least one device. `owner` is what other processes are told.
    pub fn new(devices: Vec<Device>, locks: DeviceLocks, jobs: usize, owner: String) -> Self {
        let most = jobs.div_ceil(devices.len().max(1));
        let count = devices.len();
        let notes = match most > 1 {
            true if count == 1 => {
                vec![format!("1 device for {jobs} jobs: all of them share device {}", devices[0].ordinal)]
            }
            true => vec![format!("{count} devices for {jobs} jobs: up to {most} trials share a device")],
            false => Vec::new(),
        };
        let slot = |device| Slot { device, held: false, lock: None, running: 0 };
        let slots = devices.into_iter().map(slot).collect();
        Self { slots, locks, owner, most, looked: None, notes, said: false }
    }

    /// The most trials, or packs of them, that share a device.
    pub fn shares(&self) -> usize {
        self.most
    }

    /// What there is to say since the last call.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Whether one more trial can have a device. A device that is free is then ours.
    pub fn room(&mut self) -> bool {
        let idle = |slot: &Slot| slot.held && slot.running == 0;
        if self.slots.iter().any(idle) {
            return true;
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= PAUSE) {
            if self.hold_another() {
                return true;
            }
            self.looked = Some(Instant::now());
        }
        if self.slots.iter().any(|slot| slot.held && slot.running < self.most) {
            return true;
        }
        // Where all are ours, there is nothing to wait for but our own trials. One that has ended keeps its device until its
        // process is gone.
        if self.slots.iter().any(|slot| !slot.held) && !self.said {
            let ours = format!("{} (process {})", self.owner, std::process::id());
            let theirs: Vec<String> = self
                .slots
                .iter()
                .filter(|slot| !slot.held)
                .filter_map(|slot| {
                    let holder = self.locks.holder(&slot.device).unwrap_or_else(|| "another process".into());
                    (holder != ours).then(|| format!("device {} is in use by {holder}", slot.device.ordinal))
                })
                .collect();
            if !theirs.is_empty() {
                self.said = true;
                self.notes.push(format!("waiting for a device: {}", theirs.join("; ")));
            }
        }
        false
    }

    /// Takes another device that nobody has.
    fn hold_another(&mut self) -> bool {
        for slot in self.slots.iter_mut().filter(|slot| !slot.held) {
            match self.locks.take(&slot.device, &self.owner) {
                Ok(None) => continue,
                Ok(lock) => slot.lock = lock,
                Err(error) => {
                    let number = slot.device.ordinal;
                    self.notes.push(format!("others are not told that device {number} is in use: {error}"));
                }
            }
            slot.held = true;
            self.said = false;
            return true;
        }
        false
    }

    /// Gives a device to one more trial: its number, and the open file that the trial's process is to keep, so that the
    /// device stays taken if this process ends first. Nothing where there is no room.
    pub fn take(&mut self) -> Option<(usize, Option<File>)> {
        if !self.room() {
            return None;
        }
        let held = self.slots.iter_mut().filter(|slot| slot.held);
        let slot = held.min_by_key(|slot| slot.running)?;
        slot.running += 1;
        // Without the file, the device is held by this process alone.
        Some((slot.device.ordinal, slot.lock.as_ref().and_then(|lock| lock.shared().ok())))
    }

    /// Lets others have the devices on which nothing runs.
    pub fn let_go(&mut self) {
        // Without a lock, nobody waits for one.
        for slot in self.slots.iter_mut().filter(|slot| slot.lock.is_some() && slot.running == 0) {
            (slot.held, slot.lock) = (false, None);
        }
    }

    /// A trial on this device has ended. With the last one, others may have the device.
    pub fn give_back(&mut self, ordinal: usize) {
        for slot in self.slots.iter_mut().filter(|slot| slot.device.ordinal == ordinal) {
            slot.running = slot.running.saturating_sub(1);
            if slot.running == 0 {
                (slot.held, slot.lock) = (false, None);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wait::until;

    /// The first devices of a machine with nothing else.
    pub fn devices(count: usize) -> Vec<Device> {
        let device = |ordinal| Device {
            ordinal,
            name: "A100".into(),
            uuid: format!("GPU-0000000{ordinal}-0000-0000-0000-000000000000"),
            compute_capability: (8, 0),
            bytes: 1,
        };
        (0..count).map(device).collect()
    }

    fn numbers(pool: &mut Pool, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| pool.take()).map(|(number, _)| number).collect()
    }

    /// So many devices that were given back just now, in order. A program that another test starts has a copy of each open
    /// file, and its lock, until it runs.
    fn freed(pool: &mut Pool, count: usize) -> Vec<usize> {
        let mut all = Vec::new();
        until("devices", || {
            all.extend(numbers(pool, count - all.len()));
            all.len() == count
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn each_trial_has_a_device_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut pool = Pool::new(devices(8), DeviceLocks::in_folder(folder.path()), 8, "s".into());
        // The next device is there at once: only a look that finds none is not repeated at once.
        assert_eq!(numbers(&mut pool, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(pool.looked.is_none());
        assert_eq!(numbers(&mut pool, 1), [0; 0]);
        assert!(pool.looked.is_some());
        assert_eq!(pool.notes(), Vec::<String>::new());
        pool.give_back(5);
        pool.give_back(2);
        assert_eq!(freed(&mut pool, 2), [2, 5]);
        assert_eq!(numbers(&mut pool, 9), [0; 0]);
    }

    #[test]
    fn more_jobs_than_devices_share_them_evenly() {
        let folder = tempfile::tempdir().unwrap();
        let mut pool = Pool::new(devices(2), DeviceLocks::in_folder(folder.path()), 5, "s".into());
        assert_eq!(pool.notes(), ["2 devices for 5 jobs: up to 3 trials share a device"]);
        assert_eq!(numbers(&mut pool, 5), [0, 1, 0, 1, 0]);
        pool.give_back(0);
        assert_eq!(numbers(&mut pool, 1), [0]);
        let mut one = Pool::new(devices(1), DeviceLocks::in_folder(folder.path()), 4, "s".into());
        assert_eq!(one.notes(), ["1 device for 4 jobs: all of them share device 0"]);
    }

    /// The process of a trial that has ended may still have the file of its device.
    #[test]
    fn nobody_is_told_to_wait_for_himself() {
        let folder = tempfile::tempdir().unwrap();
        let mut pool = Pool::new(devices(1), DeviceLocks::in_folder(folder.path()), 1, "vitx sweep a".into());
        let held = pool.take().unwrap();
        pool.give_back(0);
        assert!(held.1.is_some() && !pool.room());
        assert_eq!(pool.notes(), Vec::<String>::new());
        drop(held);
        assert_eq!(freed(&mut pool, 1), [0]);
    }

    #[test]
    fn two_sweeps_do_not_take_each_others_devices() {
        let folder = tempfile::tempdir().unwrap();
        let locks = DeviceLocks::in_folder(folder.path());
        let mut first = Pool::new(devices(4), locks.clone(), 3, "vitx sweep a".into());
        let mut second = Pool::new(devices(4), locks, 4, "vitx sweep b".into());
        let held: Vec<_> = (0..3).filter_map(|_| first.take()).collect();
        assert_eq!(numbers(&mut second, 4), [3]);
        assert!(!second.room());
        let notes = second.notes().join("");
        assert!(notes.starts_with("waiting for a device: device 0 is in use by vitx sweep a (process "), "{notes}");
        assert_eq!(second.notes(), Vec::<String>::new());
        first.give_back(1);
        // Its trial may have a file open that it was started with: only when that has ended, the device is free.
        assert_eq!(numbers(&mut second, 4), Vec::<usize>::new());
        drop(held);
        assert_eq!(freed(&mut second, 1), [1]);
        assert!(!second.room());
        // The sweep was killed: its trials still hold what they use.
        let left = first.take();
        assert_eq!(left.as_ref().map(|(number, _)| *number), None);
        drop(first);
        assert_eq!(freed(&mut second, 2), [0, 2]);
        assert!(!second.room());
    }

    #[test]
    fn a_device_that_no_trial_has_taken_is_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let locks = DeviceLocks::in_folder(folder.path());
        let mut first = Pool::new(devices(2), locks.clone(), 2, "vitx sweep a".into());
        let mut second = Pool::new(devices(2), locks, 2, "vitx sweep b".into());
        assert_eq!(numbers(&mut first, 1), [0]);
        assert!(first.room() && !second.room());
        first.let_go();
        // What trials have stays theirs.
        assert_eq!(freed(&mut second, 1), [1]);
        assert!(!first.room() && !second.room());
    }

    #[test]
    fn where_nothing_can_be_locked_trials_still_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut pool = Pool::new(devices(2), DeviceLocks::in_folder(&file), 2, "s".into());
        assert_eq!(numbers(&mut pool, 3), [0, 1]);
        assert!(pool.notes()[0].starts_with("others are not told that device 0 is in use: "));
    }
}
