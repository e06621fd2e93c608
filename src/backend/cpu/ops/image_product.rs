//! Products of activations, for each head of each image.

use super::{Lower, Site, head_product::Strided, image, image_mut};
use crate::{
    backend::cpu::kernel::Kernel,
    graph::{Operation, ops::ImageProduct},
};

impl Lower for ImageProduct {
    fn lower(&self, site: &Site) -> Option<Kernel> {
        let (shapes, output) = (site.shapes, self.output_shapes(site.shapes).swap_remove(0));
        let own = |shape: &'_ [usize]| shape[shape.len() - 3..].to_vec();
        let product = Strided::new(&self.0, [&own(shapes[0]), &own(shapes[1]), &own(&output)]);
        let windows: usize = output[1..output.len() - 3].iter().product();
        let scratch = product.scratch_len();
        Some(
            Kernel::per_image(move |call| {
                let groups = call.images * windows;
                for index in 0..groups {
                    let operands = [0, 1].map(|input| image(call.inputs[input], groups, index));
                    product.run(operands, image_mut(call.outputs[0], groups, index), call.scratch);
                }
            })
            .scratch(move |_| scratch),
        )
    }
}
