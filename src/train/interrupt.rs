use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A request to stop after the step that runs. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    own: Arc<AtomicBool>,
    /// That of all, of which this is one.
    of_all: Option<Arc<AtomicBool>>,
}

impl Interrupt {
    /// One of several that can be asked to stop alone, and are when all are.
    #[must_use]
    pub fn one(&self) -> Self {
        Self { own: Arc::default(), of_all: Some(self.own.clone()) }
    }

    /// Asks to stop; cannot be taken back.
    pub fn request(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    pub fn requested(&self) -> bool {
        self.own.load(Ordering::Relaxed) || self.of_all.as_ref().is_some_and(|all| all.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stops_alone_or_with_all() {
        let all = Interrupt::default();
        let [one, other] = [(); 2].map(|()| all.one());
        one.clone().request();
        assert_eq!([&all, &one, &other].map(Interrupt::requested), [false, true, false]);
        all.request();
        assert_eq!([&all, &one, &other].map(Interrupt::requested), [true; 3]);
    }
}
