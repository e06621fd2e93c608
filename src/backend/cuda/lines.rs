//! What orders the two lines of a program: which call waits for which of the other line.

use super::program::{Call, Extent};

/// For each call, the last call of the other line that must be done before it begins; that waits for all before that
/// one, too. `None` where nothing is to be waited for that the line has not waited for already.
///
/// Calls are ordered as given if one writes memory that the other touches: what it reads must be there, and what the
/// other still reads must not be overwritten, be it by another tensor in the same place.
#[must_use]
pub fn waits(calls: &[Call<u64>]) -> Vec<Option<usize>> {
    let mut known = [None; 2];
    let wait = |(index, call): (usize, &Call<u64>)| {
        let known = &mut known[call.line.index()];
        let before = known.map_or(0, |known| known + 1);
        let last = (before..index).rev().find(|&at| calls[at].line != call.line && ordered(&calls[at], call))?;
        *known = Some(last);
        Some(last)
    };
    calls.iter().enumerate().map(wait).collect()
}

/// Whether two calls must keep their order.
fn ordered(one: &Call<u64>, other: &Call<u64>) -> bool {
    let (Some(one), Some(other)) = (&one.touched, &other.touched) else { return true };
    one.iter().any(|one| other.iter().any(|other| (one.written || other.written) && meet(one, other)))
}

fn meet(one: &Extent<u64>, other: &Extent<u64>) -> bool {
    one.place < other.place + other.bytes as u64 && other.place < one.place + one.bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::{
        launch::{Launch, Source},
        program::Line,
    };

    /// A call that touches `(from, to, written)`.
    fn call(line: Line, touched: &[(u64, u64, bool)]) -> Call<u64> {
        let source = Source { name: "none", text: "" };
        let (defines, args) = (Vec::new(), Vec::new());
        let launch = Launch { source, defines, entry: "none", grid: [1; 3], block: [1; 3], shared_bytes: 0, args };
        let extent =
            |&(from, to, written): &(u64, u64, bool)| Extent { place: from, bytes: (to - from) as usize, written };
        Call { line, touched: Some(touched.iter().map(extent).collect()), ..Call::alone("none", launch) }
    }

    const MAIN: Line = Line::Main;
    const SIDE: Line = Line::Side;

    #[test]
    fn what_is_written_is_waited_for() {
        let of = |first: bool, second: bool, from: u64| {
            waits(&[call(MAIN, &[(16, 32, first)]), call(SIDE, &[(from, from + 16, second)])])[1]
        };
        for (from, meet) in [(0, false), (1, true), (16, true), (31, true), (32, false)] {
            for (first, second) in [(true, false), (false, true), (true, true)] {
                assert_eq!(of(first, second, from), meet.then_some(0), "{first} {second} {from}");
            }
            assert_eq!(of(false, false, from), None);
        }
    }

    #[test]
    fn a_line_does_not_wait_twice() {
        let all = [
            call(MAIN, &[(0, 16, true)]),
            call(MAIN, &[(16, 32, true)]),
            call(SIDE, &[(16, 32, false)]),
            // What came before is done, too.
            call(SIDE, &[(0, 16, false)]),
            call(MAIN, &[(32, 48, true)]),
            call(SIDE, &[(32, 48, false), (0, 16, false)]),
            // Of two, the last.
            call(MAIN, &[(0, 48, true)]),
            call(MAIN, &[(0, 48, true)]),
        ];
        assert_eq!(waits(&all), [None, None, Some(1), None, None, Some(4), Some(5), None]);
    }

    #[test]
    fn what_touches_unknown_memory_runs_alone() {
        let unknown = Call { touched: None, ..call(MAIN, &[]) };
        let side = || call(SIDE, &[(0, 16, true)]);
        assert_eq!(waits(&[side(), unknown.clone(), side(), unknown]), [None, Some(0), Some(1), Some(2)]);
    }
}
