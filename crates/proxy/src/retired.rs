//! Tables that are no longer in force, until no worker uses them.
//!
//! They are large: a worker that dropped one would stall its requests, and whoever publishes new tables
//! would keep the next ones waiting. So they lie here, and the acceptor sweeps them up a while later.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

type Table = Arc<dyn Any + Send + Sync>;

/// What workers may still use.
#[derive(Default)]
pub(crate) struct Retired(Mutex<Vec<Table>>);

impl Retired {
    pub(crate) fn keep<T: Any + Send + Sync>(&self, tables: impl IntoIterator<Item = Arc<T>>) {
        let tables = tables.into_iter().map(|table| table as Table);
        self.with(|kept| kept.extend(tables));
    }

    /// Drops what nobody uses any more, which may take milliseconds; whether something is left.
    pub(crate) fn sweep(&self) -> bool {
        loop {
            let unused = |table: &mut Table| Arc::strong_count(table) == 1;
            let unused: Vec<_> = self.with(|kept| kept.extract_if(.., unused).collect());
            if unused.is_empty() {
                return self.with(|kept| !kept.is_empty());
            }
            // Dropped without the lock. What one of them held may be the next that nobody uses.
        }
    }

    fn with<R>(&self, work: impl FnOnce(&mut Vec<Table>) -> R) -> R {
        // A list is whole after every change, whoever panicked.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_uses_stays_until_nobody_does() {
        let retired = Retired::default();
        let (used, unused) = (Arc::new(1), Arc::new(2));
        let (used_left, unused_left) = (Arc::downgrade(&used), Arc::downgrade(&unused));
        retired.keep([Arc::clone(&used), unused]);

        assert!(retired.sweep());
        assert!(used_left.upgrade().is_some());
        assert!(unused_left.upgrade().is_none());

        drop(used);
        assert!(!retired.sweep());
        assert!(used_left.upgrade().is_none());
    }

    #[test]
    fn what_only_a_retired_table_used_goes_with_it() {
        let retired = Retired::default();
        let inner = Arc::new(1);
        let left = Arc::downgrade(&inner);
        retired.keep([Arc::clone(&inner)]);
        retired.keep([Arc::new(inner)]);
        assert!(!retired.sweep());
        assert!(left.upgrade().is_none());
    }
}
