use std::{fmt, str::FromStr, sync::Arc};

use super::{Device, DeviceLocks, Placed};

/// What `--device` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceSelection {
    /// Any that is shown: the first that no other process has.
    #[default]
    All,
    /// These, by their numbers among those that are shown.
    Numbers(Vec<usize>),
}

/// Why none can be used: in one line, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDevice {
    /// What is wrong.
    pub message: String,
    /// What there is.
    pub help: String,
}

impl FromStr for DeviceSelection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let number = |part: &str| {
            let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse().ok()).flatten()
        };
        let numbers: Option<Vec<usize>> = text.split(',').map(|part| number(part.trim())).collect();
        let numbers = numbers.ok_or("expected the number of a device as 0, several as 0,2,3, or `all`")?;
        match numbers.iter().enumerate().find(|(at, number)| numbers[..*at].contains(number)) {
            Some((_, twice)) => Err(format!("device {twice} is named twice")),
            None => Ok(Self::Numbers(numbers)),
        }
    }
}

impl fmt::Display for DeviceSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Numbers(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
                f.write_str(&numbers.join(","))
            }
        }
    }
}

impl DeviceSelection {
    /// The devices that may be used, of those that are shown, in the order in which they are named.
    ///
    /// # Errors
    /// A number of none, or of one that is too old.
    pub fn of(&self, shown: &[Device]) -> Result<Vec<Device>, NoDevice> {
        let there = || {
            let lines: Vec<String> = shown.iter().map(Device::described).collect();
            format!("this process sees {}", lines.join("; "))
        };
        let old = |device: &Device| {
            let (major, minor) = device.compute_capability;
            format!("{} is of compute capability {major}.{minor}, and 8.0 is needed", device.described())
        };
        match self {
            Self::All => {
                let usable: Vec<Device> = shown.iter().filter(|device| device.is_usable()).cloned().collect();
                match usable.is_empty() {
                    true => Err(NoDevice { message: "no device is new enough".into(), help: there() }),
                    false => Ok(usable),
                }
            }
            Self::Numbers(numbers) => numbers
                .iter()
                .map(|number| match shown.get(*number) {
                    Some(device) if device.is_usable() => Ok(device.clone()),
                    Some(device) => Err(NoDevice { message: old(device), help: there() }),
                    None => Err(NoDevice { message: format!("there is no device {number}"), help: there() }),
                })
                .collect(),
        }
    }

    /// The one device of a process: the first that no other process of this program has, and is taken by that. Where
    /// all are taken, the first, with a note on who has it. What a single number names is used in any case.
    ///
    /// # Errors
    /// As [`DeviceSelection::of`].
    pub fn place(
        &self,
        shown: &[Device],
        locks: &DeviceLocks,
        owner: &str,
    ) -> Result<(Placed, Option<String>), NoDevice> {
        let devices = self.of(shown)?;
        let mut trouble = None;
        for device in &devices {
            match locks.take(device, owner) {
                Ok(Some(lock)) => return Ok((Placed { device: device.clone(), lock: Some(Arc::new(lock)) }, None)),
                Ok(None) => {}
                Err(error) => trouble = Some(error),
            }
        }
        let Some(device) = devices.into_iter().next() else {
            return Err(NoDevice { message: "no device is named".into(), help: "e.g. --device 0".into() });
        };
        let note = match (trouble, self) {
            (Some(error), _) => Some(format!("others are not told that device {} is in use: {error}", device.ordinal)),
            (None, Self::Numbers(numbers)) if numbers.len() == 1 => None,
            (None, _) => {
                let holder = locks.holder(&device).unwrap_or_else(|| "another process".into());
                Some(format!("every device is in use; device {} is shared with {holder}", device.ordinal))
            }
        };
        Ok((Placed { device, lock: None }, note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::until;

    fn device(ordinal: usize, major: i32) -> Device {
        let uuid = format!("GPU-0000000{ordinal}-0000-0000-0000-000000000000");
        Device { ordinal, name: "A100".into(), uuid, compute_capability: (major, 0), bytes: 40 << 30 }
    }

    #[test]
    fn numbers_and_all_are_read_and_nothing_else() {
        assert_eq!("all".parse(), Ok(DeviceSelection::All));
        assert_eq!("3".parse(), Ok(DeviceSelection::Numbers(vec![3])));
        assert_eq!("2, 0".parse(), Ok(DeviceSelection::Numbers(vec![2, 0])));
        for text in ["", "a", "-1", "+1", "0,", "0,,1", "1,1", "ALL", "99999999999999999999"] {
            assert!(text.parse::<DeviceSelection>().is_err(), "{text}");
        }
        assert_eq!(DeviceSelection::Numbers(vec![2, 0]).to_string(), "2,0");
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let shown = [device(0, 8), device(1, 7)];
        let of = |text: &str| text.parse::<DeviceSelection>().unwrap().of(&shown);
        assert_eq!(of("all").unwrap(), [device(0, 8)]);
        let errors: Vec<String> = ["2", "0,1"]
            .map(|text| of(text).unwrap_err())
            .map(|error| format!("{}\n  help: {}", error.message, error.help))
            .to_vec();
        insta::assert_snapshot!(errors.join("\n"));
        assert_eq!(DeviceSelection::All.of(&[device(0, 7)]).unwrap_err().message, "no device is new enough");
    }

    #[test]
    fn processes_beside_each_other_get_devices_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let locks = DeviceLocks::in_folder(folder.path());
        let shown = [device(0, 8), device(1, 8)];
        let place = |text: &str| text.parse::<DeviceSelection>().unwrap().place(&shown, &locks, "me").unwrap();
        let (first, note) = place("all");
        assert_eq!((first.device.ordinal, note), (0, None));
        let (second, note) = place("all");
        assert_eq!((second.device.ordinal, note), (1, None));
        let (third, note) = place("all");
        assert!(third.device.ordinal == 0 && third.lock.is_none());
        let expected = format!("every device is in use; device 0 is shared with me (process {})", std::process::id());
        assert_eq!(note, Some(expected));
        // Who names one has it.
        let (named, note) = place("1");
        assert_eq!((named.device.ordinal, named.lock.is_none(), note), (1, true, None));
        drop(second);
        // A program that another test starts has a copy of each open file, and its lock, until it runs.
        until("its device is free", || place("0,1").0.device.ordinal == 1);
    }
}
