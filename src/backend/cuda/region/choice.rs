use crate::choice::Choice;

/// Whether a program has regions. What they compute differs from what their operations compute apart by the rounding of tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Regions {
    /// the faster of both on this device, timed once for each program
    #[default]
    Auto,
    /// one kernel for operations on rows that fit shared memory
    On,
    /// a kernel or a product for each operation
    Off,
}

impl Choice for Regions {
    const CHOICES: &[(Self, &str, &str)] = &[
        (Self::Auto, "auto", "the faster of both on this device, timed once for each program"),
        (Self::On, "on", "one kernel for operations on rows that fit shared memory"),
        (Self::Off, "off", "a kernel or a product for each operation"),
    ];
}
