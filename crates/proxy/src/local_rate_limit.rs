//! The local rate limit: requests take tokens from buckets that all workers share.
//!
//! A bucket is known by its listener's `stat_prefix`, its conditions and its rate, so it keeps what is
//! left in it through every change of something else, and a bucket of another rate starts full. What
//! is counted is each worker's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use meltemi_codec::ErrorKind;
use meltemi_limiter::{Rate, TokenBucket};
use meltemi_resources::LocalRateLimit;
use meltemi_routing::AttributeMatch;

use crate::filter::{Configuration, Filter, FilterConfig, FilterFactory, RequestView, Verdict};

/// Makes the local rate limits of all listeners, and knows the buckets in force.
#[derive(Default)]
pub struct LocalRateLimits {
    known: Arc<Known>,
}

/// The buckets of limits that are in force; workers may hold others for a moment.
type Known = Mutex<HashMap<Key, Weak<Claim>>>;

/// That a listener's limit has this bucket.
struct Claim(Arc<Bucket>);

/// What makes a bucket the same one after a change.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    listener: String,
    limit: Arc<str>,
    /// None: the default bucket.
    matches: Option<Vec<AttributeMatch>>,
    rate: Rate,
}

/// A line of the cache of its own: workers that use another bucket are not disturbed.
#[repr(align(64))]
struct Bucket {
    tokens: TokenBucket,
    /// When it was made, as time since the engine was started.
    start: Duration,
}

/// A limit, compiled.
struct Limit {
    rules: LocalRateLimit,
    /// Of the conditions, in order.
    guards: Vec<Guard>,
    default: Option<Guard>,
    known: Arc<Known>,
    /// Names of what is counted.
    ok: String,
    rate_limited: String,
}

struct Guard {
    key: Key,
    bucket: Arc<Bucket>,
    /// What the caller is told when it is empty.
    refusal: Arc<str>,
}

impl LocalRateLimits {
    /// The filter's name in a listener.
    pub const NAME: &str = LocalRateLimit::FILTER;

    fn guard(
        &self,
        from: &Configuration<'_>,
        limit: &Arc<str>,
        matches: Option<&[AttributeMatch]>,
        rate: Rate,
    ) -> Guard {
        let whose = match matches {
            None | Some([]) => String::new(),
            Some(several) => {
                let texts: Vec<_> = several.iter().map(ToString::to_string).collect();
                format!(" where {}", texts.join(" and "))
            }
        };
        let key = Key {
            listener: from.stat_prefix.to_owned(),
            limit: Arc::clone(limit),
            matches: matches.map(<[_]>::to_vec),
            rate,
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = match known.get(&key).and_then(Weak::upgrade) {
            Some(claim) => Arc::clone(&claim.0),
            None => Arc::new(Bucket {
                tokens: TokenBucket::new(rate),
                start: from.now,
            }),
        };
        Guard {
            key,
            bucket,
            refusal: format!("local rate limit of '{limit}' reached: {rate}{whose}").into(),
        }
    }
}

impl FilterFactory for LocalRateLimits {
    fn compile(&self, from: &Configuration<'_>) -> Result<Arc<dyn FilterConfig>, String> {
        let rules = LocalRateLimit::new(from.type_url, from.value)?;
        let name = match &**rules.stat_prefix() {
            "" => from.stat_prefix.into(),
            _ => Arc::clone(rules.stat_prefix()),
        };
        let conditions = rules.conditions().iter();
        let guards = conditions
            .map(|one| self.guard(from, &name, Some(&one.matches), one.rate))
            .collect();
        let default = rules
            .default_rate()
            .map(|rate| self.guard(from, &name, None, rate));
        Ok(Arc::new(Arc::new(Limit {
            rules,
            guards,
            default,
            known: Arc::clone(&self.known),
            ok: format!("meta_protocol.{name}.local_rate_limit.ok"),
            rate_limited: format!("meta_protocol.{name}.local_rate_limit.rate_limited"),
        })))
    }
}

impl FilterConfig for Arc<Limit> {
    fn filter(&self) -> Box<dyn Filter> {
        let own = |guard: &Guard| Arc::from(&*guard.refusal);
        Box::new(Limiter {
            limit: Self::clone(self),
            refusals: self.guards.iter().map(own).collect(),
            default_refusal: self.default.as_ref().map(own),
            ok: 0,
            rate_limited: 0,
        })
    }

    fn in_force(&self) -> Option<Box<dyn Send>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, claim| claim.strong_count() > 0);
        let mut claims = Vec::new();
        for guard in self.guards.iter().chain(&self.default) {
            let claim = known.get(&guard.key).and_then(Weak::upgrade);
            let claim = claim.unwrap_or_else(|| {
                let made = Arc::new(Claim(Arc::clone(&guard.bucket)));
                known.insert(guard.key.clone(), Arc::downgrade(&made));
                made
            });
            claims.push(claim);
        }
        Some(Box::new(claims))
    }
}

/// The limit on one worker.
struct Limiter {
    limit: Arc<Limit>,
    /// Copies of the guards': a count of references that workers share would slow them down.
    refusals: Vec<Arc<str>>,
    default_refusal: Option<Arc<str>>,
    ok: u64,
    rate_limited: u64,
}

impl Filter for Limiter {
    fn request(&mut self, request: &mut RequestView<'_>) -> Verdict {
        let (guard, refusal) = match self.limit.rules.select(&*request) {
            Some(at) => (self.limit.guards.get(at), self.refusals.get(at)),
            None => (self.limit.default.as_ref(), self.default_refusal.as_ref()),
        };
        let (Some(guard), Some(refusal)) = (guard, refusal) else {
            self.ok += 1;
            return Verdict::Continue;
        };
        let age = request.now().saturating_sub(guard.bucket.start);
        if guard.bucket.tokens.take(age) {
            self.ok += 1;
            return Verdict::Continue;
        }
        self.rate_limited += 1;
        Verdict::Answer {
            kind: ErrorKind::RateLimited,
            message: Arc::clone(refusal),
        }
    }

    fn stats(&self, visit: &mut dyn FnMut(&str, u64)) {
        visit(&self.limit.ok, self.ok);
        visit(&self.limit.rate_limited, self.rate_limited);
    }
}
