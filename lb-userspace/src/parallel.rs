//! Work that several CPUs share.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;

/// How many threads work at once, at most: more have other things to wait for.
const MAX_THREADS: usize = 4;

/// Does the same with each of `all`, on as many CPUs as there are, and gives the outcomes in the order of `all`: they are the
/// same however many CPUs there are.
pub(crate) fn map<T: Send, R: Send>(all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS).min(all.len());
    if threads < 2 {
        return all.into_iter().map(work).collect();
    }
    let rest = Mutex::new(all.into_iter().enumerate());
    // Whoever is done takes the next one: a CPU that others use too does less.
    let take = || rest.lock().unwrap_or_else(PoisonError::into_inner).next();
    let share = || -> Vec<(usize, R)> { std::iter::from_fn(|| take().map(|(at, one)| (at, work(one)))).collect() };
    let mut done = std::thread::scope(|scope| {
        // Where there is no room for another thread this one does all of it.
        let begin = |_| std::thread::Builder::new().spawn_scoped(scope, share).ok();
        let others: Vec<_> = (1..threads).filter_map(begin).collect();
        let mut done = share();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_in_the_order_of_what_they_came_from() {
        for count in [0, 1, 2, 1000] {
            let all: Vec<u64> = (0..count).collect();
            assert_eq!(map(all.clone(), |one| one * 2), all.iter().map(|one| one * 2).collect::<Vec<_>>());
        }
    }
}
