//! A bucket as one number that only grows.
//!
//! Let `given` be all that a bucket was ever given: `max_tokens` at its start, and one fill at the end
//! of each whole interval since. `used` is what was taken of it, or was lost because the bucket was
//! full. A request takes a token by moving `used` one on from `max(used, given - max_tokens)`, as long
//! as that stays within `given`.
//!
//! So no fill has to happen anywhere: no timer, and nothing to write while nothing is taken. And the
//! bound holds for any number of threads, each with a time of its own that may be a little old: each
//! token is another value of `used`, those taken at times from `a` to `b` lie between `given(a) -
//! max_tokens` and `given(b)`, and that is what the bucket allows from `a` to `b`: `max_tokens` and the
//! fills in between.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much a bucket holds, and how fast it is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    max_tokens: u32,
    tokens_per_fill: u32,
    fill_interval: Duration,
}

/// Why a rate cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateError {
    /// `max_tokens` is 0: nothing could ever pass.
    MaxTokens,
    /// `tokens_per_fill` is 0: the bucket would never be filled.
    TokensPerFill,
    /// `fill_interval` is 0, or longer than 292 years.
    FillInterval,
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxTokens => "has to be above 0",
            Self::TokensPerFill => "has to be above 0; leave it out for 1",
            Self::FillInterval => "has to be above 0 and at most 292 years",
        })
    }
}

impl std::error::Error for RateError {}

impl Rate {
    /// A bucket of `max_tokens` that gets `tokens_per_fill` at the end of each `fill_interval`.
    ///
    /// # Errors
    /// The first of the three that is out of its range.
    pub fn new(
        max_tokens: u32,
        tokens_per_fill: u32,
        fill_interval: Duration,
    ) -> Result<Self, RateError> {
        if max_tokens == 0 {
            return Err(RateError::MaxTokens);
        }
        if tokens_per_fill == 0 {
            return Err(RateError::TokensPerFill);
        }
        if fill_interval.is_zero() || i64::try_from(fill_interval.as_nanos()).is_err() {
            return Err(RateError::FillInterval);
        }
        Ok(Self {
            max_tokens,
            tokens_per_fill,
            fill_interval,
        })
    }

    /// What the bucket holds at most.
    #[must_use]
    pub const fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    /// What it gets at the end of each interval.
    #[must_use]
    pub const fn tokens_per_fill(&self) -> u32 {
        self.tokens_per_fill
    }

    /// The time between two fills.
    #[must_use]
    pub const fn fill_interval(&self) -> Duration {
        self.fill_interval
    }
}

/// `2 requests, and 1 more every 30s`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            max_tokens,
            tokens_per_fill,
            fill_interval,
        } = self;
        let plural = if *max_tokens == 1 { "" } else { "s" };
        write!(
            f,
            "{max_tokens} request{plural}, and {tokens_per_fill} more every {fill_interval:?}"
        )
    }
}

/// Tokens that requests take, from any thread. It starts full.
#[derive(Debug)]
pub struct TokenBucket {
    max_tokens: u64,
    fill: u64,
    interval_ns: u64,
    used: AtomicU64,
}

impl TokenBucket {
    /// A full bucket, whose time starts now.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let interval_ns = u64::try_from(rate.fill_interval.as_nanos()).unwrap_or(u64::MAX);
        let most = u64::from(rate.tokens_per_fill.min(rate.max_tokens));
        Self {
            max_tokens: rate.max_tokens.into(),
            // More than a token a nanosecond nobody can take, and `given` fits its 64 bits this way
            // for as long as the time in nanoseconds does: 584 years.
            fill: most.min(interval_ns),
            interval_ns,
            used: AtomicU64::new(0),
        }
    }

    /// Takes a token for a request at the time `since_start` of the bucket; false when there is none.
    ///
    /// No lock and no allocation; a refusal writes nothing. Times may come in any order: of each
    /// request the bound holds at its own.
    #[must_use]
    #[inline]
    pub fn take(&self, since_start: Duration) -> bool {
        let given = self.given(since_start);
        let lost = given - self.max_tokens;
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let from = used.max(lost);
            if from >= given {
                return false;
            }
            match self.used.compare_exchange_weak(
                used,
                from + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => used = now,
            }
        }
    }

    /// All that the bucket was ever given.
    #[inline]
    fn given(&self, since_start: Duration) -> u64 {
        let ns = since_start
            .as_secs()
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::from(since_start.subsec_nanos()));
        // At most `ns`, since a fill is at most a token a nanosecond.
        let filled = ns / self.interval_ns * self.fill;
        filled.saturating_add(self.max_tokens)
    }
}
