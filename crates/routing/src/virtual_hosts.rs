//! Which virtual host serves an authority, in Envoy's order.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::hash::FastMap;
use crate::{Mutation, Mutations, RetryPolicy, Route, RouteTable};

/// Routes of some authorities, and what holds for all of them.
#[derive(Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// The virtual host's name.
    pub name: Arc<str>,
    /// The authorities that it serves: exact, `*.suffix`, `prefix.*` or `*`.
    pub domains: Box<[Arc<str>]>,
    /// Its routes.
    pub table: RouteTable,
    /// What the virtual host changes, and behind it what the route configuration does.
    pub mutations: Mutations,
    /// What the route changes comes last, and so wins (`most_specific_header_mutations_wins`).
    pub most_specific_wins: bool,
    /// When calls of routes that do not say it themselves are tried again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Fields of the virtual host that are valid and have no effect here.
    pub notes: Box<[Arc<str>]>,
}

impl VirtualHost {
    /// What a call by `route` to its cluster at `cluster` changes, one after the other, in Envoy's
    /// order: the cluster's, the route's, the virtual host's, the configuration's; or, where the most
    /// specific wins, the cluster's all the same, the configuration's, the virtual host's, the route's.
    pub fn request_changes<'a>(
        &'a self,
        route: &'a Route,
        cluster: usize,
    ) -> impl Iterator<Item = &'a Mutation> {
        let of_cluster = of_cluster(route, cluster).map_or(&[][..], |all| &all.request);
        let own = [of_cluster, &route.request_mutation];
        self.ordered(own, &self.mutations.request)
    }

    /// The same for the reply.
    pub fn response_changes<'a>(
        &'a self,
        route: &'a Route,
        cluster: usize,
    ) -> impl Iterator<Item = &'a Mutation> {
        let of_cluster = of_cluster(route, cluster).map_or(&[][..], |all| &all.response);
        let own = [of_cluster, &route.response_mutation];
        self.ordered(own, &self.mutations.response)
    }

    fn ordered<'a>(
        &self,
        [of_cluster, of_route]: [&'a [Mutation]; 2],
        of_host: &'a [Mutation],
    ) -> impl Iterator<Item = &'a Mutation> {
        let levels = if self.most_specific_wins {
            [of_cluster, of_host, of_route]
        } else {
            [of_cluster, of_route, of_host]
        };
        levels.into_iter().flatten()
    }

    /// When a call by `route` is tried again.
    #[must_use]
    pub fn retry_of<'a>(&'a self, route: &'a Route) -> Option<&'a Arc<RetryPolicy>> {
        let own = route.http.as_ref().and_then(|http| http.retry.as_ref());
        own.or(self.retry.as_ref())
    }
}

fn of_cluster(route: &Route, cluster: usize) -> Option<&Mutations> {
    route.http.as_ref()?.of_cluster.get(cluster)
}

/// A domain that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainError {
    /// The place of the virtual host.
    pub host: usize,
    /// The place of the domain in it.
    pub place: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// The virtual hosts of a route configuration.
#[derive(Debug)]
pub struct VirtualHosts {
    name: Arc<str>,
    hosts: Vec<Arc<VirtualHost>>,
    ignore_port: bool,
    exact: Places,
    /// By how long they are, the longest first.
    suffixes: Vec<(usize, Places)>,
    prefixes: Vec<(usize, Places)>,
    default: Option<u32>,
}

/// The place of a virtual host by a domain, or what is left of it without its `*`; lower case.
type Places = FastMap<Box<str>, u32>;

