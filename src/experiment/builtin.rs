use std::path::Path;

/// The experiments and models that the binary carries, so that it works where the repository is not.
const FILES: [(&str, &str); 10] = [
    ("cifar100_vit.yaml", include_str!("../../experiments/cifar100_vit.yaml")),
    ("cifar100_vit.vitx", include_str!("../../experiments/cifar100_vit.vitx")),
    ("cifar10_vit.yaml", include_str!("../../experiments/cifar10_vit.yaml")),
    ("cifar10_vit.vitx", include_str!("../../experiments/cifar10_vit.vitx")),
    ("digits_vit.yaml", include_str!("../../experiments/digits_vit.yaml")),
    ("sweep_patch_size.yaml", include_str!("../../experiments/sweep_patch_size.yaml")),
    ("sweep_depth.yaml", include_str!("../../experiments/sweep_depth.yaml")),
    ("sweep_projection_dim.yaml", include_str!("../../experiments/sweep_projection_dim.yaml")),
    ("sweep_image_size.yaml", include_str!("../../experiments/sweep_image_size.yaml")),
    ("digits_vit.vitx", include_str!("../../experiments/digits_vit.vitx")),
];

/// The carried text of `experiments/NAME`, or of a bare `NAME`.
pub fn text(path: &Path) -> Option<&'static str> {
    let name = path.strip_prefix("experiments").unwrap_or(path).to_str()?;
    FILES.iter().find(|(file, _)| *file == name).map(|(_, text)| *text)
}
