//! Lists of conditions in order: the first list whose conditions all hold.

use std::sync::Arc;

use crate::index::{Compiled, Index};
use crate::matcher::{Condition, Wrong, compile};
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
/// For everything but routes that says for which requests it holds.
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
        let mut conditions = Vec::new();
        for (ordinal, list) in lists.into_iter().enumerate() {
            match compile(list) {
                Ok(compiled) => conditions.push(compiled),
                Err(wrong) => errors.extend(MatchError::all(ordinal, wrong)),
            }
        }
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
            let of_list = ConditionTrace::all(list, compiled, attributes);
            let matched = of_list.iter().all(|condition| condition.held);
            traces.push(of_list);
            if matched {
                break;
            }
        }
        traces
    }
}

impl Compiled for Box<[Condition]> {
    fn conditions(&self) -> &[Condition] {
        self
    }
}

impl MatchError {
    fn all(ordinal: usize, wrong: Vec<Wrong>) -> impl Iterator<Item = Self> {
        wrong.into_iter().map(move |(attribute, reason)| Self {
            ordinal,
            attribute,
            reason,
        })
    }
}
