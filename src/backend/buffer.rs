use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

use super::BackendError;

/// Zeroed floats in memory of their own, by large pages where the system has them: activations and
/// parameters are hundreds of megabytes, which small pages make slow to get and slow to look up.
#[derive(Debug)]
pub struct Buffer {
    /// `None` for no elements: an empty mapping is an error.
    memory: Option<MmapMut>,
}

impl Buffer {
    /// `len` zeros.
    ///
    /// # Errors
    /// When the system does not give as much memory.
    pub fn zeroed(len: usize) -> Result<Self, BackendError> {
        if len == 0 {
            return Ok(Self { memory: None });
        }
        let bytes = len * size_of::<f32>();
        let memory = MmapMut::map_anon(bytes)
            .map_err(|error| BackendError::Memory(format!("cannot get {} KiB of memory: {error}", bytes >> 10)))?;
        // Advice only: without large pages it works all the same.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        Ok(Self { memory: Some(memory) })
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.memory.as_deref().map_or(&[], bytemuck::cast_slice)
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.memory.as_deref_mut().map_or(&mut [], bytemuck::cast_slice_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_zeros() {
        assert!(Buffer::zeroed(0).unwrap().is_empty());
        let mut buffer = Buffer::zeroed(1_000_000).unwrap();
        assert!(buffer.iter().all(|&value| value == 0.0));
        buffer[999_999] = 1.5;
        assert_eq!(buffer[999_999], 1.5);
        assert!(Buffer::zeroed(usize::MAX / 64).is_err());
    }
}
