//! What orders the lines of a program: which call waits for which of the other lines.

use super::program::{Call, Extent, Line};

/// The calls that a call waits for, at most one of each other line, the latest first.
pub type Waits = Vec<usize>;

/// For each call, the last calls of the other lines that must be done before it begins; that waits for all before those, too,
/// and for what those have waited for. None where nothing is to be waited for that the line has not waited for already.
///
/// Calls are ordered as given if one writes memory that the other touches: what it reads must be there, and what the
/// other still reads must not be overwritten, be it by another tensor in the same place.
#[must_use]
pub fn waits(calls: &[Call<u64>]) -> Vec<Waits> {
    // How many calls, in the order of all, of each line are done when a call is done.
    let mut done: Vec<[usize; Line::ALL.len()]> = Vec::with_capacity(calls.len());
    let mut last_of = [None; Line::ALL.len()];
    let wait = |(index, call): (usize, &Call<u64>)| {
        let own = call.line.index();
        let mut known = last_of[own].map_or([0; Line::ALL.len()], |last: usize| done[last]);
        let mut all = Waits::new();
        for at in (0..index).rev() {
            let line = calls[at].line.index();
            if line != own && at >= known[line] && ordered(&calls[at], call) {
                all.push(at);
                for (known, done) in known.iter_mut().zip(done[at]) {
                    *known = done.max(*known);
                }
            }
        }
        known[own] = index + 1;
        done.push(known);
        last_of[own] = Some(index);
        all
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
    const FILL: Line = Line::Fill;

    #[test]
    fn what_is_written_is_waited_for() {
        let of = |first: bool, second: bool, from: u64| {
            waits(&[call(MAIN, &[(16, 32, first)]), call(SIDE, &[(from, from + 16, second)])])[1].clone()
        };
        for (from, meet) in [(0, false), (1, true), (16, true), (31, true), (32, false)] {
            for (first, second) in [(true, false), (false, true), (true, true)] {
                assert_eq!(of(first, second, from), Vec::from_iter(meet.then_some(0)), "{first} {second} {from}");
            }
            assert!(of(false, false, from).is_empty());
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
        assert_eq!(waits(&all), [vec![], vec![], vec![1], vec![], vec![], vec![4], vec![5], vec![]]);
    }

    #[test]
    fn what_another_line_has_waited_for_is_done() {
        let all = [
            call(MAIN, &[(0, 16, true)]),
            call(SIDE, &[(0, 16, false), (16, 32, true)]),
            // Of the main line, too.
            call(FILL, &[(0, 16, false), (16, 32, false)]),
            call(FILL, &[(32, 48, true)]),
            call(SIDE, &[(48, 64, true)]),
            // Of both lines, the later first.
            call(MAIN, &[(32, 64, false)]),
            call(FILL, &[(32, 64, true)]),
        ];
        assert_eq!(waits(&all), [vec![], vec![0], vec![1], vec![], vec![], vec![4, 3], vec![5]]);
    }

    #[test]
    fn what_touches_unknown_memory_runs_alone() {
        let unknown = Call { touched: None, ..call(MAIN, &[]) };
        let side = || call(SIDE, &[(0, 16, true)]);
        assert_eq!(waits(&[side(), unknown.clone(), side(), unknown]), [vec![], vec![0], vec![1], vec![2]]);
    }
}
