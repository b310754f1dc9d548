//! `MetaProtocolProxy` from its JSON form, field by field.

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Any, Struct};

use crate::field::type_name;
use crate::invalid::Invalid;
use crate::json::{Object, boolean, duration, integer, list, object, string};
use crate::local_rate_limit;
use crate::marks;
use crate::messages::aeraki::meta_protocol_proxy::config::route::v1alpha as aeraki;
use crate::messages::aeraki::meta_protocol_proxy::filters::local_ratelimit::v1alpha::{
    LocalRateLimit, LocalRateLimitCondition,
};
use crate::messages::aeraki::meta_protocol_proxy::v1alpha::meta_protocol_proxy::RouteSpecifier;
use crate::messages::aeraki::meta_protocol_proxy::v1alpha::{
    ApplicationProtocol, Codec, MetaProtocolFilter, MetaProtocolProxy, Rds,
};
use crate::messages::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use crate::messages::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use crate::messages::envoy::config::route::v3::{HeaderMatcher, WeightedCluster};
use crate::messages::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use crate::messages::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use crate::messages::envoy::r#type::v3::{Int64Range, TokenBucket};
use crate::messages::meltemi::v1alpha1::{DownstreamOptions, MarkRule, Marks};

/// The message whose JSON form `from` is.
pub(crate) fn proxy(from: &Struct) -> Result<MetaProtocolProxy, Invalid> {
    let mut fields = Object::new(from);
    // Where to ask for routes is the business of whoever holds the xDS stream; tracing and access
    // logs are the engine's own.
    fields.skip("tracing");
    fields.skip("access_log");
    let rds = fields.optional("rds", rds)?.map(RouteSpecifier::Rds);
    let inline = fields
        .optional("route_config", routes)?
        .map(RouteSpecifier::RouteConfig);
    if rds.is_some() && inline.is_some() {
        return Err(Invalid::at("rds", "and route_config are both set"));
    }
    let message = MetaProtocolProxy {
        stat_prefix: fields.read("stat_prefix", string)?,
        application_protocol: fields.read("application_protocol", string)?,
        codec: fields.optional("codec", codec)?,
        meta_protocol_filters: fields.read("meta_protocol_filters", |from| list(from, filter))?,
        idle_timeout: fields.optional("idle_timeout", duration)?,
        protocol: fields.optional("protocol", protocol)?,
        route_specifier: rds.or(inline),
    };
    fields.finish()?;
    Ok(message)
}

fn rds(from: &Kind) -> Result<Rds, Invalid> {
    let mut fields = object(from)?;
    fields.skip("config_source");
    let message = Rds {
        route_config_name: fields.read("route_config_name", string)?,
    };
    fields.finish()?;
    Ok(message)
}

fn codec(from: &Kind) -> Result<Codec, Invalid> {
    let mut fields = object(from)?;
    let message = Codec {
        name: fields.read("name", string)?,
        config: fields.optional("config", any)?,
    };
    fields.finish()?;
    Ok(message)
}

fn protocol(from: &Kind) -> Result<ApplicationProtocol, Invalid> {
    let mut fields = object(from)?;
    let message = ApplicationProtocol {
        name: fields.read("name", string)?,
        codec: fields.optional("codec", codec)?,
        multiplexing: fields.read("multiplexing", boolean)?,
    };
    fields.finish()?;
    Ok(message)
}

fn filter(from: &Kind) -> Result<MetaProtocolFilter, Invalid> {
    let mut fields = object(from)?;
    let message = MetaProtocolFilter {
        name: fields.read("name", string)?,
        config: fields.optional("config", any)?,
    };
    fields.finish()?;
    Ok(message)
}

