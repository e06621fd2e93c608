//! Operations that look each byte up in one table.

use super::{Applied, Image, Operation};

fn look_up(image: &mut Image, of: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|byte| of(byte as u8));
    for byte in image.pixels.iter_mut() {
        *byte = table[usize::from(*byte)];
    }
}

/// `ImageOps.invert`.
pub static INVERT: Operation =
    Operation { name: "invert", define: "OP_INVERT", apply: |image, _| look_up(image, |byte| 255 - byte) };

/// Takes each byte from 255.
pub fn invert() -> Applied {
    Applied::new(&INVERT, [])
}

/// `ImageOps.posterize`.
pub static POSTERIZE: Operation = Operation {
    name: "posterize",
    define: "OP_POSTERIZE",
    apply: |image, &[bits, ..]| look_up(image, |byte| byte & !((1 << (8 - bits)) - 1) as u8),
};

/// Keeps the first `bits` of each byte, at most 8.
pub fn posterize(bits: u32) -> Applied {
    Applied::new(&POSTERIZE, [bits.min(8)])
}

/// `ImageOps.solarize`.
pub static SOLARIZE: Operation = Operation {
    name: "solarize",
    define: "OP_SOLARIZE",
    apply: |image, &[threshold, ..]| {
        look_up(image, |byte| if u32::from(byte) < threshold { byte } else { 255 - byte });
    },
};

/// Inverts the bytes from `threshold` on; of 256 none.
pub fn solarize(threshold: u32) -> Applied {
    Applied::new(&SOLARIZE, [threshold])
}

/// timm's `solarize_add` with its threshold of 128.
pub static SOLARIZE_ADD: Operation = Operation {
    name: "solarize_add",
    define: "OP_SOLARIZE_ADD",
    apply: |image, &[amount, ..]| {
        look_up(image, |byte| if byte < 128 { (u32::from(byte) + amount).min(255) as u8 } else { byte });
    },
};

/// Adds `amount`, at most 128, to the bytes below 128.
pub fn solarize_add(amount: u32) -> Applied {
    Applied::new(&SOLARIZE_ADD, [amount.min(128)])
}
