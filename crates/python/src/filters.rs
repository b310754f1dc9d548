//! The filters that the engine knows, by the names under which listeners list them.

use std::collections::HashMap;
use std::sync::Arc;

use meltemi_proxy::LocalRateLimits;
use meltemi_proxy::filter::FilterFactory;

/// Every filter of an engine, with what it keeps. A new policy is added here.
pub(crate) fn filters() -> HashMap<String, Arc<dyn FilterFactory>> {
    let limits: Arc<dyn FilterFactory> = Arc::new(LocalRateLimits::default());
    HashMap::from([(LocalRateLimits::NAME.to_owned(), limits)])
}
