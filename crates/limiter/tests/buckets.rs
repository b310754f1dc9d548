//! What a bucket lets pass: as much as a simple one with a timer, and never more than it may.
#![allow(missing_docs)]

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use meltemi_limiter::{Rate, RateError, TokenBucket};
use proptest::prelude::*;

fn rate(max_tokens: u32, tokens_per_fill: u32, fill_interval: Duration) -> Rate {
    Rate::new(max_tokens, tokens_per_fill, fill_interval).unwrap()
}

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// How many of `tries` requests at one time pass.
fn passed(bucket: &TokenBucket, tries: usize, at: Duration) -> usize {
    (0..tries).filter(|_| bucket.take(at)).count()
}

#[test]
fn exactly_two_of_ten_pass_a_bucket_of_two() {
    let bucket = TokenBucket::new(rate(2, 2, Duration::from_secs(60)));
    assert_eq!(passed(&bucket, 10, Duration::ZERO), 2);
    assert_eq!(passed(&bucket, 10, ms(59_999)), 0);
    assert_eq!(passed(&bucket, 10, ms(60_000)), 2);
}

#[test]
fn a_bucket_is_filled_at_the_end_of_each_interval_and_never_above_its_size() {
    let bucket = TokenBucket::new(rate(5, 2, ms(100)));
    assert_eq!(passed(&bucket, 9, ms(50)), 5);
    assert_eq!(passed(&bucket, 9, ms(99)), 0);
    assert_eq!(passed(&bucket, 9, ms(100)), 2);
    assert_eq!(passed(&bucket, 9, ms(350)), 4);
    assert_eq!(passed(&bucket, 9, ms(3_600_000)), 5);
}

#[test]
fn a_fill_larger_than_the_bucket_fills_it() {
    let bucket = TokenBucket::new(rate(3, 1000, ms(10)));
    assert_eq!(passed(&bucket, 9, ms(0)), 3);
    assert_eq!(passed(&bucket, 9, ms(10)), 3);
}

#[test]
fn any_positive_interval_works() {
    let fast = TokenBucket::new(rate(1, 1, Duration::from_nanos(1)));
    assert_eq!(passed(&fast, 5, Duration::ZERO), 1);
    assert_eq!(passed(&fast, 5, Duration::from_nanos(1)), 1);
    let slow = TokenBucket::new(rate(1, 1, Duration::from_secs(86_400 * 365)));
    assert_eq!(passed(&slow, 5, Duration::from_secs(86_400 * 364)), 1);
    assert_eq!(passed(&slow, 5, Duration::from_secs(86_400 * 364)), 0);
    assert_eq!(passed(&slow, 5, Duration::from_secs(86_400 * 365)), 1);
}

#[test]
fn the_largest_numbers_neither_overflow_nor_lock_the_bucket_after_a_century() {
    let century = Duration::from_secs(86_400 * 36_525);
    for interval in [Duration::from_nanos(1), ms(1), Duration::from_secs(1)] {
        let bucket = TokenBucket::new(rate(u32::MAX, u32::MAX, interval));
        assert_eq!(passed(&bucket, 100, Duration::ZERO), 100);
        assert_eq!(passed(&bucket, 100, century), 100);
    }
    let bucket = TokenBucket::new(rate(2, 1, ms(1)));
    assert_eq!(passed(&bucket, 9, Duration::MAX), 2);
}

#[test]
fn a_rate_that_cannot_be_says_which_part_is_wrong() {
    let second = Duration::from_secs(1);
    assert_eq!(Rate::new(0, 1, second), Err(RateError::MaxTokens));
    assert_eq!(Rate::new(1, 0, second), Err(RateError::TokensPerFill));
    assert_eq!(
        Rate::new(1, 1, Duration::ZERO),
        Err(RateError::FillInterval)
    );
    assert_eq!(Rate::new(1, 1, Duration::MAX), Err(RateError::FillInterval));
    let text = rate(2, 1, ms(1500)).to_string();
    assert_eq!(text, "2 requests, and 1 more every 1.5s");
}

/// A bucket with a timer, as everybody would write it first.
struct Simple {
    rate: Rate,
    tokens: u64,
    filled: u128,
}

