//! A mesh in memory: listeners, routes and clusters, as an xDS stream would bring them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_proxyless::{Call, Explanation, Refused, Router, Target};
use meltemi_resources::{
    ClientListener, ClientSnapshot, Cluster, Endpoint, OutlierDetection, RouteSource, RouteTable,
    VirtualHosts,
};
use meltemi_routing::{
    AnyMatch, AttributeMatch, HttpAction, Matcher, Mutations, Request, RetryOn, RetryPolicy, Route,
    VirtualHost, WeightedClusters,
};

pub(crate) const REVIEWS: &str = "reviews:9080";
pub(crate) const PATH: &str = "/reviews.ReviewsService/ReviewProduct";

pub(crate) type Headers<'h> = &'h [(&'h str, &'h str)];

pub(crate) fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

pub(crate) fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 3, 4], number))
}

pub(crate) fn endpoints(ports: impl IntoIterator<Item = u16>) -> Arc<[Endpoint]> {
    ports
        .into_iter()
        .map(|port| Endpoint::new(address(port)))
        .collect()
}

/// A cluster with endpoints at these ports.
pub(crate) fn cluster(name: &str, ports: impl IntoIterator<Item = u16>) -> Cluster {
    Cluster::new(name, endpoints(ports))
}

/// Ejects an endpoint after so many failures in a row, for this long, if it is one of two.
pub(crate) fn outliers(failures: u32, base_ejection_time: Duration) -> OutlierDetection {
    let mut settings = OutlierDetection::default();
    settings.consecutive_5xx.threshold = failures;
    settings.base_ejection_time = base_ejection_time;
    settings.max_ejection_time_jitter = Duration::ZERO;
    settings.max_ejection_percent = 50;
    settings
}

/// A route of all calls to one cluster.
pub(crate) fn to(cluster: &str) -> Route {
    weighted([(cluster, 1)])
}

pub(crate) fn weighted<'c>(clusters: impl IntoIterator<Item = (&'c str, u32)>) -> Route {
    let clusters = clusters
        .into_iter()
        .map(|(name, weight)| (name.into(), weight));
    Route {
        name: "the-route".into(),
        matches: Vec::new(),
        clusters: WeightedClusters::new(clusters).unwrap(),
        hash_policy: Vec::new(),
        request_mutation: Vec::new(),
        response_mutation: Vec::new(),
        http: None,
    }
}

/// The same route, called `name`, only for calls with this header.
pub(crate) fn only(name: &str, header: &str, value: &str, route: Route) -> Route {
    Route {
        name: name.into(),
        matches: vec![AttributeMatch {
            name: header.into(),
            matcher: Matcher::Exact(value.as_bytes().into()),
            invert: false,
            missing_is_empty: false,
        }],
        ..route
    }
}

/// The same route with something to do for calls.
pub(crate) fn with(route: Route, change: impl FnOnce(&mut HttpAction)) -> Route {
    let mut http = route.http.clone().unwrap_or_default();
    change(&mut http);
    Route {
        http: Some(http),
        ..route
    }
}

pub(crate) fn retry(on: &str, num_retries: u32) -> RetryPolicy {
    RetryPolicy {
        on: RetryOn::parse(on),
        num_retries,
        per_try_timeout: None,
        statuses: Box::default(),
        reply_headers: AnyMatch::default(),
        request_headers: AnyMatch::default(),
        base_interval: ms(25),
        max_interval: ms(250),
        previous_hosts: true,
        host_selection_max_attempts: 5,
    }
}

/// The same route, tried again by `policy`.
pub(crate) fn retried(route: Route, policy: RetryPolicy) -> Route {
    with(route, |http| http.retry = Some(Arc::new(policy)))
}

pub(crate) fn virtual_host(name: &str, domains: &[&str], routes: Vec<Route>) -> Arc<VirtualHost> {
    Arc::new(VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|domain| Arc::from(*domain)).collect(),
        table: RouteTable::new(name, routes).unwrap(),
        mutations: Mutations::default(),
        most_specific_wins: false,
        retry: None,
        notes: Box::default(),
    })
}

/// What one client knows.
#[derive(Clone, Default)]
pub(crate) struct Mesh(pub(crate) ClientSnapshot);

impl Mesh {
    /// `reviews:9080` has these routes, in a route configuration `reviews`.
    pub(crate) fn of(routes: Vec<Route>, clusters: impl IntoIterator<Item = Cluster>) -> Self {
        let mut mesh = Self::default();
        mesh.listener(REVIEWS, Some(RouteSource::Rds("reviews".into())), None);
        mesh.hosts("reviews", vec![virtual_host("reviews", &["*"], routes)]);
        clusters.into_iter().for_each(|one| mesh.cluster(one));
        mesh
    }

    pub(crate) fn listener(
        &mut self,
        name: &str,
        http: Option<RouteSource<VirtualHosts>>,
        thrift: Option<RouteTable>,
    ) {
        let listener = ClientListener {
            name: name.into(),
            http,
            thrift: thrift.map(Arc::new),
            tcp: None,
            notes: Box::default(),
        };
        self.0.listeners.insert(name.into(), Arc::new(listener));
    }

    pub(crate) fn hosts(&mut self, name: &str, hosts: Vec<Arc<VirtualHost>>) {
        let hosts = VirtualHosts::new(name, hosts, false).unwrap();
        self.0.routes.insert(name.into(), Arc::new(hosts));
    }

    pub(crate) fn cluster(&mut self, cluster: Cluster) {
        let name = Arc::clone(&cluster.name);
        self.0.clusters.insert(name, Arc::new(cluster));
    }

    pub(crate) fn router(&self) -> Router<()> {
        let router = Router::new(1);
        router.publish(Arc::new(self.0.clone()));
        router
    }
}

pub(crate) fn target(listener: &str) -> Target<'_> {
    Target {
        listener,
        authority: listener,
        thrift: false,
        caller: None,
    }
}

/// Calls of `router`, as short as tests want them.
pub(crate) trait Calls {
    fn to_reviews(&self, headers: Headers<'_>) -> Result<Call<()>, Refused>;
    fn at(&self, now: Duration) -> Call<()>;
    fn explained(&self, headers: Headers<'_>) -> Explanation;
    /// Makes `count` calls that succeed; their endpoints' ports.
    fn ports(&self, count: usize) -> Vec<u16>;
}

impl Calls for Router<()> {
    fn to_reviews(&self, headers: Headers<'_>) -> Result<Call<()>, Refused> {
        let request = Request::new("POST", "http", REVIEWS, PATH, headers);
        self.call(&target(REVIEWS), &request, Duration::ZERO)
    }

    fn at(&self, now: Duration) -> Call<()> {
        let none: Headers<'_> = &[];
        let request = Request::new("POST", "http", REVIEWS, PATH, none);
        self.call(&target(REVIEWS), &request, now).unwrap()
    }

    fn explained(&self, headers: Headers<'_>) -> Explanation {
        let request = Request::new("POST", "http", REVIEWS, PATH, headers);
        self.explain(&target(REVIEWS), &request)
    }

    fn ports(&self, count: usize) -> Vec<u16> {
        let one = |_| {
            let mut call = self.to_reviews(&[]).unwrap();
            call.succeeded(None, Duration::ZERO);
            call.place().address.port()
        };
        (0..count).map(one).collect()
    }
}
