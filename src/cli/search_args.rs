//! What the command line says of what a sweep tries, beyond its space.

/// Which points are tried, and in which order.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SearchArgs {
    /// Points that `tpe` and `multivariate_tpe` propose before they look at results again; part of what the sweep is
    /// [default: as --jobs, but at least 4, or what the sweep was begun with]
    #[arg(long, value_name = "POINTS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub round: Option<u32>,
    /// A point that is tried before all others, with a value for each key that varies there; can be given several times
    #[arg(long, value_name = "KEY=VALUE,KEY=VALUE")]
    pub enqueue: Vec<String>,
}
