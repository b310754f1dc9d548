//! Local rate limits, in a listener and alone.

use std::time::Duration;

use prost_types::Duration as Time;

use super::listeners::{list, meta_protocol_with, number, object, text};
use super::*;
use crate::messages::aeraki::meta_protocol_proxy::config::route::v1alpha::RouteMatch;
use crate::messages::aeraki::meta_protocol_proxy::filters::local_ratelimit::v1alpha as aeraki;
use crate::messages::envoy::r#type::matcher::v3::RegexMatcher;
use crate::messages::envoy::r#type::v3::TokenBucket;
use crate::{LocalRateLimit, NetworkFilter};
use meltemi_routing::Attributes;
use route::header_matcher::HeaderMatchSpecifier as Wanted;

const URL: &str =
    "type.googleapis.com/aeraki.meta_protocol_proxy.filters.local_ratelimit.v1alpha.LocalRateLimit";

struct Method(&'static str);

impl Attributes for Method {
    fn get(&self, name: &str) -> Option<&[u8]> {
        (name == "method").then_some(self.0.as_bytes())
    }
}

fn bucket(max_tokens: u32) -> TokenBucket {
    TokenBucket {
        max_tokens,
        tokens_per_fill: None,
        fill_interval: Some(Time {
            seconds: 0,
            nanos: 1_500,
        }),
    }
}

fn condition(wanted: Wanted, of: Option<TokenBucket>) -> aeraki::LocalRateLimitCondition {
    let header = route::HeaderMatcher {
        name: "Method".to_owned(),
        header_match_specifier: Some(wanted),
        ..route::HeaderMatcher::default()
    };
    aeraki::LocalRateLimitCondition {
        r#match: Some(RouteMatch {
            metadata: vec![header],
        }),
        token_bucket: of,
    }
}

fn of(message: &aeraki::LocalRateLimit) -> Result<LocalRateLimit, String> {
    LocalRateLimit::new(URL, &message.encode_to_vec())
}

#[test]
fn conditions_match_as_routes_do_and_the_first_one_counts() {
    let regex = RegexMatcher {
        regex: "s.*o".to_owned(),
    };
    let limit = of(&aeraki::LocalRateLimit {
        stat_prefix: "hello".to_owned(),
        token_bucket: None,
        conditions: vec![
            condition(Wanted::ExactMatch("sayHello".to_owned()), Some(bucket(2))),
            condition(Wanted::SafeRegexMatch(regex), Some(bucket(3))),
        ],
    })
    .unwrap();
    assert_eq!(limit.select(&Method("sayHello")), Some(0));
    assert_eq!(limit.select(&Method("so")), Some(1));
    assert_eq!(limit.select(&Method("some")), None);
    assert_eq!(limit.default_rate(), None);
    let traces = limit.explain(&Method("so"));
    assert_eq!(
        traces[0][0].to_string(),
        "method is \"so\": Method exact \"sayHello\" does not hold"
    );
    assert!(traces[1][0].held);
    let rate = limit.conditions()[1].rate;
    assert_eq!((rate.max_tokens(), rate.tokens_per_fill()), (3, 1));
    assert_eq!(rate.fill_interval(), Duration::from_nanos(1500));
}

#[test]
fn what_is_wrong_with_a_limit_is_said_with_the_field() {
    let said = |change: fn(&mut aeraki::LocalRateLimit)| {
        let exact = Wanted::ExactMatch("a".to_owned());
        let mut message = aeraki::LocalRateLimit {
            stat_prefix: String::new(),
            token_bucket: Some(bucket(5)),
            conditions: vec![condition(exact, Some(bucket(2)))],
        };
        of(&message).unwrap();
        change(&mut message);
        of(&message).unwrap_err()
    };
    assert_eq!(
        said(|l| l.conditions[0].token_bucket = None),
        "conditions[0].token_bucket: is missing"
    );
    assert_eq!(
        said(|l| l.token_bucket = Some(bucket(0))),
        "token_bucket.max_tokens: has to be above 0"
    );
    assert_eq!(
        said(|l| l.token_bucket.as_mut().unwrap().tokens_per_fill = Some(0)),
        "token_bucket.tokens_per_fill: has to be above 0; leave it out for 1"
    );
    assert_eq!(
        said(|l| l.token_bucket.as_mut().unwrap().fill_interval = None),
        "token_bucket.fill_interval: is missing"
    );
    for seconds in [0, -1] {
        let mut wrong = bucket(1);
        wrong.fill_interval = Some(Time { seconds, nanos: 0 });
        let message = aeraki::LocalRateLimit {
            token_bucket: Some(wrong),
            ..aeraki::LocalRateLimit::default()
        };
        assert_eq!(
            of(&message).unwrap_err(),
            "token_bucket.fill_interval: has to be above 0 and at most 292 years"
        );
    }
    assert_eq!(
        of(&aeraki::LocalRateLimit::default()).unwrap_err(),
        "token_bucket: is missing, and so are conditions"
    );
    let broken = said(|l| {
        let regex = "a(".to_owned();
        let wanted = Wanted::SafeRegexMatch(RegexMatcher { regex });
        l.conditions = vec![condition(wanted, Some(bucket(1)))];
    });
    assert!(
        broken.starts_with("conditions[0].match: attribute \"Method\": "),
        "{broken}"
    );
    let other = LocalRateLimit::new("type.googleapis.com/x.Y", &[]).unwrap_err();
    assert!(
        other.starts_with("@type: \"type.googleapis.com/x.Y\", not"),
        "{other}"
    );
}

fn filter_with(max_tokens: f64) -> prost_types::Value {
    let rate = object(&[
        ("max_tokens", number(max_tokens)),
        ("tokensPerFill", number(2.0)),
        ("fill_interval", text("60s")),
    ]);
    let header = object(&[("name", text("method")), ("exact_match", text("sayHello"))]);
    let matched = object(&[("metadata", list(vec![header]))]);
    let condition = object(&[("match", matched), ("token_bucket", rate.clone())]);
    let config = object(&[
        ("@type", text(URL)),
        ("stat_prefix", text("hello.shop")),
        ("token_bucket", rate),
        ("conditions", list(vec![condition])),
    ]);
    object(&[("name", text(LocalRateLimit::FILTER)), ("config", config)])
}

#[test]
fn a_limit_in_a_listener_is_read_from_its_json_form() {
    let mut store = Store::new();
    let message = meta_protocol_with(filter_with(5.0));
    accept(&mut store, type_url::LISTENER, "l", &message);
    let listener = Arc::clone(&store.snapshot().listeners["l"]);
    let NetworkFilter::MetaProtocol(filter) = &listener.filter else {
        panic!("a MetaProtocol filter")
    };
    let config = &filter.filters[0];
    let limit = LocalRateLimit::new(&config.type_url, &config.value).unwrap();
    assert_eq!(&**limit.stat_prefix(), "hello.shop");
    assert_eq!(limit.select(&Method("sayHello")), Some(0));
    assert_eq!(limit.select(&Method("other")), None);
    let rate = limit.default_rate().unwrap();
    assert_eq!(rate.to_string(), "5 requests, and 2 more every 60s");
}

#[test]
fn a_listener_whose_limit_cannot_be_is_refused_with_the_field() {
    let refused = refusal(
        type_url::LISTENER,
        "l",
        &meta_protocol_with(filter_with(0.0)),
    );
    let wanted = "value.meta_protocol_filters[0].config.conditions[0].token_bucket.max_tokens: has to be above 0";
    assert!(refused.ends_with(wanted), "{refused}");
}
