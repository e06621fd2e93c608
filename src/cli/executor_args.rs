use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::experiment::sweep::executors::{EXECUTORS, ExecutorConfig, ExecutorName, Memory, PackSize, TimeLimit};

/// Where the trials of a sweep run. What is left out is the experiment's `sweep.executor`, if that is of the same name.
/// Nothing here changes results.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Where trials run")]
pub struct ExecutorArgs {
    /// What runs the trials [default: local]
    #[arg(long, value_parser = names())]
    executor: Option<ExecutorName>,
    /// Cores of a job; as many threads train [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cpus: Option<u32>,
    /// Devices of a job; a trial uses one [default: 0]
    #[arg(long)]
    gpus: Option<u32>,
    /// Memory of a job: `8G`
    #[arg(long)]
    memory: Option<Memory>,
    /// Longest time of a job, `2h`: a trial that needs longer saves before, and goes on in another job
    #[arg(long)]
    time: Option<TimeLimit>,
    /// Partition, or queue, of jobs
    #[arg(long)]
    partition: Option<String>,
    /// A further argument of the engine's own command, `--executor-arg=--qos=low`; may be given again
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    executor_arg: Vec<String>,
    /// Trials of one process, at most, that are trained at once on one CUDA device where their shapes are the same: each
    /// comes to the same bits as alone. `auto` measures how many. With --jobs J, J such processes [default: 1]
    #[arg(long, value_name = "N|auto")]
    pack: Option<PackSize>,
    /// Where the engine answers: `http://head:8265`
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// For `command`: hands a job over and prints its id
    #[arg(long, value_name = "TEMPLATE")]
    submit: Option<String>,
    /// For `command`: prints `ID STATE` for each of {ids}
    #[arg(long, value_name = "TEMPLATE")]
    poll: Option<String>,
    /// For `command`: asks {ids} to end
    #[arg(long, value_name = "TEMPLATE")]
    cancel: Option<String>,
}

impl ExecutorArgs {
    /// The executor that is meant, with what the experiment says of it.
    pub fn config(&self, of_experiment: Option<&ExecutorConfig>) -> ExecutorConfig {
        let of_experiment = of_experiment.cloned().unwrap_or_default();
        let name = self.executor.clone().unwrap_or_else(|| of_experiment.name.clone());
        let given = ExecutorConfig {
            name,
            cpus: self.cpus,
            gpus: self.gpus,
            memory: self.memory,
            time: self.time,
            partition: self.partition.clone(),
            args: self.executor_arg.clone(),
            pack: self.pack,
            address: self.address.clone(),
            submit: self.submit.clone(),
            poll: self.poll.clone(),
            cancel: self.cancel.clone(),
        };
        given.or(of_experiment)
    }
}

fn names() -> impl TypedValueParser<Value = ExecutorName> {
    let names = EXECUTORS.iter().map(|entry| PossibleValue::new(entry.name).help(entry.help));
    PossibleValuesParser::new(names).try_map(ExecutorName::try_from)
}
