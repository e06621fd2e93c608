//! Help whose examples can be copied: clap breaks what is wider than the terminal into lines, which no shell puts
//! together again. So it is given one word in their place, which is theirs again when it is printed.

use std::{ffi::OsString, io::IsTerminal, process::ExitCode};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use super::out;
use crate::printable;

/// What stands for the examples of a command, with their number.
const WORD: &str = "EXAMPLES-";

/// Reads arguments. Help, versions and mistakes are printed, and give the exit code.
pub fn parse<C: CommandFactory + FromArgMatches>(arguments: impl Iterator<Item = OsString>) -> Result<C, ExitCode> {
    let mut examples = Vec::new();
    let mut command = set_apart(C::command(), &mut examples);
    let parsed = read(&mut command, arguments.collect());
    parsed.and_then(|matches| C::from_arg_matches(&matches)).map_err(|error| show(&error, &examples))
}

/// A mistake quotes arguments: it does with their escape sequences shown, as if they had been given so.
fn read(command: &mut Command, arguments: Vec<OsString>) -> Result<ArgMatches, clap::Error> {
    let shown = |argument: &OsString| printable::line(&argument.to_string_lossy()).into_owned();
    let harmless: Vec<String> = arguments.iter().map(shown).collect();
    command.try_get_matches_from_mut(arguments).map_err(|error| {
        let again = command.try_get_matches_from_mut(harmless);
        again.err().filter(|again| again.kind() == error.kind()).unwrap_or(error)
    })
}

/// Takes the examples out of a command and its subcommands.
fn set_apart(command: Command, examples: &mut Vec<String>) -> Command {
    let own = command.get_after_help().map(ToString::to_string);
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let command = match own {
        Some(text) => {
            let word = format!("{WORD}{}.", examples.len());
            examples.push(text);
            command.after_help(word)
        }
        None => command,
    };
    names.iter().fold(command, |command, name| command.mut_subcommand(name, |inner| set_apart(inner, examples)))
}

fn put_back(text: &str, examples: &[String]) -> String {
    let with = |text: String, (at, example): (usize, &String)| text.replace(&format!("{WORD}{at}."), example);
    examples.iter().enumerate().fold(text.to_owned(), with)
}

fn show(error: &clap::Error, examples: &[String]) -> ExitCode {
    let wrong = error.use_stderr();
    let terminal = if wrong { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text = match coloured {
        true => error.render().ansi().to_string(),
        false => error.render().to_string(),
    };
    let text = put_back(&text, examples);
    match wrong {
        true => out::note_exact(&text),
        false => out::exact(text.as_bytes()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    /// The help of a command on a terminal of so many columns.
    fn help(name: &str, width: usize) -> String {
        let mut examples = Vec::new();
        let mut command = set_apart(Cli::command(), &mut examples).term_width(width);
        let error = command.try_get_matches_from_mut(["vitx", name, "--help"]).unwrap_err();
        put_back(&error.render().to_string(), &examples)
    }

    #[test]
    fn examples_are_the_same_at_any_width() {
        let mut count = 0;
        for command in Cli::command().get_subcommands() {
            let Some(example) = command.get_after_help().map(ToString::to_string) else { continue };
            count += 1;
            for width in [20, 40, 80, 100, 300] {
                let help = help(command.get_name(), width);
                assert!(help.trim_end().ends_with(example.trim_end()), "{width}\n{help}");
                assert!(!help.contains(WORD), "{help}");
            }
        }
        assert!(count > 9, "{count}");
        assert!(help("data", 80).contains("vitx data info"));
    }

    #[test]
    fn arguments_with_escape_sequences_are_shown() {
        let arguments = ["vitx", "run", "a.yaml", "--\u{1b}[31mred"].map(OsString::from);
        let error = read(&mut Cli::command(), arguments.to_vec()).unwrap_err();
        let shown = error.render().ansi().to_string();
        assert!(shown.contains("--\\u001b[31mred") && !shown.contains("\u{1b}[31mred"), "{shown}");
    }
}
