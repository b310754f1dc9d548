//! Why a request took a route and not an earlier one.

use std::fmt;
use std::sync::Arc;

use crate::matcher::Condition;
use crate::{AttributeMatch, Attributes};

/// What one condition made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionTrace {
    /// The attribute, lower case.
    pub attribute: Arc<str>,
    /// The condition in words: `method exact "sayHello"`.
    pub wanted: String,
    /// The request's value, or values; None when it has none.
    pub actual: Option<Vec<u8>>,
    /// Whether the condition held.
    pub held: bool,
}

impl ConditionTrace {
    /// What the conditions `wanted`, which are `compiled`, make of a request.
    pub(crate) fn all(
        wanted: &[AttributeMatch],
        compiled: &[Condition],
        attributes: &dyn Attributes,
    ) -> Vec<Self> {
        let one = |(wanted, condition): (&AttributeMatch, &Condition)| {
            let more = attributes.more(&condition.name);
            let actual = attributes.get(&condition.name).map(|first| {
                let all: Vec<_> = [&first].into_iter().chain(more).copied().collect();
                all.join(&b", "[..])
            });
            Self {
                attribute: Arc::clone(&condition.name),
                wanted: wanted.to_string(),
                held: condition.holds(attributes),
                actual,
            }
        };
        wanted.iter().zip(compiled).map(one).collect()
    }
}

/// A sentence: `method is "sayBye": method exact "sayHello" does not hold`.
impl fmt::Display for ConditionTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.actual {
            Some(value) => {
                write!(
                    f,
                    "{} is {:?}: ",
                    self.attribute,
                    String::from_utf8_lossy(value)
                )?;
            }
            None => write!(f, "{} is missing: ", self.attribute)?,
        }
        f.write_str(&self.wanted)?;
        f.write_str(if self.held {
            " holds"
        } else {
            " does not hold"
        })
    }
}

/// What one route made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTrace {
    /// The place of the route in its table.
    pub ordinal: usize,
    /// The route's name.
    pub name: Arc<str>,
    /// Whether all conditions held: the request takes this route.
    pub matched: bool,
    /// Each condition of the route.
    pub conditions: Vec<ConditionTrace>,
}