/// A packed message. Read are those that say what to do; of the others the type is kept.
fn any(from: &Kind) -> Result<Any, Invalid> {
    let mut fields = object(from)?;
    let type_url = fields.read("@type", string)?;
    let mut value = Vec::new();
    match type_name(&type_url) {
        "meltemi.v1alpha1.DownstreamOptions" => {
            let replies_in_any_order = fields.read("replies_in_any_order", boolean)?;
            fields.finish()?;
            value = DownstreamOptions {
                replies_in_any_order,
            }
            .encode_to_vec();
        }
        marks::TYPE => value = mark_rules(fields)?.encode_to_vec(),
        local_rate_limit::TYPE => value = rate_limit(fields)?.encode_to_vec(),
        _ => {}
    }
    Ok(Any { type_url, value })
}

fn mark_rules(mut fields: Object<'_>) -> Result<Marks, Invalid> {
    let rules = fields.read("rules", |from| list(from, mark_rule))?;
    fields.finish()?;
    Ok(Marks { rules })
}

fn mark_rule(from: &Kind) -> Result<MarkRule, Invalid> {
    let mut fields = object(from)?;
    let message = MarkRule {
        keys: fields.read("keys", |from| list(from, string))?,
        workloads: fields.read("workloads", |from| list(from, string))?,
        any_workload: fields.read("any_workload", boolean)?,
        networks: fields.read("networks", |from| list(from, string))?,
    };
    fields.finish()?;
    Ok(message)
}

fn rate_limit(mut fields: Object<'_>) -> Result<LocalRateLimit, Invalid> {
    let message = LocalRateLimit {
        stat_prefix: fields.read("stat_prefix", string)?,
        token_bucket: fields.optional("token_bucket", bucket)?,
        conditions: fields.read("conditions", |from| list(from, limit_condition))?,
    };
    fields.finish()?;
    Ok(message)
}

fn limit_condition(from: &Kind) -> Result<LocalRateLimitCondition, Invalid> {
    let mut fields = object(from)?;
    let message = LocalRateLimitCondition {
        r#match: fields.optional("match", route_match)?,
        token_bucket: fields.optional("token_bucket", bucket)?,
    };
    fields.finish()?;
    Ok(message)
}

fn bucket(from: &Kind) -> Result<TokenBucket, Invalid> {
    let mut fields = object(from)?;
    let message = TokenBucket {
        max_tokens: fields.read("max_tokens", integer)?,
        tokens_per_fill: fields.optional("tokens_per_fill", integer)?,
        fill_interval: fields.optional("fill_interval", duration)?,
    };
    fields.finish()?;
    Ok(message)
}

fn routes(from: &Kind) -> Result<aeraki::RouteConfiguration, Invalid> {
    let mut fields = object(from)?;
    let message = aeraki::RouteConfiguration {
        name: fields.read("name", string)?,
        routes: fields.read("routes", |from| list(from, route))?,
    };
    fields.finish()?;
    Ok(message)
}

fn route(from: &Kind) -> Result<aeraki::Route, Invalid> {
    let mut fields = object(from)?;
    let message = aeraki::Route {
        name: fields.read("name", string)?,
        r#match: fields.optional("match", route_match)?,
        route: fields.optional("route", action)?,
        request_mutation: fields.read("request_mutation", |from| list(from, pair))?,
        response_mutation: fields.read("response_mutation", |from| list(from, pair))?,
    };
    fields.finish()?;
    Ok(message)
}

fn pair(from: &Kind) -> Result<aeraki::KeyValue, Invalid> {
    let mut fields = object(from)?;
    let message = aeraki::KeyValue {
        key: fields.read("key", string)?,
        value: fields.read("value", string)?,
    };
    fields.finish()?;
    Ok(message)
}

fn route_match(from: &Kind) -> Result<aeraki::RouteMatch, Invalid> {
    let mut fields = object(from)?;
    let metadata = fields.read("metadata", |from| list(from, header))?;
    fields.finish()?;
    Ok(aeraki::RouteMatch { metadata })
}

