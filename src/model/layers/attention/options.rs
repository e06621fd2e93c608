//! What attention may have besides: read from its arguments, and held to its shape.

use super::super::{Arguments, Misfit};
use crate::graph::ops::MaskScores;

/// The words of `temperature`, `mask`, `qk_norm` and `positions`: the first is what holds where nothing is said.
pub const TEMPERATURES: &[&str] = &["fixed", "learned"];
pub const MASKS: &[&str] = &["none", "diagonal", "shifted_windows"];
pub const NORMS: &[&str] = &["none", "rms_norm", "layer_norm"];
pub const POSITIONS: &[&str] = &["none", "relative", "rope"];

/// The word for windows of a rolled image.
const SHIFTED: &str = MASKS[2];

/// The grid where none is given: as many rows as columns.
pub const SQUARE: &str = "square";

/// The shift of windows where none is given: half of a window.
pub const HALF: &str = "half";

/// A normalization of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    Rms,
    Layer,
}

/// What a score knows of where its tokens are: on a grid of rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// A learned number for each offset and head is added to it; so many tokens in front of the grid have some of their own.
    Relative { grid: [usize; 2], skipped: usize },
    /// Queries and keys are turned by their places; so many tokens in front of the grid are not.
    Rope { grid: [usize; 2], skipped: usize },
}

/// What an attention has beside its projections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// What scores are multiplied by is learned, for each head.
    pub temperature: bool,
    /// No token attends to itself.
    pub diagonal: bool,
    /// Windows are of an image that was rolled: no token attends to one from the other end.
    pub windows: Option<MaskScores>,
    pub norm: Option<Norm>,
    pub positions: Option<Positions>,
    pub talking_heads: bool,
}

/// Of an attention of tokens to other ones.
pub fn of_others(arguments: &Arguments) -> Options {
    let norm = match arguments.word("qk_norm") {
        "rms_norm" => Some(Norm::Rms),
        "layer_norm" => Some(Norm::Layer),
        _ => None,
    };
    Options {
        temperature: arguments.word("temperature") == "learned",
        norm,
        talking_heads: arguments.flag("talking_heads"),
        ..Options::default()
    }
}

/// Of an attention of tokens to each other.
///
/// # Errors
/// When options do not go together, or not with so many tokens.
pub fn of_itself(arguments: &Arguments, leading: &[usize], tokens: usize) -> Result<Options, Misfit> {
    let diagonal = arguments.word("mask") == "diagonal";
    let grid = arguments.given_extent("grid");
    let positions = match arguments.word("positions") {
        "relative" => {
            let (grid, skipped) = grid_behind_others(grid, tokens)?;
            Some(Positions::Relative { grid, skipped })
        }
        "rope" => {
            let key_dim = arguments.size("key_dim");
            if !key_dim.is_multiple_of(4) {
                return Err(Misfit::new(
                    format!(
                        "`positions = rope` turns pairs of channels by row and by column: {key_dim} is no multiple of 4"
                    ),
                    "needs a multiple of 4",
                )
                .blame("key_dim"));
            }
            let (grid, skipped) = grid_behind_others(grid, tokens)?;
            Some(Positions::Rope { grid, skipped })
        }
        _ if grid.is_some() && arguments.word("mask") != SHIFTED => {
            return Err(Misfit::new("`grid` is of positions, and there are none", "here")
                .blame("grid")
                .help("write `positions = relative` or `positions = rope`, or leave `grid` out"));
        }
        _ => None,
    };
    let windows = shifted_windows(arguments, leading, grid, tokens)?;
    let options = Options { diagonal, windows, positions, ..of_others(arguments) };
    if diagonal && tokens < 2 {
        return Err(
            Misfit::new("`mask = diagonal` leaves nothing that one token could attend to", "here").blame("mask")
        );
    }
    Ok(options)
}

/// The mask of windows that a cyclic shift has made.
///
/// # Errors
/// When there are no windows of a grid, or no such shift.
fn shifted_windows(
    arguments: &Arguments,
    leading: &[usize],
    grid: Option<[usize; 2]>,
    tokens: usize,
) -> Result<Option<MaskScores>, Misfit> {
    let given = arguments.given_extent("shift");
    if arguments.word("mask") != SHIFTED {
        return match given {
            None => Ok(None),
            Some(_) => Err(Misfit::new("`shift` is of windows, and there are none", "here")
                .blame("shift")
                .help("write `mask = shifted_windows`, or leave `shift` out")),
        };
    }
    if leading.len() != 2 {
        let message = "`mask = shifted_windows` is of an image that is cut into rows and columns of windows";
        return Err(Misfit::new(message, "needs [rows, columns, tokens, dim]").blame("mask"));
    }
    let window = whole_grid(grid, tokens)?;
    let shift = given.unwrap_or(window.map(|length| length / 2));
    if (0..2).any(|axis| shift[axis] == 0 || shift[axis] >= window[axis]) {
        let message =
            format!("windows of {}x{} tokens cannot be shifted by {}x{}", window[0], window[1], shift[0], shift[1]);
        return Err(Misfit::new(message, "needs at least 1, and less than the window").blame(if given.is_some() {
            "shift"
        } else {
            "mask"
        }));
    }
    Ok(Some(MaskScores::Windows { window, shift }))
}

/// The rows of a square of so many tokens.
fn square(tokens: usize) -> Option<usize> {
    Some(tokens.isqrt()).filter(|side| side * side == tokens)
}

/// A grid of all tokens.
fn whole_grid(given: Option<[usize; 2]>, tokens: usize) -> Result<[usize; 2], Misfit> {
    match given {
        Some([rows, columns]) if rows.saturating_mul(columns) == tokens => Ok([rows, columns]),
        Some(grid) => Err(not_of(grid, tokens)),
        None => square(tokens).map(|side| [side; 2]).ok_or_else(|| {
            let misfit = Misfit::new(format!("{tokens} tokens are no square"), "windows of a grid").blame("mask");
            misfit.help("write the rows and columns of tokens, `grid = [8, 4]`")
        }),
    }
}

/// A grid, and how many tokens are in front of it.
fn grid_behind_others(given: Option<[usize; 2]>, tokens: usize) -> Result<([usize; 2], usize), Misfit> {
    match given {
        Some([rows, columns]) => match tokens.checked_sub(rows.saturating_mul(columns)) {
            // As many as a row are no class tokens: the grid has a row too few.
            Some(skipped) if skipped < rows.max(columns) => Ok(([rows, columns], skipped)),
            Some(skipped) => Err(not_of([rows, columns], tokens).help(format!(
                "{skipped} tokens would stand in front of the grid: class tokens are fewer than a row of it"
            ))),
            None => Err(not_of([rows, columns], tokens)),
        },
        None => [0, 1]
            .into_iter()
            .find_map(|skipped| square(tokens - skipped).filter(|side| *side > 0).map(|side| ([side; 2], skipped)))
            .ok_or_else(|| {
                Misfit::new(
                    format!("{tokens} tokens are no square, with or without a class token"),
                    "positions of a grid",
                )
                .blame("positions")
                .help("write the rows and columns of tokens, `grid = [8, 4]`")
            }),
    }
}

fn not_of([rows, columns]: [usize; 2], tokens: usize) -> Misfit {
    Misfit::new(
        format!("a grid of {rows}x{columns} has {} tokens, not {tokens}", rows.saturating_mul(columns)),
        format!("there are {tokens} tokens"),
    )
    .blame("grid")
}