impl Simple {
    fn take(&mut self, at: Duration) -> bool {
        let ticks = at.as_nanos() / self.rate.fill_interval().as_nanos();
        while self.filled < ticks {
            self.filled += 1;
            let more = self.tokens + u64::from(self.rate.tokens_per_fill());
            self.tokens = more.min(self.rate.max_tokens().into());
        }
        let some = self.tokens > 0;
        self.tokens -= u64::from(some);
        some
    }
}

fn rates() -> impl Strategy<Value = Rate> {
    let interval = (1u64..2_000_000).prop_map(Duration::from_micros);
    (1u32..20, 1u32..30, interval).prop_map(|(max, fill, interval)| rate(max, fill, interval))
}

/// What the bucket may let pass at times from `a` to `b`, both included.
fn allowed(rate: Rate, a: Duration, b: Duration) -> u128 {
    let tick = |at: Duration| at.as_nanos() / rate.fill_interval().as_nanos();
    u128::from(rate.max_tokens()) + (tick(b) - tick(a)) * u128::from(rate.tokens_per_fill())
}

/// Every window that starts and ends with a request that passed.
fn check_windows(rate: Rate, mut times: Vec<Duration>) -> Result<(), TestCaseError> {
    times.sort_unstable();
    for (first, &a) in times.iter().enumerate() {
        for (last, &b) in times.iter().enumerate().skip(first) {
            let count = (last - first + 1) as u128;
            prop_assert!(
                count <= allowed(rate, a, b),
                "{count} from {a:?} to {b:?}, {rate}"
            );
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn it_does_what_a_bucket_with_a_timer_does(
        rate in rates(),
        gaps in prop::collection::vec(0u64..400_000, 1..200),
    ) {
        let bucket = TokenBucket::new(rate);
        let mut simple = Simple { rate, tokens: rate.max_tokens().into(), filled: 0 };
        let mut now = Duration::ZERO;
        for gap in gaps {
            now += Duration::from_micros(gap);
            prop_assert_eq!(bucket.take(now), simple.take(now), "at {:?}", now);
        }
    }

    #[test]
    fn no_window_has_more_than_the_bucket_allows_though_times_come_in_any_order(
        rate in rates(),
        times in prop::collection::vec(0u64..5_000_000, 1..150),
    ) {
        let bucket = TokenBucket::new(rate);
        let passed = times
            .into_iter()
            .map(Duration::from_micros)
            .filter(|&at| bucket.take(at))
            .collect();
        check_windows(rate, passed)?;
    }
}

#[test]
fn threads_that_hammer_one_bucket_share_it_exactly() {
    const THREADS: u64 = 4;
    for round in 0..20u64 {
        let rate = rate(7 + round as u32, 3, ms(10));
        let bucket = TokenBucket::new(rate);
        let (time, start) = (AtomicU64::new(0), Barrier::new(THREADS as usize));
        let mut passed: Vec<Duration> = Vec::new();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|number| {
                    let (bucket, time, start) = (&bucket, &time, &start);
                    scope.spawn(move || {
                        start.wait();
                        let mut mine = Vec::new();
                        for _ in 0..500 {
                            // A turn: the time is read once and grows old while others go on.
                            let now = time.fetch_add(97, Ordering::Relaxed);
                            let at = Duration::from_micros(now.saturating_sub(number * 5000));
                            for _ in 0..3 {
                                if bucket.take(at) {
                                    mine.push(at);
                                }
                            }
                        }
                        mine
                    })
                })
                .collect();
            for worker in workers {
                passed.extend(worker.join().unwrap());
            }
        });
        let end = Duration::from_micros(time.load(Ordering::Relaxed));
        let most = allowed(rate, Duration::ZERO, end);
        assert!(passed.len() as u128 <= most, "{} of {most}", passed.len());
        assert!(
            passed.len() as u128 > most / 2,
            "{} of {most}",
            passed.len()
        );
        check_windows(rate, passed).unwrap();
    }
}

#[test]
fn a_bucket_that_is_not_filled_meanwhile_gives_each_token_once() {
    let bucket = TokenBucket::new(rate(1000, 1, Duration::from_secs(3600)));
    let taken: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| passed(&bucket, 600, ms(1))))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    assert_eq!(taken, 1000);
}
