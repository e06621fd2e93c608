//! One kernel launch as data: built by `kernels`, run by the driver or, in tests, by the emulator.

use std::sync::Arc;

use crate::choice::Choice;

/// A `.cu` file, its name and its text, which may include [`HEADERS`](super::kernels::HEADERS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    pub name: &'static str,
    pub text: &'static str,
}

impl Source {
    /// The names of its kernels.
    #[must_use]
    pub fn entries(&self) -> Vec<&'static str> {
        self.kernels().map(|(_, name)| name).collect()
    }

    /// Its kernels: their launch bounds as they are written, with brackets, or nothing, and their names.
    pub fn kernels(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.text.split("\nKERNEL ").skip(1).map(|text| {
            let bounded = text.starts_with(LAUNCH_BOUNDS);
            let (bounds, rest) = text.split_at(text.find(')').filter(|_| bounded).map_or(0, |end| end + 1));
            (bounds, rest.trim_start().split('(').next().unwrap_or_default())
        })
    }
}

/// Stands before the bounds of a kernel that has some.
pub const LAUNCH_BOUNDS: &str = "__launch_bounds__";

/// How the elements of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    F32,
    Bf16,
}

impl Element {
    /// Bytes.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Its name in a `.cu` file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float",
            Self::Bf16 => "bf16",
        }
    }

    /// Elements that are moved at once: 16 bytes.
    #[must_use]
    pub fn vector(self) -> usize {
        16 / self.size()
    }
}

/// How activations are stored, and matmuls done. Parameters, their gradients, statistics and the
/// optimizer's state are float32 under every precision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// float32 throughout
    F32,
    /// float32 storage, matrix products of 10-bit mantissas
    Tf32,
    /// bfloat16 storage, sums in float32
    #[default]
    Bf16,
}

impl Choice for Precision {
    const CHOICES: &[(Self, &str, &str)] = &[
        (Self::F32, "f32", "float32 throughout"),
        (Self::Tf32, "tf32", "float32 storage, matrix products of 10-bit mantissas"),
        (Self::Bf16, "bf16", "bfloat16 storage, sums in float32"),
    ];
}

impl Precision {
    /// How activations are stored.
    #[must_use]
    pub fn element(self) -> Element {
        match self {
            Self::F32 | Self::Tf32 => Element::F32,
            Self::Bf16 => Element::Bf16,
        }
    }
}

/// An argument of a kernel, of exactly its parameter's type.
#[derive(Debug, Clone, PartialEq)]
pub enum Arg<P> {
    Pointer(P),
    Null,
    I32(i32),
    U32(u32),
    U64(u64),
    F32(f32),
    /// A structure of so many u64, given by value.
    Words(Arc<[u64]>),
}

impl<P> Arg<P> {
    /// The same argument with memory named otherwise.
    pub fn map<Q>(self, place: impl FnOnce(P) -> Q) -> Arg<Q> {
        match self {
            Self::Pointer(pointer) => Arg::Pointer(place(pointer)),
            Self::Null => Arg::Null,
            Self::I32(value) => Arg::I32(value),
            Self::U32(value) => Arg::U32(value),
            Self::U64(value) => Arg::U64(value),
            Self::F32(value) => Arg::F32(value),
            Self::Words(words) => Arg::Words(words),
        }
    }
}

impl Arg<u64> {
    /// The argument as a device has it in eight bytes of memory: the lower of them where it has fewer. `None` of a structure.
    pub fn word(&self) -> Option<u64> {
        Some(match *self {
            Self::Pointer(address) => address,
            Self::Null => 0,
            Self::I32(value) => u64::from(value as u32),
            Self::U32(value) => u64::from(value),
            Self::U64(value) => value,
            Self::F32(value) => u64::from(value.to_bits()),
            Self::Words(_) => return None,
        })
    }
}

/// One kernel launch. `P` names memory: a place in the arena for the engine, a host pointer for the
/// emulator.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch<P> {
    pub source: Source,
    /// `-D` definitions; together with the source, the key of the compiled module.
    pub defines: Vec<(&'static str, String)>,
    pub entry: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory. Above 48 KiB the driver must be told before the launch.
    pub shared_bytes: u32,
    pub args: Vec<Arg<P>>,
}

impl<P> Launch<P> {
    /// What NVRTC is told besides the source, which with the headers makes the module: for an
    /// architecture such as `sm_90`.
    #[must_use]
    pub fn compiler_options(&self, architecture: &str) -> Vec<String> {
        let defines = self.defines.iter().map(|(name, value)| format!("-D{name}={value}"));
        [format!("--gpu-architecture={architecture}"), "--std=c++17".to_owned()].into_iter().chain(defines).collect()
    }

    /// The memory that its arguments name.
    pub fn pointers(&self) -> impl Iterator<Item = &P> {
        self.args.iter().filter_map(|arg| match arg {
            Arg::Pointer(pointer) => Some(pointer),
            Arg::Null | Arg::I32(_) | Arg::U32(_) | Arg::U64(_) | Arg::F32(_) | Arg::Words(_) => None,
        })
    }

    /// The same launch on memory named otherwise.
    pub fn map<Q>(self, mut place: impl FnMut(P) -> Q) -> Launch<Q> {
        let Self { source, defines, entry, grid, block, shared_bytes, args } = self;
        let args = args.into_iter().map(|arg| arg.map(&mut place)).collect();
        Launch { source, defines, entry, grid, block, shared_bytes, args }
    }
}
