//! A listener as one worker sees it: its tables, and what the worker keeps for them.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use meltemi_codec::{Direction as Way, Format, Frame, Limits, Protocol};
use meltemi_resources::{Direction, Listener, MarkRules, MetaProtocol, NetworkFilter};
use meltemi_routing::{Attributes, WeightedChoice};

use crate::filter::Filter;
use crate::tables::{CompiledFilters, CompiledTable, Service};

/// The filters of a listener on one worker, which live through changes of its routes.
#[derive(Clone)]
pub(crate) struct Filters {
    pub(crate) compiled: Arc<CompiledFilters>,
    made: Rc<RefCell<Vec<Box<dyn Filter>>>>,
}

impl Filters {
    pub(crate) fn new(compiled: &Arc<CompiledFilters>) -> Self {
        let made = compiled.configs.iter().map(|config| config.filter());
        Self {
            compiled: Arc::clone(compiled),
            made: Rc::new(RefCell::new(made.collect())),
        }
    }

    #[inline]
    pub(crate) fn borrow_mut(&self) -> RefMut<'_, Vec<Box<dyn Filter>>> {
        self.made.borrow_mut()
    }

    /// What they counted, by name.
    pub(crate) fn stats(&self, visit: &mut dyn FnMut(&str, u64)) {
        for filter in self.made.borrow().iter() {
            filter.stats(visit);
        }
    }

    /// Whether no listener and no request uses them any more.
    pub(crate) fn are_left(&self) -> bool {
        Rc::strong_count(&self.made) == 1
    }
}

pub(crate) struct View {
    pub(crate) number: u32,
    pub(crate) listener: Arc<Listener>,
    pub(crate) service: Service,
    /// By route with several clusters.
    choices: RefCell<Vec<WeightedChoice>>,
    pub(crate) filters: Filters,
    pub(crate) has_filters: bool,
    pub(crate) any_order: bool,
    /// Whose marks of lanes count; None: everybody's.
    pub(crate) marks: Option<Arc<MarkRules>>,
}

impl View {
    pub(crate) fn new(
        number: u32,
        listener: &Arc<Listener>,
        service: &Service,
        filters: Filters,
        seed: u64,
        before: Option<&Self>,
    ) -> Self {
        let has_filters = !filters.compiled.configs.is_empty();
        let (any_order, marks) = match &listener.filter {
            NetworkFilter::MetaProtocol(filter) => {
                (filter.replies_in_any_order, filter.marks.clone())
            }
            NetworkFilter::TcpProxy { .. } => (false, None),
        };
        let codec = match service {
            Service::Requests { protocol, .. } => protocol.replies_in_any_order(),
            Service::Tcp { .. } => false,
        };
        Self {
            number,
            listener: Arc::clone(listener),
            service: service.clone(),
            choices: RefCell::new(choices(service, seed, before)),
            has_filters,
            filters,
            any_order: any_order || codec,
            marks,
        }
    }

    pub(crate) fn direction(&self) -> Direction {
        self.listener.direction
    }

    pub(crate) fn filter(&self) -> Option<&MetaProtocol> {
        match &self.listener.filter {
            NetworkFilter::MetaProtocol(filter) => Some(filter),
            NetworkFilter::TcpProxy { .. } => None,
        }
    }

    #[inline]
    pub(crate) fn protocol(&self) -> Option<&Arc<dyn Protocol>> {
        match &self.service {
            Service::Requests { protocol, .. } => Some(protocol),
            Service::Tcp { .. } => None,
        }
    }

    #[inline]
    pub(crate) fn table(&self) -> Option<&Arc<CompiledTable>> {
        match &self.service {
            Service::Requests { table, .. } => table.as_ref(),
            Service::Tcp { .. } => None,
        }
    }

    /// The next cluster of a route, by number.
    #[inline]
    pub(crate) fn choose(&self, table: &CompiledTable, route: usize) -> u32 {
        let at = match self
            .choices
            .borrow_mut()
            .get_mut(table.choice[route] as usize)
        {
            Some(choice) => choice.pick(&table.table.routes()[route].clusters),
            None => 0,
        };
        table.clusters(route)[at]
    }

    pub(crate) fn same(&self, listener: &Arc<Listener>, service: &Service) -> bool {
        if !Arc::ptr_eq(&self.listener, listener) {
            return false;
        }
        match (&self.service, service) {
            (Service::Tcp { cluster: a }, Service::Tcp { cluster: b }) => a == b,
            (Service::Requests { table: a, .. }, Service::Requests { table: b, .. }) => {
                match (a, b) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                    (None, None) => true,
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// A decoder of requests.
    pub(crate) fn decoder(&self, limits: Limits) -> Option<Box<dyn meltemi_codec::Decoder>> {
        Some(
            self.protocol()?
                .decoder(Way::Request, Format::DETECT, limits),
        )
    }
}

/// The choices of the routes that have several clusters. A route that kept its name and place goes on
/// where its weights were: tables that are swapped many times a second must not start each time with
/// the same cluster.
fn choices(service: &Service, seed: u64, before: Option<&View>) -> Vec<WeightedChoice> {
    let Service::Requests {
        table: Some(table), ..
    } = service
    else {
        return Vec::new();
    };
    let old = before.map(|view| view.choices.borrow());
    let old_table = before.and_then(View::table);
    let choice = |&route: &u32| {
        let name = &table.table.routes()[route as usize].name;
        let known = old_table
            .filter(|old| {
                let route = old.table.routes().get(route as usize);
                route.is_some_and(|route| route.name == *name)
            })
            .and_then(|old_table| {
                let at = *old_table.choice.get(route as usize)?;
                old.as_ref()?.get(at as usize).copied()
            });
        known.unwrap_or_else(|| {
            WeightedChoice::new(seed ^ u64::from(route).wrapping_mul(0x2545_F491_4F6C_DD1D))
        })
    };
    table.split.iter().map(choice).collect()
}

/// What routing sees of a request.
pub(crate) struct Head<'a> {
    pub(crate) protocol: &'a dyn Protocol,
    pub(crate) frame: &'a Frame,
    pub(crate) bytes: &'a [u8],
}

impl Attributes for Head<'_> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.protocol.attribute(self.frame, self.bytes, name)
    }
}
