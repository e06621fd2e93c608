//! Characters that look like those of the language, or like nothing, and what they are called.

/// What a character is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    Blank,
    /// Nothing: the characters beside it belong together.
    Nothing,
    Ascii(&'static str),
    Quote,
}

/// The character that was meant, where one can be told.
pub fn meant(c: char) -> Option<Meant> {
    if let Some(letter) = letter(c) {
        return Some(letter);
    }
    Some(match c {
        '\u{A0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200A}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202F}'
        | '\u{205F}'
        | '\u{3000}' => Meant::Blank,
        '\u{85}' => Meant::Blank,
        c if super::tokens::is_invisible(c) => Meant::Nothing,
        '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2061}'..='\u{2069}' => Meant::Nothing,
        '“' | '”' | '„' | '‟' | '«' | '»' | '‘' | '’' | '‚' | '‛' | '＂' | '＇' | '″' | '′' => {
            Meant::Quote
        }
        '\u{2010}'..='\u{2015}' | '−' | '﹣' | '－' => Meant::Ascii("-"),
        '✕' | '✖' | '⨯' | '∗' | '⋅' | '·' | '•' | '∙' | '⨉' | '╳' | '＊' | '❌' => {
            Meant::Ascii("*")
        }
        '÷' | '∕' | '⁄' | '／' => Meant::Ascii("/"),
        '→' | '⇒' | '⟶' | '⟹' | '➔' | '➜' | '➝' | '➡' | '↦' | '⇨' => Meant::Ascii("->"),
        '【' | '〔' | '〚' => Meant::Ascii("["),
        '】' | '〕' | '〛' => Meant::Ascii("]"),
        '❨' | '⦅' => Meant::Ascii("("),
        '❩' | '⦆' => Meant::Ascii(")"),
        '、' | '，' => Meant::Ascii(","),
        '꞉' | 'ː' | '∶' => Meant::Ascii(":"),
        '；' | ';' => Meant::Ascii(";"),
        '﹦' | '＝' | '꞊' => Meant::Ascii("="),
        '⁃' => Meant::Ascii("-"),
        '％' => Meant::Ascii("%"),
        '＋' => Meant::Ascii("+"),
        '（' => Meant::Ascii("("),
        '）' => Meant::Ascii(")"),
        '［' => Meant::Ascii("["),
        '］' => Meant::Ascii("]"),
        '｛' => Meant::Ascii("{"),
        '｝' => Meant::Ascii("}"),
        '：' => Meant::Ascii(":"),
        _ => return None,
    })
}

/// Letters and digits of other scripts that are drawn as those of ASCII.
fn letter(c: char) -> Option<Meant> {
    const CYRILLIC: &str = "аaеeоoрpсcуyхxіiѕsјjһhԁdԛqԝwкkмmтtАAВBЕEКKМMНHОOРPСCТTУYХXЅSІIЈJ";
    const GREEK: &str = "αaοoνvρpυuιiκkχxτtηnΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧX";
    const OTHERS: &str = "ıiɑaɡgℓl";
    const ASCII: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    let ascii = |letter: char| ASCII.find(letter).map(|at| Meant::Ascii(&ASCII[at..=at]));
    if ('\u{FF01}'..='\u{FF5E}').contains(&c) {
        return char::from_u32(c as u32 - 0xFEE0).and_then(ascii);
    }
    [CYRILLIC, GREEK, OTHERS].iter().find_map(|pairs| {
        let mut pairs = pairs.chars();
        while let (Some(from), Some(to)) = (pairs.next(), pairs.next()) {
            if from == c {
                return ascii(to);
            }
        }
        None
    })
}

/// A character by its code point and what it is: "U+00A0, a no-break space".
pub fn named(c: char) -> String {
    let code = format!("U+{:04X}", c as u32);
    let name = match c {
        '\u{0}' => "a NUL",
        '\u{1B}' => "an escape character",
        '\u{85}' => "a next-line character",
        c if c.is_control() => "a control character",
        '\u{A0}' | '\u{202F}' => "a no-break space",
        '\u{AD}' => "a soft hyphen",
        '\u{200B}' => "a zero-width space",
        '\u{200C}' | '\u{200D}' => "a zero-width joiner",
        '\u{2060}' => "a word joiner",
        '\u{FE0E}' | '\u{FE0F}' => "a variation selector",
        '\u{2028}' | '\u{2029}' => "a line separator",
        '\u{3000}' => "an ideographic space",
        '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{205F}' => "a space of another width",
        '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => "a mark of writing direction",
        '\u{2061}'..='\u{2065}' => "an invisible character",
        '\u{2010}' | '\u{2011}' | '⁃' => "a hyphen",
        '\u{2012}' | '\u{2013}' => "an en dash",
        '\u{2014}' | '\u{2015}' => "an em dash",
        '−' => "a minus sign",
        '✕' | '✖' | '⨯' | '⨉' | '╳' | '❌' => "a cross",
        '∗' | '⋅' | '·' | '∙' => "a multiplication sign",
        '×' => "the multiplication sign",
        '•' => "a bullet",
        '÷' | '∕' | '⁄' => "a division sign",
        '“' | '”' | '„' | '‟' | '«' | '»' | '‘' | '’' | '‚' | '‛' | '″' | '′' => {
            "a typographic quote"
        }
        '\u{2190}'..='\u{21FF}' | '\u{27F0}'..='\u{27FF}' | '➔' | '➜' | '➝' | '➡' => "an arrow",
        '\u{FF01}'..='\u{FF5E}' | '\u{FFE0}'..='\u{FFE6}' => "a full-width character",
        '\u{370}'..='\u{3FF}' => "a Greek letter",
        '\u{400}'..='\u{52F}' => "a Cyrillic letter",
        '\u{FFFD}' => "a replacement character, where bytes could not be read",
        '\u{2600}'..='\u{27BF}' | '\u{1F000}'..='\u{1FAFF}' => "a pictograph",
        '\u{2200}'..='\u{22FF}' => "a mathematical sign",
        '\u{3000}'..='\u{303F}' => "an East Asian bracket or stop",
        '\u{E000}'..='\u{F8FF}' => "a character of private use",
        c if c.is_alphabetic() => "a letter outside a-z",
        c if c.is_numeric() => "a digit outside 0-9",
        _ => return code,
    };
    format!("{code}, {name}")
}
