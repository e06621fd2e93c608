//! How long something may take, as a user writes it.

use std::time::Duration;

/// A time such as `90s`, `10m`, `1h30m`, or seconds.
pub fn time(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is no time: expected e.g. `90s`, `10m`, `1h30m`");
    let (mut seconds, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| refused())?;
        let unit = rest[end..].chars().next();
        let factor = match unit {
            Some('s') | None => 1.0,
            Some('m') => 60.0,
            Some('h') => 3600.0,
            Some('d') => 86_400.0,
            Some(_) => return Err(refused()),
        };
        seconds += number * factor;
        rest = &rest[end + unit.map_or(0, char::len_utf8)..];
    }
    match text.is_empty() || seconds > 1e9 {
        true => Err(refused()),
        false => Ok(Duration::from_secs_f64(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = |text: &str| time(text).map(|time| time.as_secs_f64());
        for (text, expected) in [("90s", 90.0), ("90", 90.0), ("1h30m", 5400.0), ("0.5d", 43_200.0), ("0", 0.0)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "2 hours", "-1s", "1e30", "99999d", "2h x", "h2"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
