//! Which file systems several machines may write to at once. There, locks of one machine may mean nothing to another.

use std::fs::File;

/// The file systems, by the numbers that Linux has for them (`linux/magic.h`, and those of their own sources).
const SHARED: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0xaad7_aaea, "PanFS"),
    (0x2003_0528, "OrangeFS"),
    (0x7375_7245, "Coda"),
    (0xbacb_acbc, "vmhgfs"),
    (0x786f_4256, "vboxsf"),
];

/// The name of the file system of an open file or directory, if other machines may write to it, too. Where the system
/// does not tell, it is taken for one of this machine alone.
#[cfg(target_os = "linux")]
pub fn shared_by(file: &File) -> Option<&'static str> {
    let magic = rustix::fs::fstatfs(file).ok()?.f_type;
    // The type of the field differs between processors, and may extend the sign of 32 bits.
    name(magic as u32)
}

/// As on Linux, which has numbers for them.
#[cfg(not(target_os = "linux"))]
pub fn shared_by(_file: &File) -> Option<&'static str> {
    None
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn name(magic: u32) -> Option<&'static str> {
    SHARED.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_told_apart() {
        assert_eq!(name(0x0bd0_0bd0), Some("Lustre"));
        // ext4, xfs, tmpfs, btrfs, overlayfs.
        assert!(
            [0xef53, 0x5846_5342, 0x0102_1994, 0x9123_683e, 0x794c_7630].iter().all(|magic| name(*magic).is_none())
        );
        let mut numbers: Vec<u32> = SHARED.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), SHARED.len());
        #[cfg(target_os = "linux")]
        assert_eq!(shared_by(&File::open("/proc").unwrap()), None);
    }
}
