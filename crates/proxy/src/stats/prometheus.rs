//! The text form of Prometheus: Istio's metrics, and Envoy's counters under Envoy's names.

use std::collections::BTreeMap;
use std::fmt::Write;

use meltemi_resources::LaneOf;

use super::histogram::{BOUNDS, Histogram};
use super::labels::Labels;
use super::report::Merged;
use super::series::{RequestSeries, TcpSeries};

/// Everything that was counted, and `extra` (dotted names) on top.
pub(crate) fn render(merged: &Merged, extra: &[(String, u64)]) -> String {
    let mut text = String::new();
    requests(merged, &mut text);
    tcp(merged, &mut text);
    lanes(merged, &mut text);
    envoy(merged, &mut text);
    for (name, value) in extra {
        let name = metric_name(name);
        let kind = if name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        line(
            &mut text,
            format_args!("# TYPE {name} {kind}\n{name} {value}"),
        );
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}

/// What a histogram shows of a series.
type Shown = fn(&RequestSeries) -> &Histogram;

fn requests(merged: &Merged, text: &mut String) {
    if merged.requests.is_empty() {
        return;
    }
    line(text, format_args!("# TYPE istio_requests_total counter"));
    for (labels, series) in &merged.requests {
        let count = series.duration.count();
        line(
            text,
            format_args!("istio_requests_total{{{}}} {count}", join(labels)),
        );
    }
    let histograms: [(&str, Shown); 3] = [
        ("istio_request_duration_milliseconds", |series| {
            &series.duration
        }),
        ("istio_request_bytes", |series| &series.request_bytes),
        ("istio_response_bytes", |series| &series.response_bytes),
    ];
    for (name, of) in histograms {
        line(text, format_args!("# TYPE {name} histogram"));
        for (labels, series) in &merged.requests {
            histogram(text, name, &join(labels), of(series));
        }
    }
}

fn histogram(text: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let mut count = 0;
    for (bucket, bound) in histogram.buckets.iter().zip(BOUNDS) {
        count += bucket;
        line(
            text,
            format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}"),
        );
    }
    let count = histogram.count();
    line(
        text,
        format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}"),
    );
    let (whole, part) = (histogram.sum / 1000, histogram.sum % 1000);
    line(
        text,
        format_args!("{name}_sum{{{labels}}} {whole}.{part:03}"),
    );
    line(text, format_args!("{name}_count{{{labels}}} {count}"));
}

/// What a counter shows of a connection's series.
type Counted = fn(&TcpSeries) -> u64;

fn tcp(merged: &Merged, text: &mut String) {
    if merged.tcp.is_empty() {
        return;
    }
    let counters: [(&str, Counted); 4] = [
        ("istio_tcp_connections_opened_total", |series| series.opened),
        ("istio_tcp_connections_closed_total", |series| series.closed),
        ("istio_tcp_received_bytes_total", |series| {
            series.received_bytes
        }),
        ("istio_tcp_sent_bytes_total", |series| series.sent_bytes),
    ];
    for (name, of) in counters {
        line(text, format_args!("# TYPE {name} counter"));
        for (labels, series) in &merged.tcp {
            line(
                text,
                format_args!("{name}{{{}}} {}", join(labels), of(series)),
            );
        }
    }
}

fn lanes(merged: &Merged, text: &mut String) {
    if merged.lanes.is_empty() {
        return;
    }
    let labels = |of: &LaneOf| {
        let (lane, service) = (escape(&of.lane), escape(&of.service));
        format!("lane=\"{lane}\",service=\"{service}\"")
    };
    let name = "meltemi_lane_requests_total";
    line(text, format_args!("# TYPE {name} counter"));
    for (of, count) in &merged.lanes {
        let labels = labels(of);
        for (who, requests) in count.by_answer() {
            line(
                text,
                format_args!("{name}{{{labels},answered_by=\"{who}\"}} {requests}"),
            );
        }
    }
    let name = "meltemi_lane_leaks_total";
    line(text, format_args!("# TYPE {name} counter"));
    for (of, count) in &merged.lanes {
        line(
            text,
            format_args!("{name}{{{}}} {}", labels(of), count.leaks),
        );
    }
}

/// One metric: its samples, each with its labels.
type Samples = BTreeMap<String, Vec<(String, u64)>>;

fn envoy(merged: &Merged, text: &mut String) {
    let mut metrics = Samples::new();
    for (address, counters) in &merged.listeners {
        let labels = format!("envoy_listener_address=\"{}\"", escape(address));
        counters.each(|name, value| push(&mut metrics, "envoy_listener_", name, &labels, value));
    }
    for ((protocol, prefix), counters) in &merged.protocols {
        let labels = format!(
            "envoy_application_protocol=\"{}\",envoy_stat_prefix=\"{}\"",
            escape(protocol),
            escape(prefix)
        );
        counters
            .each(|name, value| push(&mut metrics, "envoy_meta_protocol_", name, &labels, value));
    }
    let mut filters = BTreeMap::new();
    for (name, value) in &merged.filters {
        // Names that differ in their dots only are one metric.
        *filters.entry(metric_name(name)).or_default() += value;
    }
    for (name, value) in filters {
        push(&mut metrics, "envoy_", &name, "", value);
    }
    for (cluster, (counters, _)) in &merged.clusters {
        let labels = format!("envoy_cluster_name=\"{}\"", escape(cluster));
        counters.each(|name, value| push(&mut metrics, "envoy_cluster_", name, &labels, value));
    }
    for (cluster, counters) in &merged.outliers {
        let labels = format!("envoy_cluster_name=\"{}\"", escape(cluster));
        let scope = "envoy_cluster_outlier_detection_";
        counters.each(|name, value| push(&mut metrics, scope, name, &labels, value));
    }
    merged
        .worker
        .each(|name, value| push(&mut metrics, "meltemi_", name, "", value));
    for (name, samples) in metrics {
        let kind = if name.ends_with("_active") {
            "gauge"
        } else {
            "counter"
        };
        line(text, format_args!("# TYPE {name} {kind}"));
        for (labels, value) in samples {
            line(text, format_args!("{name}{{{labels}}} {value}"));
        }
    }
}

fn push(metrics: &mut Samples, scope: &str, name: &str, labels: &str, value: u64) {
    metrics
        .entry(format!("{scope}{name}"))
        .or_default()
        .push((labels.to_owned(), value));
}

fn join(labels: &Labels) -> String {
    let mut text = String::new();
    for (name, value) in &labels.pairs {
        if !text.is_empty() {
            text.push(',');
        }
        let _ = write!(text, "{name}=\"{}\"", escape(value));
    }
    text
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// A dotted name as a metric's.
fn metric_name(dotted: &str) -> String {
    let keep = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    dotted.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_value_cannot_break_out_of_its_quotes() {
        assert_eq!(escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn buckets_are_cumulative_and_the_sum_keeps_its_thousandths() {
        let mut values = Histogram::default();
        values.record(400);
        values.record(3_002);
        let mut text = String::new();
        histogram(&mut text, "m", "a=\"b\"", &values);
        assert!(text.contains("m_bucket{a=\"b\",le=\"0.5\"} 1\n"));
        assert!(text.contains("m_bucket{a=\"b\",le=\"5\"} 2\n"));
        assert!(text.contains("m_bucket{a=\"b\",le=\"+Inf\"} 2\n"));
        assert!(text.contains("m_sum{a=\"b\"} 3.402\n"));
        assert!(text.contains("m_count{a=\"b\"} 2\n"));
    }
}
