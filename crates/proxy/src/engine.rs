//! The threads of an engine, and what the outside may ask of them.

use std::collections::BTreeMap;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use meltemi_resources::Snapshot;

use crate::acceptor::{Acceptor, AcceptorHandle};
use crate::access_log;
use crate::config::EngineConfig;
use crate::inbox::{Command, Inbox};
use crate::logging::{self, Level};
use crate::retired::Retired;
use crate::stats::prometheus;
use crate::stats::report::{ClusterState, Merged};
use crate::tables::{Compiler, Tables};
use crate::worker::{Shared, Worker};

/// How long a reader waits for a worker to finish its turn.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running data path. Dropping it stops it.
pub struct Engine {
    shared: Arc<Shared>,
    acceptor: AcceptorHandle,
    compiler: Mutex<Compiler>,
    refused: Mutex<BTreeMap<String, String>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stopped: AtomicBool,
}

impl Engine {
    /// Starts the threads; nothing listens until the first [`Engine::publish`].
    ///
    /// # Errors
    /// When the access log cannot be opened, its format has an unknown word, or the system gives no
    /// threads or descriptors.
    pub fn start(config: EngineConfig) -> io::Result<Self> {
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
        let mut threads = Vec::new();
        let mut access_log = None;
        if let Some(log) = &config.access_log {
            let format = access_log::Format::parse(&log.format).map_err(invalid)?;
            let (writer, thread) = access_log::Writer::start(&log.target).map_err(|error| {
                let reason = format!("cannot open the access log {}: {error}", log.target);
                io::Error::new(error.kind(), reason)
            })?;
            threads.push(thread);
            access_log = Some((writer, format));
        }
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let workers = if config.workers == 0 {
            cores()
        } else {
            config.workers
        };
        let inboxes = (0..workers)
            .map(|_| Inbox::new().map(Arc::new))
            .collect::<io::Result<_>>()?;
        let compiler = Compiler::new(&config);
        let shared = Arc::new(Shared {
            config,
            inboxes,
            tables: ArcSwap::default(),
            retired: Retired::default(),
            access_log,
            start: Instant::now(),
            leaks: Mutex::default(),
        });
        for number in 0..workers {
            let worker_shared = Arc::clone(&shared);
            let name = format!("meltemi-{number}");
            threads.push(guarded(name, move || {
                Worker::new(worker_shared, number)?.run()
            })?);
        }
        let handle = AcceptorHandle::new()?;
        let (acceptor_shared, ours) = (Arc::clone(&shared), handle.clone());
        threads.push(guarded("meltemi-accept".to_owned(), move || {
            Acceptor::new(acceptor_shared, &ours)?.run()
        })?);
        Ok(Self {
            shared,
            acceptor: handle,
            compiler: Mutex::new(compiler),
            refused: Mutex::default(),
            threads: Mutex::new(threads),
            stopped: AtomicBool::new(false),
        })
    }

