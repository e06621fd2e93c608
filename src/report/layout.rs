//! Tables that fit a terminal.

use std::io::IsTerminal;

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

/// Characters between two columns: a border and a blank on either side.
const BORDER: usize = 3;

/// A table for standard output: as wide as it needs, or as a terminal allows.
pub fn fitted(header: Vec<String>, cells: Vec<Vec<String>>, first: usize) -> String {
    fitted_to(None, header, cells, first)
}

/// A table of at most `width` characters a line, by default those of the terminal, if output goes
/// to one. One that is wider becomes several, each with the `first` columns, which say which row it
/// is; a column that is too wide by itself is wrapped.
pub fn fitted_to(width: Option<usize>, header: Vec<String>, cells: Vec<Vec<String>>, first: usize) -> String {
    let terminal = || {
        let size = std::io::stdout().is_terminal().then(terminal_size::terminal_size)?;
        size.map(|(width, _)| usize::from(width.0))
    };
    let Some(width) = width.or_else(terminal) else {
        return written(None, &header, &cells, &(0..header.len()).collect::<Vec<_>>());
    };
    let length = |text: &String| text.chars().count() + BORDER;
    let needs = |at: usize| cells.iter().map(|row| length(&row[at])).max().unwrap_or(0).max(length(&header[at]));
    let named: Vec<usize> = (0..first.min(header.len())).collect();
    let base = 1 + named.iter().map(|at| needs(*at)).sum::<usize>();
    let mut parts: Vec<(Vec<usize>, usize)> = vec![(named.clone(), base)];
    for at in first..header.len() {
        let own = needs(at);
        match parts.last_mut() {
            Some((columns, used)) if *used + own <= width || columns.len() == named.len() => {
                columns.push(at);
                *used += own;
            }
            _ => parts.push(([&named[..], &[at]].concat(), base + own)),
        }
    }
    let tables = parts.iter().map(|(columns, _)| written(Some(width), &header, &cells, columns));
    tables.collect::<Vec<_>>().join("\n")
}

fn written(width: Option<usize>, header: &[String], cells: &[Vec<String>], columns: &[usize]) -> String {
    let mut table = Table::new();
    // What acts on a terminal is shown, and is as wide as it is shown.
    let shown = |text: &String| crate::printable::lines(text).into_owned();
    table.load_style(UTF8_FULL_CONDENSED).set_header(columns.iter().map(|at| shown(&header[*at])));
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.min(usize::from(u16::MAX)) as u16);
    }
    for row in cells {
        table.add_row(columns.iter().map(|at| shown(&row[*at])));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_it_may_be() {
        let header = ["patch_size", "params", "val top-1", "test top-1", "state"].map(str::to_owned).to_vec();
        let row = |patch: u32, state: &str| {
            [&patch.to_string(), "1.25M", "12.50% ± 1.00%", "13.00%", state].map(str::to_owned).to_vec()
        };
        let cells = vec![row(4, "finished"), row(8, "failed: out of memory: memory allocation of 1234 bytes failed")];
        let at = |width| fitted_to(Some(width), header.clone(), cells.clone(), 1);
        for width in [30, 50, 80, 120, 300] {
            let table = at(width);
            assert!(table.lines().all(|line| line.chars().count() <= width), "{width}\n{table}");
            assert_eq!(table.matches("13.00%").count(), 2, "{table}");
        }
        insta::assert_snapshot!(at(50));
        assert_eq!(at(300).matches("patch_size").count(), 1);
    }
}
