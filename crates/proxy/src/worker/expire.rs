//! What happens because time went by.

use std::time::Duration;

use meltemi_balancer::Seen;
use meltemi_codec::ErrorKind;
use rustix::net::getpeername;

use super::Worker;
use crate::clock::Moment;
use crate::connection::Role;
use crate::request::Stage;
use crate::slots::Id;

/// A downstream that is quiet for so long while the proxy drains is closed. Longer than the pause
/// between two calls of a busy caller: a connection closed between them would lose the second.
const QUIET: Duration = Duration::from_millis(250);

/// How long a connection that is closed on purpose waits for the peer's FIN.
pub(super) const LINGER: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) fn expire(&mut self) {
        let now = self.clock.now();
        while let Some(id) = self.requests.due(now) {
            self.timed_out(id);
        }
        while let Some((_, id)) = self.parked.pop_due(now) {
            let parked = |request: &crate::request::Request| {
                request.stage == Stage::Parked && request.deadline <= now
            };
            if self.requests.get(id).is_some_and(parked) {
                self.fail(id, ErrorKind::Timeout, "a filter had no answer in time");
            }
        }
        while let Some((at, id)) = self.deadlines.pop_due(now) {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            if connection.alarm == at {
                connection.alarm = Moment::NEVER;
                self.alarm(id);
            }
        }
    }

    /// Has a connection looked at at `at`, or earlier.
    pub(super) fn arm(&mut self, id: Id, at: Moment) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if at < connection.alarm {
            connection.alarm = at;
            self.deadlines.push(at, id);
        }
    }

    pub(super) fn arm_idle(&mut self, id: Id) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let at = connection.touched.after(self.idle_time(id));
        self.arm(id, at);
    }

    fn idle_time(&self, id: Id) -> Duration {
        let limits = &self.shared.config.limits;
        match self.connections.get(id).map(|connection| &connection.role) {
            Some(Role::Downstream(down)) if self.draining => {
                self.downstream_idle(down.listener).min(QUIET)
            }
            Some(Role::Downstream(down)) => self.downstream_idle(down.listener),
            Some(Role::Upstream(up)) => self
                .cluster_of(up.cluster)
                .and_then(|entry| entry.cluster.as_ref()?.idle_timeout)
                .unwrap_or(limits.upstream_idle_timeout),
            _ => limits.downstream_idle_timeout,
        }
    }

    /// Looks at a connection whose time may have come.
    fn alarm(&mut self, id: Id) {
        let now = self.clock.now();
        let idle = self.idle_time(id);
        let write_timeout = self.shared.config.limits.write_timeout;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !connection.connected {
            return self.connect_alarm(id);
        }
        if connection.lingering {
            let until = connection.stalled.after(LINGER);
            if until > now {
                return self.arm(id, until);
            }
            return self.close_downstream(id);
        }
        if connection.waiting() > 0 {
            let since = if connection.stalled == Moment::NEVER {
                now
            } else {
                connection.stalled
            };
            let until = since.after(write_timeout);
            if until > now {
                return self.arm(id, until);
            }
            if let Role::Downstream(down) = &connection.role {
                let listener = down.listener;
                if let Some(port) = self.port(listener) {
                    port.counters.downstream_cx_write_timeout += 1;
                }
            }
            return self.lost(id, "takes no bytes");
        }
        let busy = match &mut connection.role {
            Role::Downstream(down) => down.requests > 0,
            Role::Upstream(up) => up.live() > 0,
            Role::Tunnel(_) => false,
        };
        let until = if busy {
            now.after(idle)
        } else {
            connection.touched.after(idle)
        };
        if until > now {
            return self.arm(id, until);
        }
        match &connection.role {
            Role::Downstream(_) if self.draining => {
                connection.read_closed = true;
                self.close_if_done(id);
            }
            Role::Downstream(down) => {
                let listener = down.listener;
                if let Some(port) = self.port(listener) {
                    port.counters.downstream_cx_idle_timeout += 1;
                }
                self.close_downstream(id);
            }
            Role::Upstream(up) => {
                let number = up.cluster as usize;
                self.clusters[number].counters.upstream_cx_idle_timeout += 1;
                self.close_upstream(id);
            }
            Role::Tunnel(_) => self.close_tunnel(id),
        }
    }

    fn connect_alarm(&mut self, id: Id) {
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let (by, number) = match &connection.role {
            Role::Upstream(up) => (up.connect_by, up.cluster),
            Role::Tunnel(tunnel) => (tunnel.connect_by, tunnel.cluster),
            Role::Downstream(_) => return,
        };
        if by > now {
            return self.arm(id, by);
        }
        // The kernel may have connected it in time, and the word of it lie behind what a busy worker
        // has to do first: thousands of connects at once take longer to hear of than to make.
        let stream = &connection.stream;
        if !stream.handshaking() && getpeername(stream.socket()).is_ok() {
            return self.connected(id);
        }
        self.clusters[number as usize]
            .counters
            .upstream_cx_connect_timeout += 1;
        self.connect_failed(id, "no connection within the connect timeout");
    }

    fn timed_out(&mut self, id: Id) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        let (number, endpoint, upstream) = (request.cluster, request.endpoint, request.upstream);
        let (stage, stream) = (request.stage, request.stream);
        // Whatever comes next, this deadline is over.
        self.requests.stop_timer(id);
        let seconds = self.shared.config.limits.request_timeout.as_secs_f64();
        let name = self
            .cluster_of(number)
            .map_or_else(String::new, |entry| entry.name.to_string());
        match stage {
            Stage::Parked | Stage::Replied => {}
            Stage::Collecting => {
                let message = format!("the request was not complete within {seconds} s");
                self.fail(id, ErrorKind::Timeout, &message);
            }
            Stage::Queued => {
                let message = format!("no connection to '{name}' within {seconds} s");
                self.fail(id, ErrorKind::Timeout, &message);
            }
            Stage::Sent if stream => {}
            Stage::Replying if self.held_up(upstream) => {
                self.requests.start_timer(id, self.clock.now());
            }
            Stage::Sent | Stage::Replying => {
                let entry = &mut self.clusters[number as usize];
                entry.counters.upstream_rq_timeout += 1;
                let mut address = String::new();
                if let Some(entry) = self.endpoints.get_mut(endpoint) {
                    entry.errors += 1;
                    address = entry.address.to_string();
                }
                let message =
                    format!("upstream {address} of '{name}' gave no reply in {seconds} s");
                self.saw(number, endpoint, Seen::Timeout);
                self.leave_upstream(id, false);
                self.failed_upstream(id, ErrorKind::Timeout, &message);
            }
        }
    }

    /// Whether a reply stands still because its caller does not read, or because of its turn.
    fn held_up(&self, upstream: Id) -> bool {
        self.connections
            .get(upstream)
            .is_some_and(|connection| connection.pause != 0)
    }
}
