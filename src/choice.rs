//! Choices that have words: what a user writes for each, and what it is.

/// A plain enum whose values a user can write.
pub trait Choice: Copy + PartialEq + Send + Sync + 'static {
    /// Every value, in the order in which they are listed: its word, and a line of help, which may be empty.
    const CHOICES: &'static [(Self, &'static str, &'static str)];

    /// What a user writes for this value.
    fn word(self) -> &'static str {
        Self::CHOICES.iter().find(|(value, ..)| *value == self).map_or("", |(_, word, _)| word)
    }

    /// The value of a word.
    fn of(word: &str) -> Option<Self> {
        Self::CHOICES.iter().find(|(_, known, _)| *known == word).map(|(value, ..)| *value)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::Choice;
    use crate::{
        backend::{Backend, Precision},
        data::Subset,
        experiment::{
            export::{ExportFormat, ImageLayout},
            sweep::{Rule, Strategy},
        },
        report::{Format, Price, Sort},
    };

    fn check<T: Choice + Debug>(count: usize) {
        assert_eq!(T::CHOICES.len(), count, "every value of the enum has a word");
        for (at, (value, word, _)) in T::CHOICES.iter().enumerate() {
            assert_eq!((T::of(word), value.word()), (Some(*value), *word));
            assert!(!word.is_empty() && T::CHOICES[..at].iter().all(|(other, ..)| other != value));
        }
        assert_eq!(T::of("gpu"), None);
    }

    #[test]
    fn words_stand_for_one_value_each() {
        check::<Backend>(if cfg!(feature = "luminal-cuda") { 5 } else { 4 });
        check::<Precision>(3);
        check::<Subset>(3);
        check::<Strategy>(5);
        check::<Rule>(4);
        check::<Format>(5);
        check::<Sort>(9);
        check::<Price>(3);
        check::<ExportFormat>(4);
        check::<ImageLayout>(2);
    }
}
