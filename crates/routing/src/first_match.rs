//! Lists of conditions in order: the first list whose conditions all hold.

use std::sync::Arc;

use crate::index::Index;
use crate::matcher::Condition;
use crate::{AttributeMatch, Attributes, ConditionTrace};

/// A condition that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchError {
    /// The place of its list.
    pub ordinal: usize,
    /// The attribute whose condition is wrong.
    pub attribute: Arc<str>,
    /// What is wrong with it.
    pub reason: String,
}

/// Lists of conditions, compiled: expressions, and the index that makes the number of lists not matter.
///
/// Routes are found with it, and everything else that says for which requests it holds.
#[derive(Debug)]
pub struct FirstMatch {
    conditions: Vec<Box<[Condition]>>,
    index: Index,
}

impl FirstMatch {
    /// Compiles `lists`. All conditions of a list have to hold; an empty list holds for every request.
    ///
    /// # Errors
    /// Every condition that cannot be compiled, in the order of the lists.
    pub fn new<'a>(
        lists: impl IntoIterator<Item = &'a [AttributeMatch]>,
    ) -> Result<Self, Vec<MatchError>> {
        let mut errors = Vec::new();
        let conditions: Vec<_> = lists
            .into_iter()
            .enumerate()
            .map(|(ordinal, list)| compile(ordinal, list, &mut errors))
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let index = Index::new(&conditions);
        Ok(Self { conditions, index })
    }

    /// The place of the first list that holds. Allocates nothing.
    #[must_use]
    pub fn select(&self, attributes: &impl Attributes) -> Option<usize> {
        self.index.select(&self.conditions, attributes)
    }

    /// What the conditions of each list made of the request, up to the first list that holds.
    /// `lists` are those that it was made of.
    #[must_use]
    pub fn explain<'a>(
        &self,
        lists: impl IntoIterator<Item = &'a [AttributeMatch]>,
        attributes: &dyn Attributes,
    ) -> Vec<Vec<ConditionTrace>> {
        let mut traces = Vec::new();
        for (list, compiled) in lists.into_iter().zip(&self.conditions) {
            let of_list = trace(list, compiled, attributes);
            let matched = of_list.iter().all(|condition| condition.held);
            traces.push(of_list);
            if matched {
                break;
            }
        }
        traces
    }
}

fn compile(
    ordinal: usize,
    list: &[AttributeMatch],
    errors: &mut Vec<MatchError>,
) -> Box<[Condition]> {
    let mut conditions = Vec::with_capacity(list.len());
    for wanted in list {
        match Condition::compile(wanted) {
            Ok(condition) => conditions.push(condition),
            Err(reason) => errors.push(MatchError {
                ordinal,
                attribute: Arc::clone(&wanted.name),
                reason,
            }),
        }
    }
    conditions.into()
}

fn trace(
    list: &[AttributeMatch],
    compiled: &[Condition],
    attributes: &dyn Attributes,
) -> Vec<ConditionTrace> {
    list.iter()
        .zip(compiled)
        .map(|(wanted, condition)| {
            let actual = attributes.get(&condition.name);
            ConditionTrace {
                attribute: Arc::clone(&condition.name),
                wanted: wanted.to_string(),
                held: condition.holds(actual),
                actual: actual.map(<[u8]>::to_vec),
            }
        })
        .collect()
}