fn action(from: &Kind) -> Result<aeraki::RouteAction, Invalid> {
    use aeraki::route_action::ClusterSpecifier;
    let mut fields = object(from)?;
    let hash_policy = fields.read("hash_policy", |from| list(from, string))?;
    fields.skip("request_mirror_policies");
    let cluster = fields
        .optional("cluster", string)?
        .map(ClusterSpecifier::Cluster);
    let weighted = fields
        .optional("weighted_clusters", weighted)?
        .map(ClusterSpecifier::WeightedClusters);
    if cluster.is_some() && weighted.is_some() {
        return Err(Invalid::at("cluster", "and weighted_clusters are both set"));
    }
    fields.finish()?;
    Ok(aeraki::RouteAction {
        cluster_specifier: cluster.or(weighted),
        hash_policy,
    })
}

fn weighted(from: &Kind) -> Result<WeightedCluster, Invalid> {
    let mut fields = object(from)?;
    fields.skip("total_weight");
    let clusters = fields.read("clusters", |from| {
        list(from, |from| {
            let mut fields = object(from)?;
            let cluster = ClusterWeight {
                name: fields.read("name", string)?,
                weight: fields.optional("weight", integer)?,
                ..ClusterWeight::default()
            };
            fields.finish()?;
            Ok(cluster)
        })
    })?;
    fields.finish()?;
    Ok(WeightedCluster {
        clusters,
        total_weight: None,
    })
}

fn header(from: &Kind) -> Result<HeaderMatcher, Invalid> {
    use HeaderMatchSpecifier as Wanted;
    let mut fields = object(from)?;
    let wanted = [
        fields
            .optional("exact_match", string)?
            .map(Wanted::ExactMatch),
        fields
            .optional("prefix_match", string)?
            .map(Wanted::PrefixMatch),
        fields
            .optional("suffix_match", string)?
            .map(Wanted::SuffixMatch),
        fields
            .optional("contains_match", string)?
            .map(Wanted::ContainsMatch),
        fields
            .optional("safe_regex_match", regex)?
            .map(Wanted::SafeRegexMatch),
        fields
            .optional("range_match", range)?
            .map(Wanted::RangeMatch),
        fields
            .optional("present_match", boolean)?
            .map(Wanted::PresentMatch),
        fields
            .optional("string_match", string_match)?
            .map(Wanted::StringMatch),
    ];
    let mut wanted = wanted.into_iter().flatten();
    let message = HeaderMatcher {
        name: fields.read("name", string)?,
        invert_match: fields.read("invert_match", boolean)?,
        treat_missing_header_as_empty: fields.read("treat_missing_header_as_empty", boolean)?,
        header_match_specifier: wanted.next(),
    };
    if wanted.next().is_some() {
        return Err(Invalid::at("", "more than one kind of match is set"));
    }
    fields.finish()?;
    Ok(message)
}

fn string_match(from: &Kind) -> Result<StringMatcher, Invalid> {
    let mut fields = object(from)?;
    let wanted = [
        fields.optional("exact", string)?.map(MatchPattern::Exact),
        fields.optional("prefix", string)?.map(MatchPattern::Prefix),
        fields.optional("suffix", string)?.map(MatchPattern::Suffix),
        fields
            .optional("contains", string)?
            .map(MatchPattern::Contains),
        fields
            .optional("safe_regex", regex)?
            .map(MatchPattern::SafeRegex),
    ];
    let mut wanted = wanted.into_iter().flatten();
    let message = StringMatcher {
        ignore_case: fields.read("ignore_case", boolean)?,
        match_pattern: wanted.next(),
    };
    if wanted.next().is_some() {
        return Err(Invalid::at("", "more than one kind of match is set"));
    }
    fields.finish()?;
    Ok(message)
}

fn regex(from: &Kind) -> Result<RegexMatcher, Invalid> {
    let mut fields = object(from)?;
    fields.skip("google_re2");
    let message = RegexMatcher {
        regex: fields.read("regex", string)?,
    };
    fields.finish()?;
    Ok(message)
}

fn range(from: &Kind) -> Result<Int64Range, Invalid> {
    let mut fields = object(from)?;
    let message = Int64Range {
        start: fields.read("start", integer)?,
        end: fields.read("end", integer)?,
    };
    fields.finish()?;
    Ok(message)
}
