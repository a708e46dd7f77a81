//! Independent passes on the threads of the CPU.

use burn::tensor::Device;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::OnceLock;

/// The results of `work` on every item, in their order.
///
/// On the CPU each thread does whole items, in a pool of its own of one thread: an item's element-wise operations, which one
/// thread does alone, run beside those of the others. On a GPU, for a single item, and in a pool of one thread, the calling thread
/// does all.
pub(crate) fn side_by_side<T: Sync, R: Send>(device: &Device, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if *device != Device::flex() || items.len() < 2 || rayon::current_num_threads() == 1 {
        return items.iter().map(work).collect();
    }
    static POOLS: OnceLock<Vec<ThreadPool>> = OnceLock::new();
    let pool = |index| {
        let named = ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| format!("pass-{index}"));
        named.build().expect("a thread can be started")
    };
    let pools = POOLS.get_or_init(|| (0..rayon::current_num_threads()).map(pool).collect());
    let work = &work;
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        // item i goes to thread i mod n, so that what a thread does depends on nothing but the items
        let mut places: Vec<Vec<_>> = pools.iter().map(|_| Vec::new()).collect();
        for (i, place) in items.iter().zip(&mut results).enumerate() {
            places[i % pools.len()].push(place);
        }
        for (pool, places) in pools.iter().zip(places) {
            let run = move || places.into_iter().for_each(|(item, result)| *result = Some(work(item)));
            threads.push(scope.spawn(move || pool.install(run)));
        }
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    results.into_iter().map(|result| result.expect("every item was done")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        for count in [0, 1, 2, 7] {
            let items: Vec<usize> = (0..count).collect();
            let found = side_by_side(&Device::flex(), &items, |item| item * item);
            assert_eq!(found, items.iter().map(|item| item * item).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "item 3")]
    fn a_panic_comes_through() {
        side_by_side(&Device::flex(), &[1, 2, 3], |item| assert!(*item != 3, "item {item}"));
    }
}