impl VirtualHosts {
    /// Arranges `hosts` for lookup. `ignore_port`: the port of an authority does not count.
    ///
    /// # Errors
    /// Every domain that stands there twice, compared without case, as in Envoy.
    pub fn new(
        name: &str,
        hosts: Vec<Arc<VirtualHost>>,
        ignore_port: bool,
    ) -> Result<Self, Vec<DomainError>> {
        let mut all = Self {
            name: name.into(),
            ignore_port,
            exact: Places::default(),
            suffixes: Vec::new(),
            prefixes: Vec::new(),
            default: None,
            hosts: Vec::new(),
        };
        let mut errors = Vec::new();
        for (at, host) in hosts.iter().enumerate() {
            for (place, domain) in host.domains.iter().enumerate() {
                if let Some(other) = all.insert(domain, at as u32) {
                    let reason = format!(
                        "{domain:?} is a domain of virtual host {:?} already",
                        hosts[other as usize].name
                    );
                    errors.push(DomainError {
                        host: at,
                        place,
                        reason,
                    });
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let longest = |all: &mut Vec<(usize, Places)>| {
            all.sort_unstable_by_key(|(len, _)| std::cmp::Reverse(*len));
        };
        longest(&mut all.suffixes);
        longest(&mut all.prefixes);
        all.hosts = hosts;
        Ok(all)
    }

    /// Notes that `domain` belongs to the virtual host at `host`; the other one where it is taken.
    fn insert(&mut self, domain: &str, host: u32) -> Option<u32> {
        let domain = domain.to_ascii_lowercase();
        if domain == "*" {
            return match self.default {
                Some(other) => Some(other),
                None => {
                    self.default = Some(host);
                    None
                }
            };
        }
        let (places, rest) = if let Some(suffix) = domain.strip_prefix('*') {
            (of_length(&mut self.suffixes, suffix.len()), suffix)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            (of_length(&mut self.prefixes, prefix.len()), prefix)
        } else {
            (&mut self.exact, &*domain)
        };
        if let Some(other) = places.get(rest) {
            return Some(*other);
        }
        places.insert(rest.into(), host);
        None
    }

    /// The name of the route configuration.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The virtual hosts, in their order.
    #[must_use]
    pub fn hosts(&self) -> &[Arc<VirtualHost>] {
        &self.hosts
    }

    /// The virtual host that serves `authority`: by the exact domain, else by the longest suffix, else
    /// by the longest prefix, else the one of `*`.
    #[must_use]
    pub fn select(&self, authority: &str) -> Option<&Arc<VirtualHost>> {
        let place = self.place(authority)?;
        self.hosts.get(place as usize)
    }

    fn place(&self, authority: &str) -> Option<u32> {
        let authority = if self.ignore_port {
            without_port(authority)
        } else {
            authority
        };
        let host = if authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(authority.to_ascii_lowercase())
        } else {
            Cow::Borrowed(authority)
        };
        let host = &*host;
        if let Some(place) = self.exact.get(host) {
            return Some(*place);
        }
        let suffix = |len: usize| host.get(host.len() - len..);
        let prefix = |len: usize| host.get(..len);
        let by_wildcard = longest(&self.suffixes, host.len(), suffix)
            .or_else(|| longest(&self.prefixes, host.len(), prefix));
        by_wildcard.or(self.default)
    }
}

/// Of several wildcards the longest. A `*` stands for one character at least.
fn longest<'h>(
    all: &[(usize, Places)],
    host_len: usize,
    part: impl Fn(usize) -> Option<&'h str>,
) -> Option<u32> {
    let mut shorter = all.iter().filter(|(len, _)| *len < host_len);
    shorter.find_map(|(len, places)| places.get(part(*len)?).copied())
}

fn of_length(all: &mut Vec<(usize, Places)>, len: usize) -> &mut Places {
    let place = match all.iter().position(|(other, _)| *other == len) {
        Some(place) => place,
        None => {
            all.push((len, Places::default()));
            all.len() - 1
        }
    };
    &mut all[place].1
}

/// `[::1]:80` and `a:80` without the port, as Envoy finds it: what is behind the last colon that is not
/// in brackets.
fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if authority.rfind(']').is_none_or(|end| end < colon) => &authority[..colon],
        _ => authority,
    }
}

/// Configurations are the same when their virtual hosts are.
impl PartialEq for VirtualHosts {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.ignore_port == other.ignore_port
            && self.hosts == other.hosts
    }
}

impl Eq for VirtualHosts {}

/// `reviews.default: "reviews", "reviews:9080"`.
impl fmt::Display for VirtualHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        for (place, domain) in self.domains.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma} {domain:?}")?;
        }
        Ok(())
    }
}