    /// Puts `snapshot` in force: compiled here, taken over by each worker between two turns. Open
    /// connections stay open and use the new tables with their next request.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let mut compiler = lock(&self.compiler);
        let (tables, refused) = compiler.compile(snapshot, self.shared.start.elapsed());
        for (name, reason) in &refused {
            logging::warning!("listener {name} is not served: {reason}");
        }
        *lock(&self.refused) = refused
            .into_iter()
            .map(|(name, reason)| (name.to_string(), reason))
            .collect();
        let old = self.shared.tables.swap(tables);
        for inbox in &self.shared.inboxes {
            inbox.send(Command::Tables);
        }
        self.shared.retired.keep([old]);
        self.shared.retired.keep(compiler.gone());
        self.acceptor.follow_tables();
    }

    /// The clusters in force with their endpoints, over all workers.
    #[must_use]
    pub fn clusters(&self) -> Vec<ClusterState> {
        self.merged().cluster_states()
    }

    /// Every counter by Envoy's dotted names. `meltemi.tables_in_force_total` counts the route tables
    /// that every worker has taken over.
    #[must_use]
    pub fn stats(&self) -> Vec<(String, u64)> {
        let mut all = self.merged().flat();
        all.extend(self.own_stats());
        all
    }

    /// Istio's metrics and Envoy's counters in the text form of Prometheus.
    #[must_use]
    pub fn prometheus(&self) -> String {
        prometheus::render(&self.merged(), &self.own_stats())
    }

    /// Listeners that are not open and why, by name: no codec for them, or the address cannot be
    /// bound (tried again every second).
    #[must_use]
    pub fn listener_errors(&self) -> Vec<(String, String)> {
        let mut all = lock(&self.refused).clone();
        all.extend(self.acceptor.errors());
        all.into_iter().collect()
    }

    /// Sets how much is logged on stderr.
    pub fn set_log_level(&self, level: Level) {
        logging::set_level(level);
    }

    /// Stops accepting, lets what is in flight finish, closes what is quiet. True when no connection
    /// was left at the deadline.
    pub fn drain(&self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        self.acceptor.close();
        self.send_all(|| Command::Drain);
        loop {
            let open = |inbox: &Arc<Inbox>| inbox.connections.load(Ordering::Acquire);
            // A connection may be accepted until the acceptor has heard that it is over.
            let closed = self.acceptor.is_closed();
            if closed && self.shared.inboxes.iter().map(open).sum::<usize>() == 0 {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends all threads; what is in flight is answered with an error. Calling it again does nothing.
    pub fn stop(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.acceptor.stop();
        self.send_all(|| Command::Stop);
        let mut threads = std::mem::take(&mut *lock(&self.threads));
        // The writer of the access log is the first thread; it goes last, with the last lines.
        let writer = self.shared.access_log.as_ref().map(|_| threads.remove(0));
        for thread in threads {
            // A thread that panics ends the process, so there is no other result to see.
            let _ = thread.join();
        }
        if let (Some((log, _)), Some(thread)) = (&self.shared.access_log, writer) {
            log.stop();
            let _ = thread.join();
        }
    }

    fn send_all(&self, command: impl Fn() -> Command) {
        for inbox in &self.shared.inboxes {
            inbox.send(command());
        }
    }

    fn merged(&self) -> Merged {
        if self.stopped.load(Ordering::Acquire) {
            return Merged::default();
        }
        let (sender, receiver) = mpsc::channel();
        self.send_all(|| Command::Report(sender.clone()));
        drop(sender);
        let end = Instant::now() + REPORT_TIMEOUT;
        let mut reports = Vec::new();
        while reports.len() < self.shared.inboxes.len() {
            let left = end.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok(report) => reports.push(report),
                // Stopped meanwhile, or a turn takes that long: what there is.
                Err(_) => break,
            }
        }
        Merged::new(reports)
    }

    fn own_stats(&self) -> Vec<(String, u64)> {
        let load = |inbox: &Arc<Inbox>| inbox.connections.load(Ordering::Relaxed) as u64;
        let buffered = |inbox: &Arc<Inbox>| inbox.buffered.load(Ordering::Relaxed) as u64;
        let inboxes = &self.shared.inboxes;
        let mut all: Vec<(String, u64)> = inboxes
            .iter()
            .enumerate()
            .map(|(number, inbox)| {
                (
                    format!("listener_manager.worker_{number}.downstream_cx_active"),
                    load(inbox),
                )
            })
            .collect();
        let tables: Arc<Tables> = self.shared.tables.load_full();
        all.push(("meltemi.snapshot_version".to_owned(), tables.version));
        all.push((
            "meltemi.buffered_bytes".to_owned(),
            inboxes.iter().map(buffered).sum(),
        ));
        all.push(("meltemi.log_lines_lost_total".to_owned(), logging::lost()));
        all.push(("server.concurrency".to_owned(), inboxes.len() as u64));
        let uptime = self.shared.start.elapsed().as_secs();
        all.push(("server.uptime".to_owned(), uptime));
        if let Some((writer, _)) = &self.shared.access_log {
            all.push((
                "access_log.lost_bytes_total".to_owned(),
                writer.lost_bytes(),
            ));
            all.push((
                "access_log.failed_writes_total".to_owned(),
                writer.failed_writes(),
            ));
        }
        all.extend(self.acceptor.stats());
        all
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread whose end by a panic or an error is the end of the process: a socket that accepts and
/// never answers is worse than none.
fn guarded(
    name: String,
    body: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let shown = name.clone();
    thread::Builder::new().name(name).spawn(move || {
        let reason = match panic::catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a panic, see above".to_owned(),
        };
        eprintln!("meltemi: thread {shown} ended by {reason}; the process ends with it");
        std::process::abort();
    })
}
