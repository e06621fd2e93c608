//! Choices as arguments.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::choice::Choice;

/// The parser of an argument that is one of the words of a choice.
pub fn words<T: Choice>() -> impl TypedValueParser<Value = T> {
    let possible = T::CHOICES.iter().map(|(_, word, help)| {
        let value = PossibleValue::new(*word);
        if help.is_empty() { value } else { value.help(*help) }
    });
    // The parser lets nothing pass that is no word.
    PossibleValuesParser::new(possible).try_map(|word| T::of(&word).ok_or("no such word"))
}
