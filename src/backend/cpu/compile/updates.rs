//! Which steps may run beside the regions, and from when on.
//!
//! What only changes a parameter and its moments has to wait for its gradient and for the last region that reads the
//! parameter, but nothing waits for it: it fills the time of threads that would wait for others at the end of a region,
//! or, with fewer images than threads, all the time.

use super::{
    super::program::Work,
    draft::{Draft, Links},
};

/// For each region of a finished draft: if it is an update, the region from which on it may run, counted without updates.
pub fn updates(draft: &Draft) -> Vec<Option<usize>> {
    let works = draft.regions.iter().map(|(work, _)| *work);
    let updates: Vec<bool> = works
        .zip(&draft.links)
        .enumerate()
        .map(|(region, (work, links))| {
            let mut changed = links.iter().flat_map(|links| &links.outputs).map(|&id| &draft.tensors[id]);
            work == Work::Single && changed.all(|tensor| tensor.stored.is_some() && tensor.regions.1 == region)
        })
        .collect();
    // By tensor: the number of regions until it was written, and used at all, for the last time.
    let (mut written, mut used) = (vec![0; draft.tensors.len()], vec![0; draft.tensors.len()]);
    let regions = draft.links.iter().zip(&updates).filter(|(_, update)| !**update);
    for (region, (links, _)) in regions.enumerate() {
        for links in links {
            links.sources.iter().for_each(|&id| used[id] = region + 1);
            links.outputs.iter().for_each(|&id| (written[id], used[id]) = (region + 1, region + 1));
        }
    }
    let from = |links: &Links| {
        let made = links.sources.iter().map(|&id| written[id]);
        made.chain(links.outputs.iter().map(|&id| used[id])).max().unwrap_or(0)
    };
    draft
        .links
        .iter()
        .zip(updates)
        .map(|(links, update)| update.then(|| links.iter().map(from).max()).flatten())
        .collect()
}

#[cfg(test)]
mod tests {
    use luminal::prelude::NodeIndex;

    use super::{super::draft::Tensor, *};

    /// A finished draft of regions of one step: what each reads and writes. The first tensors are parameters.
    fn draft(parameters: usize, tensors: usize, steps: &[(Work, &[usize], &[usize])]) -> Draft {
        let mut draft = Draft::default();
        for id in 0..tensors {
            draft.tensor(Tensor { len: 1, stored: (id < parameters).then_some(id), ..Tensor::default() });
        }
        for &(work, sources, outputs) in steps {
            draft.regions.push((work, Vec::new()));
            let links = Links { node: NodeIndex::end(), sources: sources.to_vec(), outputs: outputs.to_vec() };
            draft.links.push(vec![links]);
        }
        draft.finish(1);
        draft
    }

    #[test]
    fn after_their_gradient_and_the_last_use_of_the_parameter() {
        use Work::{Images, Single};
        let draft = draft(
            2,
            5,
            &[
                (Images, &[0, 1], &[2]),
                (Images, &[2], &[3]),
                (Single, &[0, 2], &[0]),
                (Images, &[1, 3], &[4]),
                // The gradient was there long before, but the parameter was read once more.
                (Single, &[1, 2], &[1]),
            ],
        );
        assert_eq!(updates(&draft), [None, None, Some(1), None, Some(3)]);
    }

    #[test]
    fn what_is_read_later_is_no_update() {
        use Work::{Images, Single};
        let steps: [(Work, &[usize], &[usize]); 3] =
            [(Images, &[0], &[1]), (Single, &[0, 1], &[0]), (Images, &[0], &[2])];
        assert_eq!(updates(&draft(1, 3, &steps)), [None; 3]);
        assert_eq!(updates(&draft(1, 3, &steps[..2])), [None, Some(1)]);
    }
}
