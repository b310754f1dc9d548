//! Counters by the names that Envoy gives them.

use meltemi_balancer::Detector;

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct $name { $($(#[$field_doc])* pub(crate) $field: u64),+ }

        impl $name {
            /// Adds what another worker counted.
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)+
            }

            /// Every counter with its name.
            pub(crate) fn each(&self, mut visit: impl FnMut(&'static str, u64)) {
                $(visit(stringify!($field), self.$field);)+
            }
        }
    };
}

counters! {
    /// Of one listener, by address: connections.
    ListenerCounters {
        downstream_cx_total,
        downstream_cx_active,
        downstream_cx_destroy,
        downstream_cx_destroy_remote_active_rq,
        downstream_cx_idle_timeout,
        downstream_cx_write_timeout,
        downstream_cx_buffer_overflow,
        downstream_cx_rx_bytes_total,
        downstream_cx_tx_bytes_total,
        downstream_flow_control_paused_reading_total,
    }
}

counters! {
    /// Of one listener's requests, by protocol and `stat_prefix`.
    ProtocolCounters {
        request,
        request_active,
        request_oneway,
        request_twoway,
        request_stream,
        request_heartbeat,
        request_decoding_error,
        response,
        response_success,
        response_error,
        local_response_error,
        request_canceled,
        request_mutation_skipped,
        response_mutation_skipped,
        request_marks_removed,
        request_marks_refused,
    }
}

counters! {
    /// Of one cluster.
    ClusterCounters {
        upstream_cx_total,
        upstream_cx_active,
        upstream_cx_destroy,
        upstream_cx_connect_fail,
        upstream_cx_connect_timeout,
        upstream_cx_idle_timeout,
        upstream_cx_idle_unexpected,
        upstream_cx_destroy_remote,
        upstream_cx_overflow,
        upstream_cx_protocol_error,
        upstream_cx_destroy_with_active_rq,
        upstream_cx_rx_bytes_total,
        upstream_cx_tx_bytes_total,
        upstream_rq_total,
        upstream_rq_active,
        upstream_rq_completed,
        upstream_rq_timeout,
        upstream_rq_rx_reset,
        upstream_rq_retry,
        upstream_rq_retry_overflow,
        upstream_rq_mirrored,
        upstream_rq_pending_overflow,
        upstream_rq_none_healthy,
        upstream_rq_late_reply,
        upstream_rq_unknown_reply,
        upstream_flow_control_paused_reading_total,
    }
}

counters! {
    /// Of one cluster's outlier detection.
    OutlierCounters {
        ejections_active,
        ejections_enforced_total,
        ejections_overflow,
        ejections_detected_consecutive_5xx,
        ejections_enforced_consecutive_5xx,
        ejections_detected_consecutive_gateway_failure,
        ejections_enforced_consecutive_gateway_failure,
        ejections_detected_consecutive_local_origin_failure,
        ejections_enforced_consecutive_local_origin_failure,
        ejections_detected_success_rate,
        ejections_enforced_success_rate,
        ejections_detected_failure_percentage,
        ejections_enforced_failure_percentage,
    }
}

impl OutlierCounters {
    pub(crate) fn of(detector: &Detector) -> Self {
        let counts = detector.counts();
        Self {
            ejections_active: detector.ejected().into(),
            ejections_enforced_total: counts.enforced_total,
            ejections_overflow: counts.overflow,
            ejections_detected_consecutive_5xx: counts.consecutive_5xx[0],
            ejections_enforced_consecutive_5xx: counts.consecutive_5xx[1],
            ejections_detected_consecutive_gateway_failure: counts.consecutive_gateway_failure[0],
            ejections_enforced_consecutive_gateway_failure: counts.consecutive_gateway_failure[1],
            ejections_detected_consecutive_local_origin_failure: counts
                .consecutive_local_origin_failure[0],
            ejections_enforced_consecutive_local_origin_failure: counts
                .consecutive_local_origin_failure[1],
            ejections_detected_success_rate: counts.success_rate[0],
            ejections_enforced_success_rate: counts.success_rate[1],
            ejections_detected_failure_percentage: counts.failure_percentage[0],
            ejections_enforced_failure_percentage: counts.failure_percentage[1],
        }
    }
}

counters! {
    /// Of one worker itself.
    WorkerCounters {
        turns,
        tables_in_force_total,
        snapshots_total,
        overflow_requests,
        overflow_buffered_bytes,
        filter_parked,
        access_log_lost,
    }
}
