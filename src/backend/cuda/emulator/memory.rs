use bytemuck::Pod;

use super::{
    super::launch::{Arg, Element, Launch},
    Way, on_device,
};

/// Bytes after a tensor that no kernel may write.
const GUARD: usize = 64;
const UNTOUCHED: u8 = 0xA5;

/// A tensor in the emulated device's memory, aligned as the device's allocations are, with a guard
/// behind it.
#[derive(Debug)]
pub struct Memory {
    /// Of `bytes` and the guard.
    start: *mut u8,
    bytes: usize,
    /// What `start` points into, on the host.
    _words: Vec<u128>,
}

impl Memory {
    /// Of any plain values.
    pub fn of<T: Pod>(values: &[T]) -> Self {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let memory = Self::filled(bytes.len(), UNTOUCHED);
        // SAFETY: the memory has as many bytes, and is nobody else's yet.
        unsafe { memory.start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        memory
    }

    /// Floats, stored as an element type.
    pub fn of_floats(values: &[f32], element: Element) -> Self {
        match element {
            Element::F32 => Self::of(values),
            Element::Bf16 => Self::of(&values.iter().map(|&value| to_bf16(value)).collect::<Vec<u16>>()),
        }
    }

    /// For `len` elements, which read as NaN until they are written.
    pub fn empty(len: usize, element: Element) -> Self {
        Self::filled(len * element.size(), 0xFF)
    }

    fn filled(bytes: usize, byte: u8) -> Self {
        let (mut words, all) = (Vec::new(), bytes + GUARD);
        let start = if Way::wanted() == Way::Device {
            on_device::allocate(all)
        } else {
            words.resize(all.div_ceil(16), 0_u128);
            words.as_mut_ptr().cast::<u8>()
        };
        // SAFETY: either has room for the bytes and the guard.
        unsafe {
            start.write_bytes(byte, bytes);
            start.add(bytes).write_bytes(UNTOUCHED, GUARD);
        }
        Self { start, bytes, _words: words }
    }

    /// What names it in a launch.
    pub fn at(&self) -> *mut u8 {
        self.start
    }

    /// The content, for as long as no launch runs.
    ///
    /// # Panics
    /// When a kernel wrote behind the tensor.
    pub fn read<T: Pod>(&self) -> Vec<T> {
        // SAFETY: the memory is as long, and no launch runs while the slice is used.
        let plain = unsafe { std::slice::from_raw_parts(self.start, self.bytes + GUARD) };
        assert!(plain[self.bytes..].iter().all(|&byte| byte == UNTOUCHED), "a kernel wrote behind its tensor");
        let mut values = vec![T::zeroed(); self.bytes / size_of::<T>()];
        bytemuck::cast_slice_mut(&mut values).copy_from_slice(&plain[..self.bytes]);
        values
    }

    /// The content as floats.
    pub fn floats(&self, element: Element) -> Vec<f32> {
        match element {
            Element::F32 => self.read(),
            Element::Bf16 => self.read::<u16>().into_iter().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
        }
    }
}

/// Runs launches whose memory is [`Memory`].
pub fn run_all(launches: impl IntoIterator<Item = Launch<*mut u8>>) {
    for launch in launches {
        for arg in &launch.args {
            if let Arg::Pointer(pointer) = arg {
                assert!(!pointer.is_null(), "{}: a null pointer is `Arg::Null`", launch.entry);
            }
        }
        if Way::wanted() == Way::Device {
            on_device::run(launch);
        } else {
            // SAFETY: the pointers are of tensors that the test keeps; their lengths are what it checks.
            unsafe { super::run(&launch) };
        }
    }
}

/// To the nearest, ties to even.
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() { 0x7FFF } else { ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) as u16 }
}
